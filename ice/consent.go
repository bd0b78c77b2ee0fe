package ice

import (
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// keeps reports whether the pair's consent is renewed: that of pairs in use, of one that
// could take over, and of all that may still be chosen.
func (g *generation) keeps(p *pair) bool {
	a := g.a
	switch {
	case !p.valid:
		return false
	case a.selected == p:
		return true
	case g == a.old:
		return false
	case g.nominated == nil || a.cfg.Multipath:
		return true
	}
	for _, q := range g.pairs { // the spare: the best of the others
		if q.valid && q != a.selected {
			return q == p
		}
	}
	return false
}

// consent sends what keeps pairs alive: checks that renew the peer's consent, each a
// transaction of its own that is sent once (RFC 7675 section 5.1), or, if that is
// switched off, Binding indications (RFC 8445 section 11).
func (g *generation) consent(now time.Time) {
	a := g.a
	for _, p := range g.pairs {
		if !g.keeps(p) || p.consentDue.After(now) {
			continue
		}
		p.consentDue = a.nextConsentTime(now)
		p.consentAt = now
		if a.cfg.Consent < 0 {
			p.keepalive()
			continue
		}
		p.unanswered++
		p.request(now, false)
	}
}

// keepalive sends a Binding indication, which is not authenticated and not answered.
func (p *pair) keepalive() {
	m := p.g.a.m
	id, err := wire.NewTransactionID(m.secrets)
	if err != nil {
		return
	}
	m.b.Reset(wire.MessageType{Method: wire.Binding, Class: wire.Indication}, id)
	m.b.AddFingerprint()
	m.send(p.path(), m.b.Bytes())
}

// nextConsentTime is when the next check of consent is due: +-20 %, so that agents do not
// fall into step.
func (a *agent) nextConsentTime(now time.Time) time.Time {
	every := a.cfg.Consent
	if every < 0 {
		return now.Add(defaultKeepalive)
	}
	return now.Add(time.Duration(float64(every) * (0.8 + 0.4*a.m.random.Float64())))
}

func (g *generation) nextConsent(now time.Time) (next time.Time) {
	for _, p := range g.pairs {
		if !g.keeps(p) {
			continue
		}
		next = machine.Earliest(next, p.consentDue)
		if at := p.consentAt.Add(p.rto()); p.unanswered > 0 && at.After(now) {
			next = machine.Earliest(next, at)
		}
	}
	return next
}

// rto is how long an answer may take.
func (p *pair) rto() time.Duration { return max(500*time.Millisecond, 2*p.trips.Median()) }

// silent reports whether the peer has left two checks of consent unanswered.
func (p *pair) silent(now time.Time) bool { return p.missed(now) >= 2 }

// missed is how many checks of consent the peer has left unanswered.
func (p *pair) missed(now time.Time) int {
	if p.unanswered > 0 && p.consentAt.Add(p.rto()).After(now) {
		return p.unanswered - 1 // the last may still be answered
	}
	return p.unanswered
}
