package ice

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

// pair is one of our bases and one candidate of the peer (RFC 8445 section 6.1.2). The
// local candidates of one base make one pair, since checks leave from the base anyway.
type pair struct {
	g        *generation
	base     *base
	own      *local // the candidate that the base itself is
	remote   *remote
	stream   *stream // TCP, once it is dialled or accepted
	priority uint64
	state    PairState
	due      bool // in the queue of triggered checks
	proven   bool // the history says that it works

	flights []flight
	sent    int // checks
	answers int
	asked   int       // checks of the peer
	step    int       // in the schedule
	first   time.Time // check of this run
	last    time.Time
	next    time.Time // check by the schedule; zero: none
	trips   RTTSamples
	err     error

	valid         bool           // a check was answered: data can be sent
	open          bool           // that, or the peer has checked: its data is taken
	mapped        netip.AddrPort // our side as the peer sees it
	prflx         *Candidate     // our side, where it is none that was gathered
	peerNominated bool           // by the peer, before it was valid
	spent         bool           // consent was lost: RFC 7675 section 5.1 forbids to use it again
	redials       int            // since the connection was refused, or broke
	await         time.Time      // until when the connection that broke may be opened anew

	heard      time.Time // the last answer
	consentAt  time.Time // the last check of consent
	consentDue time.Time
	unanswered int // checks of consent since heard
}

// flight is a check that may still be answered.
type flight struct {
	id          wire.TransactionID
	at          time.Time
	priority    uint32
	controlling bool
	nominate    bool
}

// maxFlights is how many checks of a pair may still be answered.
const maxFlights = 12

func (p *pair) path() path { return path{p.base, p.remote.addr, p.stream} }

// sameFoundation reports whether two pairs have one foundation (RFC 8445 section 6.1.2.6).
func (p *pair) sameFoundation(q *pair) bool {
	return p.own.cand.Foundation == q.own.cand.Foundation && p.remote.cand.Foundation == q.remote.cand.Foundation &&
		p.own.cand.TCPType == q.own.cand.TCPType // to open at the same time may work where to dial does not
}

func (p *pair) rank() uint64 {
	ours, theirs := p.own.cand.Priority, p.remote.cand.Priority
	if p.g.a.controlling {
		return pairPriority(ours, theirs)
	}
	return pairPriority(theirs, ours)
}

// relayed reports whether our side of the pair is, or the peer's says so.
func (p *pair) relayed() bool { return p.base.Type == Relay || p.remote.cand.Type == Relay }

// pairUp makes a pair of a base and a candidate of the peer, where they fit (RFC 8445
// section 6.1.2.2, RFC 6544 section 6.2).
func (g *generation) pairUp(now time.Time, b *base, r *remote) *pair {
	if b.Transport != r.cand.Transport || b.addr.Addr().Is4() != r.addr.Addr().Is4() ||
		b.addr.Addr().IsLinkLocalUnicast() != r.addr.Addr().IsLinkLocalUnicast() || b.Agent != 0 {
		return nil
	}
	if b.addr.Addr().IsLoopback() && !r.addr.Addr().IsLoopback() {
		return nil
	}
	if b.Transport == TCP {
		switch {
		case r.learned:
			return nil // its connection has come; what it came from takes none
		case b.TCPType == Active && r.cand.TCPType == Passive:
		case b.TCPType == SimultaneousOpen && r.cand.TCPType == SimultaneousOpen:
		default:
			return nil // those of a passive base come by themselves
		}
	}
	return g.add(now, &pair{g: g, base: b, remote: r})
}

// add puts a pair into the check list, unless that is full of better ones.
func (g *generation) add(now time.Time, p *pair) *pair {
	if p.own = g.a.local(p.base, p.base.addr); p.own == nil {
		return nil // not one that the agent may use
	}
	p.proven = p.worked(now)
	p.priority = p.rank()
	if len(g.pairs) >= g.a.cfg.MaxPairs && !g.makeRoom(p) {
		return nil
	}
	if !g.blocked(p) {
		p.wait(now)
	}
	i, _ := slices.BinarySearchFunc(g.pairs, p, better)
	g.pairs = slices.Insert(g.pairs, i, p)
	return p
}

// makeRoom drops a pair for p: a failed one, or else the one of the lowest priority, if
// that is less than p's (RFC 8838 sections 10 and 11). Those that work stay.
func (g *generation) makeRoom(p *pair) bool {
	var worst *pair
	for _, q := range g.pairs { // the best first
		switch {
		case q.valid || q.peerNominated && q.state != PairFailed:
		case q.state == PairFailed, q.priority < p.priority && (worst == nil || worst.state != PairFailed):
			worst = q
		}
	}
	if worst == nil {
		return false
	}
	g.remove(worst)
	return true
}

// better is the order of pairs; equal ones are as they came.
func better(a, b *pair) int {
	if a.priority >= b.priority {
		return -1
	}
	return 1
}

// sort orders the pairs anew, after priorities have changed.
func (g *generation) sort() {
	for _, p := range g.pairs {
		p.priority = p.rank()
	}
	slices.SortStableFunc(g.pairs, func(a, b *pair) int {
		switch {
		case a.priority > b.priority:
			return -1
		case a.priority < b.priority:
			return 1
		}
		return 0
	})
}

// remove takes a pair from the check list.
func (g *generation) remove(p *pair) {
	p.abandon()
	p.hangUp()
	p.state = PairFailed
	g.pairs = slices.DeleteFunc(g.pairs, func(q *pair) bool { return q == p })
}

// at returns the pair of a base and a candidate of the peer, or nil; that of a connection
// is the one that has it, or that has none that stands.
func (g *generation) at(from path, r *remote) *pair {
	i := slices.IndexFunc(g.pairs, func(p *pair) bool {
		s := p.stream
		return p.base == from.base && p.remote == r && (from.stream == nil || s == from.stream || s == nil || !s.up)
	})
	if i < 0 {
		return nil
	}
	return g.pairs[i]
}

// wait makes a pair one that is to be checked.
func (p *pair) wait(now time.Time) {
	p.state, p.first, p.next, p.step = Waiting, time.Time{}, now, 0
}

// abandon ends everything that is under way on the pair.
func (p *pair) abandon() {
	for _, f := range p.flights {
		delete(p.g.a.m.checks, f.id)
	}
	p.flights, p.next = nil, time.Time{}
	p.unwant()
	if g := p.g; g.nominating == p {
		g.nominating = nil
	}
	p.shut()
}

// unwant ends that a triggered check of the pair is to be sent.
func (p *pair) unwant() {
	if p.due {
		p.due = false
		p.g.wanted = slices.DeleteFunc(p.g.wanted, func(q *pair) bool { return q == p })
	}
}

// admit takes data of the peer on the pair from now on. For the peer, the pair is valid
// as soon as we have answered its check (RFC 8445 section 12.2).
func (p *pair) admit() {
	if p.open && !p.valid {
		return
	}
	p.open = true
	if p.stream != nil {
		return
	}
	a := p.g.a
	key := p.key()
	rest := slices.DeleteFunc(slices.Clone(a.m.byAddr[key]), func(b *agent) bool { return b == a })
	a.m.byAddr[key] = append([]*agent{a}, rest...)
}

func (p *pair) key() pathKey { return pathKey{p.base.socket, p.remote.addr} }

// shut ends that.
func (p *pair) shut() {
	p.valid = false
	if !p.open {
		return
	}
	p.open = false
	a := p.g.a
	if p.stream != nil {
		return
	}
	for _, g := range a.generations() {
		if slices.ContainsFunc(g.pairs, func(q *pair) bool { return q.open && q.stream == nil && q.key() == p.key() }) {
			return // as before a restart
		}
	}
	left := slices.DeleteFunc(slices.Clone(a.m.byAddr[p.key()]), func(b *agent) bool { return b == a })
	if len(left) > 0 {
		a.m.byAddr[p.key()] = left
	} else {
		delete(a.m.byAddr, p.key())
	}
}

// fail ends the checks of a pair, or its validity.
func (p *pair) fail(now time.Time, why error) {
	was := p.valid
	p.err = why
	p.abandon()
	p.state = PairFailed
	if was {
		p.g.a.tell(now, Event{Kind: EventInvalid, Pair: p.public(), Err: why})
	}
	p.hangUp()
	p.g.unfreeze(now)
}

// succeed makes the pair valid.
func (p *pair) succeed(now time.Time, mapped netip.AddrPort, f flight) {
	a := p.g.a
	p.state, p.valid, p.err, p.next = Succeeded, true, nil, time.Time{}
	p.redials, p.await = 0, time.Time{}
	for _, other := range p.flights {
		delete(a.m.checks, other.id)
	}
	p.flights = nil
	p.unwant()
	p.seenAt(mapped, f)
	p.admit()
	p.remember(now, true)
	if p.g.firstValid.IsZero() {
		p.g.firstValid = now
	}
	p.consentDue = a.nextConsentTime(now)
	a.tell(now, Event{Kind: EventValid, Pair: p.public()})
	p.g.unfreeze(now)
}

// seenAt notes where the peer sees our side, which changes with a NAT's mapping.
func (p *pair) seenAt(mapped netip.AddrPort, f flight) {
	a := p.g.a
	p.mapped, p.prflx = mapped, nil
	if a.local(p.base, mapped) == nil {
		p.prflx = &Candidate{
			Foundation: foundation(a.m.foundations, PeerReflexive, p.base.addr.Addr(), netip.Addr{}, p.base.Transport),
			Component:  1, Transport: p.base.Transport, TCPType: p.base.TCPType,
			Priority: f.priority, Addr: mapped, Type: PeerReflexive, Related: p.base.addr,
		}
	}
}

// local returns the candidate of a base at an address, or nil.
func (a *agent) local(b *base, addr netip.AddrPort) *local {
	for _, l := range a.locals {
		if l.base == b && l.addr == addr {
			return l
		}
	}
	return nil
}

// public is what others may know of the pair.
func (p *pair) public() Pair {
	out := Pair{
		Local: p.own.cand, Remote: p.remote.cand, State: p.state, Priority: p.priority, Valid: p.valid,
		Nominated: p.g.nominated == p, Selected: p.g.a.selected == p,
		RTT: p.trips.Median(), Sent: p.sent, Answered: p.answers, Requests: p.asked, Err: p.err,
	}
	out.Route = p.route()
	if p.prflx != nil {
		out.Local = *p.prflx
	} else if l := p.g.a.local(p.base, p.mapped); l != nil {
		out.Local = l.cand
	} else if p.valid { // the candidate was dropped: its mapping is thought to have ended
		out.Local.Type, out.Local.Addr, out.Local.Related = PeerReflexive, p.mapped, p.base.addr
	}
	return out
}

func (p *pair) route() Route { return p.path().route() }

// route is how to get back to where a message came from.
func (p path) route() Route {
	r := Route{Socket: p.base.socket, Remote: p.remote}
	if p.base.shared {
		r.Local = p.base.addr
	}
	if p.stream != nil {
		r.Stream, r.Local = p.stream.id, p.stream.local
	}
	return r
}
