package punch

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/internal/words"
)

// Path is a direct path that was found.
type Path struct {
	Local  netip.AddrPort // ours, as datagrams arrive at it
	Remote netip.AddrPort // where to send to
	Mapped netip.AddrPort // ours, as the peer sees it
	RTT    time.Duration  // of the probe that found the path
	// Learned: the peer's address came from its own probe (peer-reflexive), because
	// its NAT uses another than it could tell us.
	Learned bool
	// Early are datagrams that the peer sent on the path before UDP returned; at most
	// the first 16.
	Early [][]byte
}

// udpEventKind is the sort of a udpEvent.
type udpEventKind uint8

// The events of a udpMachine. Each comes at most once for an address, udpForged once in
// all, and udpAgreed or udpFailed ends them.
const (
	udpPassedOver udpEventKind = iota // an address is not probed; Err says why
	udpLearned                        // a probe of the peer came from an address that nobody had named
	udpForged                         // a message came whose integrity does not match the secret
	udpValid                          // a probe was answered: Path can be used
	udpNominated                      // one side chose Path, the other has not agreed yet
	udpAgreed                         // both peers use Path; the machine goes on answering the peer
	udpFailed                         // no path within the time-out; Err is a *PathError
)

var udpEventWords = words.Of[udpEventKind]("passed over", "learned", "forged", "valid", "nominated", "agreed", "failed")

// String returns the kind's name.
func (k udpEventKind) String() string { return udpEventWords.String(k) }

// maxUDPEvents is how many events there can be.
const maxUDPEvents = MaxPeerAddrs + maxLearnedAddrs + 1 + (MaxPeerAddrs + maxLearnedAddrs) + 1 + 1

// udpEvent is what a udpMachine found out.
type udpEvent struct {
	Kind udpEventKind
	At   time.Time
	Path Path  // before udpValid: Remote only
	Err  error // udpPassedOver, udpFailed
}

// udpMachine punches over one UDP socket, its socket 0, as a sans-IO machine
// (machine.Machine[udpEvent]).
//
// Each side probes every address of the other. The side whose random tag is the
// greater one nominates the first pair that works for it; the other agrees as soon
// as that pair works for itself, too. Both then use the same pair.
type udpMachine struct {
	cfg     UDPConfig
	secrets io.Reader
	tag     tag
	started time.Time
	state   udpState
	targets []*target
	learned int
	refused []Tried // addresses that are not probed
	forged  int
	seen    seenIDs

	peer   tag       // zero until the first authentic message
	wanted *target   // nominated by the peer, perhaps not valid yet
	chosen *target   // nominated by one side, and valid for us
	asked  int       // nominations since the peer was last heard on chosen
	heard  time.Time // when that was
	early  [][]byte

	pace    time.Time // when the next first probe may leave
	msg     wire.Message
	builder wire.Builder
	out     machine.Queue[machine.Transmit]
	events  machine.Queue[udpEvent]

	illegal int // transitions that the table does not have: always 0
}

type udpState uint8

const (
	probing    udpState = iota
	nominating          // chosen stands, the peer has not agreed yet
	agreed
	failed
)

// udpSteps are the transitions that there are.
var udpSteps = machine.Steps[udpState]{
	probing:    {nominating, agreed, failed},
	nominating: {agreed, failed},
	agreed:     nil,
	failed:     nil,
}

// setState makes a transition and tells of it.
func (m *udpMachine) setState(now time.Time, to udpState, cause error) {
	if !udpSteps.Step(&m.state, to, &m.illegal) {
		return
	}
	switch to {
	case nominating:
		m.tell(now, udpNominated, m.chosen.path, nil)
	case agreed:
		m.tell(now, udpAgreed, m.chosen.path, nil)
	case failed:
		m.tell(now, udpFailed, Path{}, m.Report(now, cause))
	}
}

func (m *udpMachine) tell(now time.Time, k udpEventKind, p Path, err error) {
	m.events.Push(udpEvent{Kind: k, At: now, Path: p, Err: err})
}

// target is one address of the peer.
type target struct {
	remote  netip.AddrPort
	learned bool // from the peer's probe: probed only in answer to probes from there
	heard   bool
	valid   bool
	err     error
	path    Path
	local   netip.AddrPort // ours, as the peer's last probe from there arrived at it
	probes  int
	step    int       // in the schedule
	next    time.Time // of the next probe; zero: none is due
	last    time.Time // of the last one
	flying  [16]flight
}

type flight struct {
	id wire.TransactionID
	at time.Time
}

// schedule is the time between the probes to one address. It starts far quicker
// than a STUN transaction would (RFC 8489 6.2.1), since every probe also opens our
// own NAT, and ends at a rate that no router notices.
var schedule = [...]time.Duration{
	33 * time.Millisecond, 33 * time.Millisecond, 66 * time.Millisecond, 133 * time.Millisecond,
	266 * time.Millisecond, 533 * time.Millisecond, 1066 * time.Millisecond, 2 * time.Second,
}

const (
	// pacing is the least time between the first probes to two addresses.
	pacing = 5 * time.Millisecond
	// After so many nominations without any answer, and 4 round trips and half a second
	// of silence, we take it that the peer agreed and is gone: it had answered on this
	// pair before.
	patience     = 5
	patienceTime = 500 * time.Millisecond

	maxEarly = 16
)

// newUDPMachine makes a machine that starts at once. secrets gives tags and transaction
// IDs and must be hard to guess. The error is a *ConfigError, or secrets's.
func newUDPMachine(now time.Time, cfg UDPConfig, secrets io.Reader) (*udpMachine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &udpMachine{cfg: cfg, secrets: secrets, started: now, pace: now}
	for m.tag == (tag{}) {
		if _, err := io.ReadFull(secrets, m.tag[:]); err != nil {
			return nil, err
		}
	}
	for _, a := range cfg.Peer {
		m.AddRemote(now, a)
	}
	return m, nil
}

// AddRemote adds an address of the peer that became known later. What must not be
// probed, or is too much, is only told and noted for the report.
func (m *udpMachine) AddRemote(now time.Time, a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if m.target(a) != nil {
		return
	}
	why := ipcheck.Unusable(a, m.cfg.Loopback)
	if why == "" && len(m.targets)-m.learned == MaxPeerAddrs {
		why = tooMany
	}
	if why == "" {
		t := m.add(a)
		if t.next = now; m.pace.After(now) {
			t.next = m.pace
		}
		m.pace = t.next.Add(pacing)
	} else if len(m.refused) < MaxPeerAddrs {
		err := badConfig("Peer", a, why)
		m.refused = append(m.refused, Tried{Remote: a, Err: err})
		m.tell(now, udpPassedOver, Path{Remote: a}, err)
	}
}

func (m *udpMachine) add(a netip.AddrPort) *target {
	t := &target{remote: a}
	m.targets = append(m.targets, t)
	return t
}

func (m *udpMachine) target(a netip.AddrPort) *target {
	i := slices.IndexFunc(m.targets, func(t *target) bool { return t.remote == a })
	if i < 0 {
		return nil
	}
	return m.targets[i]
}

// HandleTimeout implements machine.Machine.
func (m *udpMachine) HandleTimeout(now time.Time) {
	if m.state >= agreed {
		return
	}
	if end := m.deadline(); !end.IsZero() && !now.Before(end) {
		m.setState(now, failed, nil)
		return
	}
	for _, t := range m.targets {
		if m.wants(t) && !t.next.After(now) {
			m.probe(now, t)
		}
	}
}

// NextTimeout implements machine.Machine.
func (m *udpMachine) NextTimeout() time.Time {
	if m.state >= agreed {
		return time.Time{}
	}
	next := m.deadline()
	for _, t := range m.targets {
		if m.wants(t) {
			next = machine.Earliest(next, t.next)
		}
	}
	return next
}

// wants reports whether a probe to t is due some time.
func (m *udpMachine) wants(t *target) bool {
	switch {
	case t.next.IsZero() || m.state >= agreed:
		return false
	case m.state == nominating:
		return t == m.chosen
	}
	return !t.valid // the peer nominates; our answers are what it waits for
}

func (m *udpMachine) deadline() time.Time {
	if m.cfg.Timeout < 0 {
		return time.Time{}
	}
	return m.started.Add(m.cfg.Timeout)
}

// PollTransmit implements machine.Machine.
func (m *udpMachine) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent implements machine.Machine.
func (m *udpMachine) PollEvent() (udpEvent, bool) { return m.events.Pop() }

// Early returns the datagrams of the peer that came by way of paths found, the first
// 16 of them, in order; the caller owns them.
func (m *udpMachine) Early() [][]byte { return m.early }

// Report tells how the attempt stands, as the error of one that ends now because of
// cause, which may be nil.
func (m *udpMachine) Report(now time.Time, cause error) *PathError {
	e := &PathError{Proto: "UDP", Elapsed: now.Sub(m.started), Met: m.peer != (tag{}), Forged: m.forged, Cause: cause}
	for _, t := range m.targets {
		e.Tried = append(e.Tried, Tried{Remote: t.remote, Learned: t.learned, Tries: t.probes, Heard: t.heard, Answered: t.valid, Err: t.err})
	}
	e.Tried = append(e.Tried, m.refused...)
	return e
}
