package ice

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// fast is the time between checks of the best pairs: each is a transaction of its own,
// so that a lost packet does not cost the half second that a retransmission waits.
var fast = [...]time.Duration{
	33 * time.Millisecond, 33 * time.Millisecond, 66 * time.Millisecond, 133 * time.Millisecond,
	266 * time.Millisecond, 533 * time.Millisecond, 1066 * time.Millisecond, 2 * time.Second,
}

// slow is the time between checks of the others: the times of one transaction that is
// retransmitted (RFC 8445 section 14.3).
var slow = [...]time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}

const (
	// fastPairs is how many pairs have the fast schedule.
	fastPairs = 5
	// maxChecks bounds the checks of a generation, so that a peer cannot make us flood
	// whomever it names. Further ones are sent only where the peer triggers them, one in
	// spareGap: it may have moved.
	maxChecks = 700
	spareGap  = time.Second
	// triggerGap is the least time between a check and one of the same pair that the peer
	// triggers.
	triggerGap = 10 * time.Millisecond
	// foundationHold is how many checks of a pair keep others of its foundation waiting.
	foundationHold = 2
)

// blocked reports whether p waits for another pair of its foundation (RFC 8445 section
// 6.1.2.6), of which none has succeeded (section 7.2.5.3.3). A pair that has not been
// answered at first holds up nobody: foundations are the peer's to choose.
func (g *generation) blocked(p *pair) (blocked bool) {
	for _, q := range g.pairs {
		if q == p || !p.sameFoundation(q) {
			continue
		}
		switch q.state {
		case Succeeded:
			return false
		case Waiting:
			blocked = true
		case InProgress:
			blocked = blocked || q.sent < foundationHold
		}
	}
	return blocked
}

// unfreeze makes those pairs wait for their check that need not wait for others any more.
func (g *generation) unfreeze(now time.Time) {
	for _, p := range g.pairs {
		if p.state == Frozen && !g.blocked(p) {
			p.wait(now)
		}
	}
}

// checksNow reports whether pairs are being checked.
func (g *generation) checksNow() bool {
	reopening := g.nominated != nil && !g.nominated.valid && g.nominated.state < Succeeded
	return g.remote != (Credentials{}) && (g.nominated == nil || g.a.cfg.Multipath || reopening) && g.failed == nil
}

// nextCheck is when the next check may be sent; zero: none is to be.
func (g *generation) nextCheck(now time.Time) (next time.Time) {
	if g.remote == (Credentials{}) {
		return next
	}
	for _, p := range g.wanted {
		next = machine.Earliest(next, g.wantedAt(p, now))
	}
	if p := g.nominating; p != nil {
		next = machine.Earliest(next, p.next)
	}
	if !g.checksNow() || g.sent >= maxChecks {
		return next
	}
	ordinary := g.a.ordinary.Add(g.a.cfg.Pace)
	for _, p := range g.pairs {
		if p.state == Waiting || p.state == InProgress && !p.next.IsZero() {
			next = machine.Earliest(next, latest(p.next, ordinary, g.allowed(p, now)))
		}
	}
	return next
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// checkNext sends the check whose turn it is, and reports whether there was one.
func (g *generation) checkNext(now time.Time) bool {
	if g.remote == (Credentials{}) {
		return false
	}
	for _, p := range g.wanted {
		if !g.wantedAt(p, now).After(now) {
			return p.check(now)
		}
	}
	if p := g.nominating; p != nil && !p.next.IsZero() && !p.next.After(now) {
		return p.check(now)
	}
	if !g.checksNow() || g.sent >= maxChecks || g.a.ordinary.Add(g.a.cfg.Pace).After(now) {
		return false
	}
	p := g.turn(now)
	if p == nil {
		return false
	}
	g.a.ordinary = now
	return p.check(now)
}

// turn is the pair that is to be checked: new ones by their rank, and every third time one
// that was checked before and is due again, or a peer that names many candidates would
// keep lost checks from being made good.
func (g *generation) turn(now time.Time) *pair {
	var fresh, again *pair
	for _, p := range g.pairs {
		if p.next.IsZero() || p.next.After(now) || g.allowed(p, now).After(now) {
			continue
		}
		switch {
		case p.state == Waiting && (fresh == nil || p.proven && !fresh.proven):
			fresh = p
		case p.state != InProgress:
		case again == nil, again.distant() && !p.distant(), again.distant() == p.distant() && p.next.Before(again.next):
			again = p
		}
	}
	if p := g.relayTurn(); p != nil {
		g.relayed, fresh, again = true, p, nil
	}
	if fresh == nil || again != nil && g.fresh == 2 {
		g.fresh = 0
		return again
	}
	g.fresh = min(g.fresh+1, 2)
	return fresh
}

// relayTurn is the best pair of relays, once, early on: where data may take any pair that
// works, that is the one which works almost always.
func (g *generation) relayTurn() *pair {
	if !g.a.cfg.Multipath || g.relayed || g.sent == 0 {
		return nil
	}
	for _, p := range g.pairs {
		if p.state == Waiting && p.base.Type == Relay && p.remote.cand.Type == Relay {
			return p
		}
	}
	return nil
}

// distant reports whether the peer's address is one of another private network than ours,
// which is checked once, for it may be reached all the same, but again only where nothing
// else is to be.
func (p *pair) distant() bool {
	ip, ours := p.remote.addr.Addr(), p.base.addr.Addr()
	bits := 24
	if ip.Is6() {
		bits = 64
	}
	network, err := ours.Prefix(bits)
	return p.remote.cand.Type == Host && ip.IsPrivate() && err == nil && !network.Contains(ip)
}

// schedule sets when the pair is checked again, if it is not answered.
func (p *pair) schedule(now time.Time) {
	steps := slow[:]
	for i, q := range p.g.pairs {
		if i == fastPairs {
			break
		}
		if q == p {
			steps = fast[:]
		}
	}
	step := steps[min(p.step, len(steps)-1)] // the pair may have lost its rank since
	p.step++
	p.next = now.Add(max(step, p.trips.Median()*3/2)) // a nomination's answer is awaited
	if p.stream != nil {
		p.next = time.Time{} // a connection loses nothing (RFC 6544 section 7.1)
	}
}

// expire fails the pairs that were not answered in time.
func (g *generation) expire(now time.Time) {
	for _, p := range g.pairs {
		if at := g.expiry(p); !at.IsZero() && !at.After(now) {
			why := errNoAnswer
			switch {
			case p.state == Succeeded && !g.keeps(p):
				why = errNotNeeded
			case p.state == Succeeded:
				why = ErrConsent
				p.remember(now, false)
			case !p.await.IsZero():
				why = fmt.Errorf("%w: %w", ErrConsent, p.err)
			case p.err != nil:
				why = p.err
			}
			p.spent = p.state == Succeeded
			p.fail(now, why)
		}
	}
	if g.nominating != nil && !g.nominating.valid {
		g.nominating = nil
	}
}

// expiry is when a pair ends if nothing comes; zero: never.
func (g *generation) expiry(p *pair) time.Time {
	switch {
	case p.state == InProgress:
		return latest(p.first.Add(g.a.cfg.PairTimeout), p.await)
	case p.state == Succeeded && g.a.cfg.Consent > 0:
		return p.heard.Add(consentLife)
	}
	return time.Time{}
}

func (g *generation) nextExpiry() (next time.Time) {
	for _, p := range g.pairs {
		next = machine.Earliest(next, g.expiry(p))
	}
	return next
}

// target is an IP of the peer's candidates. Until something came from there, it may be
// anybody's, so that little is sent to it.
type target struct {
	ip       netip.Addr
	answered bool
	full     time.Time // when all that is allowed at once is allowed again
}

const (
	targetGap   = time.Second / 30 // with the burst, at most 40 checks in any second
	targetBurst = 10
)

// allowed is when a check of p may be sent as far as its target is concerned.
func (g *generation) allowed(p *pair, now time.Time) time.Time {
	if g.sent >= maxChecks {
		now = latest(now, g.last.Add(spareGap))
	}
	for i := range g.targets {
		if t := &g.targets[i]; t.ip == p.remote.addr.Addr() {
			if t.answered {
				return now
			}
			return latest(now, t.full.Add(-(targetBurst-1)*targetGap))
		}
	}
	return now
}

// wantedAt is when the triggered check of p may be sent.
func (g *generation) wantedAt(p *pair, now time.Time) time.Time {
	return latest(g.allowed(p, now), p.last.Add(triggerGap))
}

// spend notes a check to p's target.
func (g *generation) spend(p *pair, now time.Time) {
	t := g.target(p.remote.addr.Addr())
	if !t.answered {
		t.full = latest(t.full, now).Add(targetGap)
	}
}

func (g *generation) target(ip netip.Addr) *target {
	for i := range g.targets {
		if g.targets[i].ip == ip {
			return &g.targets[i]
		}
	}
	if len(g.targets) == 2*g.a.cfg.MaxPairs {
		g.targets = g.targets[1:]
	}
	g.targets = append(g.targets, target{ip: ip})
	return &g.targets[len(g.targets)-1]
}
