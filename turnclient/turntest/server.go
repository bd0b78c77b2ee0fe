package turntest

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Config says what a Server does. It may be changed between calls of the Server.
type Config struct {
	// Relay and Relay6 are where relayed addresses are. Default for each: none.
	Relay, Relay6 netip.Addr
	// RelayTCP are relayed addresses of TCP (RFC 6062). The runner listens at them, and
	// dials from them, for the server. Default: none, so no TCP allocations.
	RelayTCP []netip.AddrPort
	// Realm and Users are who may use the server. Default: everybody.
	Realm string
	Users map[string]string
	// SHA256 makes the server announce password algorithms, in the order MD5, SHA-256.
	SHA256 bool
	// Anonymous makes it announce USERHASH.
	Anonymous bool
	// NonceLifetime is how long a nonce is good. Default an hour.
	NonceLifetime time.Duration
	// Lifetime is what is granted at the most and by default. Default 600 s.
	Lifetime time.Duration
	// Quota is how many allocations there may be. Default: any number.
	Quota int
	// Deny says which peers are refused with 403. Default: none.
	Deny func(netip.Addr) bool
	// DenyWithoutCode makes the server leave out the 403, as pion/turn does.
	DenyWithoutCode bool
	// Mobility makes the server give out tickets (RFC 8016).
	Mobility bool
	// NoDontFragment makes the server refuse DONT-FRAGMENT as unknown.
	NoDontFragment bool
	// Refuse names the error for each method that is refused altogether.
	Refuse map[wire.Method]int
	// Alternate is where 300 of Refuse sends clients.
	Alternate []netip.AddrPort
}

// Server is a TURN server: a machine.Machine that has no events. Its runner gives it
// the sockets that it listens on, all of them for clients, and takes streams for it; it
// opens sockets for relayed addresses itself.
type Server struct {
	Config
	secrets io.Reader

	allocs  map[client]*allocation
	former  map[client]*allocation // that have moved, and are in use where they were
	relays  map[machine.SocketID]*relay
	streams map[machine.StreamID][]byte // what has come of a message
	nonces  map[string]time.Time        // when they were given out
	answers map[answer][]byte           // to requests, which may come again
	recent  []answer
	next    machine.SocketID
	tcp

	// Counts of what clients sent, and how many allocations there have been.
	Requests    map[wire.Method]int
	Indications int // Binding indications
	ChannelData int // messages
	Sends       int // Send indications
	Made        int // allocations

	out machine.Queue[machine.Transmit]
	msg wire.Message
	b   wire.Builder
}

// client is one 5-tuple.
type client struct {
	socket machine.SocketID
	stream machine.StreamID
	local  netip.Addr
	remote netip.AddrPort
}

func (c client) isStream() bool { return c.stream != 0 }

type answer struct {
	client
	id wire.TransactionID
}

type allocation struct {
	client  client
	former  *client // before it moved; nil once the new one is in use
	user    string
	expires time.Time
	relays  []*relay
	waiting int // relays that are not open yet
	reply   func(now time.Time)
	permits map[netip.Addr]time.Time
	numbers map[uint16]*binding
	peers   map[netip.AddrPort]*binding
	ticket  string
	tcp     bool // of RFC 6062: the one relay is no socket
}

type relay struct {
	a      *allocation
	socket machine.SocketID
	addr   netip.AddrPort
}

type binding struct {
	number uint16
	peer   netip.AddrPort
	until  time.Time
}

const firstRelay machine.SocketID = 1 << 16

// NewServer returns a server.
func NewServer(cfg Config, secrets io.Reader) *Server {
	s := &Server{Config: cfg, secrets: secrets, next: firstRelay, Requests: make(map[wire.Method]int)}
	s.Restart()
	return s
}

// Restart makes the server forget everything, as one does that was killed. Sockets of
// relayed addresses are closed.
func (s *Server) Restart() {
	var old []machine.SocketID
	for id := range s.relays {
		old = append(old, id)
	}
	slices.Sort(old)
	for _, id := range old {
		s.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: id})
	}
	s.endAll(nil)
	s.allocs = make(map[client]*allocation)
	s.former = make(map[client]*allocation)
	s.relays = make(map[machine.SocketID]*relay)
	s.streams = make(map[machine.StreamID][]byte)
	s.data = make(map[machine.StreamID]*dataConn)
	s.nonces = make(map[string]time.Time)
	s.answers = make(map[answer][]byte)
	s.recent = nil
}

// ForgetNonces makes every nonce stale.
func (s *Server) ForgetNonces() { clear(s.nonces) }

// Allocations returns how many allocations stand at now.
func (s *Server) Allocations(now time.Time) int {
	n := 0
	for _, a := range s.allocs {
		if a.expires.After(now) {
			n++
		}
	}
	return n
}

// Permitted reports whether any allocation has a permission for ip at now.
func (s *Server) Permitted(now time.Time, ip netip.Addr) bool {
	for _, a := range s.allocs {
		if a.permits[ip].After(now) {
			return true
		}
	}
	return false
}

// Channels returns how many channels are bound at now.
func (s *Server) Channels(now time.Time) int {
	n := 0
	for _, a := range s.allocs {
		for _, b := range a.numbers {
			if b.until.After(now) {
				n++
			}
		}
	}
	return n
}

// HandleDatagram takes in what clients and peers send.
func (s *Server) HandleDatagram(now time.Time, d machine.Datagram) {
	if r := s.relays[d.Socket]; r != nil {
		s.fromPeer(now, r, d.Remote, d.Data)
		return
	}
	s.message(now, client{socket: d.Socket, local: d.Local.Addr(), remote: d.Remote}, d.Data)
}

// HandleNotice takes in what became of relay sockets, and of clients' and peers' streams.
func (s *Server) HandleNotice(now time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.SocketOpened:
		if r := s.relays[n.Socket]; r != nil {
			r.addr = netip.AddrPortFrom(r.addr.Addr(), n.Local.Port())
			if r.a.waiting--; r.a.waiting == 0 {
				r.a.reply(now)
			}
		}
	case machine.Unreachable:
		if r := s.relays[n.Socket]; r != nil && r.a.permits[n.Remote.Addr()].After(now) {
			s.b.Reset(wire.MessageType{Method: wire.Data, Class: wire.Indication}, s.id())
			s.b.AddXORAddress(wire.AttrXORPeerAddress, n.Remote)
			if n.Remote.Addr().Is4() {
				s.b.AddICMP(3, 3, 0)
			} else {
				s.b.AddICMP(1, 4, 0)
			}
			s.send(r.a.receiver(), s.b.Bytes())
		}
	case machine.Accepted:
		if slices.Contains(s.RelayTCP, n.Local) {
			s.accepted(now, n)
			return
		}
		s.streams[n.Stream] = nil
	case machine.Connected:
		if c := s.data[n.Stream]; c != nil {
			s.connected(now, c, 0)
		}
	case machine.Received:
		if c := s.data[n.Stream]; c != nil {
			s.relay(c, n.Stream, n.Data)
			return
		}
		s.received(now, n)
	case machine.Closed:
		delete(s.streams, n.Stream)
		if c := s.data[n.Stream]; c != nil {
			s.closed(now, c, n.Stream)
			return
		}
		if a := s.allocs[client{stream: n.Stream, remote: n.Remote}]; a != nil {
			s.drop(a)
		}
	}
}

func (s *Server) received(now time.Time, n machine.Notice) {
	buf, ok := s.streams[n.Stream]
	if !ok {
		return
	}
	buf = append(buf, n.Data...)
	for {
		size, err := wire.StreamFrame(buf)
		if err != nil {
			s.out.Push(machine.Transmit{Op: machine.Reset, Stream: n.Stream})
			delete(s.streams, n.Stream)
			return
		}
		if size == 0 || size > len(buf) {
			break
		}
		s.message(now, client{stream: n.Stream, remote: n.Remote}, buf[:size])
		buf = buf[size:]
		if c := s.data[n.Stream]; c != nil { // it was a ConnectionBind
			s.relay(c, n.Stream, buf)
			return
		}
	}
	s.streams[n.Stream] = append([]byte(nil), buf...)
}

// PollTransmit returns the next effect.
func (s *Server) PollTransmit() (machine.Transmit, bool) { return s.out.Pop() }

// PollEvent returns nothing.
func (s *Server) PollEvent() (struct{}, bool) { return struct{}{}, false }

func (s *Server) id() wire.TransactionID {
	id, err := wire.NewTransactionID(s.secrets)
	if err != nil {
		panic(err)
	}
	return id
}

func (s *Server) send(to client, b []byte) {
	b = slices.Clone(b)
	if to.isStream() {
		s.out.Push(machine.Transmit{Op: machine.Write, Stream: to.stream, Data: b})
		return
	}
	s.out.Push(machine.Transmit{Op: machine.Send, Socket: to.socket, Local: netip.AddrPortFrom(to.local, 0), Remote: to.remote, Data: b})
}

func (s *Server) drop(a *allocation) {
	delete(s.allocs, a.client)
	if a.tcp {
		s.endAll(a)
		return
	}
	s.settle(a)
	for _, r := range a.relays {
		delete(s.relays, r.socket)
		s.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: r.socket})
	}
}

var _ interface {
	machine.Machine[struct{}]
	machine.Noticer
} = (*Server)(nil)
