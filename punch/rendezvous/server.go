package rendezvous

import (
	"container/list"
	"io"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// ServerMachine is a rendezvous server without its network. Each connection
// is a stream of whole messages, one frame each: the runner tells Accepted,
// Received (one message) and Closed by HandleNotice, and carries out Write
// (one message), and Close, whose Data is what [ParseClose] reads. Datagrams
// are not its concern. It takes and gives types of this module's event loop and
// simulator: programs use a [Server].
//
// Like every machine it is not safe for concurrent use. Its memory is bounded
// by the limits of its ServerConfig, whatever comes in.
type ServerMachine struct {
	cfg ServerConfig // with defaults
	key *ident.Identity
	bus Bus

	clients map[machine.StreamID]*client
	peers   map[ident.PeerID]*client // signed on here
	sources map[netip.Prefix]*source
	rooms   rooms
	illegal int // steps of a client's state that there are not: tests look

	// Both deadlines lie a constant time ahead, so these are in their order.
	halfOpen list.List // of *client, by arrival
	signedOn list.List // of *client, by the last frame

	ice iceServers

	cutOff    bool
	draining  bool
	drainEnd  time.Time
	farewells farewells // of Drain

	out    machine.Queue[machine.Transmit]
	events machine.Queue[ServerEvent]
}

// source counts what the clients of one address take up.
type source struct {
	clients int
	rooms   int
}

// NewServerMachine returns a server without clients. The error is a
// *ConfigError, or cfg.Secrets's.
func NewServerMachine(cfg ServerConfig) (*ServerMachine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ice := newICEServers(&cfg)
	key, err := ident.NewIdentity(cfg.Secrets)
	if err != nil {
		return nil, err
	}
	return &ServerMachine{
		cfg:     cfg,
		key:     key,
		bus:     cfg.Bus,
		clients: make(map[machine.StreamID]*client),
		peers:   make(map[ident.PeerID]*client),
		sources: make(map[netip.Prefix]*source),
		ice:     ice,
		rooms: rooms{
			bus: cfg.Bus, size: cfg.RoomSize, maxRooms: cfg.MaxRooms, maxBytes: cfg.MaxWaiting,
			byName: make(map[string]*room),
		},
	}, nil
}

// Stats are figures of a server.
type Stats struct {
	Clients  int `json:"clients"`   // signed on
	HalfOpen int `json:"half_open"` // connections that have not signed on yet
	Rooms    int `json:"rooms"`     // that live on this node, with at least one member

	// CutOff says that the bus has lost the other nodes, and that nobody can sign
	// on until it has found them again.
	CutOff bool `json:"cut_off,omitzero"`
}

// Stats returns the server's figures.
func (s *ServerMachine) Stats() Stats {
	return Stats{Clients: s.signedOn.Len(), HalfOpen: s.halfOpen.Len(), Rooms: len(s.rooms.byName), CutOff: s.cutOff}
}

// HandleDatagram does nothing: the server has no datagram socket.
func (s *ServerMachine) HandleDatagram(time.Time, machine.Datagram) {}

// HandleNotice takes in what happened to a stream.
func (s *ServerMachine) HandleNotice(now time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.Accepted:
		s.accept(now, n.Stream, n.Remote)
	case machine.Received:
		if c := s.clients[n.Stream]; c != nil {
			s.receive(now, c, n.Data)
		}
	case machine.Closed:
		if c := s.clients[n.Stream]; c != nil {
			code, reason := CodeNormal, "the client has gone"
			if n.Err != nil {
				reason = n.Err.Error()
			}
			s.forget(c, code, reason)
		}
	}
	s.deliverAll(now)
}

// HandleTimeout drops clients that are overdue or, in a drain, due to leave,
// and takes in what the bus has.
func (s *ServerMachine) HandleTimeout(now time.Time) {
	for c := oldest(&s.halfOpen); c != nil && due(c.deadline, now); c = oldest(&s.halfOpen) {
		s.drop(c, CodeHelloTimeout, "no hello came in time")
	}
	for c := oldest(&s.signedOn); c != nil && due(c.deadline, now); c = oldest(&s.signedOn) {
		s.drop(c, CodeIdle, "nothing came from you for too long; send pings")
	}
	s.sendAway(now)
	s.deliverAll(now)
}

// NextTimeout implements machine.Machine.
func (s *ServerMachine) NextTimeout() time.Time {
	var first [3]time.Time
	if c := oldest(&s.halfOpen); c != nil {
		first[0] = c.deadline
	}
	if c := oldest(&s.signedOn); c != nil {
		first[1] = c.deadline
	}
	if len(s.farewells) > 0 {
		first[2] = s.farewells[0].at
	}
	return machine.Earliest(first[:]...)
}

// PollTransmit implements machine.Machine.
func (s *ServerMachine) PollTransmit() (machine.Transmit, bool) { return s.out.Pop() }

// PollEvent implements machine.Machine.
func (s *ServerMachine) PollEvent() (ServerEvent, bool) { return s.events.Pop() }

// SlowReader drops the client of stream, which does not read what is sent to
// it: the runner has all of it waiting that it is ready to keep.
func (s *ServerMachine) SlowReader(now time.Time, stream machine.StreamID) {
	if c := s.clients[stream]; c != nil {
		s.drop(c, CodeSlowReader, slowReason)
	}
	s.deliverAll(now)
}

const slowReason = "you do not read what is sent to you"

// Flood drops the client of stream, which sends without end what never becomes
// a message: the runner has read more of it than any message can need.
func (s *ServerMachine) Flood(now time.Time, stream machine.StreamID) {
	if c := s.clients[stream]; c != nil {
		s.drop(c, CodeRateLimited, "you send without end what is no message")
	}
	s.deliverAll(now)
}

// accept admits a connection and challenges it. All caps come before any
// computation with keys.
func (s *ServerMachine) accept(now time.Time, stream machine.StreamID, remote netip.AddrPort) {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	prefix := sourceOf(remote.Addr())
	from := s.sources[prefix]
	code, reason := Code(0), ""
	switch {
	case s.clients[stream] != nil: // a runner's mistake; the first connection stays
		return
	case s.draining:
		code, reason = CodeShutdown, shutdownReason
	case s.cutOff:
		code, reason = CodeCutOff, cutOffReason
	case from != nil && from.clients >= s.cfg.MaxClientsPerAddress:
		code, reason = CodeTooManyClients, "too many connections from your address"
	case len(s.clients) >= s.cfg.MaxClients && s.halfOpen.Len() == 0:
		code, reason = CodeTooManyClients, "the server has all the clients it can take"
	}
	if code != 0 {
		s.closeStream(stream, code, reason)
		s.events.Push(ServerEvent{Kind: ServerDropped, Remote: remote, Code: code, Reason: reason})
		return
	}
	// An honest client signs on within a round trip. So what makes room for it
	// is the connection that has said nothing for longest.
	if s.halfOpen.Len() >= s.cfg.MaxHalfOpen || len(s.clients) >= s.cfg.MaxClients {
		s.drop(oldest(&s.halfOpen), CodeTooManyClients, "too many connections that do not sign on")
	}
	c := &client{stream: stream, remote: remote, source: prefix}
	if _, err := io.ReadFull(s.cfg.Secrets, c.nonce[:]); err != nil {
		s.closeStream(stream, CodeInternal, "no randomness")
		s.events.Push(ServerEvent{Kind: ServerDropped, Remote: remote, Code: CodeInternal, Reason: err.Error()})
		return
	}
	if s.sources[prefix] == nil { // looked up anew: drop may have removed it
		s.sources[prefix] = new(source)
	}
	s.sources[prefix].clients++
	s.clients[stream] = c
	if s.cfg.HelloTimeout > 0 {
		c.deadline = now.Add(s.cfg.HelloTimeout)
	}
	c.place = s.halfOpen.PushBack(c)
	s.write(c, frame{Type: typeChallenge, Version: protocolVersion, Key: s.key.ID(), Nonce: c.nonce[:]})
}

// drop closes c's connection and forgets c.
func (s *ServerMachine) drop(c *client, code Code, reason string) {
	s.closeStream(c.stream, code, reason)
	s.forget(c, code, reason)
}

// forget removes every trace of c.
func (s *ServerMachine) forget(c *client, code Code, reason string) {
	for len(c.rooms) > 0 {
		s.leave(c, len(c.rooms)-1)
	}
	from := s.sources[c.source]
	if from.clients--; from.clients == 0 {
		delete(s.sources, c.source)
	}
	delete(s.clients, c.stream)
	kind := ServerLeft
	if code != CodeNormal {
		kind = ServerDropped
	}
	s.setState(c, stateGone, ServerEvent{Kind: kind, Code: code, Reason: reason})
}

func (s *ServerMachine) write(c *client, f frame) {
	s.out.Push(machine.Transmit{Op: machine.Write, Stream: c.stream, Data: f.encode()})
}

func (s *ServerMachine) closeStream(stream machine.StreamID, code Code, reason string) {
	s.out.Push(machine.Transmit{Op: machine.Close, Stream: stream, Data: AppendClose(nil, code, reason)})
}

// sourceOf is what the limits per address count by: who has an IPv6 address
// has a /64 of them.
func sourceOf(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits) // zero for no address: those share a limit
	return p
}

func oldest(l *list.List) *client {
	if e := l.Front(); e != nil {
		return e.Value.(*client)
	}
	return nil
}

func due(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }
