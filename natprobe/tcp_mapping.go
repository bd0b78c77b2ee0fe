package natprobe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// TCPReport is what was found out about how a NAT maps TCP, which may differ from UDP (RFC
// 5382). Filtering cannot be told: no server connects to its clients.
type TCPReport struct {
	Mapping      Mapping        `json:"mapping"`
	MappingLeast bool           `json:"mapping_at_least"` // as in Report
	Preserving   Verdict        `json:"preserving"`       // whether the local port is kept
	NAT          Verdict        `json:"nat"`              // whether addresses are translated at all
	Ports        Ports          `json:"ports"`            // how the ports of new mappings are chosen; Contiguous and Overloaded are not looked at
	Mapped       netip.AddrPort `json:"mapped"`           // where the first connection was seen to come from
	Confidence   float64        `json:"confidence"`       // in Mapping, 0 to 1
	Because      string         `json:"because"`          // what was observed
}

// String describes the report in words.
func (r TCPReport) String() string {
	if r.Mapping == MappingUnknown {
		return "unknown: " + r.Because
	}
	ports := ""
	if r.Mapping != MappingEndpointIndependent {
		ports = ", ports: " + r.Ports.String()
	}
	return fmt.Sprintf("%v, local port kept: %v%s (%s)", r.Mapping, r.Preserving, ports, r.Because)
}

// Profile returns the report's compact part.
func (r TCPReport) Profile() TCPProfile {
	p := TCPProfile{Mapping: r.Mapping, Ports: r.Ports}
	p.Ports.Samples = 0
	return p
}

// TCPEvent is the result of a TCPProbe; there is one.
type TCPEvent struct{ Report TCPReport }

// TCPProbe is the machine that finds out how TCP is mapped: it connects from one local
// port to several addresses and asks each where it sees the connection come from (RFC 5780
// section 4.3 over TCP), and again from a second port. Each connection that gets a mapping of
// its own tells where the NAT is in its choice of ports. It makes at most eight, one a little
// after the other, so that the order of the mappings is that of the connections; and four more
// where lost packets have hidden that order. Use NewTCPProbe, then Start.
//
// Like every machine it is not safe for concurrent use.
type TCPProbe struct {
	cfg     DiscoveryConfig
	servers []netip.AddrPort
	ports   [tcpPorts + 1]uint16
	conns   []*tcpConn
	dialled int       // of conns
	next    time.Time // when the next one is
	other   bool      // the first server's other address is being asked
	again   bool      // more are made, from the last port
	started time.Time
	packets int
	ended   bool

	out     machine.Queue[machine.Transmit]
	events  machine.Queue[TCPEvent]
	message wire.Message
	builder wire.Builder
}

const (
	tcpPorts    = 2               // local ports
	tcpServers  = 3               // servers that are asked at most
	tcpMost     = 8               // connections
	tcpAgain    = 4               // more of them
	tcpPatience = 4 * time.Second // for all connections together
	// tcpGap is the time between two connections: dials that begin together leave in any order.
	tcpGap = 20 * time.Millisecond
	// tcpClean is how long a connection may take whose first SYN is sure to have got to the NAT:
	// it is repeated after a second.
	tcpClean = 900 * time.Millisecond
)

// tcpConn is one connection.
type tcpConn struct {
	stream machine.StreamID
	port   int // index of the local port
	server netip.AddrPort
	local  netip.AddrPort
	id     wire.TransactionID
	in     []byte
	mapped netip.AddrPort
	at     time.Time     // when it was dialled
	took   time.Duration // until it stood
	ended  bool
	err    error
}

// NewTCPProbe returns a machine that will ask servers over TCP, all of one address family.
// The error is a *ConfigError.
func NewTCPProbe(servers []netip.AddrPort, cfg *DiscoveryConfig) (*TCPProbe, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	servers, err = checkServers(servers)
	if err != nil {
		return nil, err
	}
	return &TCPProbe{cfg: c, servers: servers[:min(len(servers), tcpServers)]}, nil
}

// Start makes the first connections.
func (m *TCPProbe) Start(now time.Time) {
	m.started = now
	for i := range m.ports {
		m.ports[i] = uint16(32768 + m.cfg.Rand.IntN(32768))
	}
	for i := range tcpPorts {
		for _, s := range m.servers {
			m.plan(i, s)
		}
	}
	m.dial(now)
}

// plan adds a connection to those that are to be made.
func (m *TCPProbe) plan(port int, server netip.AddrPort) {
	for _, c := range m.conns {
		if c.port == port && c.server == server {
			return
		}
	}
	most := tcpMost
	if m.again {
		most += tcpAgain // for whatever a server names by then
	}
	if len(m.conns) >= most {
		return
	}
	id, err := wire.NewTransactionID(m.cfg.Secrets)
	if err != nil {
		return
	}
	c := &tcpConn{stream: machine.StreamID(len(m.conns) + 1), port: port, server: server, id: id}
	m.conns = append(m.conns, c)
}

// dial makes the next connection when it is time.
func (m *TCPProbe) dial(now time.Time) {
	if m.dialled == len(m.conns) || now.Before(m.next) {
		return
	}
	c := m.conns[m.dialled]
	m.dialled++
	c.at, m.next = now, now.Add(tcpGap)
	local := netip.AddrPortFrom(m.cfg.bind(c.server.Addr()), m.ports[c.port])
	m.out.Push(machine.Transmit{Op: machine.Dial, Stream: c.stream, Local: local, Remote: c.server})
}

// HandleNotice takes in what becomes of connections.
func (m *TCPProbe) HandleNotice(now time.Time, n machine.Notice) {
	if m.ended || n.Stream == 0 || uint64(n.Stream) > uint64(len(m.conns)) {
		return
	}
	c := m.conns[n.Stream-1]
	switch {
	case c.ended:
	case n.Kind == machine.Connected:
		c.local, c.took = n.Local, now.Sub(c.at)
		m.builder.Reset(wire.BindingRequest, c.id)
		m.packets++
		m.out.Push(machine.Transmit{Op: machine.Write, Stream: c.stream, Data: append([]byte(nil), m.builder.Bytes()...)})
	case n.Kind == machine.Received:
		c.in = append(c.in, n.Data...)
		m.read(c)
	case n.Kind == machine.Closed:
		c.ended, c.err = true, n.Err
	}
	m.advance(now)
}

// read takes in an answer once it is whole.
func (m *TCPProbe) read(c *tcpConn) {
	if len(c.in) < wire.HeaderSize {
		return
	}
	size := wire.HeaderSize + int(binary.BigEndian.Uint16(c.in[2:]))
	if size <= 2048 && len(c.in) < size {
		return
	}
	c.ended = true // the connection stays, so that its port is not given out again
	msg := &m.message
	if size > 2048 || msg.Decode(c.in[:size]) != nil || msg.Type() != wire.BindingSuccess || msg.TransactionID() != c.id {
		return
	}
	mapped, ok := msg.XORMappedAddress()
	if !ok {
		mapped, ok = msg.MappedAddress()
	}
	if !ok || mapped.Port() == 0 || mapped.Addr().Is4() != c.server.Addr().Is4() {
		return
	}
	c.mapped = mapped
	if other, fault := otherOf(c.server, msg); fault == "" && !m.other {
		m.other = true
		for i := range tcpPorts {
			m.plan(i, netip.AddrPortFrom(other.Addr(), c.server.Port()))
			m.plan(i, other)
		}
	}
}

func (m *TCPProbe) advance(now time.Time) {
	m.dial(now)
	for _, c := range m.conns {
		if !c.ended && now.Sub(m.started) < tcpPatience {
			return
		}
	}
	if !m.again && now.Sub(m.started) < tcpPatience && unsure(m.conns) {
		m.once(now)
		return
	}
	m.finish()
}

// once asks the servers that have answered once more.
func (m *TCPProbe) once(now time.Time) {
	m.again = true
	for _, c := range m.conns[:len(m.conns):len(m.conns)] {
		if c.mapped.IsValid() {
			m.plan(tcpPorts, c.server)
		}
	}
	m.advance(now)
}

// unsure reports whether there may be a sequence that is not seen, for connections were late.
func unsure(conns []*tcpConn) bool {
	r := classifyTCP(conns)
	if r.Mapping == MappingUnknown || r.Mapping == MappingEndpointIndependent || r.Ports.Model == PortsPreserving || r.Ports.Model == PortsSequential {
		return false
	}
	return slices.ContainsFunc(conns, func(c *tcpConn) bool { return !c.mapped.IsValid() || c.took >= tcpClean })
}

// HandleTimeout makes the next connection, or ends the waiting.
func (m *TCPProbe) HandleTimeout(now time.Time) {
	if !m.ended {
		m.advance(now)
	}
}

// NextTimeout is when the next connection is to be made, or the waiting ends.
func (m *TCPProbe) NextTimeout() time.Time {
	if m.ended || m.started.IsZero() {
		return time.Time{}
	}
	if m.dialled < len(m.conns) {
		return m.next
	}
	return m.started.Add(tcpPatience)
}

// HandleDatagram drops what comes: this is about streams.
func (m *TCPProbe) HandleDatagram(time.Time, machine.Datagram) {}

// Stop ends the probing with what is known by now.
func (m *TCPProbe) Stop(now time.Time) {
	m.finish()
}

func (m *TCPProbe) finish() {
	if m.ended {
		return
	}
	m.ended = true
	for _, c := range m.conns {
		m.out.Push(machine.Transmit{Op: machine.Reset, Stream: c.stream})
	}
	m.events.Push(TCPEvent{classifyTCP(m.conns)})
}

// classifyTCP draws the conclusions.
func classifyTCP(conns []*tcpConn) (r TCPReport) {
	var by [tcpPorts][]seen
	kept, lost := 0, 0
	var failed error
	for _, c := range conns {
		if !c.mapped.IsValid() {
			if c.err != nil {
				failed = fmt.Errorf("%v: %w", c.server, c.err)
			}
			continue
		}
		if c.port < tcpPorts {
			by[c.port] = append(by[c.port], seen{c.server, c.mapped})
		}
		if !r.Mapped.IsValid() {
			r.Mapped = c.mapped
		}
		if c.mapped.Port() == c.local.Port() {
			kept++
		} else {
			lost++
		}
		switch {
		case c.local.Addr().IsUnspecified() || !c.local.IsValid():
		case c.mapped != c.local:
			r.NAT = Yes
		case r.NAT == VerdictUnknown:
			r.NAT = No
		}
	}
	if kept+lost > 0 {
		r.Preserving = verdict(kept > lost)
	}
	// Of the two ports the one with the more certain answer counts, and of equally certain
	// ones the less restrictive: the other may have met somebody else's port.
	for _, all := range by {
		m, least := mappingOf(all)
		if m == MappingUnknown || r.Mapping != MappingUnknown && (r.Mapping < m || least) && !(r.MappingLeast && !least) {
			continue
		}
		r.Mapping, r.MappingLeast = m, least
	}
	r.Ports = portsOf(tcpSamples(conns))
	switch answers := len(by[0]) + len(by[1]); {
	case r.Mapping != MappingUnknown:
		r.Confidence = 0.95
		if a, _ := mappingOf(by[0]); a == MappingUnknown || r.MappingLeast {
			r.Confidence = 0.6
		} else if b, _ := mappingOf(by[1]); b != a {
			r.Confidence = 0.7
		}
		r.Because = fmt.Sprintf("%d connections from %d local ports", answers, tcpPorts)
	case answers > 0:
		r.Because = "only one server address answers over TCP"
	case failed != nil:
		r.Because = "no server answers over TCP: " + failed.Error()
	default:
		r.Because = "no server answers over TCP"
	}
	return r
}

// tcpSamples are the mappings that the connections made, as they were made: those from one
// port may share one.
func tcpSamples(conns []*tcpConn) (samples []portSample) {
	made := make(map[netip.AddrPort]bool)
	order := 0
	for _, c := range conns {
		if !c.mapped.IsValid() {
			order++ // it may have got a mapping all the same
			continue
		}
		if made[c.mapped] {
			continue
		}
		made[c.mapped] = true
		samples = append(samples, portSample{
			at: c.at, order: order, local: c.local.Port(), mapped: c.mapped.Port(), clean: c.took < tcpClean,
		})
		order++
	}
	return samples
}

// PollTransmit returns the next effect.
func (m *TCPProbe) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent returns the next event.
func (m *TCPProbe) PollEvent() (TCPEvent, bool) { return m.events.Pop() }
