package bradawl

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// What two sides plan by, so that both plan the same: the profiles of the NATs, what the
// routers have mapped, and the lesser of the two budgets. Each tells the other its own.

// terms are what the peer has told for that, beside its profile.
type terms struct {
	budget punch.Budget
	mapped bool      // a router has mapped a port to it
	news   time.Time // when either side's router was last heard to have mapped one
}

// budgetTerms is what peers are told of a budget: sockets, probes, entries, the rate and the
// least chance; nil: the default one. Later versions may add numbers behind.
func budgetTerms(b punch.Budget) []float64 {
	write := func(b punch.Budget) []float64 {
		b = b.Within(b)
		return []float64{float64(b.Sockets), float64(b.Probes), float64(b.Entries), float64(b.Rate), b.Least}
	}
	all := write(b)
	if slices.Equal(all, write(punch.Budget{})) {
		return nil
	}
	return all
}

// budgetOf reads what budgetTerms wrote. It may say anything: no number is more than none, or
// than one that is bounded anyway.
func budgetOf(all []float64) (b punch.Budget) {
	for i, to := range [...]*int{&b.Sockets, &b.Probes, &b.Entries, &b.Rate} {
		if i < len(all) {
			if *to = int(min(max(all[i], -1), punch.AllPorts)); *to == 0 {
				*to = -1 // for 0 is the default
			}
		}
	}
	if len(all) > 4 {
		if b.Least = min(all[4], 1); b.Least <= 0 {
			b.Least = -1
		}
	}
	return b
}

// allowed is what an attempt may cost this side: no more than either side's budget has.
func (k *link) allowed() punch.Budget { return k.lane.spend.budget.Within(k.lane.terms.budget) }

// routed takes in where the router has mapped a port to a base on request; the zero
// AddrPort: it has none any more.
func (c *control) routed(now time.Time, id ice.BaseID, outside netip.AddrPort) {
	c.enter(now)
	defer c.pump(now)
	c.ice.RemoveMapped(now, id)
	if outside.IsValid() {
		c.ice.AddMapped(now, id, outside)
	}
	if o := c.mappings.bases[id]; o != nil && o.spec.Transport == ice.UDP { // TCP's are for TCP alone
		o.routed = outside
	}
	c.tellMapped(now)
}

// tellMapped has peers know whether a router has mapped a port to us, where that has changed.
func (c *control) tellMapped(now time.Time) {
	is := c.isMapped()
	if is == c.mappings.told {
		return
	}
	c.mappings.told = is
	for _, k := range c.links {
		k.say(partMapped, update{Mapped: &is})
		k.replan(now, is)
	}
}

// isMapped reports whether a router has mapped one of our UDP ports on request.
func (c *control) isMapped() bool {
	for _, o := range c.mappings.bases {
		if o.routed.IsValid() {
			return true
		}
	}
	return false
}

// isMappedAt reports whether an address of ours is one that a router has mapped on request.
func (c *control) isMappedAt(outside netip.AddrPort) bool {
	for _, o := range c.mappings.bases {
		if o.routed.IsValid() && o.routed == outside {
			return true
		}
	}
	return false
}

// heardMapped takes in whether the peer's router has.
func (k *link) heardMapped(now time.Time, mapped *bool) {
	if t := &k.lane.terms; mapped != nil && *mapped != t.mapped {
		t.mapped = *mapped
		k.replan(now, t.mapped)
	}
}

// replan has lanes planned anew, now that there is a mapped port, or is none any more, and has
// it checked: it may be the very one that a NAT gave before, and let nobody in by. An attempt
// that is under way goes on: the first path ends it.
func (k *link) replan(now time.Time, mapped bool) {
	if mapped && !k.isDirect() {
		k.lane.terms.news = now
		k.recheck.want(now, k.checkAnew)
	}
	k.wantLanes(now)
	k.settle(now)
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
