package turntest

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Times of RFC 6062 sections 5.2 to 5.4.
const (
	connectTimeout = 30 * time.Second // "at least"
	bindTimeout    = 30 * time.Second
)

// tcp is what the server has of RFC 6062.
type tcp struct {
	data   map[machine.StreamID]*dataConn // by the peer's stream and by the client's
	conns  []*dataConn                    // as they were begun
	dialed machine.StreamID

	// ConnectionsMade counts the connections to and from peers that came to stand.
	ConnectionsMade int
}

// dataConn is a connection of a peer and, once it is bound, that of the client.
type dataConn struct {
	a        *allocation
	id       uint32
	peer     netip.AddrPort
	stream   machine.StreamID // the peer's
	client   machine.StreamID // 0: it is not bound
	stands   bool             // with the peer
	ended    bool             // the peer has closed it
	deadline time.Time        // for the peer to answer, or for the client to bind; zero: none
	connect  *response        // to the Connect request that is waited for
	request  []byte
	buffered []byte
}

// connections returns how many connections stand with peers.
func (s *Server) connections() (all []*dataConn) {
	for _, c := range s.conns {
		if c.stands && !c.ended {
			all = append(all, c)
		}
	}
	return all
}

// Peers returns the peers that connections stand with, as they were begun.
func (s *Server) Peers() (all []netip.AddrPort) {
	for _, c := range s.connections() {
		all = append(all, c.peer)
	}
	return all
}

// allocateTCP makes a TCP allocation (RFC 6062 section 5.1): it takes one of the
// addresses that the runner listens at.
func (s *Server) allocateTCP(now time.Time, m *wire.Message, r *response) {
	var addr netip.AddrPort
	for _, free := range s.RelayTCP {
		if s.owner(free) == nil {
			addr = free
			break
		}
	}
	switch {
	case !r.to.isStream() || m.Has(wire.AttrDontFragment) || m.Has(wire.AttrEvenPort) || m.Has(wire.AttrReservationToken):
		s.fail(m, r, wire.CodeBadRequest)
		return
	case len(s.RelayTCP) == 0:
		s.fail(m, r, wire.CodeUnsupportedTransport)
		return
	case !addr.IsValid():
		s.fail(m, r, wire.CodeInsufficientCapacity)
		return
	}
	lifetime := s.lifetime(m)
	a := &allocation{client: r.to, user: r.user.name, expires: now.Add(lifetime), permits: make(map[netip.Addr]time.Time), tcp: true}
	a.relays = []*relay{{a: a, addr: addr}}
	s.allocs[r.to] = a
	s.Made++
	r.start(m, 0)
	s.b.AddXORAddress(wire.AttrXORRelayedAddress, addr)
	s.b.AddXORAddress(wire.AttrXORMappedAddress, r.to.remote)
	s.b.AddUint32(wire.AttrLifetime, uint32(lifetime/time.Second))
	r.send()
}

// owner returns the allocation that a relayed address of TCP belongs to, or nil.
func (s *Server) owner(addr netip.AddrPort) *allocation {
	for _, a := range s.allocs {
		if a.tcp && a.relays[0].addr == addr {
			return a
		}
	}
	return nil
}

func (s *Server) newConn(now time.Time, a *allocation, peer netip.AddrPort, stream machine.StreamID, wait time.Duration) *dataConn {
	id := s.id()
	c := &dataConn{a: a, id: binary.BigEndian.Uint32(id[:]), peer: peer, stream: stream, deadline: now.Add(wait)}
	s.conns = append(s.conns, c)
	s.data[stream] = c
	return c
}

// connect begins a connection to a peer (RFC 6062 section 5.2).
func (s *Server) connect(now time.Time, m *wire.Message, r *response, a *allocation) {
	peer, ok := m.XORPeerAddress()
	if !ok || peer.Port() == 0 || !a.tcp {
		s.fail(m, r, wire.CodeBadRequest)
		return
	}
	for _, c := range s.conns {
		if c.a == a && c.peer == peer && !c.ended {
			s.fail(m, r, wire.CodeConnectionExists)
			return
		}
	}
	if code := s.mayRelay(a, peer.Addr()); code != 0 {
		s.fail(m, r, code)
		return
	}
	s.dialed++
	c := s.newConn(now, a, peer, s.dialed, connectTimeout)
	c.connect, c.request = r, slices.Clone(m.Raw())
	s.out.Push(machine.Transmit{Op: machine.Dial, Stream: c.stream, Local: a.relays[0].addr, Remote: peer})
}

// connected answers the Connect request.
func (s *Server) connected(now time.Time, c *dataConn, code int) {
	r := c.connect
	c.connect = nil
	var m wire.Message
	if r == nil || m.Decode(c.request) != nil {
		return
	}
	if code != 0 {
		s.end(c)
		s.fail(&m, r, code)
		return
	}
	s.ConnectionsMade++
	c.stands, c.deadline = true, now.Add(bindTimeout)
	r.start(&m, 0)
	s.b.AddUint32(wire.AttrConnectionID, c.id)
	r.send()
}

// accepted takes in a connection of a peer (RFC 6062 section 5.3).
func (s *Server) accepted(now time.Time, n machine.Notice) {
	a := s.owner(n.Local)
	if a == nil || s.find(now, a.client) == nil || !a.permits[n.Remote.Addr()].After(now) {
		s.out.Push(machine.Transmit{Op: machine.Close, Stream: n.Stream})
		return
	}
	c := s.newConn(now, a, n.Remote, n.Stream, bindTimeout)
	c.stands = true
	s.ConnectionsMade++
	s.b.Reset(wire.MessageType{Method: wire.ConnectionAttempt, Class: wire.Indication}, s.id())
	s.b.AddXORAddress(wire.AttrXORPeerAddress, n.Remote)
	s.b.AddUint32(wire.AttrConnectionID, c.id)
	s.send(a.client, s.b.Bytes())
}

// bindConn makes the stream of a ConnectionBind request a data connection (section 5.4).
// What the peer has sent already follows the answer at once.
func (s *Server) bindConn(m *wire.Message, r *response) {
	id, ok := m.Uint32(wire.AttrConnectionID)
	i := slices.IndexFunc(s.conns, func(c *dataConn) bool { return c.id == id && c.stands && c.client == 0 })
	switch {
	case !ok || i < 0 || !r.to.isStream():
		s.fail(m, r, wire.CodeBadRequest)
		return
	case s.conns[i].a.user != r.user.name:
		s.fail(m, r, wire.CodeWrongCredentials)
		return
	}
	c := s.conns[i]
	c.client, c.deadline = r.to.stream, time.Time{}
	s.data[c.client] = c
	r.start(m, 0)
	r.send()
	s.out.Push(machine.Transmit{Op: machine.Write, Stream: c.client, Data: c.buffered})
	if c.buffered = nil; c.ended {
		s.end(c)
	}
}

// relay passes on what came on one of a connection's streams.
func (s *Server) relay(c *dataConn, from machine.StreamID, data []byte) {
	switch {
	case from == c.client:
		s.out.Push(machine.Transmit{Op: machine.Write, Stream: c.stream, Data: slices.Clone(data)})
	case c.client != 0:
		s.out.Push(machine.Transmit{Op: machine.Write, Stream: c.client, Data: slices.Clone(data)})
	default:
		c.buffered = append(c.buffered, data...)
	}
}

// closed takes in that one of a connection's streams was closed: so is the other (section
// 5.5). What is buffered for a client that has not bound yet is kept.
func (s *Server) closed(now time.Time, c *dataConn, which machine.StreamID) {
	switch {
	case c.connect != nil:
		s.connected(now, c, wire.CodeConnectionFailed)
	case which == c.stream && c.client == 0:
		c.ended = true
	default:
		s.end(c)
	}
}

// end closes a connection on both sides.
func (s *Server) end(c *dataConn) {
	s.conns = slices.DeleteFunc(s.conns, func(d *dataConn) bool { return d == c })
	for _, stream := range []machine.StreamID{c.stream, c.client} {
		if s.data[stream] == c {
			delete(s.data, stream)
			delete(s.streams, stream)
			s.out.Push(machine.Transmit{Op: machine.Close, Stream: stream})
		}
	}
}

// endAll closes every connection of an allocation; nil: of all.
func (s *Server) endAll(a *allocation) {
	for _, c := range slices.Clone(s.conns) {
		if a == nil || c.a == a {
			s.end(c)
		}
	}
}

// HandleTimeout ends what was waited for too long, and connections whose allocation has
// expired. What else has expired is found out when it is used.
func (s *Server) HandleTimeout(now time.Time) {
	for _, c := range slices.Clone(s.conns) {
		switch {
		case s.data[c.stream] != c: // it went with another
		case !now.Before(c.a.expires):
			s.drop(c.a)
		case c.deadline.IsZero() || now.Before(c.deadline):
		case c.connect != nil:
			s.connected(now, c, wire.CodeConnectionFailed)
		default:
			s.end(c)
		}
	}
}

// NextTimeout is when the first of these is due.
func (s *Server) NextTimeout() (next time.Time) {
	for _, c := range s.conns {
		next = machine.Earliest(next, c.deadline, c.a.expires)
	}
	return next
}
