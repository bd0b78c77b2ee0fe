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

// TCP relays (RFC 6062).
const (
	connectWait     = 60 * time.Second // for the answer to a Connect: servers try for 30 s at least
	holdUnreachable = 10 * time.Second // RFC 6062 section 4.3: after a 447
	maxConnects     = 256              // connections to peers being made
)

var (
	errNoDatagrams = errors.New("a TCP allocation carries no datagrams; connect to the peer")
	errNoStreams   = errors.New("an allocation for datagrams has no connections; make a TCP allocation")
	errNoNumber    = errors.New("the answer lacks a connection ID")
)

// ConnID names one connection of a TCP allocation, among all of its [Machine].
type ConnID uint32

// connections are those of one TCP allocation.
type connections struct {
	tcp       bool    // it is one
	conns     []*conn // as they were begun
	unreached []unreached
	listening bool // peers' connections are taken
}

// unreached is a peer that the server could not connect to.
type unreached struct {
	peer  netip.AddrPort
	until time.Time // it is not asked again before
	err   error
}

type connState uint8

const (
	connWaiting connState = iota // to a peer: for an allocation; from one: for its turn
	connAsked                    // the server tries to reach the peer
	connBinding                  // the data connection is being opened, or bound
	connOpen                     // data flows
	connOver
)

// conn is a connection to a peer, or from one.
type conn struct {
	a         *allocation
	id        ConnID
	peer      netip.AddrPort
	incoming  bool
	abandoned bool // nobody waits for it any more
	lost      bool // stated to be
	state     connState
	srv       *server   // of the control connection
	number    uint32    // CONNECTION-ID
	came      time.Time // of an incoming one
	request   *request  // Connect
	link      *link     // the data connection; nil: not there yet, or the runner's
	connect   machine.Timer
}

// AllocateTCP is Allocate for a relayed address of TCP (RFC 6062): peers are connected
// to, and accepted, from it. Only servers that are reached over TCP or TLS are asked. The
// error is a *ConfigError: there is none.
func (m *Machine) AllocateTCP(now time.Time) (AllocationID, error) {
	if !slices.ContainsFunc(m.servers, func(s *server) bool { return s.Transport.stream() && !s.retired }) {
		return 0, &ConfigError{"Servers", "none is reached over TCP or TLS, as a TCP allocation must be; add one with ?transport=tcp or as turns:"}
	}
	return m.allocate(now, Options{}, true), nil
}

// Connect asks the server to connect to a peer. EventConnected tells that data can flow,
// EventConnEnded that it cannot, with a *PeerError. While there is no allocation the
// connection waits for one.
//
// The error is ErrClosed, a *PeerError, or, in state Failed, one that matches ErrLost.
func (m *Machine) Connect(now time.Time, id AllocationID, to netip.AddrPort) (ConnID, error) {
	m.enter()
	a := m.allocs[id]
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	switch {
	case a == nil || a.state == Closed:
		return 0, ErrClosed
	case !a.tcp:
		return 0, &PeerError{to, errNoStreams}
	case a.state == Failed:
		return 0, fmt.Errorf("%w: %w", ErrLost, &AllocateError{Attempts: a.failures})
	}
	if err := a.reachable(to); err != nil {
		return 0, &PeerError{to, err}
	}
	if err := a.failedLately(now, to); err != nil {
		return 0, &PeerError{to, err}
	}
	begun := 0
	for _, c := range a.conns {
		if c.incoming || c.state == connOpen {
			continue
		}
		if begun++; c.peer != to {
			continue
		}
		// RFC 6062 section 4.3: two requests for one peer MUST NOT be sent at once.
		if !c.abandoned {
			return 0, &PeerError{to, ErrConnectionExists}
		}
		c.abandoned = false
		return c.id, nil
	}
	if begun >= maxConnects || len(a.unreached) >= maxPeers {
		return 0, &PeerError{to, ErrQueueFull}
	}
	c := a.newConn(to)
	c.ask(now)
	return c.id, nil
}

func (a *allocation) newConn(peer netip.AddrPort) *conn {
	a.m.nextConn++
	c := &conn{a: a, id: a.m.nextConn, peer: peer}
	c.connect.Fire = func(now time.Time) {
		c.failed(now, c.problem("bind", fmt.Errorf("%w: no connection within %v", ErrNoAnswer, connectTimeout)))
	}
	a.m.conns[c.id] = c
	a.conns = append(a.conns, c)
	return c
}

func (c *conn) problem(op string, err error) error {
	return &ServerError{Server: c.srv.Endpoint, Op: op, Err: err}
}

// failedLately says that the server could not connect to a peer a short while ago.
func (a *allocation) failedLately(now time.Time, peer netip.AddrPort) error {
	for len(a.unreached) > 0 && !now.Before(a.unreached[0].until) {
		a.unreached = a.unreached[1:] // all are held for the same time
	}
	for _, u := range a.unreached {
		if u.peer == peer {
			return u.err
		}
	}
	return nil
}

// ask sends the Connect request (RFC 6062 section 4.3), once there is an allocation.
func (c *conn) ask(now time.Time) {
	a := c.a
	if a.link == nil || !a.state.Usable() {
		return
	}
	if err := a.reachable(c.peer); err != nil {
		c.failed(now, err) // the addresses have become others meanwhile
		return
	}
	// The RFC asks for no permission here, but servers may. On the same stream it is
	// before us, so that it costs no round trip.
	if p, err := a.permitFor(c.peer.Addr()); err == nil {
		if p.used = true; p.state == permitNone {
			a.permit(now, p)
		}
	}
	c.state, c.srv = connAsked, a.link.srv
	r := &request{link: a.link, op: "connect", method: wire.Connect, limit: 1, every: connectWait}
	r.add = func(b *wire.Builder) { b.AddXORAddress(wire.AttrXORPeerAddress, c.peer) }
	r.done = func(now time.Time, msg *wire.Message, err error) {
		c.request = nil
		c.answered(now, msg, err)
	}
	c.request = r
	r.start(now)
	a.wrote(now)
}

func (c *conn) answered(now time.Time, msg *wire.Message, err error) {
	a := c.a
	switch code := codeOf(err); code {
	case wire.CodeAllocationMismatch, wire.CodeWrongCredentials:
		a.lose(now, err, true)
	case wire.CodeConnectionFailed:
		until := now.Add(holdUnreachable)
		var s *ServerError
		if errors.As(err, &s) {
			s.RetryAfter = until
		}
		held := &ServerError{Server: c.srv.Endpoint, Op: "connect", RetryAfter: until, Err: fmt.Errorf("%w: %w", ErrHeld, err)}
		a.unreached = append(a.unreached, unreached{c.peer, until, held})
	}
	if err != nil {
		c.failed(now, err)
		return
	}
	number, ok := msg.Uint32(wire.AttrConnectionID)
	if !ok {
		c.failed(now, c.problem("connect", errNoNumber))
		return
	}
	c.open(now, number)
}

// open opens the data connection: to where the control connection goes, from another
// port of ours (RFC 6062 section 4.3), which the system chooses.
func (c *conn) open(now time.Time, number uint32) {
	c.state, c.number, c.srv = connBinding, number, c.a.link.srv
	l := c.a.m.newLink(c.a, c.srv)
	c.link, l.conn = l, c
	l.as = c.a.link.as // the same credentials, RFC 6062 section 4.3
	l.onUp = c.bind
	l.onDown = func(now time.Time, err error) { c.failed(now, c.problem("bind", err)) }
	c.a.m.timers.Set(&c.connect, now.Add(connectTimeout))
}

// bind sends the ConnectionBind request, which is all that is ever sent on a data
// connection but data.
func (c *conn) bind(now time.Time) {
	c.a.m.timers.Stop(&c.connect)
	r := &request{link: c.link, op: "bind", method: wire.ConnectionBind}
	r.add = func(b *wire.Builder) { b.AddUint32(wire.AttrConnectionID, c.number) }
	r.done = func(now time.Time, _ *wire.Message, err error) {
		if err != nil {
			c.failed(now, err)
			return
		}
		c.bound(now)
	}
	r.start(now)
}

// bound takes in that the connection stands. One that nobody waits for is closed, so
// that the server does not keep it.
func (c *conn) bound(now time.Time) {
	c.state = connOpen
	c.link.onDown = nil
	if c.abandoned {
		c.over()
		return
	}
	c.a.tell(now, Event{Kind: EventConnected, State: c.a.state, Peer: c.peer, Conn: c.id, Incoming: c.incoming, stream: c.link.id})
	c.a.takeAttempts(now)
}

// failed ends a connection that does not stand yet, and says so.
func (c *conn) failed(now time.Time, err error) {
	if c.state == connOver {
		return
	}
	c.over()
	if !c.abandoned {
		c.a.tell(now, Event{Kind: EventConnEnded, State: c.a.state, Peer: c.peer, Conn: c.id, Incoming: c.incoming, Err: &PeerError{c.peer, err}})
	}
	c.a.takeAttempts(now)
}

// over forgets the connection and closes what is left of it.
func (c *conn) over() {
	c.state = connOver
	c.a.m.timers.Stop(&c.connect)
	if c.request != nil {
		c.request.end()
	}
	if c.link != nil {
		c.link.onDown = nil
		c.link.drop()
	}
	delete(c.a.m.conns, c.id)
	c.a.conns = slices.DeleteFunc(c.a.conns, func(d *conn) bool { return d == c })
}

// received hands over data.
func (c *conn) received(now time.Time, b []byte) {
	c.a.tell(now, Event{Kind: EventConnData, State: c.a.state, Peer: c.peer, Conn: c.id, Incoming: c.incoming, Data: slices.Clone(b)})
}

// ended takes in that the peer, or the server, has closed a connection that stood; err is
// nil if it did so in order.
func (c *conn) ended(now time.Time, err error) {
	c.over()
	if err != nil {
		err = &PeerError{c.peer, err}
	}
	c.a.tell(now, Event{Kind: EventConnEnded, State: c.a.state, Peer: c.peer, Conn: c.id, Incoming: c.incoming, Err: err})
}

// connecting reports whether the server tries to reach a peer. Its answer may take its
// time, but then it shall say now and then that it lives.
func (a *allocation) connecting() bool {
	return slices.ContainsFunc(a.conns, func(c *conn) bool { return c.state == connAsked })
}

// connectAgain asks for what waited for an allocation.
func (a *allocation) connectAgain(now time.Time) {
	for _, c := range slices.Clone(a.conns) {
		if c.state == connWaiting && !c.incoming {
			c.ask(now)
		}
	}
}

// dropConns ends the connections that do not stand yet, because of err, and returns how
// many stood: those are the server's to close with the allocation (RFC 6062 section
// 5.5). Those that wait for an allocation are ended only if waiting.
func (a *allocation) dropConns(now time.Time, err error, waiting bool) (stood int) {
	for _, c := range slices.Clone(a.conns) {
		if c.incoming && c.state == connWaiting {
			c.over() // first, or it would get its turn
		}
	}
	for _, c := range slices.Clone(a.conns) {
		switch {
		case c.state != connOpen && (waiting || c.state != connWaiting):
			c.failed(now, err)
		case c.state == connOpen && !c.lost:
			c.lost = true
			stood++
		}
	}
	return stood
}

// endConns ends every connection of an allocation that is closed.
func (a *allocation) endConns(now time.Time) {
	a.dropConns(now, ErrClosed, true)
	for _, c := range slices.Clone(a.conns) {
		if c.link == nil {
			c.over() // the runner's
		} else {
			c.ended(now, ErrClosed)
		}
	}
}

// WriteConn sends data on a connection that stands. The machine copies it. The error is
// ErrClosed.
func (m *Machine) WriteConn(_ time.Time, id ConnID, data []byte) error {
	m.enter()
	c := m.conns[id]
	if c == nil || c.state != connOpen || c.link == nil {
		return ErrClosed
	}
	c.link.control(data)
	return nil
}

// CloseConn closes a connection, after what was written to it, or gives it up if it does
// not stand yet. Nothing more is told of it. One that the server is at work for is
// closed as soon as it stands, unless Connect asks for it again before.
func (m *Machine) CloseConn(_ time.Time, id ConnID) {
	m.enter()
	switch c := m.conns[id]; {
	case c == nil:
	case c.state == connWaiting, c.state == connOpen:
		c.over()
	default:
		c.abandoned = true
	}
}

// DetachConn leaves the stream of a connection that stands to the runner, which has
// taken it: the machine does not touch it any more, and only remembers the connection
// until CloseConn.
func (m *Machine) DetachConn(id ConnID) {
	if c := m.conns[id]; c != nil && c.state == connOpen && c.link != nil {
		c.link.gone = true
		delete(m.streams, c.link.id)
		c.link = nil
	}
}
