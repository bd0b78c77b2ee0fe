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
	if c.TCPType == Active {
		return // its connections come by themselves (RFC 6544 section 6.2)
	}
	if r := g.findTyped(c.Transport, c.TCPType, c.Addr); r != nil && (r.learned || r.cand.TCPType == c.TCPType) {
		if r.learned {
			g.name(r, c)
			g.spread(now, r)
		}
		return // RFC 8838 section 14: the same again is ignored
	}
	if len(g.remotes)-g.learned >= g.a.cfg.MaxPairs && !g.makeRoomFor(c) {
		g.passOver(now, c, "is one too many, and worse than the others")
		return
	}
	r := &remote{cand: c, addr: c.Addr}
	g.remotes = append(g.remotes, r)
	for _, b := range g.a.m.bases {
		g.pairUp(now, b, r)
	}
}

// makeRoomFor drops a candidate that the peer has told for c: one whose pairs have all
// failed, or else the one of the lowest priority, if that is less than c's.
func (g *generation) makeRoomFor(c Candidate) bool {
	g.weigh()
	var worst *remote
	for _, r := range g.remotes {
		switch {
		case r.learned || r.works > 0 || !r.lost() && r.cand.Priority >= c.Priority:
		case worst == nil || r.lost() && !worst.lost() || r.lost() == worst.lost() && r.cand.Priority < worst.cand.Priority:
			worst = r
		}
	}
	if worst == nil {
		return false
	}
	g.forget(worst)
	return true
}

// weigh counts how the pairs of each candidate of the peer fare.
func (g *generation) weigh() {
	for _, r := range g.remotes {
		r.pairs, r.works, r.fails = 0, 0, 0
	}
	for _, p := range g.pairs {
		p.remote.pairs++
		if p.valid {
			p.remote.works++
		}
		if p.state == PairFailed {
			p.remote.fails++
		}
	}
}

// lost reports whether all pairs of a candidate have failed.
func (r *remote) lost() bool { return r.fails > 0 && r.fails == r.pairs }

// forget drops a candidate of the peer with its pairs.
func (g *generation) forget(r *remote) {
	for _, p := range slices.Clone(g.pairs) {
		if p.remote == r {
			g.remove(p)
		}
	}
	if i := slices.Index(g.remotes, r); i >= 0 {
		g.remotes = slices.Delete(g.remotes, i, i+1)
		if r.learned {
			g.learned--
		}
	}
}

// unfit says why a candidate cannot be checked; "" if it may be.
func (g *generation) unfit(c Candidate) string {
	if f := c.flaw(); f != nil {
		return "is malformed: " + f.field + ": " + f.reason
	}
	switch {
	case c.Component != 1:
		return fmt.Sprintf("is of component %d; agents here have component 1 alone", c.Component)
	case c.Name != "":
		return "is a name, and looking names up is not allowed here: see Config.Resolve"
	case c.TCPType == Active:
		return "" // nothing is sent to it
	}
	return unusable(c.Addr, g.a.m.cfg.Loopback)
}

func (g *generation) passOver(now time.Time, c Candidate, why string) {
	g.passedOver(now, c, &RemoteError{Addr: c.Addr, Name: c.Name, Reason: why})
}

func (g *generation) passedOver(now time.Time, c Candidate, why *RemoteError) {
	if g.passed++; g.why == nil {
		g.why = why
	}
	g.a.tell(now, Event{Kind: EventPassedOver, Candidate: c, Err: why})
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
	if g.learned >= maxLearned {
		g.weigh()
		i := slices.IndexFunc(g.remotes, func(r *remote) bool { return r.learned && r.works == 0 })
		if i < 0 {
			return nil
		}
		g.forget(g.remotes[i]) // the first that was learned, of those that do not work
	}
	g.learned++
	g.everLearned++
	r := &remote{addr: from, learned: true}
	r.cand = Candidate{
		Foundation: fmt.Sprintf("prflx%d", g.everLearned), Component: 1, Transport: t, Priority: min(priority, maxPriority), Addr: from, Type: PeerReflexive,
	}
	if t == TCP {
		r.cand.TCPType = Active
	}
	g.remotes = append(g.remotes, r)
	return r
}

// reopened returns the candidate whose connection broke, where the peer opens another: it
// may come from any port (RFC 6544 section 11.1).
func (g *generation) reopened(now time.Time, from path) *remote {
	p := g.nominated
	if p == nil || p.base != from.base || !p.remote.learned || p.remote.addr.Addr() != from.remote.Addr() || p.valid && p.missed(now) == 0 {
		return nil
	}
	if s := p.stream; s != nil { // for the peer it broke
		s.drop()
		s.lost(now, ErrSilent)
	}
	p.remote.addr, p.remote.cand.Addr = from.remote, from.remote
	return p.remote
}
