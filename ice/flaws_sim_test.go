package ice_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

// The four flaws of pion/ice, each reproduced there (see the package comment of
// internal/interop), as worlds that this agent gets through.

// TestTrickleDoesNotBurnTries: candidates that arrive 5 ms apart must not use up the
// tries of the pair that is there already.
func TestTrickleDoesNotBurnTries(t *testing.T) {
	w := newWorld(t, 1, "open", "open", 0)
	a, b := w.peers[0], w.peers[1]
	w.Run(time.Second)
	a.begin()
	b.cfg.Credentials = ice.Credentials{Ufrag: "late", Pwd: "theSameForBothSidesAndLong"}
	a.do(func(now time.Time) {
		w.check(a.m.SetRemote(now, a.id, b.cfg.Credentials))
		w.check(a.m.AddRemote(now, a.id, hostCandidate(netip.AddrPortFrom(b.site.Addr(), port), 2130706431)))
	})
	for i := range 12 { // nobody is there
		w.After(time.Duration(i+1)*5*time.Millisecond, func() {
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), 5000)
			a.do(func(now time.Time) { w.check(a.m.AddRemote(now, a.id, hostCandidate(to, 1000000+uint32(i)))) })
		})
	}
	w.Run(time.Second)
	for _, p := range a.m.Pairs(a.id) {
		if p.State == ice.PairFailed {
			t.Errorf("failed after a second: %v -> %v", p.Local.Addr, p.Remote.Addr)
		}
	}
	b.begin() // the peer is there only now, with the same credentials
	b.do(func(now time.Time) { w.check(b.m.SetRemote(now, b.id, a.m.Credentials(a.id))) })
	began := w.Now()
	if !w.connect(10 * time.Second) {
		t.Fatal("not connected")
	}
	t.Logf("connected %v after the peer came", w.Now().Sub(began))
}

func hostCandidate(at netip.AddrPort, priority uint32) ice.Candidate {
	return ice.Candidate{Foundation: "1", Component: 1, Priority: priority, Addr: at, Type: ice.Host}
}

// TestLatePeerConnects: a controlled agent that comes late, or very late, is not lost.
func TestLatePeerConnects(t *testing.T) {
	for _, late := range []time.Duration{7 * time.Second, 20 * time.Second, time.Minute} {
		for i := range 2 {
			w := newWorld(t, 1, "port-restricted-cone", "full-cone", 0)
			w.Run(time.Second)
			early, tardy := w.peers[i], w.peers[1-i]
			early.begin()
			tardy.begin()
			// The early side knows all and checks; the other is told everything late.
			known := tardy.m.Credentials(tardy.id)
			early.do(func(now time.Time) {
				w.check(early.m.SetRemote(now, early.id, known))
				for _, c := range tardy.m.Candidates(tardy.id) {
					w.check(early.m.AddRemote(now, early.id, c.Candidate))
				}
			})
			tardy.runner.Close() // deaf until then
			w.Run(late)
			tardy.revive(t, known)
			began := w.Now()
			tardy.do(func(now time.Time) {
				w.check(tardy.m.SetRemote(now, tardy.id, early.m.Credentials(early.id)))
				for _, c := range early.m.Candidates(early.id) {
					w.check(tardy.m.AddRemote(now, tardy.id, c.Candidate))
				}
			})
			if !w.connect(20 * time.Second) {
				t.Errorf("peer %d is %v late: %v and %v", 1-i, late, early.m.State(early.id), tardy.m.State(tardy.id))
			}
			t.Logf("peer %d is %v late: connected after %v", 1-i, late, w.Now().Sub(began))
		}
	}
}

// revive runs the peer again, with a new machine on the same address and with the same
// credentials.
func (p *peer) revive(t *testing.T, c ice.Credentials) {
	t.Helper()
	fresh := p.w.newPeer(p.site)
	fresh.other, fresh.cfg = p.other, p.cfg
	fresh.cfg.Credentials = c
	*p = *fresh
	p.runner.Do(func(time.Time) {})
	p.w.Run(200 * time.Millisecond) // its candidates
	p.begin()
}

// TestRelayThatIsStuckHoldsUpNothing: a TURN server that answers nothing but Allocate
// must not cost the direct pair any time.
func TestRelayThatIsStuckHoldsUpNothing(t *testing.T) {
	times := make([]time.Duration, 2)
	for i, stuck := range []bool{false, true} {
		w := newWorld(t, 1, "port-restricted-cone", "port-restricted-cone", 0, func(w *world) {
			w.addTURN(func(b []byte) bool {
				var m wire.Message
				return stuck && m.Decode(b) == nil && m.Method() != wire.Allocate
			})
		})
		w.offer()
		if !w.connect(10 * time.Second) {
			t.Fatal("not connected")
		}
		times[i] = w.Now().Sub(w.start)
	}
	if times[1] > times[0] {
		t.Errorf("connected after %v, and with a stuck relay after %v", times[0], times[1])
	}
}

// TestFailedAgentKeepsItsSockets: after a failure a restart on the same sockets is all
// that it takes. (That the check of a peer revives a failed agent too, TestLatePeerConnects
// shows: a minute is longer than an agent waits.)
func TestFailedAgentKeepsItsSockets(t *testing.T) {
	w := newWorld(t, 1, "port-restricted-cone", "open", 0)
	a, b := w.peers[0], w.peers[1]
	w.offer()
	failed := func() bool { return a.m.State(a.id) == ice.Failed && b.m.State(b.id) == ice.Failed }
	a.site.Iface().SetUp(false)
	if !w.RunUntil(time.Minute, failed) {
		t.Fatalf("%v and %v without a network", a.m.State(a.id), b.m.State(b.id))
	}
	a.site.Iface().SetUp(true)
	a.do(func(now time.Time) {
		a.known, a.ended = false, false
		c, err := a.m.Restart(now, a.id)
		w.check(err)
		a.tellCredentials(c)
	})
	if !w.connect(5 * time.Second) {
		t.Errorf("%v and %v after a restart", a.m.State(a.id), b.m.State(b.id))
	}
}
