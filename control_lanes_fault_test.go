package bradawl

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

// TestFarewellByHole: the side that has a socket of a lane says by it that it closes, for the
// signalling may be down.
func TestFarewellByHole(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	w, _, ok := hardRun(t, 3, random, namedPreset(t, "port-restricted-cone"))
	a, b := w.peers[0], w.peers[1]
	if !ok {
		w.fail("not direct")
	}
	w.Run(10 * time.Second)
	if k := a.conns[a.conn]; k.path.route.Socket < firstLane {
		w.fail("the path is not by a socket of a lane")
	}
	w.setDown(true)
	a.do(func(now time.Time) { a.close(now, a.conn) })
	if !w.RunUntil(time.Second, func() bool { return len(b.conns) == 0 }) {
		w.fail("the peer does not hear of the end")
	}
}

// TestLanesAgainWithoutRelay: where no relay is in between, lanes find another path when the
// one that they have opened has died.
func TestLanesAgainWithoutRelay(t *testing.T) {
	for _, ports := range []simnet.PortPolicy{{Kind: simnet.Random}, {Kind: simnet.Sequential, Delta: 1}} {
		w, _, ok := hardRun(t, 1, hardNAT(ports), namedPreset(t, "port-restricted-cone"), noTURN)
		if !ok {
			w.fail("not direct")
		}
		w.chat(5*time.Second, chatEvery)
		a := w.peers[0]
		a.site.NAT.Reboot(time.Second)
		if !w.RunUntil(time.Minute, func() bool { return a.count(EventLost) > 0 }) {
			w.fail("the path outlives its mapping")
		}
		if !w.RunUntil(30*time.Second, func() bool { return a.count(EventRecovered) > 0 }) {
			w.fail("no path again after %d attempts", a.conns[a.conn].lane.tries)
		}
	}
}

// TestLanesProposedMeanwhile: what the peer proposes while an attempt of ours is under way,
// which it could not join, is taken up when that is over.
func TestLanesProposedMeanwhile(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	w := newWorld(t, 1, "", "", noTURN, behind(random, namedPreset(t, "port-restricted-cone")), func(o *worldOptions) {
		o.probe = true
		o.config = func(cfg *controlConfig) { cfg.budget.Cooldown = -1 }
	})
	w.Run(15 * time.Second)
	a, b := w.peers[0], w.peers[1]
	a.dialTo(b)
	w.RunUntil(time.Second, func() bool { return len(b.links) > 0 })
	b.sprayers.next = w.Now().Add(4 * time.Second) // a peer of its own has come before
	if !w.direct(25 * time.Second) {
		w.fail("not direct: %d and %d attempts", a.links[0].lane.tries, b.links[0].lane.tries)
	}
}

// TestLanesCoolDown: a peer that proposes one attempt after the other gets no more of them
// than the budget allows, also of those that try few ports.
func TestLanesCoolDown(t *testing.T) {
	for _, spent := range []int{0, 400, 1600} {
		a := laneState{tries: 2, reports: []LaneReport{{Attempt: 1, Sent: 1600}, {Attempt: 2, Sent: spent}}}
		if got, want := a.cooldown(punch.Budget{}.WithDefaults()), time.Duration(spent)*time.Minute/1600; got != want {
			t.Errorf("%v after %d packets, want %v", got, spent, want)
		}
	}
}

// TestLaneSecrets: each attempt has another one, so that what was recorded of one opens
// nothing in the next.
func TestLaneSecrets(t *testing.T) {
	w, _, ok := hardRun(t, 1, hardNAT(simnet.PortPolicy{Kind: simnet.Sequential, Delta: 1}), namedPreset(t, "port-restricted-cone"), noTURN)
	if !ok {
		w.fail("not direct")
	}
	a, b := w.peers[0].links[0], w.peers[1].links[0]
	if !slices.Equal(a.laneSecret(), b.laneSecret()) {
		w.fail("the sides have different secrets")
	}
	before := a.laneSecret()
	if a.lane.said++; slices.Equal(before, a.laneSecret()) {
		w.fail("two attempts have the same secret")
	}
}

// TestWhatLanesOpened: what attempts have opened that is of no use any more is forgotten, so
// that the paths of later ones are still known for what they are.
func TestWhatLanesOpened(t *testing.T) {
	w, _, ok := hardRun(t, 1, hardNAT(simnet.PortPolicy{Kind: simnet.Sequential, Delta: 1}), namedPreset(t, "port-restricted-cone"), noTURN)
	if !ok {
		w.fail("not direct")
	}
	a, b := w.peers[0], w.peers[1]
	k := b.links[0]
	for i := range maxLaneReports {
		k.lane.opened[ice.Route{Socket: firstLane + machine.SocketID(i)}] = punch.LaneBirthday
	}
	a.site.NAT.Reboot(time.Second)
	w.chat(5*time.Second, chatEvery)
	if !w.RunUntil(30*time.Second, func() bool { return b.count(EventRecovered) > 0 }) || k.laneOf(k.path) != punch.LanePredicted {
		w.fail("the path is of the lane %v", k.laneOf(k.path))
	}
}

// TestOneTargetAtATime: an address gets one attempt at a time and a pause after each, whoever
// names it, and what is remembered of that does not grow for ever.
func TestOneTargetAtATime(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := sprayers{byID: make(map[uint64]*link), targets: make(map[netip.Addr]time.Time)}
	victim, other := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	if s.busy(victim) {
		t.Error("busy without an attempt")
	}
	s.byID[1] = &link{lane: laneState{target: victim}}
	if !s.busy(victim) || s.busy(other) {
		t.Error("two attempts at one address, or none at another one")
	}
	for i := range uint64(maxRuns) {
		s.byID[i+1] = &link{}
	}
	if !s.busy(other) {
		t.Errorf("more than %d attempts", maxRuns)
	}
	for i := range 10 * manyTargets {
		s.rest(now.Add(time.Duration(i)*time.Second), netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), time.Minute)
	}
	if n := len(s.targets); n > manyTargets {
		t.Errorf("%d addresses are remembered", n)
	}
}

// TestTargetRests: after an attempt, also one that got through, the address has a pause.
func TestTargetRests(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Sequential, Delta: 1})
	w := newWorld(t, 4, "", "", behind(namedPreset(t, "port-restricted-cone"), random), func(o *worldOptions) { o.probe = true })
	w.Run(15 * time.Second)
	a := w.peers[0]
	a.dialTo(w.peers[1])
	if !w.direct(10 * time.Second) {
		w.fail("not direct")
	}
	ip := a.links[0].lane.target
	if at := a.sprayers.targets[ip]; !ip.IsValid() || !at.After(w.Now().Add(-10*time.Second)) {
		w.fail("no pause for %v: %v", ip, a.sprayers.targets)
	}
}
