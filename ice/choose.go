package ice

import (
	"errors"
	"time"
)

var (
	errNotNeeded = errors.New("another pair was nominated")
	errRestarted = errors.New("the agent was restarted or closed")
)

// choose sets the pair that carries data.
func (a *agent) choose(now time.Time) {
	to := a.cur.choice(now)
	if to == nil && a.old != nil {
		to = a.old.choice(now)
	}
	if a.old != nil && (to == nil || to.g == a.cur) {
		a.old.drop(now)
		a.old = nil
	}
	if to == a.selected {
		return
	}
	a.selected = to
	e := Event{Kind: EventSelected}
	if to != nil {
		e.Pair = to.public()
	}
	a.tell(now, e)
}

// choice is the pair of the generation that should carry data, or nil. Before one is
// nominated, that is the best that works (RFC 8445 section 12.1).
func (g *generation) choice(now time.Time) *pair {
	if g.nominated != nil && !g.a.cfg.Multipath {
		if g.nominated.valid {
			return g.nominated
		}
		return nil
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
	if g.nominated != nil && !g.nominated.valid {
		return now // what was agreed on is lost: only a restart helps
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
	e := &FailedError{Elapsed: now.Sub(g.began), Forged: g.forged, Heard: g.heard}
	if g.nominated != nil {
		e.Cause = g.nominated.err
	}
	for _, p := range g.pairs {
		e.Pairs = append(e.Pairs, Try{p.own.cand, p.remote.cand, p.sent, p.err})
	}
	return e
}
