package bradawl

import (
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// When an attempt at hard NATs is made, and of which lanes: as soon as one is wanted, both sides
// can begin, and the limits of control_spray.go let it.

// tryLanes begins an attempt, or proposes one to the peer, if there is cause for one.
// What keeps it from it brings us back here when it is gone.
//
// Both sides must run it at the same time, and each has one NAT for all of its peers. So an
// attempt that tries many ports is proposed, by its number, and begins when the peer says the
// same number; but for the first one, if the peer's handshake has said that its NAT is free.
func (k *link) tryLanes(now time.Time) {
	a := &k.lane
	if !a.wanted || !k.readyForLanes(now) {
		return
	}
	a.wanted = false
	first := a.said == 0 && a.theirs == 0 && a.peerFree
	late := a.theirs > a.said && now.Sub(a.theirsAt) < joinWithin // it may be running the one that it has proposed
	if a.said = max(a.said, a.theirs); !late {
		a.said++
	}
	k.say(partLanes, update{Lanes: a.said})
	if first || late || !a.sprays {
		k.startLanes(now)
	}
}

// wantLanes has an attempt begin as soon as one may.
func (k *link) wantLanes(now time.Time) {
	k.lane.wanted = true
	k.tryLanes(now)
}

// lanesAnew is for when something else is known of either NAT.
func (k *link) lanesAnew(now time.Time) {
	if a := &k.lane; a.idle {
		a.idle, a.wanted = false, !k.over && !k.isDirect()
	}
	k.tryLanes(now)
}

// lanes are the ways between the two NATs; nil: not both are known.
func (k *link) lanes() []punch.Lane {
	c := k.c
	if c.profile == (natprobe.Profile{}) || k.profile == (natprobe.Profile{}) {
		return nil
	}
	mapped := punch.Neither
	switch ours, theirs := c.isMapped(), k.lane.terms.mapped; {
	case ours && theirs:
		mapped = punch.Both
	case ours:
		mapped = punch.Ours
	case theirs:
		mapped = punch.Theirs
	}
	return punch.PlanMapped(c.profile, k.profile, k.allowed(), mapped)
}

// mayLane reports whether both sides agree to attempts, and know enough for one.
func (k *link) mayLane() bool {
	c := k.c
	return !k.lane.spend.off && !k.lane.refused && c.cfg.policy != RelayOnly &&
		c.profile != (natprobe.Profile{}) && k.profile != (natprobe.Profile{})
}

// readyForLanes reports whether an attempt can begin at once, and plans it.
func (k *link) readyForLanes(now time.Time) bool {
	a, c := &k.lane, k.c
	if a.run != nil || k.over || k.isDirect() || !k.mayLane() || !k.acquainted() {
		return false
	}
	networks := k.networks()
	a.plan = punch.Order(k.lanes(), networks, c.cfg.memory, now)
	ends, ok := k.laneEnds()
	if !ok {
		return false
	}
	a.target = ends.peer[0].Addr()
	hard, sprays, cheap, mapped := false, false, 0.0, 0.0
	for _, l := range a.plan {
		switch {
		case l.Ruled != "":
		case l.Kind == punch.LaneMapped:
			mapped = l.Probability
		case !l.Kind.Guesses():
			cheap = max(cheap, l.Probability)
		default:
			hard = true
			sprays = sprays || l.Kind.Sprays()
		}
	}
	a.sprays = sprays
	if !hard {
		a.wanted, a.idle = false, true
		return false
	}
	at := a.notBefore
	if mapped > 0.5 || cheap > 0.5 && !a.known(networks, c.cfg.memory, now) {
		since := k.began
		if mapped > 0.5 && a.terms.news.After(since) {
			since = a.terms.news
		}
		if first := since.Add(cheapFirst); first.After(at) {
			at = first
		}
	}
	next := c.sprayers.next
	if !sprays {
		next = c.sprayers.mayGuess(k.peer)
	}
	if next.After(at) {
		at = next
	}
	if next := c.sprayers.targets[a.target]; next.After(at) {
		at = next
	}
	if sprays && c.sprayers.now != nil || c.sprayers.busy(a.target) {
		return false
	}
	if at.After(now) {
		a.laneAt = at
		k.settle(now)
		return false
	}
	return true
}

// known reports whether the first lane of the plan is one of ours that mostly got through
// between the networks: then there is nothing to wait for.
func (a *laneState) known(networks string, m punch.Memory, now time.Time) bool {
	first := a.plan[0]
	if m == nil || !first.Kind.Guesses() {
		return false
	}
	q, known := m.Recall(networks, first.Kind.String(), now)
	return known && q > 0.5
}

// cooldown is how long the budget wants us to wait after the last attempt: what was left of
// it need not be waited for.
func (a *laneState) cooldown(b punch.Budget) time.Duration {
	spent := 0.0
	for _, r := range a.reports {
		if r.Attempt == a.tries {
			spent += float64(r.Sent) / float64(max(b.Probes, 1))
		}
	}
	return time.Duration(min(spent, 1) * float64(b.Cooldown))
}
