package ice

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"
)

// rescoreGap is how old scores may be when an agent is made.
const rescoreGap = time.Second

// score says what a base is worth by what is known now. The history is that of its
// network as a whole: candidates are told to a peer before its addresses are known.
func (m *Machine) score(now time.Time, b *base) Explanation {
	in := Inputs{Interface: b.Interface, RTT: b.trips}
	if h := m.cfg.History; h != nil {
		in.History.Value, in.History.Known = h.Quality(b.Interface.Network, netip.Addr{}, now)
	}
	return m.cfg.Score.Score(in)
}

// rescore gives the candidates preferences by what is known now, for the agents that are
// made from now on: those of others have been told to peers.
func (m *Machine) rescore(now time.Time) {
	if !m.stale && m.cfg.History == nil || now.Sub(m.scored) < rescoreGap { // a history fades by itself
		return
	}
	m.stale, m.scored = false, now
	type worth struct {
		l     *local
		score Explanation
	}
	all := make([]worth, len(m.locals))
	moved := false
	for i, l := range m.locals {
		all[i] = worth{l, m.score(now, l.base)}
		moved = moved || math.Abs(all[i].score.Score-l.score.Score) >= 1.0/preferenceLevels
	}
	if !moved {
		return // the same candidates serve on, for any number of agents
	}
	for _, l := range m.locals {
		m.preferencesOf(l.cand).Release(l.preference)
	}
	best := slices.Clone(all)
	slices.SortStableFunc(best, func(a, b worth) int { return cmp.Compare(b.score.Score, a.score.Score) })
	fresh := make(map[*local]*local, len(all))
	for _, w := range best {
		l := *w.l
		l.score = w.score
		m.prefer(&l)
		fresh[w.l] = &l
	}
	locals := make([]*local, len(all))
	for i, w := range all {
		locals[i] = fresh[w.l]
	}
	m.locals = locals
}

// prefer gives a candidate its preference, and the priority that follows.
func (m *Machine) prefer(l *local) {
	p := m.preferencesOf(l.cand)
	value, ok := p.Take(l.score.Score, l.addr.Addr())
	if !ok {
		value = 0 // 8,192 candidates of one kind: the last ones share a preference
	}
	l.preference = value
	if p.TCP {
		value <<= 3
	}
	l.cand.Priority = l.cand.RecommendedPriority(value)
}

// preferencesOf returns where candidates of c's type and transport get theirs from.
func (m *Machine) preferencesOf(c Candidate) *Preferences {
	p := &m.prefs[c.Type][c.Transport]
	p.TCP = c.Transport == TCP
	return p
}

// remember notes whether a pair worked.
func (p *pair) remember(now time.Time, ok bool) {
	m := p.g.a.m
	if h := m.cfg.History; h != nil {
		h.Record(p.base.Interface.Network, p.remote.addr.Addr(), ok, now)
		m.stale = true
	}
}

// worked reports whether the history says that pairs like p mostly work. That reorders
// our own checks and is not told to anybody.
func (p *pair) worked(now time.Time) bool {
	h := p.g.a.m.cfg.History
	if h == nil {
		return false
	}
	value, known := h.Quality(p.base.Interface.Network, p.remote.addr.Addr(), now)
	return known && value > Neutral
}
