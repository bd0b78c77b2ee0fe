package turnclient

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

const (
	// attemptDelay is how long one server is ahead of the next (RFC 8305 section 5).
	attemptDelay = 250 * time.Millisecond
	// streamDelay is how long datagrams are ahead of a stream to the same server: one that
	// is lost is sent again after 500 ms, and must not put an allocation on TCP for good.
	streamDelay = time.Second
	// connectTimeout is how long a stream, or a socket, may take to open.
	connectTimeout = 10 * time.Second
	maxPorts       = 3 // local ports for one server (RFC 8656 section 7.4, 437)
	maxRedirects   = 5
)

// contest is a race between servers for one allocation (RFC 8656 section 3.9).
type contest struct {
	attempts []*attempt // under way, those that lost among them
	queue    []*server  // not asked yet
	failures []error
	failed   []*server // that were asked in this race, and were of no use
	stagger  machine.Timer
}

// racing reports whether an attempt is under way that may still win.
func (c *contest) racing() bool {
	return len(c.queue) > 0 || slices.ContainsFunc(c.attempts, func(t *attempt) bool { return !t.lost })
}

// attempt is one server being asked for an allocation.
type attempt struct {
	a       *allocation
	link    *link
	request *request
	connect machine.Timer
	ports   int
	hops    int
	plain   bool // without DONT-FRAGMENT, which the server does not know
	rooted  bool // without mobility, which the server does not allow
	moving  bool // it presents a ticket instead of asking for an allocation
	again   bool // the server has failed in this race before
	users   int  // as whom it was tried
	doubts  int  // ICMP errors
	lost    bool
	ended   bool
}

// race asks the servers, the last one used first. on is a link to that which still
// works, or nil.
func (a *allocation) race(now time.Time, on *link) {
	a.failures, a.failed = nil, nil
	a.queue = a.queue[:0]
	if a.last != nil && (on == nil || on.srv != a.last) {
		a.queue = append(a.queue, a.last)
	}
	for _, s := range a.m.servers {
		if !s.alternate && !s.retired && s != a.last && (on == nil || s != on.srv) && (!a.tcp || s.Transport.stream()) {
			a.queue = append(a.queue, s)
		}
	}
	if on != nil && on.as != nil && on.as.creds.Username != on.srv.creds.Username {
		on.drop() // see asAnother
		a.queue = slices.Insert(a.queue, 0, on.srv)
		on = nil
	}
	if on == nil {
		a.nextServer(now)
		return
	}
	if err := on.srv.held(now); err != nil {
		on.drop()
		a.failures = append(a.failures, err)
		a.nextServer(now)
		return
	}
	a.try(now, on.srv, on)
	a.awaitNext(now)
}

// nextServer starts the next attempt.
func (a *allocation) nextServer(now time.Time) {
	for len(a.queue) > 0 {
		s := a.queue[0]
		a.queue = a.queue[1:]
		err := s.held(now)
		if err == nil {
			a.try(now, s, nil)
			a.awaitNext(now)
			return
		}
		a.failures = append(a.failures, err)
		a.tell(now, Event{Kind: EventServer, State: a.state, Server: s.Endpoint, Err: err})
	}
	if !a.racing() {
		a.raceLost(now)
	}
}

func (a *allocation) awaitNext(now time.Time) {
	if len(a.queue) == 0 || !a.racing() {
		return
	}
	delay := attemptDelay
	next := a.queue[0]
	if next.Transport.stream() && next.Name != "" && slices.ContainsFunc(a.attempts, func(t *attempt) bool {
		return !t.lost && !t.link.stream && t.link.srv.Name == next.Name
	}) {
		delay = streamDelay
	}
	a.m.timers.Set(&a.stagger, now.Add(delay))
}

// try starts an attempt at s, on a link that stands or on a new one.
func (a *allocation) try(now time.Time, s *server, on *link) *attempt {
	t := &attempt{a: a, again: slices.Contains(a.failed, s)}
	t.connect.Fire = func(now time.Time) {
		t.failed(now, &ServerError{Server: s.Endpoint, Op: "allocate", Err: fmt.Errorf("%w: no connection within %v", ErrNoAnswer, connectTimeout)})
	}
	a.attempts = append(a.attempts, t)
	s.tried = now
	if on != nil {
		t.link = on
		on.onDown = t.broke
		t.allocate(now)
		return t
	}
	t.open(now, s)
	return t
}

func (t *attempt) open(now time.Time, s *server) {
	t.link = t.a.m.newLink(t.a, s)
	t.link.onUp = t.begin
	t.link.onDown = t.broke
	t.a.m.timers.Set(&t.connect, now.Add(connectTimeout))
}

func (t *attempt) broke(now time.Time, err error) {
	t.failed(now, &ServerError{Server: t.link.srv.Endpoint, Op: "allocate", Err: err})
}

func (t *attempt) begin(now time.Time) {
	t.a.m.timers.Stop(&t.connect)
	if t.moving {
		t.present(now)
	} else {
		t.allocate(now)
	}
}

// unreachable takes in an ICMP error. Anybody can forge one, and one may be of a
// server that is just coming up: the first only starts the next attempt.
func (t *attempt) unreachable(now time.Time, err error) {
	if t.doubts++; t.doubts > 1 {
		t.failed(now, &ServerError{Server: t.link.srv.Endpoint, Op: "allocate", Err: fmt.Errorf("it cannot be reached: %w", err)})
	} else if len(t.a.queue) > 0 {
		t.a.nextServer(now)
	}
}

// allocate sends the Allocate request (RFC 8656 section 7.1).
func (t *attempt) allocate(now time.Time) {
	a := t.a
	t.request = &request{link: t.link, op: "allocate", method: wire.Allocate, done: t.answered, elsewhere: t.asAnother}
	t.request.add = func(b *wire.Builder) {
		protocol := wire.ProtocolUDP
		if a.tcp {
			protocol = wire.ProtocolTCP
		}
		b.AddByte(wire.AttrRequestedTransport, protocol)
		switch family := a.m.cfg.Family; {
		case a.options.Token != nil && !a.once:
			// It names an address: no attribute about addresses may stand beside it.
			b.AddRaw(wire.AttrReservationToken, a.options.Token)
		case family == IPv4:
			b.AddByte(wire.AttrRequestedAddressFamily, wire.FamilyIPv4)
		case family == IPv6:
			b.AddByte(wire.AttrRequestedAddressFamily, wire.FamilyIPv6)
		case family == DualStack:
			b.AddByte(wire.AttrAdditionalAddressFamily, wire.FamilyIPv6)
		}
		switch {
		case a.options.Reserve:
			b.AddRaw(wire.AttrEvenPort, []byte{0x80})
		case a.options.EvenPort:
			b.AddRaw(wire.AttrEvenPort, []byte{0})
		}
		if a.m.cfg.DontFragment && !t.plain && !a.tcp { // RFC 6062 section 4.1
			b.AddRaw(wire.AttrDontFragment, nil)
		}
		if a.m.cfg.Mobility && !t.rooted && !a.tcp { // data connections could not move along
			b.AddRaw(wire.AttrMobilityTicket, nil)
		}
		a.addLifetime(b)
	}
	t.request.start(now)
}

// asAnother makes the request as another user, from another port: there are servers that
// take a port to be of the first user who signed from it.
func (t *attempt) asAnother(now time.Time) {
	t.request = nil
	s := t.link.srv
	if t.users++; t.users >= maxChallenges {
		t.failed(now, &ServerError{Server: s.Endpoint, Op: "allocate", Code: wire.CodeUnauthenticated, Err: ErrCredentials})
		return
	}
	t.link.onDown = nil
	t.link.drop()
	t.open(now, s)
}

// answered takes in the answer to an Allocate request (RFC 8656 sections 7.3 and 7.4).
func (t *attempt) answered(now time.Time, msg *wire.Message, err error) {
	r := t.request
	t.request = nil
	err = t.check(now, msg, r, err)
	if err != nil && !t.ended {
		t.failed(now, err)
	}
}

// check sees to an answer. It returns an error that fails the attempt, or nil.
func (t *attempt) check(now time.Time, msg *wire.Message, r *request, err error) error {
	a, s := t.a, t.link.srv
	if err == nil {
		return t.won(now, msg, r)
	}
	if t.lost || t.ended {
		return err
	}
	var refusal *ServerError
	errors.As(err, &refusal)
	hold := func(d time.Duration) {
		refusal.RetryAfter = now.Add(d)
		s.hold(refusal.RetryAfter, err)
	}
	switch refusal.Code {
	case wire.CodeTryAlternate:
		to, why := a.m.redirect(now, s, msg)
		if why == nil && t.hops < maxRedirects {
			a.tell(now, Event{Kind: EventServer, State: a.state, Server: s.Endpoint, Err: err})
			hops := t.hops
			t.end()
			t.link.drop()
			a.try(now, to, nil).hops = hops + 1
			return nil
		}
		if why == nil {
			why = errors.New("too many servers in a row name another one")
		}
		refusal.Err = why
	case wire.CodeAllocationMismatch:
		// The port is in use at the server, perhaps by who had it before us.
		if t.ports++; t.ports < maxPorts {
			t.link.onDown = nil
			t.link.drop()
			t.open(now, s)
			return nil
		}
		hold(holdMismatch)
	case wire.CodeUnknownAttribute:
		if a.m.cfg.DontFragment && !t.plain && slices.Contains(msg.AppendUnknownAttributes(nil), wire.AttrDontFragment) {
			t.plain = true
			t.allocate(now)
			return nil
		}
		hold(redirectSpan)
	case wire.CodeMobilityForbidden:
		if !t.rooted { // RFC 8016 section 3.1.4
			t.rooted = true
			t.allocate(now)
			return nil
		}
	case wire.CodeAllocationQuota, wire.CodeInsufficientCapacity:
		if refusal.Code == wire.CodeInsufficientCapacity && (a.options.any() || a.tcp) {
			break // it may have an address without the wishes: RFC 8656 section 7.4
		}
		hold(holdFull)
	case wire.CodeFamilyNotSupported:
		s.bar(err)
	case wire.CodeUnauthenticated:
		if a.m.cfg.Ask {
			hold(holdFull) // there may be others by then
		} else {
			s.bar(err)
		}
	case wire.CodeBadRequest, wire.CodeForbidden, wire.CodeWrongCredentials, wire.CodeUnsupportedTransport:
		if !a.tcp { // it may relay datagrams all the same
			hold(redirectSpan)
		}
	}
	if errors.Is(err, ErrBidDown) {
		s.bar(err)
	}
	return err
}

// won takes in a success response: the race is over, unless another has won it before.
func (t *attempt) won(now time.Time, msg *wire.Message, r *request) error {
	a, l := t.a, t.link
	relayed, ok := msg.AppendXORAddresses(nil, wire.AttrXORRelayedAddress, 2)
	mapped, okMapped := msg.XORMappedAddress()
	lifetime := lifetimeOf(msg)
	t.end()
	if t.lost {
		a.leave(now, l, nil)
		return nil
	}
	var why error
	switch {
	case !ok || len(relayed) == 0 || !okMapped || lifetime <= 0:
		why = errors.New("the answer lacks a relayed or mapped address, or a lifetime")
	default:
		why = a.m.cfg.Family.accepts(relayed)
	}
	if why != nil {
		err := &ServerError{Server: l.srv.Endpoint, Op: "allocate", Err: why}
		l.srv.bar(err) // RFC 8656 section 7.3
		a.leave(now, l, nil)
		a.failure(now, err)
		return nil
	}
	a.concede(now)
	adopt := func(now time.Time, msg *wire.Message) {
		a.df = a.m.cfg.DontFragment && !t.plain && !a.tcp
		a.ticket = nil
		a.takeTicket(msg)
		a.takeToken(msg)
		a.adopt(now, r.sent, l, Event{Relayed: relayed, Mapped: mapped, Lifetime: lifetime, Err: a.missing(l.srv, msg)})
	}
	if a.mayStill() {
		a.standBy(now, l, msg, adopt)
	} else {
		adopt(now, msg)
	}
	return nil
}

// accepts checks that the addresses are what was asked for. Of a dual allocation one
// may be missing (RFC 8656 section 7.3, ADDRESS-ERROR-CODE).
func (f Family) accepts(relayed []netip.AddrPort) error {
	for i, r := range relayed {
		v4 := r.Addr().Is4()
		if r.Port() == 0 || r.Addr().IsUnspecified() || f == IPv4 && !v4 || f == IPv6 && v4 ||
			i > 0 && (f != DualStack || v4 == relayed[0].Addr().Is4()) {
			return fmt.Errorf("the relayed addresses %v are not what was asked for", relayed)
		}
	}
	return nil
}

// failed ends an attempt.
func (t *attempt) failed(now time.Time, err error) {
	if t.ended {
		return
	}
	t.end()
	t.link.drop()
	switch {
	case t.lost:
		t.a.checkReleased(now)
	case t.moving:
		t.a.notMoved(now, err)
	default:
		t.a.failure(now, err)
	}
}

// failure notes why a server was of no use, and goes on to the next.
func (a *allocation) failure(now time.Time, err error) {
	e := Event{Kind: EventServer, State: a.state, Err: err}
	var s *ServerError
	if errors.As(err, &s) {
		e.Server = s.Server
	}
	a.failures = slices.DeleteFunc(a.failures, func(err error) bool { // of a time before
		var before *ServerError
		return errors.As(err, &before) && before.Server == e.Server
	})
	a.failures = append(a.failures, err)
	a.tell(now, e)
	a.m.timers.Stop(&a.stagger)
	a.nextServer(now)
	if a.waits() && !a.retry.IsSet() {
		a.m.timers.Set(&a.retry, now.Add(a.backoff.next(a.m.random)))
	}
}

// end takes the attempt out of the race.
func (t *attempt) end() {
	t.ended = true
	if s := t.link.srv; !t.moving && !t.lost && !slices.Contains(t.a.failed, s) {
		t.a.failed = append(t.a.failed, s)
	}
	t.a.m.timers.Stop(&t.connect)
	t.a.attempts = slices.DeleteFunc(t.a.attempts, func(u *attempt) bool { return u == t })
}

// concede ends the race: what may have made an allocation that nobody knows of is
// waited for, to be deleted; the rest is dropped.
func (a *allocation) concede(now time.Time) {
	a.queue = a.queue[:0]
	a.m.timers.Stop(&a.stagger)
	for _, t := range slices.Clone(a.attempts) {
		if t.lost {
			continue
		}
		t.lost = true
		if r := t.request; t.moving || r == nil || r.parked || r.seal.key == nil || r.sends == 0 {
			if r != nil {
				r.end()
			}
			t.end()
			t.link.onDown = nil
			t.link.drop()
		}
	}
}

// hurry bounds how long those that lost are waited for.
func (a *allocation) hurry(now time.Time) {
	for _, t := range a.attempts {
		if r := t.request; r != nil && r.timer.IsSet() {
			r.until = now.Add(a.patience())
			if r.until.Before(r.timer.At()) {
				a.m.timers.Set(&r.timer, r.until)
			}
		}
	}
}

// raceLost says that no server gave an allocation.
func (a *allocation) raceLost(now time.Time) {
	if a.state != Allocating {
		return // the old one may come back
	}
	a.setState(now, Failed, &AllocateError{Attempts: slices.Clone(a.failures)})
	a.dropQueues(now, ErrLost)
	a.dropConns(now, fmt.Errorf("%w: %w", ErrLost, &AllocateError{Attempts: slices.Clone(a.failures)}), true)
	if !a.once {
		return // whoever asked for it may ask again
	}
	// The earliest time at which a server may be asked.
	var at time.Time
	for _, s := range a.m.servers {
		switch {
		case s.barred || s.alternate || s.retired || a.tcp && !s.Transport.stream():
		case s.holdUntil.After(now):
			if at.IsZero() || s.holdUntil.Before(at) {
				at = s.holdUntil
			}
		default:
			at = now
		}
		if at.Equal(now) {
			break
		}
	}
	if at.IsZero() {
		return
	}
	a.m.timers.Set(&a.retry, at.Add(a.backoff.next(a.m.random)))
}
