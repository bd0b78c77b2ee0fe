package ice

import (
	"bytes"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

// request takes in a check of a peer (RFC 8445 section 7.3), and reports whether it is
// one: whatever does not name one of our agents is not.
func (m *Machine) request(now time.Time, from path) bool {
	msg := &m.msg
	user, ok := msg.Username()
	ours, theirs, colon := bytes.Cut(user, []byte(":"))
	g := m.byUfrag[string(ours)]
	if !ok || !colon || g == nil {
		return false
	}
	a := g.a
	if msg.CheckIntegrity([]byte(g.local.Pwd)) != nil {
		g.forged++
		return true
	}
	if g.remote.Ufrag != "" && g.remote.Ufrag != string(theirs) || !a.uses(from.base) || g.seen.foreign(msg.TransactionID(), from.remote) {
		return true
	}
	if from.stream != nil && !from.stream.belongsTo(g) {
		return true
	}
	if from.stream == nil && g.find(UDP, from.remote) == nil && unusable(from.remote, m.cfg.Loopback) != "" {
		return true // no peer is there: it has us answer to somebody else
	}
	if !g.mayAnswer(now) {
		return true
	}
	g.heard = true
	if !g.asked {
		g.asked = true
		a.tell(now, Event{Kind: EventChecked})
	}
	if unknown := msg.AppendUnknown(nil, understood); len(unknown) > 0 {
		m.refuse(from, g, wire.CodeUnknownAttribute, "Unknown Attribute", unknown)
		return true
	}
	r := request{from: from, nominate: msg.UseCandidate()}
	if r.priority, ok = msg.Priority(); !ok || r.priority == 0 {
		m.refuse(from, g, wire.CodeBadRequest, "Bad Request", nil)
		return true
	}
	if !a.agreeOnRole(now) {
		m.refuse(from, g, wire.CodeRoleConflict, "Role Conflict", nil)
		return true
	}
	m.b.Reset(wire.BindingSuccess, msg.TransactionID())
	m.b.AddXORAddress(wire.AttrXORMappedAddress, from.remote)
	m.b.AddIntegrity([]byte(g.local.Pwd))
	m.b.AddFingerprint()
	m.send(from, m.b.Bytes())
	if g.remote == (Credentials{}) {
		r.ufrag = string(theirs)
		g.hold(r) // RFC 8445 section 7.3: answered at once, the rest is done later
		return true
	}
	g.trigger(now, r)
	a.settle(now)
	return true
}

const (
	answerGap   = time.Second / 400
	answerBurst = 400
)

// mayAnswer bounds the answers to a peer, which may say that it is somebody else. No agent
// checks that often.
func (g *generation) mayAnswer(now time.Time) bool {
	full := latest(g.answer, now).Add(answerGap)
	if full.Sub(now) > answerBurst*answerGap {
		return false
	}
	g.answer = full
	return true
}

// refuse answers by an error.
func (m *Machine) refuse(to path, g *generation, code int, reason string, unknown []wire.AttrType) {
	m.b.Reset(wire.BindingFailure, m.msg.TransactionID())
	m.b.AddErrorCode(code, reason)
	if len(unknown) > 0 {
		m.b.AddUnknownAttributes(unknown)
	}
	m.b.AddIntegrity([]byte(g.local.Pwd))
	m.b.AddFingerprint()
	m.send(to, m.b.Bytes())
}

// hold keeps a check that came before the peer's credentials.
func (g *generation) hold(r request) {
	g.early = slices.DeleteFunc(g.early, request.gone)
	for i := range g.early {
		if e := &g.early[i]; e.from == r.from && e.ufrag == r.ufrag {
			e.nominate = e.nominate || r.nominate
			return
		}
	}
	if len(g.early) < maxEarly {
		g.early = append(g.early, r)
		if s := r.from.stream; s != nil {
			s.held = true
			s.m.timers.Stop(&s.timer)
		}
	}
}

// agreeOnRole settles which role each side has (RFC 8445 section 7.3.1.1). It reports
// false when the peer has to change.
func (a *agent) agreeOnRole(now time.Time) bool {
	msg := &a.m.msg
	theirs, controlling := msg.ICEControlling()
	if !controlling {
		var controlled bool
		if theirs, controlled = msg.ICEControlled(); !controlled {
			return true // an ICE-lite or older agent
		}
	}
	switch {
	case controlling != a.controlling:
	case a.controlling && a.tieBreaker >= theirs, !a.controlling && a.tieBreaker < theirs:
		return false
	default:
		a.switchRole(now)
	}
	return true
}

// switchRole changes the role, and with it the order of pairs.
func (a *agent) switchRole(now time.Time) {
	a.controlling = !a.controlling
	if err := a.breakTies(); err != nil { // RFC 8445 section 7.2.5.1: a new one
		a.tieBreaker++
	}
	g := a.cur
	g.nominating, g.nominateAt = nil, time.Time{}
	g.sort()
	a.tell(now, Event{Kind: EventRole, Controlling: a.controlling})
}

// trigger follows a check of the peer (RFC 8445 section 7.3.1.4).
func (g *generation) trigger(now time.Time, r request) {
	t, s := r.from.base.Transport, r.from.stream
	remote := g.findTyped(t, r.from.base.TCPType, r.from.remote)
	if remote == nil && s != nil {
		remote = g.reopened(now, r.from)
	}
	fresh := remote == nil
	if fresh {
		if remote = g.learn(t, r.from.remote, r.priority); remote == nil {
			return
		}
	}
	p := g.at(r.from, remote)
	if p == nil {
		if p = g.add(now, &pair{g: g, base: r.from.base, remote: remote}); p == nil {
			if remote.learned {
				g.forget(remote)
			}
			return
		}
	}
	if s != nil && p.stream != s {
		p.hangUp() // it did not stand yet
		p.stream, s.pair = s, p
		s.m.timers.Stop(&s.timer)
	}
	if fresh && g.a.cfg.Multipath {
		g.spread(now, remote)
	}
	p.asked++
	p.admit()
	if p.state != Succeeded && g != g.a.old {
		p.trigger(now)
	}
	if !r.nominate || g.a.controlling {
		return
	}
	if p.valid {
		g.nominate(now, p)
	} else {
		p.peerNominated = true
	}
}

// trigger puts the pair in front of all that are checked by the schedule.
func (p *pair) trigger(now time.Time) {
	g := p.g
	if p.spent {
		return
	}
	if p.state == PairFailed || p.state == Frozen {
		p.wait(now) // the peer reaches us, so it is worth another try
	}
	if p.due {
		return
	}
	if g.failed != nil {
		g.failed = nil
		g.began = now
	}
	p.due = true
	g.wanted = append(g.wanted, p)
}
