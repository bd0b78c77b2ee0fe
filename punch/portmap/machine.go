package portmap

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
)

// Limits that keep what a program, or a router, can make us do in bounds.
const (
	// MaxMappings is how many mappings a client keeps.
	MaxMappings = 64
	// MaxGateways is how many routers are asked.
	MaxGateways = 8
)

// MappingID names a mapping of a Machine.
type MappingID uint32

// Request says what is to be mapped.
type Request struct {
	Protocol Protocol
	// Internal is the address and port of this host. With an unspecified IPv4 address it is
	// mapped at whichever router answers first; any other address, at its own router.
	Internal netip.AddrPort
	// Suggested is the outside port to ask for; 0: the internal one. Routers may give another.
	Suggested uint16
}

// EventKind is the sort of an Event.
type EventKind uint8

// What a Machine tells.
const (
	EventState  EventKind = iota // a mapping has a new state, or another outside address
	EventGone                    // a mapping that was closed has been deleted, as far as the router answers
	EventClosed                  // all mappings are gone after CloseAll
)

// Event is what a Machine tells.
type Event struct {
	Kind    EventKind
	Mapping MappingID
	State   State
	Info    Info  // where State is Mapped
	Err     error // why it is not: a *MapError
}

// Machine is the state behind a [Client], which is what programs use: a Machine takes and
// gives types of this module's event loop and simulator. Use NewMachine, then SetGateways.
// Like every machine it is not safe for concurrent use.
type Machine struct {
	cfg      Config
	random   *rand.Rand
	secrets  io.Reader
	timers   machine.Timers
	out      machine.Queue[machine.Transmit]
	events   machine.Queue[Event]
	gateways []*gateway
	mappings []*mapping
	made     MappingID
	sockets  machine.SocketID
	streams  machine.StreamID
	calls    map[machine.StreamID]*httpClient // under way
	illegal  int                              // steps of state that there are not: tests look
	closing  bool
	closed   bool
	patience machine.Timer // of CloseAll
}

// NewMachine returns a machine that knows no gateway yet. random is for jitter and
// ports, secrets for nonces. The error is a *ConfigError.
func NewMachine(cfg Config, random *rand.Rand, secrets io.Reader) (*Machine, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Machine{cfg: c, random: random, secrets: secrets, calls: make(map[machine.StreamID]*httpClient)}
	m.patience.Fire = func(time.Time) {
		m.mappings = nil
		m.finishClose()
	}
	return m, nil
}

// SetGateways says which routers there are. Mappings of those that are gone are lost, and
// made anew at others. What cannot be a router is passed over.
func (m *Machine) SetGateways(now time.Time, list []Gateway) {
	if m.closing {
		return
	}
	var fit []Gateway
	for _, g := range list {
		g.Addr, g.Local = g.Addr.Unmap(), g.Local.Unmap()
		if len(fit) < MaxGateways && m.usable(g) && !slices.Contains(fit, g) {
			fit = append(fit, g)
		}
	}
	for _, g := range slices.Clone(m.gateways) {
		if !slices.Contains(fit, g.Gateway) {
			g.leave(now)
		}
	}
	for _, f := range fit {
		if !slices.ContainsFunc(m.gateways, func(g *gateway) bool { return g.Gateway == f }) {
			m.gateways = append(m.gateways, newGateway(m, f))
		}
	}
	m.placeAll(now)
}

func (m *Machine) usable(g Gateway) bool {
	if g.Addr.Is4() != g.Local.Is4() || g.Addr == g.Local && !m.cfg.Loopback {
		return false
	}
	for _, a := range [...]netip.Addr{g.Addr, g.Local} {
		if ipcheck.Unusable(netip.AddrPortFrom(a, 1), m.cfg.Loopback) != "" {
			return false
		}
	}
	return true
}

// Map asks for a mapping. Events tell what becomes of it, first that it is Mapped or
// Refused. A mapping that was refused is asked for again, later. The error is a
// *ConfigError, ErrClosed, or of the secrets' reader.
func (m *Machine) Map(now time.Time, r Request) (MappingID, error) {
	if m.closing {
		return 0, ErrClosed
	}
	ip := r.Internal.Addr().Unmap().WithZone("")
	r.Internal = netip.AddrPortFrom(ip, r.Internal.Port())
	switch {
	case r.Protocol != UDP && r.Protocol != TCP:
		return 0, &ConfigError{"protocol", fmt.Sprintf("%v cannot be mapped; use UDP or TCP", r.Protocol)}
	case r.Internal.Port() == 0:
		return 0, &ConfigError{"internal", fmt.Sprintf("%v has no port; name the one that the socket is bound to", r.Internal)}
	case ip != netip.IPv4Unspecified() && ipcheck.Unusable(r.Internal, m.cfg.Loopback) != "":
		return 0, &ConfigError{"internal", fmt.Sprintf("%v is no address of this host; name the one that the socket is bound to, or 0.0.0.0", r.Internal)}
	case len(m.mappings) == MaxMappings:
		return 0, &ConfigError{"internal", fmt.Sprintf("is more than the %d mappings that a client keeps; close some", MaxMappings)}
	}
	if slices.ContainsFunc(m.mappings, func(mp *mapping) bool {
		return mp.state != Closed && mp.Protocol == r.Protocol && mp.Internal == r.Internal
	}) {
		return 0, &ConfigError{"internal", fmt.Sprintf("%v %v is mapped already; use that mapping", r.Protocol, r.Internal)}
	}
	mp := &mapping{m: m, id: m.made + 1, Request: r}
	if _, err := io.ReadFull(m.secrets, mp.nonce[:]); err != nil {
		return 0, fmt.Errorf("portmap: %w", err)
	}
	m.made++
	mp.timer.Fire = mp.due
	m.mappings = append(m.mappings, mp)
	mp.place(now)
	return mp.id, nil
}

// Unmap deletes a mapping; EventGone tells when that is done.
func (m *Machine) Unmap(now time.Time, id MappingID) {
	for _, mp := range m.mappings {
		if mp.id == id {
			mp.close(now)
			return
		}
	}
}

// CloseAll deletes all mappings, which takes 2 s at most; EventClosed tells of the end.
func (m *Machine) CloseAll(now time.Time) {
	if m.closing {
		return
	}
	m.closing = true
	m.timers.Set(&m.patience, now.Add(2*time.Second))
	for _, mp := range slices.Clone(m.mappings) {
		mp.close(now)
	}
	m.finishClose()
}

func (m *Machine) finishClose() {
	if !m.closing || m.closed || len(m.mappings) > 0 {
		return
	}
	m.closed = true
	m.timers.Stop(&m.patience)
	m.events.Push(Event{Kind: EventClosed})
}

// Recheck asks the routers whether the mappings still stand, by renewing them, at most
// every 5 s: for when something else says that the router has restarted or changed its
// address. Routers that refused or were silent are asked anew.
func (m *Machine) Recheck(now time.Time) {
	for _, mp := range m.mappings {
		if mp.state == Mapped {
			mp.renewAt(now, now)
		} else if mp.state == Refused {
			m.timers.Set(&mp.timer, now)
		}
	}
}

// Words tells what is known of each protocol of each router.
func (m *Machine) Words() (words []Word) {
	for _, g := range m.gateways {
		for _, s := range g.speakers {
			words = append(words, s.word())
		}
	}
	return words
}

func (m *Machine) placeAll(now time.Time) {
	for _, mp := range slices.Clone(m.mappings) {
		mp.place(now)
	}
}

// HandleDatagram takes in an answer; what nobody was asked for is dropped.
func (m *Machine) HandleDatagram(now time.Time, d machine.Datagram) {
	for _, g := range m.gateways {
		if g.socket == d.Socket {
			g.datagram(now, d)
			return
		}
	}
}

// HandleNotice takes in what became of sockets and streams.
func (m *Machine) HandleNotice(now time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.Connected, machine.Received, machine.Closed:
		if h := m.calls[n.Stream]; h != nil {
			h.notice(now, n)
		}
		return
	}
	for _, g := range slices.Clone(m.gateways) {
		if g.socket == n.Socket {
			g.notice(now, n)
		}
	}
}

// HandleTimeout does what has become due.
func (m *Machine) HandleTimeout(now time.Time) { m.timers.Run(now) }

// NextTimeout is when something becomes due.
func (m *Machine) NextTimeout() time.Time { return m.timers.Next() }

// PollTransmit returns the next effect.
func (m *Machine) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }
