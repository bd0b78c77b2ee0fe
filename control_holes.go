package bradawl

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/punch"
)

// What lanes have opened: sockets and connections that the agent checks as its own, which are
// kept as long as a path goes by them.

// hole is a socket that a lane has opened and that a path uses, or may use soon; or a
// connection of TCP.
type hole struct {
	socket machine.SocketID
	stream machine.StreamID
	base   ice.BaseID
}

// laneOpened has the agent check what a lane has opened.
func (k *link) laneOpened(now time.Time, e punch.LaneEvent) {
	a, c := &k.lane, k.c
	if r := a.report(e.Lane); r != nil {
		r.State, r.Outcome = LaneOpened, "opened"
	}
	if a.opened == nil {
		a.opened = make(map[ice.Route]punch.LaneKind)
	}
	at := e.Local
	if e.Stream != 0 && !k.adopt(now, e) {
		return
	}
	if e.Socket >= firstLane {
		i := slices.IndexFunc(a.holes, func(h hole) bool { return h.socket == e.Socket })
		if i < 0 {
			if len(a.holes) == maxHoles {
				return
			}
			base, ok := c.mappings.stable()
			if !ok {
				return
			}
			at = netip.AddrPortFrom(base.Addr.Addr(), at.Port())
			id, err := c.ice.AddBase(now, ice.Base{Socket: e.Socket, Addr: at, Agent: k.agent, Interface: base.Interface})
			if err != nil {
				k.note(now, "a hole is of no use", err)
				return
			}
			a.holes = append(a.holes, hole{socket: e.Socket, base: id})
		}
	}
	if len(a.opened) < maxLaneReports {
		a.opened[ice.Route{Socket: e.Socket, Remote: e.Remote, Stream: e.Stream}] = e.Lane
	}
	k.note(now, "lane "+e.Lane.String()+" opened the way to "+e.Remote.String(), nil)
	if e.Stream == 0 {
		c.ice.Heard(now, k.agent, e.Socket, at, e.Remote)
	}
	c.pump(now)
}

// adopt has the agent check a connection that a lane has opened.
func (k *link) adopt(now time.Time, e punch.LaneEvent) bool {
	a, c := &k.lane, k.c
	if len(a.holes) == maxHoles {
		c.transmit(machine.Transmit{Op: machine.Reset, Stream: e.Stream})
		return false
	}
	made, err := c.ice.Adopt(now, k.agent, e.Stream, e.Local, e.Remote)
	if err != nil {
		k.note(now, "a connection is of no use", err)
		c.transmit(machine.Transmit{Op: machine.Reset, Stream: e.Stream})
		return false
	}
	if made != 0 {
		a.holes = append(a.holes, hole{stream: e.Stream, base: made})
	}
	return true
}

// unproven takes it that an attempt by TCP is over. A connection proves nothing by itself: where
// the agent got no answer of the peer's on it, somebody else was at its other end.
func (k *link) unproven() {
	if k.over || k.isDirect() {
		return
	}
	for i := range k.lane.reports {
		if r := &k.lane.reports[i]; r.Attempt == k.lane.tries && r.Kind.OverTCP() && r.State == LaneOpened {
			r.State, r.Outcome = LaneEnded, "a connection stood, but nobody answered on it as the peer does"
		}
	}
}

// uses reports whether a path goes by a hole.
func (h hole) uses(p *path) bool {
	return p.route.Socket == h.socket && p.route.Stream == h.stream
}

// laneKey is by what of a path is known which lane has opened it.
func laneKey(r ice.Route) ice.Route {
	return ice.Route{Socket: r.Socket, Remote: r.Remote, Stream: r.Stream}
}

// closeHoles ends the use of sockets that no path goes by any more; all, of all of them.
func (k *link) closeHoles(now time.Time, all bool) {
	a, c := &k.lane, k.c
	a.holes = slices.DeleteFunc(a.holes, func(h hole) bool {
		if !all && (a.run != nil || slices.ContainsFunc(k.paths, h.uses)) {
			return false
		}
		c.ice.RemoveBase(now, h.base)
		if h.stream != 0 {
			return true
		}
		c.transmit(machine.Transmit{Op: machine.CloseSocket, Socket: h.socket})
		return true
	})
}

// laneOf is the lane that a path came of.
func (k *link) laneOf(p *path) punch.LaneKind {
	return k.lane.opened[laneKey(p.route)]
}
