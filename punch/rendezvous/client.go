package rendezvous

import (
	"errors"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// ClientStream is the one stream of a ClientMachine. The runner dials it and
// tells Connected.
const ClientStream machine.StreamID = 0

// handshakeTimeout is how long the server may take for each of its two frames.
const handshakeTimeout = 10 * time.Second

// silentIntervals is how many ping intervals a server may be silent: the pongs
// of two pings may be lost in a hiccup of the network's.
const silentIntervals = 3

// doubtTime is how long a server may be silent once the network has changed: its answer to a
// ping, or none, tells whether the connection has outlived that.
const doubtTime = 5 * time.Second

type clientPhase uint8

const (
	phaseIdle     clientPhase = iota // not connected yet
	phaseWaiting                     // for the challenge
	phaseGreeting                    // the hello is out
	phaseReady                       // signed on
	phaseClosed
)

// phaseNext is the table of what may follow what.
var phaseNext = machine.Steps[clientPhase]{
	phaseIdle:     {phaseWaiting, phaseClosed},
	phaseWaiting:  {phaseGreeting, phaseClosed},
	phaseGreeting: {phaseReady, phaseClosed},
	phaseReady:    {phaseClosed},
	phaseClosed:   nil,
}

// ClientMachine is a rendezvous client without its network: one stream of whole
// messages, as [ServerMachine] describes. Its last event is [Closed]. Programs use
// a [Client].
type ClientMachine struct {
	cfg  ClientConfig // with defaults
	host string

	phase    clientPhase
	illegal  int           // steps of phase that there are not: tests look
	err      error         // why it closed
	deadline time.Time     // for the server's next frame
	patience time.Duration // that it is of
	nextPing time.Time
	expires  time.Time // the first of the ICE servers' credentials; zero: none does
	nextAsk  time.Time // for fresh ones

	out    machine.Queue[machine.Transmit]
	events machine.Queue[Event]
}

// NewClientMachine returns a client that waits for its stream to be connected.
// host is what the server knows itself by, the host of its URL; the proof
// names it. The error is a *ConfigError.
func NewClientMachine(cfg ClientConfig, host string) (*ClientMachine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &ClientMachine{cfg: cfg, host: host}, nil
}

// HandleDatagram does nothing: the client has no datagram socket.
func (c *ClientMachine) HandleDatagram(time.Time, machine.Datagram) {}

// HandleNotice takes in what happened to the stream. A Closed notice's Err, if
// any, becomes the Closed event's.
func (c *ClientMachine) HandleNotice(now time.Time, n machine.Notice) {
	if n.Stream != ClientStream || c.phase == phaseClosed {
		return
	}
	switch n.Kind {
	case machine.Connected:
		if c.phase == phaseIdle {
			c.setPhase(phaseWaiting)
			c.deadline = now.Add(handshakeTimeout)
		}
	case machine.Received:
		if c.phase != phaseIdle {
			c.receive(now, n.Data)
		}
	case machine.Closed:
		err := n.Err
		if err == nil {
			err = errEnded
		}
		c.end(err)
	}
}

var errEnded = errors.New("the server ended the connection without a reason")

// HandleTimeout pings, asks for fresh credentials, or gives the server up.
func (c *ClientMachine) HandleTimeout(now time.Time) {
	if c.phase == phaseClosed || c.phase == phaseIdle {
		return
	}
	if due(c.deadline, now) {
		err := &TimeoutError{Op: "handshake", After: handshakeTimeout}
		if c.phase == phaseReady {
			err = &TimeoutError{Op: "answer", After: c.patience}
		}
		c.fail(CodeIdle, err)
		return
	}
	if due(c.nextPing, now) {
		c.write(frame{Type: typePing})
		c.planPing(now)
	}
	if due(c.nextAsk, now) {
		c.write(frame{Type: typeServers})
		c.planAsk(now)
	}
}

// NextTimeout implements machine.Machine.
func (c *ClientMachine) NextTimeout() time.Time {
	if c.phase == phaseClosed {
		return time.Time{}
	}
	return machine.Earliest(c.deadline, c.nextPing, c.nextAsk)
}

// Suspend says that the runner reads nothing from the stream for the time being,
// because nobody takes the events: that the server is silent means nothing until
// Resume.
func (c *ClientMachine) Suspend() {
	if c.phase == phaseReady {
		c.deadline = time.Time{}
	}
}

// Resume ends that: the server has its time again from now on.
func (c *ClientMachine) Resume(now time.Time) {
	if c.phase == phaseReady {
		c.heard(now)
	}
}

// PollTransmit implements machine.Machine.
func (c *ClientMachine) PollTransmit() (machine.Transmit, bool) { return c.out.Pop() }

// PollEvent implements machine.Machine.
func (c *ClientMachine) PollEvent() (Event, bool) { return c.events.Pop() }

// Join asks for membership of room, with message unless that is nil. A Joined
// event answers, or an *Error that names the room. The machine keeps nothing
// of message.
func (c *ClientMachine) Join(room string, message []byte) error {
	return c.room(typeJoin, room, message)
}

// Update replaces the client's message in room. Until the client is paired it
// is what the other will be handed; afterwards it waits for the next member. A
// refusal comes as an *Error that names the room.
func (c *ClientMachine) Update(room string, message []byte) error {
	if message == nil {
		message = []byte{}
	}
	return c.room(typeUpdate, room, message)
}

// Leave ends the client's membership of room. Nothing answers. The error is a
// *ConfigError, or why the connection has ended.
func (c *ClientMachine) Leave(room string) error { return c.room(typeLeave, room, nil) }

// Send sends an opaque message to a peer. Only a failure is answered, by an
// *Error that names the peer.
func (c *ClientMachine) Send(peer ident.PeerID, message []byte) error {
	if peer.IsZero() {
		return &ConfigError{Field: "peer", Reason: "names nobody; give the PeerID of the one to send to"}
	}
	if message == nil {
		message = []byte{}
	}
	return c.request(frame{Type: typeSend, Peer: peer, Data: message})
}

// Close ends the connection in order.
func (c *ClientMachine) Close() { c.fail(CodeNormal, ErrClosed) }

func (c *ClientMachine) room(typ, room string, message []byte) error {
	if !ValidRoom(room) {
		return badConfig("room", room, roomRule)
	}
	return c.request(frame{Type: typ, Room: room, Data: message})
}

func (c *ClientMachine) request(f frame) error {
	switch {
	case len(f.Data) > MaxMessage:
		return badConfig("message", len(f.Data), fmt.Sprintf("bytes are too many; give at most %d", MaxMessage))
	case c.phase == phaseClosed:
		return c.err
	case c.phase != phaseReady:
		return errNotReady
	}
	c.write(f)
	return nil
}

var errNotReady = errors.New("rendezvous: the client has not signed on yet")

// receive takes in one message of the server's.
func (c *ClientMachine) receive(now time.Time, data []byte) {
	f, err := decodeFrame(data)
	if err != nil {
		c.fail(frameCode(err), &ProtocolError{Reason: err.Error()})
		return
	}
	switch c.phase {
	case phaseWaiting:
		c.challenged(now, f)
	case phaseGreeting:
		c.welcomed(now, f)
	case phaseReady:
		c.heard(now)
		c.report(now, f)
	}
}

// challenged answers the server's challenge.
func (c *ClientMachine) challenged(now time.Time, f frame) {
	switch {
	case f.Type != typeChallenge:
		c.fail(CodeUnexpected, &ProtocolError{Reason: fmt.Sprintf("a frame of type %q instead of the challenge", f.Type)})
		return
	case f.Version != protocolVersion:
		c.fail(CodeVersion, &ProtocolError{Reason: fmt.Sprintf("it speaks version %d, this client version %d", f.Version, protocolVersion)})
		return
	case len(f.Nonce) != nonceSize:
		c.fail(CodeBadFrame, &ProtocolError{Reason: fmt.Sprintf("a challenge of %d bytes, not %d", len(f.Nonce), nonceSize)})
		return
	}
	proof, err := makeProof(c.cfg.Identity, f.Key, f.Nonce, c.host)
	if err != nil {
		c.fail(CodeBadFrame, &ProtocolError{Reason: err.Error()})
		return
	}
	c.setPhase(phaseGreeting)
	c.deadline = now.Add(handshakeTimeout)
	c.write(frame{Type: typeHello, Version: protocolVersion, Peer: c.cfg.Identity.ID(), Host: c.host, Proof: proof})
}

// welcomed ends the handshake.
func (c *ClientMachine) welcomed(now time.Time, f frame) {
	if f.Type != typeWelcome {
		c.fail(CodeUnexpected, &ProtocolError{Reason: fmt.Sprintf("a frame of type %q instead of the welcome", f.Type)})
		return
	}
	c.setPhase(phaseReady)
	c.heard(now)
	c.planPing(now)
	c.events.Push(Welcome{Address: f.Address, Proven: f.Proven, ICEServers: c.servers(now, f)})
}

// report turns a frame into its event. Types that this version does not know
// are passed over: a newer server may send them.
func (c *ClientMachine) report(now time.Time, f frame) {
	switch f.Type {
	case typeServers:
		c.events.Push(Servers{ICEServers: c.servers(now, f)})
	case typeJoined:
		c.events.Push(Joined{Room: f.Room})
	case typePaired:
		c.events.Push(Paired{Room: f.Room, Peer: f.Peer, Proven: f.Proven, Message: f.Data})
	case typeMessage:
		c.events.Push(Message{From: f.Peer, Proven: f.Proven, Message: f.Data})
	case typeLeft:
		c.events.Push(PeerLeft{Room: f.Room, Peer: f.Peer})
	case typeError:
		c.events.Push(&Error{Code: f.Code, Reason: f.Reason, Room: f.Room, Peer: f.Peer})
	}
}

// servers reads the ICE servers of a frame, and plans for the time when their
// credentials run out.
func (c *ClientMachine) servers(now time.Time, f frame) []ICEServer {
	list := readICEServers(now, f.Servers)
	c.expires = time.Time{}
	for _, s := range list {
		c.expires = machine.Earliest(c.expires, s.Expires)
	}
	c.planAsk(now)
	return list
}

// leastAsk is the least time between two requests for fresh credentials.
const leastAsk = 20 * time.Second

// planAsk is for asking when half of the credentials' life is over: there is
// time to ask again, and none is ever handed on that is about to expire. The
// clients that signed on together are spread.
func (c *ClientMachine) planAsk(now time.Time) {
	c.nextAsk = time.Time{}
	if !c.expires.IsZero() {
		jitter := 0.4 + 0.1*c.cfg.Rand.Float64()
		wait := time.Duration(jitter * float64(c.expires.Sub(now)))
		c.nextAsk = now.Add(max(wait, leastAsk))
	}
}

// heard puts off the time at which the server counts as dead.
func (c *ClientMachine) heard(now time.Time) {
	c.deadline = time.Time{}
	if c.cfg.PingInterval > 0 {
		c.patience = silentIntervals * c.cfg.PingInterval
		c.deadline = now.Add(c.patience)
	}
}

// NetworkChanged tells that the host's addresses or routes have changed, so that a connection
// that has not outlived it is found out within seconds. Without pings it does nothing.
func (c *ClientMachine) NetworkChanged(now time.Time) {
	if c.phase != phaseReady || c.cfg.PingInterval <= 0 {
		return
	}
	c.write(frame{Type: typePing})
	c.planPing(now)
	if at := now.Add(doubtTime); at.Before(c.deadline) { // there is none while nothing is read
		c.patience, c.deadline = doubtTime, at
	}
}

// planPing spreads the pings of many clients that signed on together.
func (c *ClientMachine) planPing(now time.Time) {
	if c.cfg.PingInterval > 0 {
		jitter := 0.9 + 0.2*c.cfg.Rand.Float64()
		c.nextPing = now.Add(time.Duration(jitter * float64(c.cfg.PingInterval)))
	}
}

func (c *ClientMachine) write(f frame) {
	c.out.Push(machine.Transmit{Op: machine.Write, Stream: ClientStream, Data: f.encode()})
}

// fail closes the stream because of err.
func (c *ClientMachine) fail(code Code, err error) {
	if c.phase == phaseClosed {
		return
	}
	if c.phase != phaseIdle {
		c.out.Push(machine.Transmit{Op: machine.Close, Stream: ClientStream, Data: AppendClose(nil, code, err.Error())})
	}
	c.end(err)
}

// end is the end, the stream being gone.
func (c *ClientMachine) end(err error) {
	c.setPhase(phaseClosed)
	c.err = err
	c.deadline, c.nextPing, c.nextAsk = time.Time{}, time.Time{}, time.Time{}
	c.events.Push(Closed{Err: err})
}

func (c *ClientMachine) setPhase(to clientPhase) { phaseNext.Step(&c.phase, to, &c.illegal) }
