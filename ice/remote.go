package ice

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// addRemote takes in a candidate of the peer.
func (a *agent) addRemote(now time.Time, c Candidate) {
	g := a.cur
	c.Addr = netip.AddrPortFrom(c.Addr.Addr().Unmap().WithZone(""), c.Addr.Port())
	ufrag, named := c.Extension("ufrag")
	switch {
	case named && slices.Contains(a.past, ufrag):
		g.passOver(now, c, "belongs to credentials of before a restart")
	case g.remote == (Credentials{}) || named && ufrag != g.remote.Ufrag:
		// RFC 8838 section 14: it may outrun what it belongs to.
		if len(a.held) < a.cfg.MaxPairs {
			a.held = append(a.held, c)
		} else {
			g.passOver(now, c, "is one too many before the peer's credentials")
		}
	case g.remoteDone && !a.cfg.Multipath:
		g.passOver(now, c, "came after the end of candidates")
	default:
		g.addRemote(now, c)
	}
}

// release takes in the candidates that were held for the credentials that have come.
func (a *agent) release(now time.Time) {
	held := a.held
	a.held = nil
	for _, c := range held {
		if ufrag, named := c.Extension("ufrag"); !named || ufrag == a.cur.remote.Ufrag {
			a.cur.addRemote(now, c)
		}
	}
}

func (g *generation) addRemote(now time.Time, c Candidate) {
	if why := g.unfit(c); why != "" {
		g.passOver(now, c, why)
		return
	}
	if r := g.find(c.Transport, c.Addr); r != nil {
		if r.learned {
			g.name(r, c)
		}
		return // RFC 8838 section 14: the same again is ignored
	}
	r := &remote{cand: c, addr: c.Addr}
	g.remotes = append(g.remotes, r)
	for _, b := range g.a.m.bases {
		g.pairUp(now, b, r)
	}
	if !slices.ContainsFunc(g.pairs, func(p *pair) bool { return p.remote == r }) {
		g.remotes = slices.DeleteFunc(g.remotes, func(o *remote) bool { return o == r })
	}
}

// unfit says why a candidate cannot be checked; "" if it may be.
func (g *generation) unfit(c Candidate) string {
	switch {
	case c.Component != 1:
		return fmt.Sprintf("is of component %d; agents here have component 1 alone", c.Component)
	case c.Name != "":
		return "is a name, and resolving such names is not allowed here"
	case c.TCPType == Active:
		return "" // nothing is sent to it
	}
	return unusable(c.Addr, g.a.m.cfg.Loopback)
}

func (g *generation) passOver(now time.Time, c Candidate, why string) {
	g.a.tell(now, Event{Kind: EventPassedOver, Candidate: c, Err: &RemoteError{c.Addr, why}})
}

// name gives a candidate that was learned what the peer says of it.
func (g *generation) name(r *remote, c Candidate) {
	r.cand, r.learned = c, false
	g.learned--
	g.sort()
}

// learn makes a peer-reflexive candidate of where a check came from (RFC 8445 section
// 7.3.1.3).
func (g *generation) learn(t Transport, from netip.AddrPort, priority uint32) *remote {
	if g.learned == maxLearned {
		return nil
	}
	g.learned++
	r := &remote{addr: from, learned: true}
	r.cand = Candidate{
		Foundation: fmt.Sprintf("prflx%d", g.learned), Component: 1, Transport: t, Priority: priority, Addr: from, Type: PeerReflexive,
	}
	if t == TCP {
		r.cand.TCPType = Active
	}
	g.remotes = append(g.remotes, r)
	return r
}
