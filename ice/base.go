package ice

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// BaseID names one base of a [Machine].
type BaseID uint32

// Base is an address that checks leave from (RFC 8445 section 4): one of the host's own,
// or a relayed one.
type Base struct {
	Type      CandidateType // Host or Relay
	Transport Transport
	TCPType   TCPType          // of a TCP base
	Socket    machine.SocketID // UDP, relays: where its datagrams come and go
	// Shared says that the socket is bound to the unspecified address and may have
	// several bases.
	Shared bool
	Addr   netip.AddrPort // the host's address as it is bound; the relayed one. Active TCP: the port is 0
	Mapped netip.AddrPort // Relay: the host as the TURN server sees it
	Server netip.Addr     // Relay: the TURN server
	// Interface is what is known of the host's interface.
	Interface InterfaceInfo
	// Agent is the only agent that the base is for; 0: it is for all. The peer is not told of
	// such a base, no STUN server is asked about it, and it is paired with nothing but what
	// Heard names: it belongs to a hole that was punched by other means.
	Agent AgentID
}

// base is a Base with what is kept for it.
type base struct {
	Base
	id     BaseID
	socket machine.SocketID
	addr   netip.AddrPort
	shared bool
	trips  RTTSamples
	gone   bool
	own    *local // of one that is for one agent
}

// isSocket reports whether datagrams go by the base's socket number.
func (b *base) isSocket() bool { return b.Transport == UDP }

// local is a candidate of ours. It never changes: a new preference makes a new one.
type local struct {
	base       *base
	addr       netip.AddrPort
	server     netip.Addr // that told a reflexive address, or relays
	preference uint16
	score      Explanation
	cand       Candidate
}

// AddBase adds an address that checks can leave from, and asks the STUN servers where
// they see it. The error is a *ConfigError. A base for one agent ends with it.
func (m *Machine) AddBase(now time.Time, spec Base) (BaseID, error) {
	m.enter()
	spec.Addr = netip.AddrPortFrom(spec.Addr.Addr().Unmap().WithZone(""), spec.Addr.Port())
	if err := spec.check(m.cfg.Loopback); err != nil {
		return 0, err
	}
	if a := m.agents[spec.Agent]; spec.Agent != 0 && (a == nil || a.cfg.Policy == RelayOnly) {
		return 0, &ConfigError{"Base.Agent", fmt.Sprintf("%d is no agent that could use it; name one that is open, and that is not for relays only", spec.Agent)}
	}
	m.nextBase++
	b := &base{Base: spec, id: m.nextBase, socket: spec.Socket, addr: spec.Addr, shared: spec.Shared}
	m.bases = append(m.bases, b)
	l := m.newLocal(now, b, spec.Type, b.addr, spec.Server)
	if a := m.agents[spec.Agent]; a != nil {
		b.own = l
		a.locals = append(a.locals[:len(a.locals):len(a.locals)], l)
		return b.id, nil
	}
	m.addLocal(now, l)
	for _, a := range m.order() {
		a.addBase(now, b)
	}
	m.ask(now, b)
	return b.id, nil
}

// What no host candidate may be of, beside loopback addresses (RFC 8445 section 5.1.1.1).
var (
	compatible = netip.MustParsePrefix("::/96")
	siteLocal  = netip.MustParsePrefix("fec0::/10")
)

func (s Base) check(loopback bool) error {
	ip := s.Addr.Addr()
	switch {
	case ip.IsLoopback() && !loopback:
		return &ConfigError{"Base.Addr", fmt.Sprintf("%v is a loopback address, which no candidate may have (RFC 8445 section 5.1.1.1); set Loopback for peers on this machine", s.Addr)}
	case compatible.Contains(ip) && !ip.IsLoopback() || siteLocal.Contains(ip):
		return &ConfigError{"Base.Addr", fmt.Sprintf("%v is of a range that no candidate may be of (RFC 8445 section 5.1.1.1); leave it out", s.Addr)}
	case s.Type != Host && s.Type != Relay:
		return &ConfigError{"Base.Type", fmt.Sprintf("%v is no base; use Host or Relay", s.Type)}
	case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast():
		return &ConfigError{"Base.Addr", fmt.Sprintf("%v is not the address of one host; name the address that the socket is reached at", s.Addr)}
	case s.Addr.Port() == 0 && s.TCPType != Active:
		return &ConfigError{"Base.Addr", fmt.Sprintf("%v has no port; name the one that the socket is bound to", s.Addr)}
	case s.Transport >= numTransports || s.TCPType >= numTCPTypes:
		return &ConfigError{"Base.Transport", fmt.Sprintf("%d with side %d is none; use UDP, or TCP with one of the sides", s.Transport, s.TCPType)}
	case (s.Transport == TCP) != (s.TCPType != NotTCP):
		return &ConfigError{"Base.TCPType", "goes with Transport TCP, and TCP needs one"}
	}
	return nil
}

// AddMapped adds an outside address that the router has mapped to a base on request.
func (m *Machine) AddMapped(now time.Time, id BaseID, outside netip.AddrPort) {
	m.enter()
	if b := m.base(id); b != nil {
		m.reflexive(now, b, outside, netip.Addr{})
	}
}

// SetReflexive says where a STUN server sees a base of TCP: the machine asks about those of
// UDP by itself. It takes the place of what was set before; the zero AddrPort: no server sees
// it any more.
func (m *Machine) SetReflexive(now time.Time, id BaseID, outside netip.AddrPort, server netip.Addr) {
	m.enter()
	b := m.base(id)
	if b == nil || b.Transport != TCP {
		return
	}
	outside = netip.AddrPortFrom(outside.Addr().Unmap(), outside.Port())
	m.dropLocals(func(l *local) bool {
		return l.base == b && l.cand.Type == ServerReflexive && l.server.IsValid() && l.addr != outside
	})
	m.reflexive(now, b, outside, server)
}

// RemoveMapped takes back what AddMapped has added to a base.
func (m *Machine) RemoveMapped(_ time.Time, id BaseID) {
	m.enter()
	m.dropLocals(func(l *local) bool {
		return l.base.id == id && l.cand.Type == ServerReflexive && !l.server.IsValid()
	})
}

// RemoveBase ends the use of a base. Pairs that use it are lost.
func (m *Machine) RemoveBase(now time.Time, id BaseID) {
	m.enter()
	if b := m.base(id); b != nil {
		m.removeBase(now, b, errBaseRemoved)
	}
}

var errBaseRemoved = errors.New("the local address is gone")

func (m *Machine) removeBase(now time.Time, b *base, why error) {
	b.gone = true
	m.events.Push(Event{Kind: EventBaseGone, At: now, Base: b.id, Err: why})
	m.bases = slices.DeleteFunc(m.bases, func(c *base) bool { return c == b })
	which := func(l *local) bool { return l.base == b }
	m.dropLocals(which)
	if b.own != nil {
		m.preferencesOf(b.own.cand).Release(b.own.preference)
		if a := m.agents[b.Agent]; a != nil {
			a.locals = slices.DeleteFunc(slices.Clone(a.locals), which)
		}
	}
	m.gathering.forget(b)
	for _, a := range m.order() {
		a.removeBase(now, b, why)
	}
	m.checkGathered(now)
}

// dropLocals forgets candidates of ours. Peers that know them already find out by
// themselves.
func (m *Machine) dropLocals(which func(*local) bool) {
	if !slices.ContainsFunc(m.locals, which) {
		return
	}
	for _, l := range m.locals {
		if which(l) {
			m.preferencesOf(l.cand).Release(l.preference)
		}
	}
	m.locals = slices.DeleteFunc(slices.Clone(m.locals), which) // agents may share the old one
	for _, a := range m.order() {
		a.locals = slices.DeleteFunc(slices.Clone(a.locals), which)
	}
}

func (m *Machine) base(id BaseID) *base {
	for _, b := range m.bases {
		if b.id == id {
			return b
		}
	}
	return nil
}

// baseAt returns the base that a datagram came to; nil: it came to an address that is
// none. Sockets that cannot tell which of their addresses that was have their first base
// of the family take it.
func (m *Machine) baseAt(socket machine.SocketID, at netip.AddrPort, remote netip.Addr) *base {
	var first *base
	for _, b := range m.bases {
		if !b.isSocket() || b.socket != socket {
			continue
		}
		if !b.shared || b.addr.Addr() == at.Addr().Unmap().WithZone("") {
			return b
		}
		if first == nil && !isTold(at) && b.addr.Addr().Is4() == remote.Is4() {
			first = b
		}
	}
	return first
}

// newLocal makes a candidate of b.
func (m *Machine) newLocal(now time.Time, b *base, t CandidateType, addr netip.AddrPort, server netip.Addr) *local {
	l := &local{base: b, addr: addr, server: server, score: m.score(now, b)}
	l.cand = Candidate{
		Foundation: foundation(m.foundations, t, b.addr.Addr(), server, b.Transport),
		Component:  1, Transport: b.Transport, TCPType: b.TCPType, Type: t, Addr: addr,
	}
	m.prefer(l)
	switch {
	case b.TCPType == Active:
		l.cand.Addr = netip.AddrPortFrom(addr.Addr(), 9) // RFC 6544 section 4.5: the discard port
	case t == Relay:
		l.cand.Related = b.Mapped
	case t == ServerReflexive:
		l.cand.Related = b.addr
	}
	return l
}

// addLocal makes a candidate known to all agents.
func (m *Machine) addLocal(now time.Time, l *local) {
	m.locals = append(m.locals[:len(m.locals):len(m.locals)], l)
	for _, a := range m.order() {
		a.addLocal(now, l)
	}
}

// reflexive takes in an address that b has outside.
func (m *Machine) reflexive(now time.Time, b *base, addr netip.AddrPort, server netip.Addr) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if addr == b.addr || unusable(addr, m.cfg.Loopback) != "" {
		return // redundant (RFC 8445 section 5.1.3), or nothing that a peer could use
	}
	for _, l := range m.locals {
		if l.base == b && l.addr == addr {
			return
		}
	}
	m.dropLocals(func(l *local) bool { // the mapping of before is gone
		return l.base == b && l.cand.Type == ServerReflexive && l.server == server && server.IsValid()
	})
	m.addLocal(now, m.newLocal(now, b, ServerReflexive, addr, server))
}
