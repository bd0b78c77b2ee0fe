package ice

import (
	"errors"
	"time"
)

var (
	errNotNeeded = errors.New("another pair was nominated")
	errRestarted = errors.New("the agent was restarted or closed")
)

// linger is how long the generation of before a restart is still heard once the new one
// stands: what the peer has sent before it knew must not be lost (RFC 8445 section 8.3.1).
const linger = 3 * time.Second

// choose sets the pair that carries data. During a restart that is the one of before (RFC
// 8445 section 12.1), until the new generation stands or the old pair does not work.
func (a *agent) choose(now time.Time) {
	to := a.cur.choice(now)
	if old := a.old; old != nil && old.until.IsZero() {
		p := old.choice(now)
		switch {
		case to != nil && a.cur.stands():
			old.until = now.Add(linger)
		case p != nil && (to == nil || !p.silent(now)):
			to = p
		case p == nil:
			old.until = now
		}
	}
	if old := a.old; old != nil && !old.until.IsZero() && !old.until.After(now) {
		old.drop(now)
		a.old = nil
	}
	if to == a.selected {
		return
	}
	if to == nil {
		a.cur.began = now // there is time again to find another
	}
	a.selected = to
	e := Event{Kind: EventSelected}
	if to != nil {
		e.Pair = to.public()
	}
	a.tell(now, e)
}

// stands reports whether the generation is done with what a restart is for.
func (g *generation) stands() bool {
	return g.nominated != nil && (g.nominated.valid || g.a.cfg.Multipath)
}

// choice is the pair of the generation that should carry data, or nil. Before one is
// nominated, that is the best that works (RFC 8445 section 12.1); so it is when the one
// that was nominated is lost, since only a restart may bring another nomination.
func (g *generation) choice(now time.Time) *pair {
	if p := g.nominated; p != nil && p.valid && !g.a.cfg.Multipath {
		return p
	}
	var best *pair
	for _, p := range g.pairs {
		if !p.valid {
			continue
		}
		if !p.silent(now) {
			return p
		}
		if best == nil {
			best = p
		}
	}
	return best
}

// judge sets the agent's state by what is.
func (a *agent) judge(now time.Time) {
	g := a.cur
	switch p := a.selected; {
	case p != nil && p.silent(now):
		a.setState(now, Disconnected, ErrSilent)
	case p != nil && p.g.nominated == p:
		a.setState(now, Completed, nil)
	case p != nil:
		a.setState(now, Connected, nil)
	case g.remote == (Credentials{}):
		var why error
		if a.state != Gathering {
			why = errRestarted
		}
		a.setState(now, Gathering, why)
	default:
		if at := a.cur.failAt(now); g.failed == nil && !at.IsZero() && !at.After(now) {
			g.failed = g.report(now)
			g.hush()
			for _, p := range g.pairs {
				if p.sent > 0 {
					p.remember(now, false)
				}
			}
		}
		if g.failed != nil {
			a.setState(now, Failed, g.failed)
		} else {
			a.setState(now, Checking, nil)
		}
	}
}

// failAt is when the agent gives up if nothing happens; zero: not by itself.
func (g *generation) failAt(now time.Time) time.Time {
	a := g.a
	if a.selected != nil || g.failed != nil || g.remote == (Credentials{}) || a.state == Closed {
		return time.Time{}
	}
	if p := g.nominated; p != nil && !a.cfg.Multipath && p.state == PairFailed {
		return latest(now, p.await) // what was agreed on is lost: only a restart helps
	}
	busy := false
	for _, p := range g.pairs {
		busy = busy || p.state < Succeeded
	}
	if g.localDone && g.remoteDone && !busy && !a.m.holding() {
		// All has been tried that there is. Checks of the peer may still come (RFC 8863),
		// for which a pair's time is left.
		return g.began.Add(a.cfg.PairTimeout)
	}
	if a.cfg.Timeout < 0 {
		return time.Time{}
	}
	return g.began.Add(a.cfg.Timeout)
}

// holding reports whether candidates are still expected.
func (m *Machine) holding() bool { return !m.isGathered() }

// report says why nothing works.
func (g *generation) report(now time.Time) *FailedError {
	e := &FailedError{Elapsed: now.Sub(g.began), Forged: g.forged, Heard: g.heard, PassedOver: g.passed, WhyPassed: g.why}
	if g.nominated != nil {
		e.Cause = g.nominated.err
	}
	for _, p := range g.pairs {
		e.Pairs = append(e.Pairs, Try{p.own.cand, p.remote.cand, p.sent, p.err})
	}
	return e
}
