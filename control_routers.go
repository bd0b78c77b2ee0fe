package bradawl

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// What routers have mapped on request, ours and the peer's: each side tells the other whether
// there is such a port, for both plan with it.

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
