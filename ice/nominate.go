package ice

import (
	"time"
)

// consider nominates a pair, once none that is better can still win: there is no fixed
// wait (RFC 8445 section 8.1.1 leaves when to stop to the agent).
func (g *generation) consider(now time.Time) {
	a := g.a
	g.nominateAt = time.Time{}
	if !a.controlling || g.nominated != nil || g.nominating != nil {
		return
	}
	best := g.best()
	if best == nil {
		return
	}
	for _, p := range g.pairs {
		if p == best {
			break // the others are worse
		}
		until := g.mayWin(p, best)
		if until.After(now) && (g.nominateAt.IsZero() || until.After(g.nominateAt)) {
			g.nominateAt = until
		}
	}
	if !g.nominateAt.IsZero() {
		return
	}
	g.nominating = best
	best.step = 0
	best.trigger(now)
	best.next = now
}

// mayWin is until when a better pair than best is waited for.
func (g *generation) mayWin(p, best *pair) time.Time {
	if p.state > InProgress {
		return time.Time{}
	}
	patience := g.a.cfg.Patience
	if patience == 0 {
		// A pair that is as good as it claims has an answer under way by now; one round
		// trip more, because its first check may have opened the way for the peer's.
		trip := best.trips.Median()
		patience = max(10*time.Millisecond, trip*3/2)
		if best.relayed() {
			patience = max(20*time.Millisecond, trip*3)
		}
	}
	since := g.firstValid
	if p.state == InProgress && p.first.Before(since) {
		return p.first.Add(patience)
	}
	return since.Add(patience)
}

// best is the best pair that works, or nil.
func (g *generation) best() *pair {
	for _, p := range g.pairs {
		if p.valid {
			return p
		}
	}
	return nil
}

// nominate makes p the pair of the generation. Of several that a peer nominates, as
// agents of RFC 5245 do, the best counts.
func (g *generation) nominate(now time.Time, p *pair) {
	p.next = time.Time{}
	if g.nominating == p {
		g.nominating = nil
	}
	if g.nominated == p || g.nominated != nil && g.nominated.valid && (g.a.controlling || g.nominated.priority >= p.priority) {
		return
	}
	g.nominated = p
	if g.a.cfg.Multipath {
		return
	}
	// RFC 8445 section 8.1.2: the other pairs are not checked any more. RFC 6544 section 8:
	// and no other connection is kept.
	g.hush()
	for _, q := range g.pairs {
		if q != p && (q.state < Succeeded || q.stream != nil) {
			q.fail(now, errNotNeeded)
		}
	}
}
