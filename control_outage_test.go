package bradawl

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// TestRoughNetwork connects by a relay through a network that loses 30 % of what is sent,
// doubles 5 %, lets 25 % be overtaken and delays each packet by up to 100 ms more.
func TestRoughNetwork(t *testing.T) {
	t.Parallel()
	usable := &figure{name: "both can send", limit: 15 * time.Second}
	var total tally
	for seed := range uint64(*seeds) {
		w := newWorld(t, seed+1, hard[0], hard[1], func(o *worldOptions) {
			o.access = simnet.Link{Delay: access, Jitter: 2 * access, Loss: 0.163, Duplicate: 0.05, Reorder: 0.25}
		})
		w.keep()
		began := w.dialNow()
		if !w.settle(30 * time.Second) {
			w.fail("not connected")
		}
		usable.add(w.Now().Sub(began))
		w.chat(20*time.Second, chatEvery)
		w.Run(3 * time.Second)
		total = w.ledger.settle()
		for _, p := range w.peers {
			if p.counts.Forged != 0 {
				w.fail("%d datagrams did not decrypt", p.counts.Forged)
			}
		}
	}
	report(t, "30 % loss, duplicates, reordering, jitter", total, usable)
}

// TestRendezvousOutage: dials wait for the rendezvous, and connections do without it.
func TestRendezvousOutage(t *testing.T) {
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		usable := &figure{name: "both can send after it is back", limit: 300 * time.Millisecond}
		for seed := range faults() {
			w := newWorld(t, seed+1, "", "", cones...)
			w.setDown(true)
			w.dialNow()
			w.Run(time.Duration(w.Rand("when").Int64N(int64(20 * time.Second))))
			back := w.Now()
			w.setDown(false)
			if !w.settle(10 * time.Second) {
				w.fail("not connected")
			}
			usable.add(w.Now().Sub(back))
		}
		report(t, "rendezvous down at the start", "", usable)
	})
	t.Run("for longer than a dial waits", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, 1, "", "", cones...)
		w.setDown(true)
		w.dialNow()
		w.Run(31 * time.Second)
		a := w.peers[0]
		var failed *PathsError
		if len(a.over) != 1 || !errors.As(a.over[0], &failed) || !errors.Is(failed, ErrNoAnswer) {
			w.fail("%v", a.over)
		}
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		data := &figure{name: "data after a NAT reboot meanwhile", limit: 10 * time.Second}
		var total tally
		for seed := range faults() {
			w := newWorld(t, seed+1, "", "", cones...)
			w.keep()
			w.connect(PathDirect)
			w.setDown(true)
			w.chat(time.Minute, chatEvery)
			w.Run(time.Second)
			if total = w.ledger.settle(); total.delivered != total.sent {
				w.fail("%v", total)
			}
			w.peers[0].site.NAT.Reboot(time.Second)
			since := w.Now()
			w.chat(30*time.Second, chatEvery)
			w.Run(time.Second)
			again, _, _ := w.outage(since)
			data.add(again)
			if again > data.limit {
				w.fail("data again after %v", again)
			}
		}
		report(t, "rendezvous down later", total, data)
	})
}

// TestLongOutage: a connection without any path lives on for half an hour, whatever its keys
// have become, and is over then.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		outage time.Duration
		over   bool
	}{{25 * time.Minute, false}, {40 * time.Minute, true}} {
		w := newWorld(t, 1, "", "", cones...)
		w.keep()
		w.connect(PathDirect)
		a, b := w.peers[0], w.peers[1]
		w.chat(11*time.Minute, time.Second) // the first change of keys
		gone := simnet.Link{Down: true}
		a.site.NAT.Iface().SetLink(gone, gone)
		w.setDown(true)
		w.chat(r.outage, time.Second)
		a.site.NAT.Iface().SetLink(w.option.access, w.option.access)
		w.setDown(false)
		w.Run(time.Minute)
		if r.over {
			for _, p := range w.peers {
				var failed *PathsError
				if len(p.over) != 1 || !errors.As(p.over[0], &failed) || !errors.Is(failed, ErrLost) {
					w.fail("%v", p.over)
				}
			}
			continue
		}
		w.talk(a.conn, b.conn)
		w.chat(11*time.Minute, time.Second)
		if total := w.ledger.settle(); a.counts.Forged+b.counts.Forged > 0 {
			w.fail("%v; %+v, %+v", total, a.counts, b.counts)
		}
	}
}

// TestSlowAnswer: where checks are quicker than the answer, nothing is sent that the peer
// cannot read yet.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "open", "open")
	w.keep()
	a, b := w.peers[0], w.peers[1]
	w.carry = func(from, to *simPeer, message []byte) bool {
		if from == b && message[0] == msgAnswer {
			message := bytes.Clone(message)
			w.After(2*time.Second, func() { to.do(func(now time.Time) { to.signal(now, from.id.ID(), message) }) })
			return false
		}
		return true
	}
	w.dialNow()
	if !w.RunUntil(10*time.Second, func() bool { return len(b.conns2) > 0 }) {
		w.fail("not connected")
	}
	mail := b.sendOn(b.conn, "first")
	w.Run(time.Second)
	if mail.delivered != 1 {
		w.fail("what was sent at once was delivered %d times; %+v", mail.delivered, a.counts)
	}
}

// TestChurn makes and closes connections for an hour, from both sides. Nothing stays.
func TestChurn(t *testing.T) { // not parallel: it measures the heap
	// The simulated TURN server keeps its last thousand answers, which come to 50 KiB within the
	// hour however many connections there are. Only among many does that not matter.
	gap, with := 10*time.Second, append(slices.Clip(cones), noTURN)
	if *seeds > 20 {
		gap, with = time.Second, cones
	}
	w := newWorld(t, 1, "", "", with...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	forget := func() {
		for _, p := range w.peers {
			p.events, p.over, p.conns2, p.record = nil, nil, nil, nil
		}
	}
	var heap uint64
	made := 0
	for end := w.Now().Add(time.Hour); w.Now().Before(end); made++ {
		number := a.dialTo(b)
		if !w.RunUntil(5*time.Second, func() bool { return len(a.conns2) > 0 && len(b.conns2) > 0 }) {
			w.fail("connection %d does not stand", made)
		}
		closer, which := a, number
		if made%2 == 1 {
			closer, which = b, b.conn
		}
		closer.do(func(now time.Time) { closer.close(now, which) })
		w.Run(gap / 2)
		forget()
		if made == 50 {
			heap = heapInUse()
		}
		w.Run(gap / 2)
	}
	grown := int64(heapInUse()) - int64(heap)
	for _, p := range w.peers {
		if len(p.conns) != 1 || len(p.byIndex) != 1 || len(p.byAgent) != 1 || len(p.talking) != 0 {
			t.Errorf("left: %d connections, %d indexes, %d agents", len(p.conns), len(p.byIndex), len(p.byAgent))
		}
	}
	t.Logf("%d connections in an hour; the heap has grown by %d KiB", made, grown>>10)
	if perConn := grown / int64(made-50); perConn > 200 {
		t.Errorf("%d bytes stay of each connection", perConn)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
