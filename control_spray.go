package bradawl

import (
	"cmp"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// What the attempts of all links have in common: one NAT, and the sockets by which their
// packets come in.

// sprayers is what all links share: there is one NAT.
type sprayers struct {
	byID map[uint64]*link
	now  *link     // whose lane tries many ports
	next time.Time // when another one may
	last machine.SocketID
}

// isFree reports whether an attempt could begin behind our NAT.
func (c *control) isFree(now time.Time) bool {
	_, ok := c.mappings.stable()
	return ok && c.profile != (natprobe.Profile{}) && c.sprayers.now == nil && !c.sprayers.next.After(now)
}

// laneDatagram has attempts take in what is theirs, and reports whether nobody else wants it.
func (c *control) laneDatagram(now time.Time, d machine.Datagram) bool {
	if len(c.sprayers.byID) == 0 && d.Socket < firstLane || !wire.IsSTUN(d.Data) {
		return false
	}
	if id, ok := punch.LaneID(d.Data); ok {
		if k := c.sprayers.byID[id]; k != nil {
			k.lane.run.HandleDatagram(now, d)
			k.driveLanes(now)
		}
		return true
	}
	if !slices.Contains(c.ice.Servers(), d.Remote) {
		return false
	}
	for _, k := range c.running() {
		k.lane.run.HandleDatagram(now, d)
		k.driveLanes(now)
	}
	return d.Socket >= firstLane
}

// laneNotice has attempts take in what became of their sockets.
func (c *control) laneNotice(now time.Time, n machine.Notice) {
	for _, k := range c.running() {
		k.lane.run.HandleNotice(now, n)
		k.driveLanes(now)
	}
}

// running are the links with attempts under way, in order.
func (c *control) running() (all []*link) {
	for _, k := range c.sprayers.byID {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *link) int { return cmp.Compare(a.eldest(), b.eldest()) })
	return all
}
