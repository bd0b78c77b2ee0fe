package turnclient

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// link is one path to a server: a socket or a stream of our own, and with that a
// 5-tuple, which carries at most one allocation.
type link struct {
	m      *Machine
	a      *allocation
	srv    *server
	dialed bool  // it is a stream of the runner's, else a socket
	stream bool  // it carries bytes in order: messages are cut from them and not repeated
	conn   *conn // it is the data connection of; else nil
	socket machine.SocketID
	id     machine.StreamID
	up     bool
	gone   bool
	local  netip.AddrPort

	// onUp is told once that the link can be used, onDown that it cannot any more.
	onUp   func(now time.Time)
	onDown func(now time.Time, err error)

	requests   []*request
	rtt        rtt
	congestion congestion
	nonce      []byte
	as         *login // who it belongs to, once something was signed; a pointer is not printed
	buf        []byte // of a stream: the start of a message
	keepalive  machine.Timer
	sent       bool    // something, since the keepalive timer was last looked at
	asked      bool    // a request began, since then
	odd        []error // what was told of already
	stun       bool    // a STUN message came
}

// linkKey is by which a shell finds what it has made of a link: a stream by its number, a
// socket by the address that it is bound to.
type linkKey struct {
	local  netip.AddrPort
	stream machine.StreamID
}

func (l *link) key() linkKey {
	if l.dialed {
		return linkKey{stream: l.id}
	}
	return linkKey{local: l.local}
}

// dials returns the server that a stream leads to, for how to connect is up to it; that of
// one that the machine has closed is the zero value.
func (m *Machine) dials(id machine.StreamID) Endpoint {
	if l := m.streams[id]; l != nil {
		return l.srv.Endpoint
	}
	return Endpoint{}
}

// suspect takes in that an ICMP error came for what was sent on a stream.
func (m *Machine) suspect(now time.Time, id machine.StreamID, err error) {
	m.enter()
	if l := m.streams[id]; l != nil {
		l.unreachable(now, err)
	}
}

// newLink opens a path to srv.
func (m *Machine) newLink(a *allocation, srv *server) *link {
	l := &link{m: m, a: a, srv: srv, dialed: srv.Transport != UDP, stream: srv.Transport.stream()}
	l.congestion.link = l
	l.keepalive.Fire = l.keepAlive
	if l.dialed {
		l.id = m.nextStream
		m.nextStream++
		m.streams[l.id] = l
		m.out.Push(machine.Transmit{Op: machine.Dial, Stream: l.id, Remote: srv.Addr})
		return l
	}
	l.socket = m.nextSocket
	m.nextSocket++
	m.sockets[l.socket] = l
	local := netip.IPv4Unspecified()
	if srv.Addr.Addr().Is6() {
		local = netip.IPv6Unspecified()
	}
	m.out.Push(machine.Transmit{Op: machine.OpenSocket, Socket: l.socket, Local: netip.AddrPortFrom(local, 0)})
	return l
}

// opened takes in that the link can be used.
func (l *link) opened(now time.Time, local netip.AddrPort) {
	if l.up {
		return
	}
	l.up, l.local = true, local
	if l.conn == nil { // on a data connection it would be data
		l.m.timers.Set(&l.keepalive, now.Add(l.interval()/2))
	}
	if l.onUp != nil {
		l.onUp(now)
	}
}

// unreachable takes in an ICMP error for what was sent on the link.
func (l *link) unreachable(now time.Time, err error) {
	if l.a.link == l {
		l.a.heartbeat(now) // anybody can forge it: it is a reason to ask, no more
	} else if i := slices.IndexFunc(l.a.attempts, func(t *attempt) bool { return t.link == l }); i >= 0 {
		l.a.attempts[i].unreachable(now, err)
	}
}

// down takes in that the link broke, and fails what waits for answers on it.
func (l *link) down(now time.Time, err error) {
	if l.gone {
		return
	}
	l.close(false)
	if l.onDown != nil {
		l.onDown(now, err)
	}
	for _, r := range slices.Clone(l.requests) { // those that onDown did not end
		r.fail(now, 0, "", err)
	}
}

// close gives the link up. orderly lets a stream send what was written.
func (l *link) close(orderly bool) {
	if l.gone {
		return
	}
	l.gone = true
	l.m.timers.Stop(&l.keepalive)
	for _, r := range l.requests {
		l.m.timers.Stop(&r.timer)
	}
	switch {
	case !l.dialed:
		delete(l.m.sockets, l.socket)
		l.m.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: l.socket})
	default:
		delete(l.m.streams, l.id)
		op := machine.Reset
		if orderly {
			op = machine.Close
		}
		l.m.out.Push(machine.Transmit{Op: op, Stream: l.id})
	}
}

// drop closes the link and forgets what was asked on it.
func (l *link) drop() {
	for _, r := range slices.Clone(l.requests) {
		r.end()
	}
	l.close(true)
}

// control sends a message of ours to the server.
func (l *link) control(b []byte) {
	if l.gone || !l.up {
		return
	}
	l.sent = true
	l.push(l.m.keep(b))
}

// push hands a whole message to the runner.
func (l *link) push(b []byte) {
	if l.dialed {
		l.m.out.Push(machine.Transmit{Op: machine.Write, Stream: l.id, Data: b})
		return
	}
	l.m.out.Push(machine.Transmit{Op: machine.Send, Socket: l.socket, Remote: l.srv.Addr, Data: b})
}

// interval is the longest time without anything sent to the server.
func (l *link) interval() time.Duration {
	every := l.m.cfg.Keepalive
	if mapping := l.m.cfg.MappingLifetime; mapping > 0 && !l.stream && every != noKeepalive {
		every = min(every, max(mapping/3, leastKeepalive))
	}
	return every
}

// SetMappingLifetime sets MachineConfig.MappingLifetime once it has been measured; 0 or
// less: it is not known.
func (m *Machine) SetMappingLifetime(now time.Time, d time.Duration) {
	m.enter()
	m.cfg.MappingLifetime = d
	for _, a := range m.order { // links without an allocation look by themselves
		if l := a.link; l != nil && l.keepalive.IsSet() {
			if at := now.Add(l.interval() / 2); at.Before(l.keepalive.At()) {
				m.timers.Set(&l.keepalive, at)
			}
		}
	}
}

// keepAlive sends a Binding indication when nothing else was sent for a while. It is
// never answered: it keeps the NAT's mapping and proves nothing. Looking twice in each
// interval makes sure that no gap is longer.
//
// On a congested path a request takes its place, if there was no other: only what became
// of requests can tell that the path is clear again.
func (l *link) keepAlive(now time.Time) {
	l.m.timers.Set(&l.keepalive, now.Add(l.interval()/2))
	asked := l.asked
	l.asked = false
	if l.congestion.level > 0 && !asked && l.a.link == l && l.a.state == Congested {
		l.a.ask(now, 0, 0)
	}
	if u := l.m.cfg.usage; u != nil && l.a.link == l && u.Sent(l.a.id) {
		l.sent = true
	}
	if !l.sent {
		if id, err := wire.NewTransactionID(l.m.secrets); err == nil {
			l.m.b.Reset(wire.BindingIndication, id)
			l.control(l.m.b.Bytes())
		}
	}
	l.sent = false
}

// strange drops a message that the server should not have sent. Of each kind the first is
// told: on the way there is always one too late, and anybody may forge them.
func (l *link) strange(now time.Time, kind error, what string) {
	l.m.stats.dropped++
	if slices.Contains(l.odd, kind) {
		return
	}
	l.odd = append(l.odd, kind)
	err := &ServerError{Server: l.srv.Endpoint, Op: "data", Err: fmt.Errorf("%w: %s", kind, what)}
	l.a.tell(now, Event{Kind: EventServer, State: l.a.state, Server: l.srv.Endpoint, Err: err})
}

// received takes in bytes of a stream, cut anywhere, or a whole message.
func (l *link) received(now time.Time, b []byte) {
	if !l.stream {
		l.message(now, b)
		return
	}
	if len(l.buf) > 0 {
		l.buf = append(l.buf, b...)
		b = l.buf
	}
	for !l.gone && !l.raw() {
		if !l.stun && len(b) > 0 && b[0] >= 4 {
			l.down(now, ErrNotTURN) // nothing else can come first, whatever length it claims
			return
		}
		size, err := wire.StreamFrame(b)
		if err != nil {
			l.down(now, ErrNotTURN)
			return
		}
		if size == 0 || size > len(b) {
			break
		}
		l.message(now, b[:size])
		b = b[size:]
	}
	if l.raw() { // RFC 6062 section 4.5: what follows is as the peer sent it
		l.buf = nil
		if len(b) > 0 {
			l.conn.received(now, b)
		}
		return
	}
	l.buf = append(l.buf[:0], b...) // at most one message: 64 KiB
}

// raw reports whether the link carries a peer's bytes, and no messages any more.
func (l *link) raw() bool { return l.conn != nil && l.conn.state == connOpen }

// message takes in one message from the server.
func (l *link) message(now time.Time, b []byte) {
	if len(b) > 0 && b[0] >= 4 {
		l.a.channelData(now, l, b)
		return
	}
	msg := &l.m.msg
	err := msg.Decode(b)
	if err == nil && msg.Has(wire.AttrFingerprint) {
		err = msg.CheckFingerprint()
	}
	if err != nil {
		l.strange(now, ErrNotTURN, fmt.Sprintf("%d bytes: %v", len(b), err))
		return
	}
	l.stun = true
	switch {
	case msg.IsResponse():
		id := msg.TransactionID()
		i := slices.IndexFunc(l.requests, func(r *request) bool { return r.id == id && r.method == msg.Method() && r.sends > 0 })
		if i < 0 {
			l.m.stats.dropped++
			return
		}
		l.requests[i].answer(now, msg)
	case msg.Class() == wire.Indication && msg.Method() == wire.ConnectionAttempt:
		l.a.attempted(now, l, msg)
	case msg.Class() == wire.Indication && msg.Method() == wire.Data:
		l.a.dataIndication(now, l, msg)
	default:
		l.m.stats.dropped++
	}
}

// heard notes that the server lives.
func (l *link) heard(now time.Time) {
	if l.a.link == l {
		l.a.heard, l.a.heardAt = true, now
	}
}
