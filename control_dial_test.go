package bradawl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// standing are the connections of a peer that stand.
func (p *simPeer) standing() (all []uint32) {
	for _, k := range p.order() {
		if k.state == connected {
			all = append(all, k.number)
		}
	}
	return all
}

// talk fails the test unless both can send to each other by connections that they have
// numbers of.
func (w *world) talk(a, b uint32) {
	w.t.Helper()
	if w.ledger == nil {
		w.keep()
	}
	there := w.peers[0].sendOn(a, fmt.Sprint("there ", w.said))
	back := w.peers[1].sendOn(b, fmt.Sprint("back ", w.said))
	w.said++
	w.Run(500 * time.Millisecond)
	if there.delivered != 1 || back.delivered != 1 {
		w.fail("delivered %d times there and %d times back", there.delivered, back.delivered)
	}
}

// TestCrossingDials has both sides dial each other, at all times that one dial can have
// relative to the other, whichever of them has the greater ID. One connection comes of it.
func TestCrossingDials(t *testing.T) {
	for _, c := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
		ask, treat := c[0], c[1]
		t.Run(fmt.Sprintf("ask=%v,treat=%v", ask, treat), func(t *testing.T) {
			t.Parallel()
			orders := make(map[bool]int)
			for seed := range uint64(2) {
				for at := -30; at <= 30; at++ {
					// Until the first connection is there, after 2 round trips, a dial joins it.
					offset := time.Duration(at) * 6600 * time.Microsecond
					w := newWorld(t, seed+1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
						o.config = func(c *controlConfig) { c.ask = ask }
						if treat {
							treated(35*time.Millisecond, Treatment{}, nil)(o)
						}
					}}, cones...)...)
					first, second := w.peers[0], w.peers[1]
					orders[first.id.ID().Compare(second.id.ID()) > 0]++
					if offset < 0 {
						first, second = second, first
					}
					w.Run(time.Second)
					var numbers [2]uint32
					numbers[0] = first.dialTo(second)
					w.Run(offset.Abs())
					ready := len(second.conns2) > 0
					numbers[1] = second.dialTo(first)
					w.Run(8 * time.Second)
					one, two := first.standing(), second.standing()
					want := 1
					if ready {
						want = 2 // it was connected already: that is another connection
					}
					if len(one) != want || len(two) != want || len(first.conns) != want || len(second.conns) != want {
						w.fail("offset %v: %d and %d connections stand, want %d", offset, len(one), len(two), want)
					}
					if !slices.Contains(one, numbers[0]) || !slices.Contains(two, numbers[1]) {
						w.fail("offset %v: a dial has come to nothing", offset)
					}
					for _, p := range w.peers {
						if n := len(p.conns2); treat && p.untold != n {
							w.fail("offset %v: %s was asked %d times about %d connections", offset, p.name, p.untold, n)
						}
					}
					if want == 1 {
						w.talk(w.peers[0].conn, w.peers[1].conn)
						if first.conns[one[0]].dialled != second.conns[two[0]].dialled {
							w.fail("offset %v: who gets the connection by Accept?", offset)
						}
					}
				}
			}
			if len(orders) != 2 {
				t.Errorf("only one order of IDs was tried: %v", orders)
			}
		})
	}
}

// TestSecondConnection dials a peer that is connected.
func TestSecondConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	for i := range 3 {
		if i%2 == 0 {
			a.dialTo(b)
		} else {
			b.dialTo(a)
		}
		w.Run(2 * time.Second)
	}
	one, two := a.standing(), b.standing()
	if len(one) != 4 || len(two) != 4 {
		w.fail("%d and %d connections", len(one), len(two))
	}
	keys := make(map[any]bool)
	for i := range one {
		w.talk(one[i], two[i])
		keys[a.conns[one[i]].keys] = true
	}
	if len(keys) != 4 {
		w.fail("%d pairs of keys", len(keys))
	}
	a.do(func(now time.Time) { a.close(now, one[0]) })
	w.Run(time.Second)
	if got := len(b.standing()); got != 3 || len(b.over) != 1 || !errors.Is(b.over[0], ErrPeerClosed) {
		w.fail("%d connections stand after one was closed; %v", got, b.over)
	}
	if err := a.sendOn(one[0], "late").refused; !errors.Is(err, ErrClosed) {
		w.fail("after a close: %v", err)
	}
	w.talk(one[1], two[1])
	w.ledger.settle()
}

// TestDialErrors: what cannot be dialled says why.
func TestDialErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.Run(time.Second)
	a, b := w.peers[0], w.peers[1]
	for _, r := range []struct {
		peer PeerID
		want error
	}{{PeerID{}, ErrNobody}, {a.id.ID(), ErrSelf}} {
		_, err := a.dial(a.now, r.peer)
		var of *PeerError
		if !errors.Is(err, r.want) || !errors.As(err, &of) || of.Peer != r.peer {
			t.Errorf("%v, want %v", err, r.want)
		}
	}
	b.offline = true
	a.dialTo(b)
	w.Run(time.Second)
	if len(a.over) != 1 || !errors.Is(a.over[0], ErrOffline) {
		w.fail("%v, want %v", a.over, ErrOffline)
	}
	a.over = nil
	stranger, err := NewIdentity()
	w.check(err)
	a.do(func(now time.Time) { _, err = a.dial(now, stranger.ID()) })
	w.check(err)
	w.Run(time.Second)
	if len(a.over) != 1 || !errors.Is(a.over[0], ErrOffline) {
		w.fail("%v, want %v", a.over, ErrOffline)
	}
	if len(a.conns) != 0 {
		w.fail("%d connections", len(a.conns))
	}
	a.do(func(now time.Time) { // none of it is there
		a.close(now, 77)
		a.wrote(now, 77)
		a.decide(now, 77, true)
		if _, ok := a.explain(now, 77); ok || !errors.Is(a.send(now, 77, nil), ErrClosed) {
			t.Error("connection 77")
		}
	})
}

// TestNotAllowed: a stranger who is refused gets no candidate of ours.
func TestNotAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.config = func(c *controlConfig) { c.ask = true }
	}}, cones...)...)
	a, b := w.peers[0], w.peers[1]
	b.refuse = true
	longest := 0
	w.carry = func(from, _ *simPeer, message []byte) bool {
		if from == b {
			longest = max(longest, len(message))
		}
		return true
	}
	w.Run(time.Second)
	sent := len(w.sentBy(b, func() {
		a.dialTo(b)
		w.Run(5 * time.Second)
	}))
	var refused *RefusedError
	if len(a.over) != 1 || !errors.As(a.over[0], &refused) {
		w.fail("%v", a.over)
	}
	if len(b.over) != 1 || !errors.Is(b.over[0], ErrNotAllowed) || b.asked != 1 {
		w.fail("%v, asked %d times", b.over, b.asked)
	}
	if longest > 300 || sent != 0 {
		w.fail("an answer of %d bytes and %d datagrams left for a stranger", longest, sent)
	}
}

// TestClockSetBack: a session whose clock was set back, and which has forgotten its last
// stamp, learns it from its peer.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	for i := range 3 {
		a.skew -= time.Hour
		a.restart()
		w.Run(time.Second)
		began := w.Now()
		a.dialTo(b)
		if !w.RunUntil(5*time.Second, func() bool { return len(a.standing()) == 1 }) {
			w.fail("not connected after the clock was set back")
		}
		if took := w.Now().Sub(began); took > 330*time.Millisecond || b.counts.Stale != uint64(i+1) {
			w.fail("connected after %v, with %d stale offers", took, b.counts.Stale)
		}
	}
	// Without a restart the stamps go on.
	a.skew -= time.Hour
	a.dialTo(b)
	w.Run(time.Second)
	if len(a.standing()) != 2 || b.counts.Stale != 3 {
		w.fail("%d connections, %d stale offers", len(a.standing()), b.counts.Stale)
	}
}

// TestPeerStartedAnew: whoever dials first, the connection to a program that has ended is
// over, and another stands.
func TestPeerStartedAnew(t *testing.T) {
	for _, who := range []int{0, 1} {
		t.Run(fmt.Sprint("dialled by ", who), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "", "", cones...)
			w.connect(PathDirect)
			a, b := w.peers[0], w.peers[1]
			old := a.conn
			b.restart()
			w.Run(time.Second)
			if who == 0 {
				a.dialTo(b)
			} else {
				b.dialTo(a)
			}
			w.Run(time.Second)
			if len(a.over) != 1 || !errors.Is(a.over[0], ErrPeerRestarted) || a.conn == old {
				w.fail("%v", a.over)
			}
			w.talk(a.conn, b.conn)
			if len(a.standing()) != 1 || len(b.standing()) != 1 {
				w.fail("%d and %d connections", len(a.standing()), len(b.standing()))
			}
		})
	}
}

// TestAgreement: two sessions that do not agree on a protocol, or on plaintext, do not
// connect, and say why.
func TestAgreement(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		change func(*controlConfig)
		why    string
	}{
		{func(c *controlConfig) { c.protocol = "chess/2" }, `protocol "chess/1" is not spoken here`},
		{func(c *controlConfig) { c.plaintext = true }, "plaintext"},
	} {
		w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
			o.config = func(c *controlConfig) { c.protocol = "chess/1" }
		}}, cones...)...)
		a, b := w.peers[0], w.peers[1]
		r.change(&b.cfg)
		a.dialTo(b)
		w.Run(time.Second)
		var refused *RefusedError
		if len(a.over) != 1 || !errors.As(a.over[0], &refused) || !strings.Contains(refused.Reason, r.why) {
			w.fail("%v, want %q", a.over, r.why)
		}
		if e := b.last(EventRefused); e == nil || len(b.conns) != 0 {
			w.fail("%v", e)
		}
	}
}

// TestPlaintext carries what others have encrypted, whatever it looks like, and doubles
// nothing while a path is in doubt.
func TestPlaintext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.config = func(c *controlConfig) { c.plaintext = true }
	}}, cones...)...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	sent := 0
	talk := func(d time.Duration) {
		for end := w.Now().Add(d); w.Now().Before(end); w.Run(chatEvery) {
			// The first byte says what it is: QUIC, DTLS, WireGuard, a sealed datagram, or nothing known.
			text := append([]byte{[]byte{0x40, 22, 4, 6, 200, 'x'}[sent%6]}, fmt.Sprintf("%040d", sent)...)
			if i := b.conns[b.conn].index; sent%12 == 3 { // as if it were sealed for this very connection
				text[1], text[2], text[3] = byte(i>>16), byte(i>>8), byte(i)
			}
			a.do(func(now time.Time) { _ = a.send(now, a.conn, text) })
			sent++
		}
		w.Run(time.Second)
	}
	talk(10 * time.Second)
	if len(b.got) != sent {
		w.fail("%d of %d were delivered", len(b.got), sent)
	}
	// What B sends directly is lost, so that A doubts a path that works for it.
	w.Internet().SetBlackhole(b.site.NAT.Addrs()[0], a.site.NAT.Addrs()[0], true)
	talk(20 * time.Second)
	if len(b.got) != sent || a.count(EventDoubt) == 0 {
		w.fail("%d of %d were delivered; doubts: %d", len(b.got), sent, a.count(EventDoubt))
	}
	for text, n := range b.got {
		if n != 1 {
			w.fail("%q was delivered %d times", text, n)
		}
	}
}
