package ice

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

var (
	errNoAnswer   = errors.New("no check was answered")
	errAsymmetric = errors.New("the answer came from another address than the check went to")
)

// understood are the comprehension-required attributes that checks and their answers may have.
var understood = []wire.AttrType{
	wire.AttrUsername, wire.AttrPriority, wire.AttrUseCandidate, wire.AttrErrorCode, wire.AttrUnknownAttributes,
	wire.AttrXORMappedAddress, wire.AttrMappedAddress, wire.AttrRealm, wire.AttrNonce,
}

// check sends a check of the pair, or first opens the connection that it needs. It
// reports whether anything was sent.
func (p *pair) check(now time.Time) bool {
	g := p.g
	p.unwant()
	if p.base.gone {
		return false
	}
	if p.first.IsZero() || p.state == Waiting {
		p.first = now
	}
	if p.state < InProgress {
		p.state = InProgress
	}
	g.sent++
	p.sent++
	g.last, p.last = now, now
	g.spend(p, now)
	if p.base.Transport == TCP && !p.connected(now) {
		return true
	}
	p.schedule(now)
	p.request(now, g.nominating == p)
	if p.sent == foundationHold {
		g.unfreeze(now)
	}
	return true
}

// request sends a Binding request (RFC 8445 section 7.2.2).
func (p *pair) request(now time.Time, nominate bool) {
	g := p.g
	a := g.a
	m := a.m
	id, err := wire.NewTransactionID(m.secrets)
	if err != nil {
		p.err = err
		return
	}
	f := flight{id: id, at: now, controlling: a.controlling, nominate: nominate && a.controlling}
	f.priority = checkPriority(&p.own.cand)
	m.b.Reset(wire.BindingRequest, id)
	m.b.AddString(wire.AttrUsername, g.remote.Ufrag+":"+g.local.Ufrag)
	m.b.AddUint32(wire.AttrPriority, f.priority)
	if a.controlling {
		m.b.AddUint64(wire.AttrICEControlling, a.tieBreaker)
	} else {
		m.b.AddUint64(wire.AttrICEControlled, a.tieBreaker)
	}
	if f.nominate {
		m.b.AddUseCandidate()
	}
	m.b.AddIntegrity([]byte(g.remote.Pwd))
	m.b.AddFingerprint()
	m.send(p.path(), m.b.Bytes())
	if len(p.flights) == maxFlights {
		delete(m.checks, p.flights[0].id)
		p.flights = slices.Delete(p.flights, 0, 1)
	}
	p.flights = append(p.flights, f)
	m.checks[id] = p
}

// answered takes in an answer to one of the pair's checks.
func (p *pair) answered(now time.Time, from path) {
	g := p.g
	a := g.a
	msg := &a.m.msg
	if msg.CheckIntegrity([]byte(g.remote.Pwd)) != nil {
		g.forged++ // the check lives on: a true answer may still come
		return
	}
	id := msg.TransactionID()
	i := slices.IndexFunc(p.flights, func(f flight) bool { return f.id == id })
	f := p.flights[i]
	p.flights = slices.Delete(p.flights, i, i+1)
	delete(a.m.checks, id)
	g.heard = true
	p.answers++
	switch {
	case from != p.path():
		// RFC 8445 section 7.2.5.2.1. A pair that is valid was answered as it must be.
		if !p.valid {
			p.fail(now, errAsymmetric)
		}
	case msg.Class() == wire.Failure:
		p.refused(now, f)
	default:
		p.confirmed(now, f)
	}
	a.settle(now)
}

// refused takes in an error response.
func (p *pair) refused(now time.Time, f flight) {
	a := p.g.a
	code, reason, _ := a.m.msg.ErrorCode()
	switch {
	case code == wire.CodeRoleConflict && !a.cfg.PeerIsLite:
		if f.controlling == a.controlling {
			a.switchRole(now)
		}
		p.trigger(now) // RFC 8445 section 7.2.5.1
	case code == wire.CodeForbidden && p.valid:
		p.spent = true
		p.fail(now, fmt.Errorf("%w: it was revoked", ErrConsent)) // RFC 7675 section 5.2
	case !p.valid || f.nominate: // RFC 8445 sections 7.2.5.2.4 and 7.2.5.3.4
		p.fail(now, fmt.Errorf("the peer answered %d %q", code, reason))
	}
}

// confirmed takes in a success response.
func (p *pair) confirmed(now time.Time, f flight) {
	g := p.g
	msg := &g.a.m.msg
	mapped, ok := msg.XORMappedAddress()
	if unknown := msg.AppendUnknown(nil, understood); len(unknown) > 0 || !ok {
		if !p.valid {
			p.fail(now, fmt.Errorf("the peer's answer needs what we do not know: %v", unknown))
		}
		return
	}
	g.target(p.remote.addr.Addr()).answered = true
	p.trips.Add(now.Sub(f.at))
	p.heard, p.unanswered = now, 0
	if !p.valid {
		p.succeed(now, mapped, f)
		g.failed = nil
	} else if mapped != p.mapped {
		p.seenAt(mapped, f)
	}
	if p.peerNominated && !g.a.controlling || f.nominate && g.a.controlling {
		g.nominate(now, p)
	}
}
