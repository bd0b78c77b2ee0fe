package punch

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/words"
)

// tcpEventKind is the sort of a tcpEvent.
type tcpEventKind uint8

// The events of a tcpMachine.
const (
	tcpProven tcpEventKind = iota // the peer proved itself on Stream
	tcpAgreed                     // both peers keep Stream, the others are closed; what follows on it is the peer's data
	tcpFailed                     // no connection within the time-out; Err is a *PathError
)

var tcpEventWords = words.Of[tcpEventKind]("proven", "agreed", "failed")

// String returns the kind's name.
func (k tcpEventKind) String() string { return tcpEventWords.String(k) }

// tcpEvent is what a tcpMachine found out.
type tcpEvent struct {
	Kind   tcpEventKind
	At     time.Time
	Stream machine.StreamID
	Local  netip.AddrPort // our end of the connection
	Remote netip.AddrPort // the peer's
	RTT    time.Duration  // of the proof: from our hello to the peer's proof
	Early  []byte         // tcpAgreed: the peer's data that came together with its last record
	Err    error          // tcpFailed
}

// tcpMachine punches TCP as a sans-IO machine (machine.Machine[tcpEvent]): both peers
// listen at one port and dial from the same port, at the same time, so that each SYN
// opens its sender's NAT for the other's (simultaneous open, RFC 9293 3.5). Its runner
// listens and hands it what comes in; the machine asks for the dials.
//
// Several connections can come up. On each, both sides show that they know the secret;
// the side with the greater session nonce elects the first connection that is proven,
// and the other side confirms it.
type tcpMachine struct {
	cfg     TCPConfig
	secrets io.Reader
	random  *rand.Rand
	session nonce
	started time.Time
	targets []*tcpTarget
	refused []Tried
	streams map[machine.StreamID]*tcpStream
	order   []machine.StreamID // of streams, oldest first: no map decides anything
	next    machine.StreamID
	elected *tcpStream
	ended   bool
	met     bool // the peer has proven itself on some stream
	forged  int
	out     machine.Queue[machine.Transmit]
	events  machine.Queue[tcpEvent]
}

// tcpTarget is one address of the peer that is dialled.
type tcpTarget struct {
	remote  netip.AddrPort
	dialing bool
	dials   int
	reached bool
	next    time.Time
	err     error
}

const (
	redialFirst = 50 * time.Millisecond
	redialMost  = time.Second
	// handshakeTime is how long a connection may take from its first byte to its proof.
	handshakeTime = 5 * time.Second
	// maxAccepted bounds the connections that came in and are not proven.
	maxAccepted = 16
)

// newTCPMachine makes a machine that starts at once. random spreads redials, secrets gives
// nonces. The error is a *ConfigError, or secrets's.
func newTCPMachine(now time.Time, cfg TCPConfig, random *rand.Rand, secrets io.Reader) (*tcpMachine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &tcpMachine{cfg: cfg, secrets: secrets, random: random, started: now, streams: make(map[machine.StreamID]*tcpStream)}
	if _, err := io.ReadFull(secrets, m.session[:]); err != nil {
		return nil, err
	}
	for _, a := range cfg.Peer {
		m.AddRemote(now, a)
	}
	m.HandleTimeout(now)
	return m, nil
}

// AddRemote adds an address of the peer that became known later. What must not be
// dialled, or is too much, is only noted for the report.
func (m *tcpMachine) AddRemote(now time.Time, a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if m.target(a) != nil {
		return
	}
	why := ipcheck.Unusable(a, m.cfg.Loopback)
	if why == "" && len(m.targets) == MaxPeerAddrs {
		why = tooMany
	}
	if why == "" {
		m.targets = append(m.targets, &tcpTarget{remote: a, next: now})
	} else if len(m.refused) < MaxPeerAddrs {
		m.refused = append(m.refused, Tried{Remote: a, Err: badConfig("Peer", a, why)})
	}
}

func (m *tcpMachine) target(a netip.AddrPort) *tcpTarget {
	i := slices.IndexFunc(m.targets, func(t *tcpTarget) bool { return t.remote == a })
	if i < 0 {
		return nil
	}
	return m.targets[i]
}

// HandleDatagram implements machine.Machine: there are none.
func (m *tcpMachine) HandleDatagram(time.Time, machine.Datagram) {}

// HandleTimeout implements machine.Machine.
func (m *tcpMachine) HandleTimeout(now time.Time) {
	if m.ended {
		return
	}
	if end := m.deadline(); !end.IsZero() && !now.Before(end) {
		m.fail(now, nil)
		return
	}
	for _, t := range m.targets {
		if !t.dialing && !t.next.After(now) {
			m.dial(t)
		}
	}
	for _, id := range slices.Clone(m.order) {
		if s := m.streams[id]; s.connected && !s.proven && !now.Before(s.since.Add(handshakeTime)) {
			m.drop(now, s, errSlow)
		}
	}
}

// NextTimeout implements machine.Machine.
func (m *tcpMachine) NextTimeout() time.Time {
	if m.ended {
		return time.Time{}
	}
	next := m.deadline()
	for _, t := range m.targets {
		if !t.dialing {
			next = machine.Earliest(next, t.next)
		}
	}
	for _, id := range m.order {
		if s := m.streams[id]; s.connected && !s.proven {
			next = machine.Earliest(next, s.since.Add(handshakeTime))
		}
	}
	return next
}

func (m *tcpMachine) deadline() time.Time {
	if m.cfg.Timeout < 0 {
		return time.Time{}
	}
	return m.started.Add(m.cfg.Timeout)
}

// PollTransmit implements machine.Machine.
func (m *tcpMachine) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent implements machine.Machine.
func (m *tcpMachine) PollEvent() (tcpEvent, bool) { return m.events.Pop() }

func (m *tcpMachine) dial(t *tcpTarget) {
	t.dialing = true
	t.dials++
	s := &tcpStream{id: m.next, target: t}
	m.next++
	m.enter(s)
	local := m.cfg.Local
	if local.Addr().IsUnspecified() && t.remote.Addr().Is6() != local.Addr().Is6() {
		local = netip.AddrPortFrom(unspecified(t.remote.Addr()), local.Port())
	}
	m.out.Push(machine.Transmit{Op: machine.Dial, Stream: s.id, Local: local, Remote: t.remote})
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// redial lets a target rest after a failure, which is mostly transient: the peer's NAT
// resets what it does not expect yet, or the port is still in use by the last try.
func (m *tcpMachine) redial(now time.Time, t *tcpTarget) {
	t.dialing = false
	rest := min(redialFirst<<min(t.dials-1, 8), redialMost)
	t.next = now.Add(rest/2 + time.Duration(m.random.Int64N(int64(rest))))
}

func (m *tcpMachine) enter(s *tcpStream) {
	m.streams[s.id] = s
	m.order = append(m.order, s.id)
}

// forget removes a stream and, if it was dialled, lets its target rest.
func (m *tcpMachine) forget(now time.Time, s *tcpStream) {
	delete(m.streams, s.id)
	m.order = slices.DeleteFunc(m.order, func(id machine.StreamID) bool { return id == s.id })
	if s.target != nil {
		m.redial(now, s.target)
	}
	if m.elected != s {
		return
	}
	m.elected = nil
	for _, id := range m.order {
		if other := m.streams[id]; other.proven {
			m.elect(other)
			return
		}
	}
}

// drop resets a stream because of err.
func (m *tcpMachine) drop(now time.Time, s *tcpStream, err error) {
	if s.target != nil {
		s.target.err = err
	}
	m.out.Push(machine.Transmit{Op: machine.Reset, Stream: s.id})
	m.forget(now, s)
}

// HandleNotice implements machine.Noticer.
func (m *tcpMachine) HandleNotice(now time.Time, n machine.Notice) {
	if m.ended {
		if n.Kind == machine.Accepted {
			m.out.Push(machine.Transmit{Op: machine.Reset, Stream: n.Stream})
		}
		return
	}
	s := m.streams[n.Stream]
	switch {
	case n.Kind == machine.Accepted:
		m.accept(now, n)
	case s == nil:
	case n.Kind == machine.Connected:
		s.target.reached = true
		m.open(now, s, n)
	case n.Kind == machine.Received:
		m.received(now, s, n.Data)
	case n.Kind == machine.Closed && n.Err == nil:
		m.drop(now, s, errEnded) // or TIME-WAIT would keep the other side's port from another try
	case n.Kind == machine.Closed:
		if s.target != nil {
			s.target.err = n.Err
		}
		m.forget(now, s)
	}
}

func (m *tcpMachine) accept(now time.Time, n machine.Notice) {
	strangers := 0
	var oldest *tcpStream
	for _, id := range m.order {
		if s := m.streams[id]; s.target == nil && !s.proven {
			if strangers++; oldest == nil {
				oldest = s
			}
		}
	}
	if strangers >= maxAccepted {
		m.drop(now, oldest, nil)
	}
	s := &tcpStream{id: n.Stream}
	m.enter(s)
	m.open(now, s, n)
}

func (m *tcpMachine) fail(now time.Time, cause error) {
	m.end(nil)
	m.events.Push(tcpEvent{Kind: tcpFailed, At: now, Err: m.Report(now, cause)})
}

// end closes all streams but one.
func (m *tcpMachine) end(keep *tcpStream) {
	m.ended = true
	for _, id := range m.order {
		if keep == nil || id != keep.id {
			m.out.Push(machine.Transmit{Op: machine.Reset, Stream: id})
		}
	}
	clear(m.streams)
	m.order = nil
}

// Report tells how the attempt stands, as the error of one that ends now because of
// cause, which may be nil.
func (m *tcpMachine) Report(now time.Time, cause error) *PathError {
	e := &PathError{Proto: "TCP", Elapsed: now.Sub(m.started), Met: m.met, Forged: m.forged, Cause: cause}
	for _, t := range m.targets {
		e.Tried = append(e.Tried, Tried{Remote: t.remote, Tries: t.dials, Answered: t.reached, Err: t.err})
	}
	e.Tried = append(e.Tried, m.refused...)
	return e
}
