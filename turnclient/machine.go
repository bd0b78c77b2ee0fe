package turnclient

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

// Machine is a TURN client as a sans-IO machine (machine.Machine[Event] and
// machine.Noticer). It holds any number of allocations, each on a socket or stream of
// its own that it opens itself; a runner starts it without any.
//
// Programs use a [Client]: a Machine takes and gives types of this module's event loop and
// simulator, and is exported for the session, which runs it in its tests. Like every machine
// it is not safe for concurrent use.
type Machine struct {
	cfg     MachineConfig
	random  *rand.Rand
	secrets io.Reader
	servers []*server

	allocs     map[AllocationID]*allocation
	order      []*allocation // as they were made
	nextAlloc  AllocationID
	sockets    map[machine.SocketID]*link
	streams    map[machine.StreamID]*link
	nextSocket machine.SocketID
	nextStream machine.StreamID
	conns      map[ConnID]*conn
	nextConn   ConnID

	timers machine.Timers
	out    machine.Queue[machine.Transmit]
	events machine.Queue[Event]
	arena  []byte // of what waits in out
	msg    wire.Message
	b      wire.Builder

	stats   struct{ dropped, forged int }
	illegal int // transitions that the table does not have: always 0
}

// NewMachine returns a machine without allocations. random gives jitter; secrets gives
// transaction IDs and must be hard to guess. The error is a *ConfigError.
func NewMachine(cfg MachineConfig, random *rand.Rand, secrets io.Reader) (*Machine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, random: random, secrets: secrets,
		allocs:  make(map[AllocationID]*allocation),
		sockets: make(map[machine.SocketID]*link), streams: make(map[machine.StreamID]*link), conns: make(map[ConnID]*conn),
	}
	for _, e := range cfg.Servers {
		m.servers = append(m.servers, m.newServer(e))
	}
	return m, nil
}

// Format implements fmt.Formatter: a machine holds secrets, so nothing of it is shown.
func (m *Machine) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "turnclient.Machine{%d servers, %d allocations}", len(m.servers), len(m.order))
}

// enter begins every call that can make something to send: what was handed out before
// has been sent by now.
func (m *Machine) enter() { m.arena = m.arena[:0] }

// keep copies b to where it stays until the machine is entered again.
func (m *Machine) keep(b []byte) []byte {
	at := len(m.arena)
	m.arena = append(m.arena, b...)
	return m.arena[at:len(m.arena):len(m.arena)]
}

// HandleDatagram takes in what came to one of the machine's sockets. What is not from
// the socket's server is dropped.
func (m *Machine) HandleDatagram(now time.Time, d machine.Datagram) {
	m.enter()
	l := m.sockets[d.Socket]
	if l == nil || d.Remote != l.srv.Addr {
		m.stats.dropped++
		return
	}
	l.message(now, d.Data)
}

// HandleNotice takes in what became of sockets and streams.
func (m *Machine) HandleNotice(now time.Time, n machine.Notice) {
	m.enter()
	switch n.Kind {
	case machine.SocketOpened:
		if l := m.sockets[n.Socket]; l != nil {
			l.opened(now, n.Local)
		}
	case machine.SocketFailed:
		if l := m.sockets[n.Socket]; l != nil {
			l.down(now, fmt.Errorf("the socket failed: %w", n.Err))
		}
	case machine.Unreachable:
		if l := m.sockets[n.Socket]; l != nil && n.Remote == l.srv.Addr {
			l.unreachable(now, n.Err)
		}
	case machine.Connected:
		if l := m.streams[n.Stream]; l != nil {
			l.opened(now, n.Local)
		}
	case machine.Received:
		if l := m.streams[n.Stream]; l != nil {
			l.received(now, n.Data)
		}
	case machine.Closed:
		if l := m.streams[n.Stream]; l != nil && l.raw() {
			l.conn.ended(now, n.Err)
		} else if l != nil {
			err := n.Err
			if err == nil {
				err = fmt.Errorf("the server closed the connection")
			}
			l.down(now, err)
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

// Allocate starts to make an allocation and returns its name. EventAllocated tells
// that it stands; EventState with Failed and an *AllocateError that it does not: then
// only Close is of use.
func (m *Machine) Allocate(now time.Time) AllocationID {
	id, _ := m.AllocateWith(now, Options{}) // no options are good options
	return id
}

// AllocateWith is Allocate with wishes. The error is a *ConfigError.
func (m *Machine) AllocateWith(now time.Time, o Options) (AllocationID, error) {
	if err := o.check(m.cfg.Family); err != nil {
		return 0, err
	}
	return m.allocate(now, o, false), nil
}

func (m *Machine) allocate(now time.Time, o Options, tcp bool) AllocationID {
	m.enter()
	m.nextAlloc++
	a := newAllocation(m, m.nextAlloc)
	a.options, a.tcp = o.clone(), tcp
	m.allocs[a.id] = a
	m.order = append(m.order, a)
	a.setState(now, Allocating, nil)
	a.race(now, nil)
	return a.id
}

// Close ends an allocation: it is deleted at the server, and EventReleased tells when
// that is done. Closing twice does nothing.
func (m *Machine) Close(now time.Time, id AllocationID) {
	m.enter()
	if a := m.allocs[id]; a != nil {
		a.close(now)
	}
}

// State returns where an allocation stands; Closed for one that is not there.
func (m *Machine) State(id AllocationID) State {
	if a := m.allocs[id]; a != nil {
		return a.state
	}
	return Closed
}

// forget removes an allocation of which nothing is left.
func (m *Machine) forget(a *allocation) {
	delete(m.allocs, a.id)
	m.order = slices.DeleteFunc(m.order, func(b *allocation) bool { return b == a })
}

// NetworkChanged tells that the host's addresses or routes have changed. Every
// allocation is checked at once, on its old path and by a new one beside it.
func (m *Machine) NetworkChanged(now time.Time) {
	m.enter()
	for _, a := range slices.Clone(m.order) {
		if a.state.Usable() {
			a.disconnect(now, errNetworkChanged)
		} else if a.state == Disconnecting || a.state == Failed && a.retry.IsSet() {
			a.backoff.reset()
			m.timers.Set(&a.retry, now)
		}
	}
}

// bypass is what a shell that sends and receives past the machine tells it when asked.
// Each method reports whether something happened since it was asked last.
type bypass interface {
	// Heard reports whether data of a permitted peer came in.
	Heard(AllocationID) bool
	// Sent and Wrote each report whether data went out.
	Sent(AllocationID) bool
	Wrote(AllocationID) bool
	// Permission reports whether data went to or came from the IP.
	Permission(AllocationID, netip.Addr) bool
	// Channel reports whether data went to or came from the peer.
	Channel(AllocationID, netip.AddrPort) bool
	// Disarm asks that the next write be told by Machine.Wrote.
	Disarm(AllocationID)
}

var _ interface {
	machine.Machine[Event]
	machine.Noticer
} = (*Machine)(nil)
