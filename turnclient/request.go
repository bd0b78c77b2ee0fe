package turnclient

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Retries of one request with other authentication.
const (
	maxStale      = 3 // 438 in a row
	maxChallenges = 3 // 401
)

// request is what is asked of a server: one transaction after another until it is
// answered for good. Each repeats the request over UDP (RFC 8489 section 6.2.1).
type request struct {
	link   *link
	op     string // for errors
	method wire.Method
	add    func(b *wire.Builder) // the method's attributes
	// done is called once; msg, nil where there was no answer, is valid during the
	// call, and err is a *ServerError or nil.
	done func(now time.Time, msg *wire.Message, err error)
	// elsewhere, if not nil, takes the place of the request when it is to be made by
	// another user: servers may want another 5-tuple for that.
	elsewhere func(now time.Time)

	limit int           // sends of a transaction; 0: maxSends
	every time.Duration // between sends, without doubling; 0: the RTO, doubling
	until time.Time     // when to give up, at the latest; zero: by the schedule

	id    wire.TransactionID
	raw   []byte
	seal  seal
	sends int
	rto   time.Duration
	sent  time.Time // the first send of this transaction
	timer machine.Timer
	ended bool
	// parked: it waits for credentials, until the time to give up if there is one.
	parked bool

	stale, challenges int
	forged            int   // answers that were ignored for their signature
	doubt             error // ErrIntegrity, or what the last of them with a code said
}

// responseKnown are the comprehension-required attributes that an answer may carry.
var responseKnown = []wire.AttrType{
	wire.AttrMappedAddress, wire.AttrUsername, wire.AttrErrorCode, wire.AttrUnknownAttributes, wire.AttrRealm, wire.AttrNonce,
	wire.AttrPasswordAlgorithm, wire.AttrUserhash, wire.AttrXORMappedAddress, wire.AttrChannelNumber, wire.AttrLifetime,
	wire.AttrXORPeerAddress, wire.AttrData, wire.AttrXORRelayedAddress, wire.AttrRequestedAddressFamily, wire.AttrEvenPort,
	wire.AttrRequestedTransport, wire.AttrDontFragment, wire.AttrReservationToken, wire.AttrConnectionID, wire.AttrAccessToken,
}

// start sends the request for the first time, or when the path allows it.
func (r *request) start(now time.Time) {
	r.timer.Fire = r.timeout
	r.link.requests = append(r.link.requests, r)
	r.restart(now)
}

// restart begins a new transaction with the credentials there are.
func (r *request) restart(now time.Time) {
	l := r.link
	m := l.m
	id, err := wire.NewTransactionID(m.secrets)
	if err != nil {
		r.fail(now, 0, "", err)
		return
	}
	r.id, r.sends, r.seal, r.parked = id, 0, seal{}, false
	m.b.Reset(wire.MessageType{Method: r.method, Class: wire.Request}, id)
	r.add(&m.b)
	if r.method == wire.Allocate || r.method == wire.Refresh {
		m.b.AddString(wire.AttrSoftware, software) // RFC 8656 section 5
	}
	if l.srv.ready() {
		if l.nonce == nil {
			l.nonce = l.srv.nonce
		}
		if l.as == nil {
			l.as = l.srv.newest()
		}
		r.seal = l.srv.sign(&m.b, l.as, l.nonce)
	}
	if m.b.Bytes() == nil {
		r.fail(now, 0, "", m.b.Err())
		return
	}
	r.raw = append(r.raw[:0], m.b.Bytes()...)
	r.rto = l.rtt.timeout(m.cfg.RTO)
	limit, slow, wait := l.congestion.restrain(now)
	r.rto *= time.Duration(slow)
	if r.limit == 0 || r.limit > limit {
		r.limit = limit
	}
	if wait > 0 {
		m.timers.Set(&r.timer, now.Add(wait))
		return
	}
	r.send(now)
}

const software = "bradawl"

// send sends the transaction's request again and sets the time for the next step.
func (r *request) send(now time.Time) {
	l := r.link
	if r.sends == 0 {
		r.sent, l.asked = now, true
	}
	r.sends++
	l.control(r.raw)
	var next time.Time
	switch {
	case l.stream:
		// RFC 8489 section 6.2.2: no retransmission, the same deadline.
		next = now.Add(l.m.cfg.RTO * time.Duration(1<<(maxSends-1)-1+lastWait))
		if r.every > 0 {
			next = now.Add(r.every * time.Duration(r.limit))
		}
	case r.every > 0:
		next = now.Add(r.every)
	case r.sends >= r.limit:
		next = now.Add(r.rto * lastWait)
	default:
		next = now.Add(r.rto << (r.sends - 1))
	}
	if !r.until.IsZero() && r.until.Before(next) {
		next = r.until
	}
	l.m.timers.Set(&r.timer, next)
}

// hasten gives a request under way only so many more sends.
func (r *request) hasten(now time.Time, limit int, every time.Duration) {
	if r.every > 0 || r.sends == 0 || !r.timer.IsSet() {
		return
	}
	r.every, r.limit = every, r.sends+limit
	if r.until = now.Add(time.Duration(limit) * every); !r.link.stream {
		r.send(now)
	} else if r.until.Before(r.timer.At()) {
		r.link.m.timers.Set(&r.timer, r.until)
	}
}

// timeout sends again, or gives up.
func (r *request) timeout(now time.Time) {
	over := !r.until.IsZero() && !now.Before(r.until)
	if r.sends == 0 || !over && !r.link.stream && r.sends < r.limit {
		r.send(now)
		return
	}
	r.link.congestion.count(now, true)
	r.fail(now, 0, "", r.silence(now))
}

// silence says that nothing came that answers the request.
func (r *request) silence(now time.Time) error {
	switch {
	case r.parked:
		return fmt.Errorf("%w: those for realm %q are still being fetched", ErrCredentials, r.link.srv.realm)
	case r.forged > 0:
		return r.doubt
	}
	err := fmt.Errorf("%w within %v (%d sent)", ErrNoAnswer, now.Sub(r.sent).Round(time.Millisecond), r.sends)
	if slices.Contains(r.link.odd, ErrNotTURN) {
		err = fmt.Errorf("%w, but %w", err, ErrNotTURN)
	}
	return err
}

// answer takes in a response whose transaction ID is the request's.
func (r *request) answer(now time.Time, msg *wire.Message) {
	code, reason, coded := msg.ErrorCode()
	failure := msg.Class() == wire.Failure
	signed := msg.Has(wire.AttrMessageIntegrity) || msg.Has(wire.AttrMessageIntegritySHA256)
	challenge := failure && (code == wire.CodeUnauthenticated || code == wire.CodeStaleNonce)
	switch {
	case challenge:
		// It may be unsigned: the key to sign with is what it is about.
	case lacksAlgorithms(msg):
		return
	case failure && code == wire.CodeBadRequest && !signed && r.seal.key != nil:
		r.ignore(now, code) // RFC 8489 section 9.2.5
		return
	case r.seal.key == nil && failure && code == wire.CodeTryAlternate:
		r.ignore(now, code) // anybody could send us anywhere
		return
	case r.seal.key != nil && r.seal.verify(msg) != nil:
		r.ignore(now, code)
		return
	}
	if r.sends == 1 && r.method != wire.Connect { // whose answer waits for the peer
		r.link.rtt.sample(now.Sub(r.sent))
	} else {
		r.link.rtt.repeated()
	}
	r.link.congestion.count(now, r.sends > 1)
	r.link.heard(now)
	switch unknown := msg.AppendUnknown(nil, responseKnown); {
	case len(unknown) > 0:
		r.fail(now, 0, "", fmt.Errorf("the answer needs attributes that are not understood: %v", unknown))
	case challenge:
		r.challenged(now, msg, code, text(reason))
	case !failure:
		r.finish(now, msg, nil)
	case !coded:
		r.fail(now, 0, "", errNoCode)
	default:
		r.finish(now, msg, &ServerError{Server: r.link.srv.Endpoint, Op: r.op, Code: code, Reason: text(reason)})
	}
}

// ignore passes over an answer that is not to be believed. Over a stream nothing else
// can come (RFC 8489 section 9.2.5). The first code is told at once: nobody may have the
// patience to wait for the end.
func (r *request) ignore(now time.Time, code int) {
	r.forged++
	r.link.m.stats.forged++
	first := r.doubt == nil || r.doubt == ErrIntegrity
	switch {
	case code != 0:
		r.doubt = &UnsignedError{code}
	case r.doubt == nil:
		r.doubt = ErrIntegrity
	}
	switch {
	case r.link.stream:
		r.fail(now, 0, "", r.doubt)
	case code != 0 && first:
		err := &ServerError{Server: r.link.srv.Endpoint, Op: r.op, Err: r.doubt}
		r.link.a.tell(now, Event{Kind: EventServer, State: r.link.a.state, Server: err.Server, Err: err})
	}
}

// challenged answers a 401 or 438 with a new transaction, or gives up.
func (r *request) challenged(now time.Time, msg *wire.Message, code int, reason string) {
	s := r.link.srv
	if code == wire.CodeStaleNonce {
		r.stale++
	} else {
		r.challenges++
	}
	if r.stale > maxStale || r.challenges > maxChallenges {
		r.fail(now, code, reason, nil)
		return
	}
	old := s.nonce
	if err := s.challenge(msg); err != nil {
		r.fail(now, code, reason, err)
		return
	}
	if code == wire.CodeStaleNonce && bytes.Equal(s.nonce, old) && bytes.Equal(s.nonce, r.link.nonce) {
		r.fail(now, code, reason, errors.New("the nonce it gives is the one it rejects"))
		return
	}
	r.link.nonce = s.nonce
	rejected := code == wire.CodeUnauthenticated && r.seal.key != nil && r.seal.realm == s.realm && r.seal.version == r.link.as.version
	switch {
	case rejected && s.version > r.link.as.version:
		r.renew(now) // there are newer ones
	case !rejected && s.version > 0:
		r.restart(now)
	case s.version == 0 && !r.link.m.cfg.Ask:
		r.fail(now, code, reason, fmt.Errorf("%w: it wants a user name and a password for realm %q", ErrCredentials, s.realm))
	case !r.link.m.cfg.Ask:
		// RFC 8489 section 9.2.5: no retry with unchanged credentials.
		r.fail(now, code, reason, ErrCredentials)
	default:
		r.parked = true
		r.link.m.timers.Stop(&r.timer)
		if !r.until.IsZero() {
			r.link.m.timers.Set(&r.timer, r.until)
		}
		r.link.m.wantCredentials(now, r, rejected)
	}
}

// renew makes the request with the newest credentials of its server.
func (r *request) renew(now time.Time) {
	l := r.link
	old := l.as
	l.as = l.srv.newest()
	if old != nil && old.creds.Username != l.as.creds.Username && r.elsewhere != nil {
		r.end()
		r.elsewhere(now)
		return
	}
	r.restart(now)
}

func (r *request) fail(now time.Time, code int, reason string, err error) {
	r.finish(now, nil, &ServerError{Server: r.link.srv.Endpoint, Op: r.op, Code: code, Reason: reason, Err: err})
}

// finish ends the request and tells who asked.
func (r *request) finish(now time.Time, msg *wire.Message, err *ServerError) {
	if r.ended {
		return
	}
	r.end()
	if err == nil {
		r.done(now, msg, nil)
	} else {
		r.done(now, msg, err)
	}
}

// end ends the request without a word.
func (r *request) end() {
	r.ended = true
	l := r.link
	l.m.timers.Stop(&r.timer)
	if i := slices.Index(l.requests, r); i >= 0 {
		l.requests = slices.Delete(l.requests, i, i+1)
	}
}

// text makes a reason phrase fit to be shown.
func text(reason []byte) string {
	if len(reason) > 128 {
		reason = reason[:128]
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 127 || c == utf8.RuneError {
			return -1
		}
		return c
	}, string(reason))
}

// refused reports whether a server said no, with a code or, as some do, without.
func refused(err error) bool { return codeOf(err) != 0 || errors.Is(err, errNoCode) }

// codeOf returns the STUN error code that err holds; 0: none.
func codeOf(err error) int {
	var s *ServerError
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}
