package turnclient_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// tcpServer is a scripted server of RFC 6062. Methods that it has no answer for are
// answered as they should be; Connect gives the connection IDs 1, 2, 3 and so on.
type tcpServer struct {
	answers map[wire.Method]func(l *lab, m *wire.Message) [][]byte
	ids     uint32
	control machine.StreamID // that the last Allocate came on
}

func (s *tcpServer) script() script {
	return func(l *lab, from netip.AddrPort, m *wire.Message) [][]byte {
		if f := s.answers[m.Method()]; f != nil {
			return f(l, m)
		}
		if !signed(m) {
			return one(challengeTo(m, wire.CodeUnauthenticated, nonce))
		}
		return one(answerTo(m, 0, md5Key, func(b *wire.Builder) {
			switch m.Method() {
			case wire.Allocate:
				s.control = machine.StreamID(from.Port() - clientOf(0).Port())
				granted(b)
			case wire.Connect:
				s.ids++
				b.AddUint32(wire.AttrConnectionID, s.ids)
			}
		}))
	}
}

// attempt sends a ConnectionAttempt indication.
func (s *tcpServer) attempt(l *lab, peer netip.AddrPort, number uint32) {
	var b wire.Builder
	b.Reset(wire.MessageType{Method: wire.ConnectionAttempt, Class: wire.Indication}, wire.TransactionID{1})
	b.AddXORAddress(wire.AttrXORPeerAddress, peer)
	b.AddUint32(wire.AttrConnectionID, number)
	l.notice(machine.Notice{Kind: machine.Received, Stream: s.control, Data: b.Bytes()})
}

var overTCP = []turnclient.Endpoint{{Addr: serverAddr, Transport: turnclient.TCP}}

// tcpLab is a lab with a TCP allocation that stands.
func tcpLab(t *testing.T, cfg turnclient.MachineConfig) (*lab, *tcpServer, turnclient.AllocationID) {
	t.Helper()
	cfg.Credentials = creds
	if cfg.Servers == nil {
		cfg.Servers = overTCP
	}
	l := newLab(t, cfg)
	s := &tcpServer{answers: make(map[wire.Method]func(*lab, *wire.Message) [][]byte)}
	l.hosts[serverAddr] = s.script()
	id := l.allocateTCP()
	if !l.runUntil(time.Minute, func() bool { return l.m.State(id).Usable() }) {
		t.Fatalf("no allocation: %v", l.failures())
	}
	return l, s, id
}

func (l *lab) allocateTCP() (id turnclient.AllocationID) {
	l.t.Helper()
	l.do(func(now time.Time) {
		var err error
		if id, err = l.m.AllocateTCP(now); err != nil {
			l.t.Fatal(err)
		}
	})
	return id
}

func (l *lab) connect(id turnclient.AllocationID, to netip.AddrPort) (c turnclient.ConnID, err error) {
	l.do(func(now time.Time) { c, err = l.m.Connect(now, id, to) })
	return c, err
}

func (l *lab) mustConnect(id turnclient.AllocationID, to netip.AddrPort) turnclient.ConnID {
	l.t.Helper()
	c, err := l.connect(id, to)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// permit makes a permission that stands, and listens.
func (l *lab) listen(id turnclient.AllocationID, ip netip.Addr) {
	l.t.Helper()
	l.do(func(now time.Time) {
		if err := errors.Join(l.m.Permit(now, id, ip), l.m.Listen(now, id)); err != nil {
			l.t.Fatal(err)
		}
	})
	l.run(time.Second)
}

func (l *lab) closeConn(c turnclient.ConnID) {
	l.do(func(now time.Time) { l.m.CloseConn(now, c) })
}

// ends says of each connection whether it came to stand (nil), or why not.
func (l *lab) ends() map[turnclient.ConnID]error {
	all := make(map[turnclient.ConnID]error)
	for _, e := range l.events {
		if e.Kind == turnclient.EventConnected || e.Kind == turnclient.EventConnEnded {
			all[e.Conn] = e.Err
		}
	}
	return all
}

// connData is all that came on a connection.
func (l *lab) connData(c turnclient.ConnID) (data string) {
	for _, e := range l.all(turnclient.EventConnData) {
		if e.Conn == c {
			data += string(e.Data)
		}
	}
	return data
}

// Section 4.1: TCP allocations cannot be had over UDP. It is an error before anything is
// sent; where there are other ways to a server, those alone are used.
func TestTCPAllocationNeedsAStream(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: serverAddr}, {Addr: otherAddr, Transport: turnclient.DTLS}}})
	l.do(func(now time.Time) {
		_, err := l.m.AllocateTCP(now)
		var bad *turnclient.ConfigError
		if !errors.As(err, &bad) || bad.Field != "Servers" || !strings.Contains(bad.Reason, "transport=tcp") {
			t.Errorf("%v", err)
		}
	})
	l.run(time.Minute)
	if len(l.sent)+len(l.dials)+len(l.sockets) != 0 {
		t.Errorf("%d messages, %d dials, %d sockets", len(l.sent), len(l.dials), len(l.sockets))
	}

	l, _, _ = tcpLab(t, turnclient.MachineConfig{Servers: []turnclient.Endpoint{{Addr: otherAddr}, overTCP[0]}})
	l.run(10 * time.Second)
	for _, s := range l.sent {
		if s.to != serverAddr {
			t.Errorf("%v was asked over UDP", s.to)
		}
	}
}

// Section 4.1: what the Allocate request says, and what it must not, whatever is
// configured for datagrams.
func TestTCPAllocateRequest(t *testing.T) {
	l, _, _ := tcpLab(t, turnclient.MachineConfig{DontFragment: true, Mobility: true, Lifetime: time.Hour})
	asked := l.requests(wire.Allocate)
	for _, r := range asked {
		protocol, _ := r.msg().FirstByte(wire.AttrRequestedTransport)
		lifetime, _ := r.msg().Lifetime()
		if protocol != 6 || lifetime != 3600 {
			t.Errorf("protocol %d, lifetime %d", protocol, lifetime)
		}
		for _, not := range []wire.AttrType{wire.AttrDontFragment, wire.AttrEvenPort, wire.AttrReservationToken, wire.AttrMobilityTicket} {
			if has(r, not) {
				t.Errorf("it has %v", not)
			}
		}
	}
	if len(asked) != 2 {
		t.Errorf("%d requests", len(asked))
	}
}

// Section 4.2: Refresh goes over the control connection, for as long as the allocation
// is wanted (4.6).
func TestTCPAllocationIsRefreshed(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	c := l.mustConnect(id, peerA)
	l.run(time.Hour)
	refreshes := l.requests(wire.Refresh)
	for _, r := range refreshes {
		if r.stream != s.control {
			t.Errorf("at %v on stream %d", r.at, r.stream)
		}
	}
	if n := len(refreshes); n < 6 || l.m.State(id) == turnclient.Closed || l.ends()[c] != nil {
		t.Errorf("%d refreshes in an hour, state %v", n, l.m.State(id))
	}
}

// Section 4.3: Connect on the control connection, then a new connection to the same
// address of the server, by the same transport, on which ConnectionBind is all that is
// sent; the same credentials on both.
func TestConnectOpensADataConnection(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	c := l.mustConnect(id, peerA)
	l.run(time.Second)
	if e := l.last(turnclient.EventConnected); e.Conn != c || e.Peer != peerA || e.Incoming || e.Allocation != id {
		t.Errorf("%+v", e)
	}
	asked := l.requests(wire.Connect)
	if len(asked) != 1 || asked[0].stream != s.control {
		t.Fatalf("%d Connect requests", len(asked))
	}
	if peer, _ := asked[0].msg().XORPeerAddress(); peer != peerA || asked[0].msg().CheckIntegrity(md5Key) != nil {
		t.Errorf("Connect to %v", peer)
	}
	if n := len(l.dials); n != 2 || l.dials[1].Remote != l.dials[0].Remote || l.dials[1].Stream == l.dials[0].Stream || l.dials[1].Local.Port() != 0 {
		t.Fatalf("dialled %+v", l.dials)
	}
	binds := l.requests(wire.ConnectionBind)
	if len(binds) != 1 || binds[0].stream != l.dials[1].Stream || binds[0].msg().CheckIntegrity(md5Key) != nil {
		t.Fatalf("%d ConnectionBind requests", len(binds))
	}
	if number, _ := binds[0].msg().Uint32(wire.AttrConnectionID); number != 1 {
		t.Errorf("CONNECTION-ID %d, want the server's", number)
	}
	// A permission comes along, in case the server wants one, and before it.
	permits := l.requests(wire.CreatePermission)
	if len(permits) != 1 || permits[0].at != asked[0].at {
		t.Errorf("%d CreatePermission requests, %v and %v", len(permits), times(permits), times(asked))
	}
	l.do(func(now time.Time) {
		if err := l.m.WriteConn(now, c, []byte("as it is")); err != nil {
			t.Error(err)
		}
	})
	if last := l.sent[len(l.sent)-1]; last.stream != binds[0].stream || string(last.raw) != "as it is" {
		t.Errorf("written: %q on stream %d", last.raw, last.stream)
	}
	// Nothing else is ever sent there, least of all a keepalive.
	l.run(10 * time.Minute)
	for _, s := range l.sent {
		if s.stream == binds[0].stream && s.at > binds[0].at && string(s.raw) != "as it is" {
			t.Errorf("at %v %x on the data connection", s.at, s.raw)
		}
	}
	l.closeConn(c)
	if l.streams[binds[0].stream].IsValid() || len(l.all(turnclient.EventConnEnded)) != 0 {
		t.Error("it is not closed, or told to be")
	}
}

// While the server takes its time to answer the ConnectionBind, nothing is sent either:
// once it has taken the request, all that follows is data.
func TestNothingBehindTheBind(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{Keepalive: time.Second})
	s.answers[wire.ConnectionBind] = func(*lab, *wire.Message) [][]byte { return nil }
	c := l.mustConnect(id, peerA)
	l.run(30 * time.Second)
	on := l.requests(wire.ConnectionBind)[0].stream
	n := 0
	for _, s := range l.sent {
		if s.stream == on {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d messages on the data connection", n)
	}
	l.run(10 * time.Second) // RFC 8489 section 6.2.2: 39.5 s
	if err := l.ends()[c]; !errors.Is(err, turnclient.ErrNoAnswer) || l.streams[on].IsValid() || !strings.Contains(err.Error(), "bind at") {
		t.Errorf("%v", err)
	}
}

// Section 4.3: Connect requests for one peer are never under way together; for several
// they are.
func TestNeverTwoConnectsToOnePeer(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.Connect] = func(*lab, *wire.Message) [][]byte { return nil }
	l.mustConnect(id, peerA)
	l.mustConnect(id, netip.AddrPortFrom(peerA.Addr(), 1001)) // another port is another peer
	l.mustConnect(id, peerB)
	for range 3 {
		_, err := l.connect(id, peerA)
		var p *turnclient.PeerError
		if !errors.Is(err, turnclient.ErrConnectionExists) || !errors.As(err, &p) || p.Peer != peerA {
			t.Errorf("%v", err)
		}
		l.run(time.Second)
	}
	if n := len(l.requests(wire.Connect)); n != 3 {
		t.Errorf("%d Connect requests", n)
	}
}

// A Connect that was given up cannot be taken back. The next one for the peer goes on with
// it; else what comes of it is closed, so that the server need not keep it for 30 s.
func TestAbandonedConnect(t *testing.T) {
	for _, again := range []bool{true, false} {
		l, _, id := tcpLab(t, turnclient.MachineConfig{})
		c := l.mustConnect(id, peerA)
		l.closeConn(c)
		if again {
			if d := l.mustConnect(id, peerA); d != c {
				t.Errorf("connection %d, want %d again", d, c)
			}
		}
		l.run(time.Second)
		if n := len(l.requests(wire.Connect)); n != 1 {
			t.Errorf("%d Connect requests", n)
		}
		binds := l.requests(wire.ConnectionBind)
		if n := len(l.all(turnclient.EventConnected)); len(binds) != 1 || again != (n == 1) || again != l.streams[binds[0].stream].IsValid() {
			t.Errorf("again %v: %d connections, %d binds", again, n, len(binds))
		}
		if n := len(l.all(turnclient.EventConnEnded)); n != 0 {
			t.Errorf("again %v: %d ends told", again, n)
		}
		l.mustConnect(id, peerB)
		l.run(time.Second)
	}
}

// Section 4.3: after a 447 the same peer is left alone for 10 s, others are not. The error
// says until when.
func TestConnectHoldsAfterAFailure(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.Connect] = func(_ *lab, m *wire.Message) [][]byte {
		return one(answerTo(m, wire.CodeConnectionFailed, md5Key, nil))
	}
	c := l.mustConnect(id, peerA)
	l.run(time.Second)
	err := l.ends()[c]
	var p *turnclient.PeerError
	var e *turnclient.ServerError
	if !errors.As(err, &p) || !errors.As(err, &e) || e.Code != 447 || e.Op != "connect" || errors.Is(err, turnclient.ErrNotPermitted) || errors.Is(err, turnclient.ErrConnectionExists) {
		t.Fatalf("%v", err)
	}
	failed := l.last(turnclient.EventConnEnded).At
	if e.RetryAfter != failed.Add(10*time.Second) {
		t.Errorf("retry after %v", e.RetryAfter.Sub(failed))
	}
	for l.now.Before(e.RetryAfter) {
		if _, err := l.connect(id, peerA); !errors.Is(err, turnclient.ErrHeld) || !errors.As(err, &e) || e.RetryAfter != failed.Add(10*time.Second) {
			t.Fatalf("%v after %v", err, l.now.Sub(failed))
		}
		l.run(min(time.Second, e.RetryAfter.Sub(l.now)))
	}
	l.mustConnect(id, peerB)
	l.mustConnect(id, peerA)
	l.run(0)
	asked := l.requests(wire.Connect)
	if len(asked) != 3 || asked[2].at-asked[0].at < 10*time.Second {
		t.Errorf("Connect requests at %v", times(asked))
	}
}

// Sections 5.2 and 5.4: what a server refuses. One peer that is refused changes nothing
// for another, whose connection stands.
func TestConnectRefusals(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	other := l.mustConnect(id, peerB)
	l.run(time.Second)
	for i, c := range []struct {
		method wire.Method
		code   int
		is     error
		not    error
	}{
		{wire.Connect, wire.CodeConnectionExists, turnclient.ErrConnectionExists, turnclient.ErrNotPermitted},
		{wire.Connect, wire.CodeForbidden, turnclient.ErrNotPermitted, turnclient.ErrConnectionExists},
		{wire.Connect, wire.CodeServerError, nil, turnclient.ErrConnectionExists},
		{wire.ConnectionBind, wire.CodeBadRequest, nil, turnclient.ErrConnectionExists},
		{wire.ConnectionBind, wire.CodeAllocationMismatch, nil, turnclient.ErrLost},
		{wire.ConnectionBind, wire.CodeTryAlternate, nil, turnclient.ErrLost},
	} {
		clear(s.answers)
		s.answers[c.method] = func(_ *lab, m *wire.Message) [][]byte {
			return one(answerTo(m, c.code, md5Key, nil))
		}
		peer := netip.AddrPortFrom(peerA.Addr(), uint16(1+i))
		conn := l.mustConnect(id, peer)
		l.run(time.Second)
		err, told := l.ends()[conn]
		var e *turnclient.ServerError
		if !told || !errors.As(err, &e) || e.Code != c.code || c.is != nil && !errors.Is(err, c.is) || errors.Is(err, c.not) {
			t.Errorf("%v %d: %v", c.method, c.code, err)
		}
	}
	clear(s.answers)
	s.answers[wire.Connect] = func(_ *lab, m *wire.Message) [][]byte { return one(answerTo(m, 0, md5Key, nil)) }
	conn := l.mustConnect(id, peerA)
	l.run(time.Second)
	if err := l.ends()[conn]; err == nil || !strings.Contains(err.Error(), "connection ID") {
		t.Errorf("an answer without CONNECTION-ID: %v", err)
	}
	if n := len(l.streams); n != 2 {
		t.Errorf("%d streams are open, want the control connection and one", n)
	}
	if err, told := l.ends()[other]; !told || err != nil || !l.m.State(id).Usable() {
		t.Errorf("the other: %v; state %v", err, l.m.State(id))
	}
}
