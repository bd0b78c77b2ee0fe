package natprobe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Mapped is what one STUN server told about the socket it was asked from.
type Mapped struct {
	Server netip.AddrPort // the server asked

	// Addr is the socket's address as the server sees it: its server-reflexive
	// address. It is valid if and only if Err is nil. No answer is authenticated.
	Addr netip.AddrPort

	// RTT is the round-trip time to the server; 0 where it is not known, because the
	// request had to be sent more than once (Karn's algorithm).
	RTT time.Duration

	// Err is why the server was of no use: a *ServerError.
	Err error
}

// EndpointDependent tells whether the answers show that the mapping depends on
// the destination (a "symmetric" NAT): two servers saw one socket come from
// different addresses of the same family. False means only that these answers
// do not show it. The answers must be those of one call.
func EndpointDependent(answers []Mapped) bool {
	var v4, v6 netip.AddrPort
	for _, a := range answers {
		if a.Err != nil {
			continue
		}
		seen := &v4
		if a.Addr.Addr().Is6() {
			seen = &v6
		}
		if seen.IsValid() && *seen != a.Addr {
			return true
		}
		*seen = a.Addr
	}
	return false
}

// ReflexiveEvent is what a Reflexive machine tells: one for each server.
type ReflexiveEvent struct {
	Mapped
	Last bool // every server has been told about; the machine is at rest
}

// Reflexive is the machine behind [MappedAddresses]. It asks several STUN
// servers at once, all from socket 0, where they see that socket come from
// (RFC 8489 section 6.2.1 and the Binding method). Use NewReflexive, then Start.
//
// Like every machine it is not safe for concurrent use.
type Reflexive struct {
	rto      time.Duration
	sends    int
	lastWait int
	timeout  time.Duration
	patience time.Duration

	queries  []query
	open     int       // queries without a result
	deadline time.Time // all end then; zero: none
	events   machine.Queue[ReflexiveEvent]
	message  wire.Message
}

// query is one transaction.
type query struct {
	server  netip.AddrPort
	id      wire.TransactionID
	request []byte // the same bytes at every send, as it is one transaction
	sent    int
	first   time.Time // of the first send
	next    time.Time // to send again, or to give up
	due     bool      // the request waits for PollTransmit
	soft    error     // the last that ICMP said and that may pass
	done    bool
}

// known are the comprehension-required attributes that an answer may carry: those
// of RFC 8489 and those that RFC 3489 servers add (RFC 5389 section 12.1).
var known = []wire.AttrType{
	wire.AttrMappedAddress, wire.AttrResponseAddress, wire.AttrChangeRequest, wire.AttrSourceAddress,
	wire.AttrChangedAddress, wire.AttrUsername, wire.AttrErrorCode, wire.AttrUnknownAttributes,
	wire.AttrReflectedFrom, wire.AttrRealm, wire.AttrNonce, wire.AttrPasswordAlgorithm, wire.AttrUserhash,
	wire.AttrXORMappedAddress,
}

// NewReflexive returns a machine that will ask servers, of which repeated ones
// are asked once. The error is a *ConfigError, or that of cfg.Secrets.
func NewReflexive(servers []netip.AddrPort, cfg *ReflexiveConfig) (*Reflexive, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	servers, err = checkServers(servers)
	if err != nil {
		return nil, err
	}
	r := &Reflexive{rto: c.RTO, sends: c.Sends, lastWait: c.LastWait, timeout: c.Timeout, patience: c.Patience}
	var b wire.Builder
	for _, s := range servers {
		id, err := wire.NewTransactionID(c.Secrets)
		if err != nil {
			return nil, fmt.Errorf("natprobe: %w", err)
		}
		b.Reset(wire.BindingRequest, id)
		r.queries = append(r.queries, query{server: s, id: id, request: append([]byte(nil), b.Bytes()...)})
	}
	r.open = len(r.queries)
	return r, nil
}

// Start sends the first requests from a socket that is bound to local. Servers
// that a socket of that family cannot reach fail at once. Call it once.
func (r *Reflexive) Start(now time.Time, local netip.AddrPort) {
	if r.timeout > 0 {
		r.deadline = now.Add(r.timeout)
	}
	for i := range r.queries {
		q := &r.queries[i]
		if q.done {
			continue // the socket has broken before
		}
		if !reachable(local.Addr(), q.server.Addr()) {
			r.fail(q, 0, fmt.Errorf("not reachable from a socket on %v: other address family", local.Addr()))
			continue
		}
		q.first = now
		r.send(now, q)
	}
}

// reachable tells whether a socket bound to local can send to server at all. One
// on the unspecified IPv6 address may well be able to do both.
func reachable(local, server netip.Addr) bool {
	return !local.IsValid() || local.Is4() == server.Is4() || local == netip.IPv6Unspecified()
}

func (r *Reflexive) send(now time.Time, q *query) {
	q.due = true
	q.sent++
	wait := r.rto << (q.sent - 1)
	if q.sent == r.sends {
		wait = r.rto * time.Duration(r.lastWait)
	}
	q.next = now.Add(wait)
}

// HandleTimeout sends again what has not been answered, or gives up.
func (r *Reflexive) HandleTimeout(now time.Time) {
	over := !r.deadline.IsZero() && !now.Before(r.deadline)
	for i := range r.queries {
		q := &r.queries[i]
		switch {
		case q.done || q.sent == 0 || !over && now.Before(q.next):
		case over || q.sent >= r.sends:
			r.giveUp(now, q)
		default:
			r.send(now, q)
		}
	}
}

// NextTimeout is the earliest time at which something is to be sent or given up.
func (r *Reflexive) NextTimeout() time.Time {
	if r.open == 0 {
		return time.Time{}
	}
	next := r.deadline
	for i := range r.queries {
		if q := &r.queries[i]; !q.done {
			next = machine.Earliest(next, q.next)
		}
	}
	return next
}

// HandleDatagram takes in an answer. Whatever is not an answer from a server
// asked, with the transaction ID sent to it, is dropped and changes nothing.
func (r *Reflexive) HandleDatagram(now time.Time, d machine.Datagram) {
	m := &r.message
	if m.Decode(d.Data) != nil || !m.IsResponse() || m.Method() != wire.Binding {
		return
	}
	q := r.find(d.Remote)
	if q == nil || q.id != m.TransactionID() {
		return
	}
	if m.Has(wire.AttrFingerprint) && m.CheckFingerprint() != nil {
		return // RFC 8489 section 7: not a STUN message then
	}
	// RFC 8489 sections 6.3.3 and 6.3.4: unknown attributes that must be understood
	// fail the transaction, optional ones are ignored.
	if unknown := m.AppendUnknown(nil, known); len(unknown) > 0 {
		r.fail(q, 0, fmt.Errorf("answer needs attributes that are not understood: %v", unknown))
		return
	}
	if m.Class() == wire.Failure {
		code, reason, ok := m.ErrorCode()
		if !ok {
			r.fail(q, 0, errors.New("error response without an error code"))
			return
		}
		r.fail(q, code, fmt.Errorf("%q", reason))
		return
	}
	addr, ok := m.XORMappedAddress()
	if !ok {
		addr, ok = m.MappedAddress() // all that RFC 3489 servers have
	}
	if !ok || addr.Port() == 0 || addr.Addr().IsUnspecified() {
		r.fail(q, 0, errors.New("answer without a usable mapped address"))
		return
	}
	r.finish(q, Mapped{Server: q.server, Addr: addr, RTT: q.rtt(now, d.Stamp)})
	if patient := now.Add(r.patience); r.deadline.IsZero() || patient.Before(r.deadline) {
		r.deadline = patient
	}
}

func (r *Reflexive) giveUp(now time.Time, q *query) {
	err := fmt.Errorf("%w within %v (%d sent)", ErrNoAnswer, now.Sub(q.first).Round(time.Millisecond), q.sent)
	if q.soft != nil {
		err = fmt.Errorf("%w; reported unreachable meanwhile: %w", err, q.soft)
	}
	r.fail(q, 0, err)
}

// HandleNotice ends the transaction with a server that refuses. Only a hard error
// does that (RFC 8489 section 6.2.1; RFC 1122 section 4.2.3.9): any other may pass
// while the request is repeated, as it is told by a router on the way, whose view may
// change, or by who pretends to be one.
func (r *Reflexive) HandleNotice(_ time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.Unreachable:
		q := r.find(n.Remote)
		switch {
		case q == nil:
		case n.Reason.Hard():
			r.fail(q, 0, fmt.Errorf("cannot be reached: %w", n.Err))
		default:
			q.soft = n.Err
		}
	case machine.SocketFailed:
		for i := range r.queries {
			r.fail(&r.queries[i], 0, fmt.Errorf("the socket failed: %w", n.Err))
		}
	}
}

// find returns the query that waits for an answer from remote, or nil.
func (r *Reflexive) find(remote netip.AddrPort) *query {
	for i := range r.queries {
		if q := &r.queries[i]; q.server == remote && q.sent > 0 && !q.done {
			return q
		}
	}
	return nil
}

// rtt is the time since the request was sent, if it was sent only once.
func (q *query) rtt(now, stamp time.Time) time.Duration {
	if q.sent != 1 {
		return 0
	}
	rtt := now.Sub(q.first)
	// The kernel's stamp leaves out how long the answer waited to be read. It has no
	// monotonic part, so a clock that was set meanwhile must not do harm.
	if !stamp.IsZero() {
		if s := stamp.Sub(q.first); s > 0 && s < rtt {
			return s
		}
	}
	return rtt
}

func (r *Reflexive) fail(q *query, code int, err error) {
	r.finish(q, Mapped{Server: q.server, Err: &ServerError{Server: q.server, Code: code, Err: err}})
}

// finish tells a query's result, once.
func (r *Reflexive) finish(q *query, m Mapped) {
	if q.done {
		return
	}
	q.done, q.due = true, false
	r.open--
	r.events.Push(ReflexiveEvent{Mapped: m, Last: r.open == 0})
}

// PollTransmit returns the next request to send.
func (r *Reflexive) PollTransmit() (machine.Transmit, bool) {
	for i := range r.queries {
		if q := &r.queries[i]; q.due {
			q.due = false
			return machine.Transmit{Op: machine.Send, Remote: q.server, Data: q.request}, true
		}
	}
	return machine.Transmit{}, false
}

// PollEvent returns the next result.
func (r *Reflexive) PollEvent() (ReflexiveEvent, bool) { return r.events.Pop() }
