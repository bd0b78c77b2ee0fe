package bradawl

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// Where UDP is blocked on one side, what the NATs do with TCP comes to matter on both: only
// then is it looked at. Where one gives each connection another port that can be foretold, a
// lane opens connections, which the agents check as their own.

// Agents count their connections from 1, lanes from here: those to peers, and those to STUN
// servers.
const (
	firstLaneStream machine.StreamID = 1 << 30
	firstLaneQuery  machine.StreamID = 1 << 29
)

// noSocket is no socket's number: an attempt by TCP has none of UDP.
const noSocket = ^machine.SocketID(0)

// isQuery reports whether a connection is one of a lane's to a STUN server.
func isQuery(id machine.StreamID) bool { return id >= firstLaneQuery && id < firstLaneStream }

// lookAtTCP has the shell find out what our NAT does with TCP, once, when that matters.
func (c *control) lookAtTCP() {
	if c.tcpAsked || c.profile == (natprobe.Profile{}) || c.profile.TCP != (natprobe.TCPProfile{}) || c.cfg.policy == RelayOnly {
		return
	}
	blocked := c.profile.Type == natprobe.TypeUDPBlocked
	if blocked && !c.cfg.noLanes || slices.ContainsFunc(c.links, func(k *link) bool {
		return (blocked || k.profile.Type == natprobe.TypeUDPBlocked) && k.lane.spend != nil && !k.lane.spend.off
	}) {
		c.tcpAsked = true
		c.notes.Push(note{kind: noteTCP})
	}
}

// setTCP takes in what our NAT was found to do with TCP, and lets peers know.
func (c *control) setTCP(now time.Time, p natprobe.TCPProfile) {
	if all := c.profile; all != (natprobe.Profile{}) { // else it is of another NAT
		c.enter(now)
		all.TCP = p
		c.learn(now, all)
		c.pump(now)
	}
}

// laneEnds are the two ends of an attempt.
type laneEnds struct {
	socket machine.SocketID // of UDP
	local  netip.AddrPort   // of ours, whose outside address the peer knows
	peer   []netip.AddrPort // outside addresses that the peer has named
}

// laneEnds finds the ends of what is planned; false: they are not known yet.
func (k *link) laneEnds() (e laneEnds, ok bool) {
	t := ice.UDP
	if slices.ContainsFunc(k.lane.plan, func(l punch.Lane) bool { return l.Ruled == "" && l.Kind.Guesses() && l.Kind.OverTCP() }) {
		t, e.socket = ice.TCP, noSocket
		e.local, ok = k.opensFrom()
	} else {
		var base ice.Base
		base, ok = k.c.mappings.stable()
		e.socket, e.local = base.Socket, base.Addr
	}
	e.peer = k.outsideOfPeer(t)
	return e, ok && len(e.peer) > 0
}

// opensFrom is the port that connections to the peer are opened from, as a STUN server has
// seen it or as it is on the internet itself.
func (k *link) opensFrom() (netip.AddrPort, bool) {
	for _, s := range k.c.ice.Candidates(k.agent) {
		switch s := s.Candidate; {
		case s.TCPType != ice.SimultaneousOpen || !s.Addr.Addr().Is4():
		case s.Type == ice.ServerReflexive:
			return s.Related, true
		case s.Type == ice.Host && !s.Addr.Addr().IsPrivate():
			return s.Addr, true
		}
	}
	return netip.AddrPort{}, false
}

// networks is what Config.Memory knows the pair of networks by. A network that blocks UDP has no
// address that UDP is seen at: it is known by where TCP is.
func (k *link) networks() string {
	ours, theirs := k.c.profile, k.profile
	if !ours.Mapped.IsValid() {
		ours.Mapped = k.seenTCP()
	}
	if !theirs.Mapped.IsValid() {
		if all := k.outsideOfPeer(ice.TCP); len(all) > 0 {
			theirs.Mapped = all[0]
		}
	}
	return punch.Networks(ours, theirs)
}

// seenTCP is where connections from our port come from, as far as that is known.
func (k *link) seenTCP() netip.AddrPort {
	for _, s := range k.c.ice.Candidates(k.agent) {
		if c := s.Candidate; c.TCPType == ice.SimultaneousOpen && c.Addr.Addr().Is4() &&
			(c.Type == ice.ServerReflexive || c.Type == ice.Host && !c.Addr.Addr().IsPrivate()) {
			return c.Addr
		}
	}
	return netip.AddrPort{}
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
