package punch

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/internal/words"
	"github.com/bradawl/bradawl/natprobe"
)

// LanesConfig says between whom lanes are run. Lanes, Peer and Secret are needed.
type LanesConfig struct {
	// Lanes are what Plan found. Those that are ruled out, and those that plain checks or
	// TCP run, are passed over. Both sides must have planned from the same two profiles.
	Lanes []Lane
	// Local and Remote are what is known of this side's NAT and of the peer's.
	Local, Remote natprobe.Profile
	// Peer are the peer's outside addresses that signalling named. Ports are guessed at
	// these IPs only, and only where they may be on the internet; at most 4 IPs. The peer can
	// name somebody else's: name only what another has seen it at, such as the rendezvous. For
	// LaneTCPPredicted, which is never planned beside lanes of UDP, they are those of TCP.
	Peer []netip.AddrPort
	// Servers are STUN servers, asked what port a socket has outside. Predicted and
	// crossing lanes need one; two of different IPs save sockets. LaneTCPPredicted asks them over
	// TCP.
	Servers []netip.AddrPort
	// Secret is known to the two peers only, is fresh for each attempt, and holds at least
	// MinSecret bytes.
	Secret []byte
	// Dialler is true on exactly one side. It tells the peer's probes from our own where a
	// NAT or an attacker reflects these.
	Dialler bool
	// Socket is the one whose outside address the peer knows. The runner owns it.
	Socket machine.SocketID
	// LocalIP is what further sockets are bound to; invalid or unspecified: any.
	LocalIP netip.Addr
	// FirstSocket is the number of the first socket that is opened; the others follow.
	FirstSocket machine.SocketID
	// LocalTCP is the TCP port of ours whose outside address the peer knows: LaneTCPPredicted
	// dials from it, as others may at the same time, and listen at it.
	LocalTCP netip.AddrPort
	// FirstStream is the number of the first connection that is dialled to the peer, FirstQuery
	// that of the first to a STUN server, which is for the machine alone; the others follow.
	FirstStream, FirstQuery machine.StreamID
	// FewHops has the hard side of a birthday lane send packets of which most die on the way,
	// after its own NAT and before the peer's. Where both NATs hold it against a port if
	// something comes to it too early, as Linux does where no firewall drops it first, no
	// others can meet. Elsewhere it costs up to half of the chance: it is for an attempt after
	// one that was in vain.
	FewHops bool
	// Budget is what it may cost; the zero value has the defaults. Its Cooldown, and that no
	// two attempts at once birthday behind one NAT, is for the caller to see to.
	Budget Budget
}

// LaneEventKind is the sort of a LaneEvent.
type LaneEventKind uint8

// The events of Lanes.
const (
	LaneStarted LaneEventKind = iota // Lane is run from now on
	LaneTell                         // Message must go to the peer, for its HandleMessage
	LaneOpened                       // a probe was answered: Socket reaches the peer at Remote; or Stream stands
	LaneEnded                        // Lane is over, for Reason; what it took is told
	LanesDone                        // the last event: nothing more comes
)

var laneEventWords = words.Of[LaneEventKind]("started", "tell", "opened", "ended", "done")

// String returns the kind's name.
func (k LaneEventKind) String() string { return laneEventWords.String(k) }

// LaneEvent is what Lanes have found out, or want.
type LaneEvent struct {
	Kind LaneEventKind
	At   time.Time
	Lane LaneKind // all but LaneTell and LanesDone

	// LaneTell: what the peer has to know, at most 112 bytes, which the receiver
	// of the event owns. Each message holds all that the ones before held: of several, only
	// the last need arrive.
	Message []byte

	// LaneOpened: the path from Local, our socket's address, to Remote, the peer's. Mapped is our
	// address as the peer sees it. If Stream is not 0, it is a
	// TCP connection, which is the receiver's from now on: whoever is at its other end has not
	// proven to be the peer yet, nothing was sent on it, and Socket, Mapped and RTT are not set.
	Socket                machine.SocketID
	Stream                machine.StreamID
	Local, Remote, Mapped netip.AddrPort
	RTT                   time.Duration

	// LaneEnded: why, in words that follow "because", and what the lane took. LanesDone:
	// what all took together, answers to the peer included.
	Reason                 string
	Sent, Sockets, Entries int // packets, sockets opened, pairs of socket and remote
}

const (
	laneTime   = 10 * time.Second // how long a lane runs at most: as long as the agents check a pair
	laneLinger = 2 * time.Second  // from the first path to the end: the peer may find another at the same time
	maxPeerIPs = 4
	maxOpened  = 4 // paths that are told
)

type lanesState uint8

const (
	lanesRun    lanesState = iota
	lanesLinger            // a path is open; only what was begun is finished
	lanesOver
)

// Lanes runs the lanes of one connection that plain checks cannot: it opens sockets, or over TCP
// connections, tries ports and predicts them, all lanes interleaved under one budget, as a
// sans-IO machine (machine.Machine[LaneEvent] and machine.Noticer), which takes and gives types
// of this module's event loop and simulator: a bradawl.Session runs it. It starts when it is
// first run.
//
// What it opens is for others to check and to keep alive: it chooses no path. It ends by
// itself, and then has closed all of its sockets but those with an open path; Close these.
type Lanes struct {
	cfg     LanesConfig
	id      uint64
	random  *rand.Rand
	secrets io.Reader
	state   lanesState
	started time.Time

	ips    []netip.Addr     // of the peer, that may be sprayed
	dests  []netip.AddrPort // of the peer, where it listens
	stuns  []netip.AddrPort
	bind   netip.AddrPort
	limits limits

	streams    map[machine.StreamID]*laneStream
	dialled    []*laneStream // the same, as they were dialled
	lastStream machine.StreamID
	lastQuery  machine.StreamID

	lanes   []*laneRun // the most urgent first
	socks   map[machine.SocketID]*laneSocket
	order   []*laneSocket // as they were opened
	lastID  machine.SocketID
	flights map[wire.TransactionID]flown
	pairs   []*lanePair
	seen    replays
	queries []*laneQuery
	peerSaw uint32 // the number of the last message of the peer that was taken
	told    uint32
	opened  int

	timers  machine.Timers
	linger  machine.Timer
	msg     wire.Message
	builder wire.Builder
	out     machine.Queue[machine.Transmit]
	events  machine.Queue[LaneEvent]
}

// NewLanes makes a machine that starts at once. random orders and spreads, secrets gives
// transaction IDs and must be hard to guess. The error is a *ConfigError.
func NewLanes(now time.Time, cfg LanesConfig, random *rand.Rand, secrets io.Reader) (*Lanes, error) {
	if err := checkSecret(cfg.Secret); err != nil {
		return nil, err
	}
	if err := cfg.Budget.Check(); err != nil {
		return nil, err
	}
	if random == nil || secrets == nil {
		return nil, &ConfigError{Field: "random", Reason: "and secrets must both be given"}
	}
	m := &Lanes{
		cfg: cfg, id: laneID(cfg.Secret), random: random, secrets: secrets, started: now,
		limits: newLimits(now, cfg.Budget), socks: make(map[machine.SocketID]*laneSocket),
		flights: make(map[wire.TransactionID]flown), lastID: cfg.FirstSocket,
		streams: make(map[machine.StreamID]*laneStream), lastStream: cfg.FirstStream, lastQuery: cfg.FirstQuery,
	}
	m.linger.Fire = m.finish
	m.choosePeer()
	if slices.ContainsFunc(cfg.Lanes, func(l Lane) bool { return l.Ruled == "" && l.Kind.Guesses() && !l.Kind.Sprays() && !l.Kind.OverTCP() }) {
		m.limits.keepBack()
	}
	for _, l := range cfg.Lanes {
		if l.Ruled == "" && !slices.ContainsFunc(m.lanes, func(r *laneRun) bool { return r.Kind == l.Kind }) {
			m.begin(now, l)
		}
	}
	if m.state == lanesRun && !slices.ContainsFunc(m.lanes, running) {
		m.finish(now)
	}
	return m, nil
}

// choosePeer keeps what may be sent to, of one family: the peer names it, so it may be
// anything.
func (m *Lanes) choosePeer() {
	ip := m.cfg.LocalIP.Unmap()
	for _, a := range m.cfg.Peer {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if ipcheck.Unusable(a, false) != "" || !ipcheck.Public(a.Addr()) || slices.Contains(m.dests, a) {
			continue
		}
		if !ip.IsValid() || ip.IsUnspecified() {
			if ip = netip.IPv4Unspecified(); a.Addr().Is6() {
				ip = netip.IPv6Unspecified()
			}
		}
		if a.Addr().Is4() != ip.Is4() {
			continue
		}
		if !slices.Contains(m.ips, a.Addr()) && len(m.ips) < maxPeerIPs {
			m.ips = append(m.ips, a.Addr())
		}
		if a.Port() >= leastPort && len(m.dests) < maxPeerIPs {
			m.dests = append(m.dests, a)
		}
	}
	m.bind = netip.AddrPortFrom(ip, 0)
	for _, s := range m.cfg.Servers {
		s = netip.AddrPortFrom(s.Addr().Unmap(), s.Port())
		if s.Addr().Is4() == ip.Is4() && ipcheck.Unusable(s, true) == "" && !slices.Contains(m.stuns, s) {
			m.stuns = append(m.stuns, s)
		}
	}
}

func laneID(secret []byte) uint64 {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("bradawl lane"))
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// ID is what the probes of this connection carry, for LaneID: the same on both sides.
func (m *Lanes) ID() uint64 { return m.id }

// Close ends everything at once and closes all sockets that were opened but those to
// keep, which are the caller's from now on. What the lanes under way took is told, and no
// event follows after that. Connections are closed that were not told as opened.
func (m *Lanes) Close(now time.Time, keep ...machine.SocketID) {
	if m.state == lanesRun {
		m.state = lanesLinger // so that the peer is told nothing
	}
	for _, r := range m.lanes {
		m.end(now, r, "it was called off")
	}
	m.stop()
	for _, s := range m.order {
		if slices.Contains(keep, s.id) {
			s.gone = true
			delete(m.socks, s.id)
		}
		m.close(s)
	}
	m.hangUp(nil)
}

// stop makes the machine inert.
func (m *Lanes) stop() {
	m.state = lanesOver
	m.timers.Stop(&m.linger)
	for _, p := range m.pairs {
		m.timers.Stop(&p.timer)
	}
	m.flights, m.queries = nil, nil
}

// finish ends the machine, all of whose lanes are over.
func (m *Lanes) finish(now time.Time) {
	m.stop()
	for _, s := range m.order {
		if !s.gone && !s.kept {
			m.close(s)
		}
	}
	m.hangUp(nil)
	m.events.Push(LaneEvent{Kind: LanesDone, At: now, Sent: m.limits.sent, Sockets: len(m.order), Entries: len(m.limits.made)})
}

// HandleTimeout implements machine.Machine.
func (m *Lanes) HandleTimeout(now time.Time) { m.run(now) }

// HandleDatagram implements machine.Machine. Whatever else shares the socket may hand it
// all that arrives; what is not for it has no effect.
func (m *Lanes) HandleDatagram(now time.Time, d machine.Datagram) {
	if m.state == lanesOver || d.Socket != m.cfg.Socket && !m.isOpen(d.Socket) || m.msg.Decode(d.Data) != nil || m.msg.Method() != wire.Binding {
		return
	}
	d.Remote = netip.AddrPortFrom(d.Remote.Addr().Unmap(), d.Remote.Port())
	if id, ok := LaneID(d.Data); !ok {
		m.stunAnswer(now, d)
	} else if id == m.id {
		m.laneProbe(now, d)
	}
	m.run(now)
}

// HandleNotice implements machine.Noticer.
func (m *Lanes) HandleNotice(now time.Time, n machine.Notice) {
	if m.state == lanesOver {
		return
	}
	s := m.socks[n.Socket]
	switch {
	case n.Stream != 0:
		m.streamNotice(now, n)
	case n.Kind == machine.SocketFailed && n.Socket == m.cfg.Socket:
		for _, r := range m.lanes {
			m.end(now, r, "the socket that the peer knows broke")
		}
		m.finish(now)
		return
	case s == nil || s.gone:
	case n.Kind == machine.SocketOpened:
		if s.open, s.local = true, n.Local; s.lane.ended {
			m.close(s) // nothing was sent from it
			break
		}
		s.lane.work.opened(now, s)
	case n.Kind == machine.SocketFailed:
		m.close(s)
		if s.lane.failed++; !s.lane.ended {
			s.lane.work.lost(now, s)
		}
	}
	m.run(now)
}

// NextTimeout implements machine.Machine.
func (m *Lanes) NextTimeout() time.Time {
	if m.state == lanesOver {
		return time.Time{}
	}
	next := m.timers.Next()
	for _, r := range m.lanes {
		if r.ended {
			continue
		}
		next = machine.Earliest(next, r.until)
		n, at := r.work.wants()
		if n > 0 {
			if free := m.limits.pacer.When(n + r.spare()); at.Before(free) {
				at = free
			}
			next = machine.Earliest(next, at)
		}
	}
	return next
}

// PollTransmit implements machine.Machine.
func (m *Lanes) PollTransmit() (machine.Transmit, bool) { return m.out.Pop() }

// PollEvent implements machine.Machine.
func (m *Lanes) PollEvent() (LaneEvent, bool) { return m.events.Pop() }
