package bradawl

import (
	"net/netip"
	"slices"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/punch"
)

// The two ends of an attempt, and the networks that they are in.

// laneEnds are the two ends of an attempt.
type laneEnds struct {
	socket machine.SocketID // of UDP
	local  netip.AddrPort   // of ours, whose outside address the peer knows
	peer   []netip.AddrPort // outside addresses that the peer has named
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

// outsideOfPeer are the addresses that the peer has named as those of its NAT, or as its own
// where it has none, all of one IPv4 address: one that it was heard from, by a relay, or else
// the first. It may have named somebody else's; that one gets no more than one attempt at a
// time, whoever names it (sprayers).
func (k *link) outsideOfPeer(t ice.Transport) (all []netip.AddrPort) {
	heard := make(map[netip.Addr]bool)
	for _, p := range k.c.ice.Pairs(k.agent) {
		if (p.Requests > 0 || p.Answered > 0) && p.Remote.Type != ice.Relay && !slices.Contains(k.relays, p.Remote.Addr) {
			heard[p.Remote.Addr.Addr()] = true
		}
	}
	var ip netip.Addr
	for _, r := range k.c.ice.RemoteCandidates(k.agent) {
		public := r.Type == ice.ServerReflexive || r.Type == ice.Host && !r.Addr.Addr().IsPrivate()
		switch at := r.Addr.Addr(); {
		case !public || r.Transport != t || t == ice.TCP && r.TCPType != ice.SimultaneousOpen || !at.Is4() || slices.Contains(all, r.Addr):
		case !ip.IsValid() || heard[at] && !heard[ip]:
			ip, all = at, []netip.AddrPort{r.Addr}
		case at == ip:
			all = append(all, r.Addr)
		}
	}
	return all
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
