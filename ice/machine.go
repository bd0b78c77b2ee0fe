package ice

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Machine is any number of ICE agents on shared sockets, as a sans-IO machine
// (machine.Machine[Event] and machine.Noticer). Its sockets and streams are its
// runner's; [Machine.AddBase] tells which addresses they have.
//
// What comes in is told apart by the user name of a check, by the transaction of an
// answer, and all else by the address that it comes from.
//
// Programs use an [Endpoint] and its agents: a Machine takes and gives types of this module's
// event loop and simulator, and is exported for the session of package bradawl, which has one
// among its state. Like every machine it is not safe for concurrent use.
type Machine struct {
	cfg     MachineConfig
	random  *rand.Rand
	secrets io.Reader

	bases    []*base
	nextBase BaseID
	locals   []*local // of all bases, as they were found
	// foundations is the key of the foundations: what they are made of stays ours.
	foundations [16]byte
	prefs       [numTypes][numTransports]Preferences // by type and transport
	stale       bool                                 // something new is known that scores are made of
	scored      time.Time
	gathering

	agents    map[AgentID]*agent
	nextAgent AgentID
	byUfrag   map[string]*generation
	checks    map[wire.TransactionID]*pair
	byAddr    map[pathKey][]*agent // that take data from there, the last first

	streams    map[machine.StreamID]*stream
	nextStream machine.StreamID

	timers machine.Timers
	pace   pacer
	out    machine.Queue[machine.Transmit]
	events machine.Queue[Event]
	arena  []byte // of what waits in out
	msg    wire.Message
	b      wire.Builder

	illegal int // transitions that the table does not have: always 0
}

// pathKey is where datagrams come from, and to which socket.
type pathKey struct {
	socket machine.SocketID
	remote netip.AddrPort
}

// NewMachine returns a machine without bases and agents. random gives jitter; secrets
// gives credentials and transaction IDs and must be hard to guess. The error is a
// *ConfigError, or that of secrets.
func NewMachine(cfg MachineConfig, random *rand.Rand, secrets io.Reader) (*Machine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, random: random, secrets: secrets,
		agents:  make(map[AgentID]*agent),
		byUfrag: make(map[string]*generation),
		checks:  make(map[wire.TransactionID]*pair),
		byAddr:  make(map[pathKey][]*agent),
		streams: make(map[machine.StreamID]*stream),
	}
	if _, err := io.ReadFull(secrets, m.foundations[:]); err != nil {
		return nil, fmt.Errorf("ice: no randomness: %w", err)
	}
	m.pace.init(m)
	m.gathering.init(m)
	return m, nil
}

// Format implements fmt.Formatter: a machine holds secrets, so nothing of it is shown.
func (m *Machine) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "ice.Machine{%d bases, %d agents}", len(m.bases), len(m.agents))
}

// enter begins every call that can make something to send: what was handed out before
// has been sent by now. What was not handed out yet stays, for a machine that holds this one
// may enter it several times before it is drained.
func (m *Machine) enter() {
	if m.out.Len() == 0 {
		m.arena = m.arena[:0]
	}
}

// keep copies b to where it stays until the machine is entered again.
func (m *Machine) keep(b []byte) []byte {
	at := len(m.arena)
	m.arena = append(m.arena, b...)
	return m.arena[at:len(m.arena):len(m.arena)]
}

// HandleDatagram takes in what came to a socket.
func (m *Machine) HandleDatagram(now time.Time, d machine.Datagram) {
	m.enter()
	b := m.baseAt(d.Socket, d.Local, d.Remote.Addr())
	if b == nil {
		return
	}
	m.message(now, path{base: b, remote: d.Remote}, d)
}

// path is where a message came from, and how an answer gets back.
type path struct {
	base   *base
	remote netip.AddrPort
	stream *stream // nil: a datagram
}

// message takes in one whole message, and reports whether it is of ICE.
func (m *Machine) message(now time.Time, from path, d machine.Datagram) bool {
	if wire.IsSTUN(d.Data) && m.msg.Decode(d.Data) == nil && m.stun(now, from, d) {
		return true
	}
	m.data(now, from, d.Data)
	return false
}

// stun takes in a STUN message, if it is ours.
func (m *Machine) stun(now time.Time, from path, d machine.Datagram) bool {
	msg := &m.msg
	if msg.Method() != wire.Binding {
		return false
	}
	if msg.Has(wire.AttrFingerprint) && msg.CheckFingerprint() != nil {
		return false // RFC 8489 section 7: no STUN message then
	}
	switch msg.Class() {
	case wire.Request:
		return m.request(now, from)
	case wire.Success, wire.Failure:
		if p := m.checks[msg.TransactionID()]; p != nil {
			if !isTold(d.Local) && from.base.socket == p.base.socket {
				from.base = p.base // the socket cannot tell to which of its addresses it came
			}
			p.answered(now, from)
			return true
		}
		return m.gathered(now, d) || m.isLate(from)
	default:
		// A keepalive (RFC 8445 section 11). Data of others is no Binding indication.
		return true
	}
}

func isTold(local netip.AddrPort) bool {
	return local.IsValid() && !local.Addr().IsUnspecified()
}

// isLate reports whether a message is an answer to a check that nobody waits for any more.
// What is not may be the data of somebody who runs a STUN of his own.
func (m *Machine) isLate(from path) bool {
	for _, a := range m.at(from) {
		for _, g := range a.generations() {
			if g.remote.Pwd != "" && m.msg.CheckIntegrity([]byte(g.remote.Pwd)) == nil {
				return true
			}
		}
	}
	return false
}

// at returns the agents that take data from where a message came from.
func (m *Machine) at(from path) []*agent {
	if s := from.stream; s == nil {
		return m.byAddr[pathKey{from.base.socket, from.remote}]
	} else if s.pair != nil && s.pair.open {
		return []*agent{s.pair.g.a}
	}
	return nil
}

// data hands on what came from where a peer is known to be. Of several agents whose peers
// are there, the one gets it whose pair was validated last.
func (m *Machine) data(now time.Time, from path, b []byte) {
	if all := m.at(from); len(all) > 0 {
		all[0].tell(now, Event{Kind: EventData, Pair: Pair{Route: from.route()}, Data: slices.Clone(b)})
	}
}

// HandleNotice takes in what became of sockets and streams.
func (m *Machine) HandleNotice(now time.Time, n machine.Notice) {
	m.enter()
	switch n.Kind {
	case machine.Unreachable:
		m.unreachable(now, n)
		m.gathering.notice(now, n)
	case machine.SocketFailed:
		for _, b := range slices.Clone(m.bases) {
			if b.isSocket() && b.socket == n.Socket {
				m.removeBase(now, b, fmt.Errorf("the socket failed: %w", n.Err))
			}
		}
	case machine.Accepted, machine.Connected, machine.Received, machine.Closed:
		m.streamNotice(now, n)
	}
}

// unreachable notes what ICMP says. Anybody can forge it, so it ends nothing.
func (m *Machine) unreachable(now time.Time, n machine.Notice) {
	for _, a := range m.agents {
		for _, p := range a.cur.pairs {
			if p.base.socket == n.Socket && p.base.isSocket() && p.remote.addr == n.Remote {
				p.err = n.Err
			}
		}
	}
}

// HandleTimeout does what has become due.
func (m *Machine) HandleTimeout(now time.Time) {
	m.enter()
	m.timers.Run(now)
}

// NextTimeout is when something becomes due.
func (m *Machine) NextTimeout() time.Time { return m.timers.Next() }

// PollTransmit returns the next effect.
func (m *Machine) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }

// order returns the agents as they were made.
func (m *Machine) order() []*agent {
	all := make([]*agent, 0, len(m.agents))
	for _, a := range m.agents {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *agent) int { return int(a.id) - int(b.id) })
	return all
}

// send sends a message on its way.
func (m *Machine) send(to path, b []byte) {
	if to.stream != nil {
		to.stream.write(b)
		return
	}
	t := machine.Transmit{Op: machine.Send, Socket: to.base.socket, Remote: to.remote, Data: m.keep(b)}
	if to.base.shared {
		t.Local = to.base.addr
	}
	m.out.Push(t)
}

var _ interface {
	machine.Machine[Event]
	machine.Noticer
} = (*Machine)(nil)
