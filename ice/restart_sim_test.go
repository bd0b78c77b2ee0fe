package ice_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/simnet"
)

// restart restarts the peer's agent and tells the other side.
func (p *peer) restart() {
	p.do(func(now time.Time) {
		p.known, p.ended = false, false
		c, err := p.m.Restart(now, p.id)
		p.w.check(err)
		p.tellCredentials(c)
	})
}

// traffic makes both sides send 100 datagrams a second until the world is d older.
// It returns a function that says how many of each side's arrived, of how many.
func (w *world) traffic(d time.Duration) (report func() (got, sent [2]int)) {
	var sent [2]int
	for _, p := range w.peers {
		p.got = nil
	}
	end := w.Now().Add(d)
	var tick func()
	tick = func() {
		for i, p := range w.peers {
			p.do(func(now time.Time) {
				if p.m.Send(now, p.id, fmt.Appendf(nil, "%d %d", i, sent[i])) == nil {
					sent[i]++
				}
			})
		}
		if w.Now().Before(end) {
			w.After(10*time.Millisecond, tick)
		}
	}
	w.After(0, tick)
	return func() (got, _ [2]int) {
		seen := make(map[string]bool)
		for i, p := range w.peers {
			for _, data := range p.got {
				if seen[data] {
					w.t.Errorf("%q came twice (seed %d)", data, w.Seed())
				}
				seen[data] = true
			}
			got[1-i] = len(p.got)
		}
		return got, sent
	}
}

// A restart loses no data, whoever begins it, whatever is between the two.
func TestRestartLosesNothing(t *testing.T) {
	for _, nats := range append(conePairs, [2]string{"symmetric-random", "symmetric-random"}) {
		for initiator := range 2 {
			t.Run(fmt.Sprintf("%s/%s/%d", nats[0], nats[1], initiator), func(t *testing.T) {
				w := newWorld(t, 1, nats[0], nats[1], 0, func(w *world) { w.addTURN(nil) })
				w.offer()
				if !w.connect(10 * time.Second) {
					t.Fatal("not connected")
				}
				w.Run(5 * time.Second)
				report := w.traffic(8 * time.Second)
				before := [2]ice.Credentials{w.peers[0].m.Credentials(w.peers[0].id), w.peers[1].m.Credentials(w.peers[1].id)}
				w.After(time.Second, w.peers[initiator].restart)
				w.Run(10 * time.Second)
				got, sent := report()
				if got != sent || sent[0] < 800 {
					t.Errorf("arrived %v of %v", got, sent)
				}
				for i, p := range w.peers {
					if c := p.m.Credentials(p.id); c == before[i] || p.m.State(p.id) != ice.Completed {
						t.Errorf("peer %d: %v, restarted %v", i, p.m.State(p.id), c != before[i])
					}
				}
				if w.peers[0].m.Controlling(w.peers[0].id) == w.peers[1].m.Controlling(w.peers[1].id) {
					t.Error("both have the same role")
				}
			})
		}
	}
}

// Both restart at once: either side's offer is the answer to the other's.
func TestBothRestartAtOnce(t *testing.T) {
	w := newWorld(t, 1, "port-restricted-cone", "full-cone", 0)
	w.offer()
	if !w.connect(10 * time.Second) {
		t.Fatal("not connected")
	}
	report := w.traffic(5 * time.Second)
	w.After(time.Second, func() { w.peers[0].restart(); w.peers[1].restart() })
	w.Run(7 * time.Second)
	if got, sent := report(); got != sent {
		t.Errorf("arrived %v of %v", got, sent)
	}
	for i, p := range w.peers {
		if p.m.State(p.id) != ice.Completed {
			t.Errorf("peer %d: %v", i, p.m.State(p.id))
		}
	}
}

// A host that gets a better address moves there by a restart, and loses nothing as long as
// the address of before works. One that lost its address first, and so may lose data, needs
// no more than that either.
func TestMoveToAnotherNetwork(t *testing.T) {
	for _, makeFirst := range []bool{true, false} {
		w := newWorld(t, 1, "open", "port-restricted-cone", 0)
		a := w.peers[0]
		w.offer()
		if !w.connect(10 * time.Second) {
			t.Fatal("not connected")
		}
		first := a.site.Iface()
		report := w.traffic(10 * time.Second)
		second := a.site.AddIface(w.Internet(), simnet.Link{Delay: access})
		other := netip.AddrPortFrom(second.Addrs()[0], port)
		add := func() {
			a.do(func(now time.Time) {
				_, err := a.m.AddBase(now, ice.Base{Socket: 0, Shared: true, Addr: other, Interface: ice.InterfaceInfo{Kind: ice.Wired}})
				w.check(err)
			})
			a.restart()
		}
		remove := func() {
			first.SetUp(false)
			a.do(func(now time.Time) { a.m.RemoveBase(now, 1) })
		}
		if makeFirst {
			w.After(time.Second, add)
			w.After(4*time.Second, remove)
		} else {
			w.After(time.Second, remove)
			w.After(1500*time.Millisecond, add)
		}
		w.Run(12 * time.Second)
		got, sent := report()
		if makeFirst && got != sent {
			t.Errorf("arrived %v of %v", got, sent)
		}
		if !makeFirst && (got[0] < 700 || got[1] < 700) {
			t.Errorf("arrived %v of %v", got, sent)
		}
		if p := a.m.Selected(a.id); a.m.State(a.id) != ice.Completed || p.Local.Addr != other {
			t.Errorf("make first %v: %v by %v", makeFirst, a.m.State(a.id), p.Local.Addr)
		}
	}
}
