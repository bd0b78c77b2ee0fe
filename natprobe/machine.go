package natprobe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/internal/words"
)

// When a server that does not answer is no longer waited for.
const (
	// spareAfter is when the other servers are asked, where the first is silent.
	spareAfter = 100 * time.Millisecond
	// tcpAfter is when TCP is tried, where no server answers by UDP.
	tcpAfter = 400 * time.Millisecond
	// silentAfter is when UDP is taken for blocked, and provenAfter when it is where a server
	// answers over TCP: that takes two round trips, and UDP had more time by then.
	silentAfter = 2900 * time.Millisecond
	provenAfter = 1200 * time.Millisecond
)

// Stage says how far a discovery is.
type Stage uint8

// The stages, in their order.
const (
	StageStart    Stage = iota // sockets are opened
	StageBehavior              // mapping, filtering and hairpin are asked for
	StagePorts                 // these are known; the port model is looked into
	StageDone                  // all but lifetimes is known
	StageLifetime              // lifetimes are measured
)

var stages = words.Of[Stage]("start", "behavior", "ports", "done", "lifetime")

// String returns the stage's name.
func (s Stage) String() string { return stages.String(s) }

// DiscoveryEvent is what a Discovery tells.
type DiscoveryEvent struct {
	Stage  Stage
	Report Report // what is known so far; final when Stage is StageDone
	Err    error  // StageDone only: why nothing could be found out, as Discover returns it
}

// Discovery is the machine behind [Discover]: it works off the schedule for servers of
// one address family. It opens its own sockets by OpenSocket effects and closes them
// when it is done. Use NewDiscovery, then Start.
//
// Like every machine it is not safe for concurrent use.
type Discovery struct {
	cfg     DiscoveryConfig
	servers []netip.AddrPort

	// The schedule for one server is a lane; where the first server turns out to be of no
	// use, another takes its place on a new one, with fresh sockets for what needs them.
	lane   int
	first  int // index of the lane's server
	plan   []step
	taken  []*probe // the plan's steps as they were taken; nil: not yet
	probes []*probe // of all lanes, in the order begun
	byID   map[wire.TransactionID]*probe
	socks  map[role]*probeSocket
	lastID machine.SocketID

	other      netip.AddrPort // the server's other address and port
	otherFault string         // why there is none, once that is known
	stage      Stage
	start      time.Time
	known      time.Time // when the behaviour was
	tokens     bucket    // the first run of a Prober starts with a full one, the next with what is left
	wake       time.Time // when a step that waits may be taken
	nextSample time.Time
	rtt        estimator
	heard      bool // a server has answered
	packets    int
	tcp        tcpControl
	hops       [maxHops]netip.Addr // the first routers, as far as they answer
	hopsSent   bool

	out     machine.Queue[machine.Transmit]
	events  machine.Queue[DiscoveryEvent]
	message wire.Message
	builder wire.Builder
	unknown []wire.AttrType
}

// probeSocket is one socket of a discovery.
type probeSocket struct {
	id    machine.SocketID
	role  role
	local netip.AddrPort // as far as it is known
	tries int
	open  bool
}

// NewDiscovery returns a machine that will ask servers, of one address family, the first
// of which should be one that supports RFC 5780; repeated ones are asked once. The error
// is a *ConfigError.
func NewDiscovery(servers []netip.AddrPort, cfg *DiscoveryConfig) (*Discovery, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	servers, err = checkServers(servers)
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		if s.Addr().Is4() != servers[0].Addr().Is4() {
			return nil, &ConfigError{"servers", fmt.Sprintf("%v and %v are not of one family; run one discovery for each", servers[0], s)}
		}
	}
	m := &Discovery{
		cfg: c, servers: servers,
		byID: make(map[wire.TransactionID]*probe), socks: make(map[role]*probeSocket),
		unknown: make([]wire.AttrType, 0, wire.MaxUnknown),
	}
	m.setPlan()
	return m, nil
}

func (m *Discovery) primary() netip.AddrPort { return m.servers[m.first] }

// setPlan lays the schedule for the lane's server.
func (m *Discovery) setPlan() {
	var spare []int
	for i := range m.servers {
		if i != m.first && !m.asked(m.servers[i]) {
			spare = append(spare, i)
		}
	}
	samples := maxSamples
	if m.cfg.NoPorts {
		samples = 0
	}
	m.plan = schedule(spare, !m.cfg.NoHairpin, m.cfg.Fragments, samples)
	m.taken = make([]*probe, len(m.plan))
}

// asked tells whether the mapping towards a server was asked for already.
func (m *Discovery) asked(server netip.AddrPort) bool {
	for _, p := range m.probes {
		if p.on == mapper && p.plain() && p.dest == server {
			return true
		}
	}
	return false
}

// Start opens the sockets. Call it once.
func (m *Discovery) Start(now time.Time) {
	m.start = now
	for r := mapper; r < sampler; r++ {
		m.openSocket(r)
	}
}

// openSocket opens a socket for a role, in place of the one that it had. Its port is
// random: a NAT may remember what the last run did from the same one (RFC 5780 4.1).
func (m *Discovery) openSocket(r role) {
	if s := m.socks[r]; s != nil {
		m.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: s.id})
	}
	m.socks[r] = &probeSocket{id: m.nextID(), role: r}
	m.bindSocket(m.socks[r])
}

func (m *Discovery) nextID() machine.SocketID {
	m.lastID++
	return m.lastID
}

func (m *Discovery) bindSocket(s *probeSocket) {
	port := uint16(32768 + m.cfg.Rand.IntN(32768))
	switch even := m.socks[pairEven]; {
	case s.tries >= 5:
		port = 0 // the system knows better
	case s.role == pairEven:
		port &^= 1
	case s.role == pairOdd && s.tries == 0:
		port = even.local.Port() | 1
	}
	s.tries++
	s.local = netip.AddrPortFrom(m.cfg.bind(m.servers[0].Addr()), port)
	m.out.Push(machine.Transmit{Op: machine.OpenSocket, Socket: s.id, Local: s.local})
}

func (m *Discovery) sock(r role) *probeSocket { return m.socks[r] }

// HandleNotice takes in what became of sockets and packets.
func (m *Discovery) HandleNotice(now time.Time, n machine.Notice) {
	if m.stage == StageDone {
		return
	}
	switch n.Kind {
	case machine.SocketOpened, machine.SocketFailed:
		for r := mapper; r < sampler+maxSamples; r++ {
			if s := m.socks[r]; s != nil && s.id == n.Socket {
				m.socketReady(now, s, n)
			}
		}
	case machine.Unreachable:
		if n.Reason == machine.TimeExceeded {
			m.hop(n)
			break
		}
		for _, p := range m.probes {
			if p.sock.id == n.Socket && p.dest == n.Remote && !p.answered {
				p.icmp, p.icmpWhy = true, n.Reason
			}
		}
	default:
		m.tcp.notice(m, n)
	}
	m.advance(now)
}

// hop takes in which router a packet got to.
func (m *Discovery) hop(n machine.Notice) {
	for i, r := range hopSockets {
		if s := m.socks[r]; s != nil && s.id == n.Socket {
			m.hops[i] = m.cfg.sender(n.Err)
		}
	}
}

func (m *Discovery) socketReady(now time.Time, s *probeSocket, n machine.Notice) {
	switch {
	case n.Kind == machine.SocketOpened:
		s.open = true
		s.local = netip.AddrPortFrom(s.local.Addr(), n.Local.Port())
		s.local = locate(s.local, n.Local)
	case s.open:
		m.fail(now, fmt.Errorf("a socket broke: %w", n.Err))
	case s.tries > 5:
		m.fail(now, fmt.Errorf("cannot open a UDP socket on %v: %w", s.local.Addr(), n.Err))
	default:
		s.id = m.nextID()
		m.bindSocket(s)
	}
}

// HandleTimeout sends what is due.
func (m *Discovery) HandleTimeout(now time.Time) {
	if m.stage == StageStart || m.stage == StageDone {
		return
	}
	for _, p := range m.probes {
		if !p.done && !p.next.After(now) {
			m.due(now, p)
		}
	}
	m.tcp.timeout(now, m)
	m.advance(now)
}

// NextTimeout is when something is due.
func (m *Discovery) NextTimeout() time.Time {
	if m.stage == StageStart || m.stage == StageDone {
		return time.Time{}
	}
	next := machine.Earliest(m.wake, m.start.Add(m.cfg.Timeout), m.tcp.at(m))
	if !m.heard {
		next = machine.Earliest(next, m.start.Add(m.patience()))
	}
	for _, p := range m.probes {
		if !p.done {
			next = machine.Earliest(next, p.next)
		}
	}
	return next
}

// patience is how long silence over UDP is borne.
func (m *Discovery) patience() time.Duration {
	if _, stun := m.tcp.result(); stun {
		return provenAfter
	}
	return silentAfter
}

// HandleDatagram takes in an answer, or a request of ours that came back to us. What is
// neither is dropped and changes nothing.
func (m *Discovery) HandleDatagram(now time.Time, d machine.Datagram) {
	msg := &m.message
	if m.stage == StageStart || m.stage == StageDone || msg.Decode(d.Data) != nil || msg.Method() != wire.Binding {
		return
	}
	p := m.byID[msg.TransactionID()]
	if p == nil || msg.Has(wire.AttrFingerprint) && msg.CheckFingerprint() != nil {
		return
	}
	switch {
	case msg.Class() == wire.Request:
		m.own(now, d)
	case msg.IsResponse() && p.sock.id == d.Socket && !p.moot:
		m.answer(now, p, d)
	}
	for _, p := range m.probes {
		// What is known of the round trip now may shorten a wait.
		if !p.done {
			if next := m.nextFor(now, p); next.Before(p.next) {
				p.next = next
			}
		}
	}
	m.advance(now)
}

// learnOther takes the server's other address from the first answer that can tell, and
// never again: what the other address says in turn is its own view (RFC 5780 6.1).
func (m *Discovery) learnOther(p *probe) {
	if m.other.IsValid() || m.otherFault != "" || p.dest != m.primary() || !p.plain() {
		return
	}
	m.other, m.otherFault = otherOf(p.dest, &m.message)
}

// otherOf returns the other address of a server that says what it is, or why not.
func otherOf(server netip.AddrPort, msg *wire.Message) (other netip.AddrPort, fault string) {
	other, ok := msg.OtherAddress()
	if !ok {
		if other, ok = msg.ChangedAddress(); !ok {
			return netip.AddrPort{}, "it names no other address (RFC 5780)"
		}
	}
	o, s := other.Addr(), server.Addr()
	switch {
	case o.Is4() != s.Is4() || o.IsUnspecified() || o.IsMulticast() || other.Port() == 0,
		o.IsLoopback() && !s.IsLoopback(), o.IsPrivate() && !s.IsPrivate(), o.IsLinkLocalUnicast() && !s.IsLinkLocalUnicast():
		fault = fmt.Sprintf("it names an other address that cannot be, %v", other)
	case o == s || other.Port() == server.Port():
		fault = fmt.Sprintf("its other address %v differs too little", other)
	}
	if fault != "" {
		other = netip.AddrPort{}
	}
	return other, fault
}

// Stop ends the discovery with what is known by now.
func (m *Discovery) Stop(now time.Time) {
	m.finish(now, nil)
}

func (m *Discovery) fail(now time.Time, err error) {
	m.finish(now, fmt.Errorf("natprobe: %w", err))
}

// finish closes everything and tells the result.
func (m *Discovery) finish(now time.Time, err error) {
	if m.stage == StageDone {
		return
	}
	if m.known.IsZero() {
		m.known = now
	}
	m.stage = StageDone
	for r := mapper; r < sampler+maxSamples; r++ {
		if s := m.socks[r]; s != nil {
			m.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: s.id})
		}
	}
	m.tcp.close(m)
	report := m.report(now)
	if err == nil && !m.heard && report.Type == TypeUnknown {
		err = m.noAnswers()
	}
	m.events.Push(DiscoveryEvent{Stage: StageDone, Report: report, Err: err})
}

// noAnswers says what went wrong with each server.
func (m *Discovery) noAnswers() error {
	e := &NoAnswersError{}
	for _, s := range m.servers {
		se := &ServerError{Server: s, Err: ErrNoAnswer}
		for _, p := range m.probes {
			if p.dest != s || !p.plain() {
				continue
			}
			switch {
			case p.code != 0:
				se.Code, se.Err = p.code, errors.New("refused a Binding request")
			case p.foreign.IsValid():
				se.Err = fmt.Errorf("answered from %v instead", p.foreign)
			case p.icmp:
				se.Err = fmt.Errorf("%w (ICMP: %v)", ErrNoAnswer, p.icmpWhy)
			}
		}
		e.Servers = append(e.Servers, se)
	}
	return e
}

// PollTransmit returns the next effect.
func (m *Discovery) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent returns the next event.
func (m *Discovery) PollEvent() (DiscoveryEvent, bool) { return m.events.Pop() }
