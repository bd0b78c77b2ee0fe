package punch

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/words"
)

// pingID names a Ping of a pingerMachine; 0 is the regular probing of a remote that
// was added.
type pingID uint64

// pingerEventKind is the sort of a pingerEvent.
type pingerEventKind uint8

// The events of a pingerMachine.
const (
	pingAnswered pingerEventKind = iota // a probe was answered; RTT and Late are set
	pingLost                            // a probe was not answered within LostAfter
	pingDone                            // every probe of a Ping was answered or lost, or Err says why it ended; Stats is set
)

var pingerEventWords = words.Of[pingerEventKind]("answered", "lost", "done")

// String returns the kind's name.
func (k pingerEventKind) String() string { return pingerEventWords.String(k) }

// pingerEvent is what a pingerMachine found out.
type pingerEvent struct {
	Kind     pingerEventKind
	At       time.Time
	ID       pingID
	Remote   netip.AddrPort // who is pinged
	Sequence uint16         // of the probe
	RTT      time.Duration  // of an answer
	Late     bool           // it came after the probe's deadline
	Stats    PingStats
	Err      error
}

// pingerMachine measures round trips over one UDP socket, its socket 0, as a sans-IO
// machine (machine.Machine[pingerEvent]): Pinger without socket and clock.
//
// It keeps pingSize bytes of traffic strictly to the remotes that it was told: what
// others send is dropped unread, an answer is as long as the probe and is never
// answered itself, and the answers to each remote are bounded in rate.
type pingerMachine struct {
	cfg     PingerConfig
	secrets io.Reader
	started time.Time
	remotes []*pingRemote // in the order in which they came
	byAddr  map[netip.AddrPort]*pingRemote
	last    pingID
	pace    time.Time // when the next remote's first regular probe may leave
	broken  error     // of the socket

	out    []pingOut
	polled int // of out
	events machine.Queue[pingerEvent]
}

// pingOut is a datagram to send.
type pingOut struct {
	from netip.AddrPort // invalid: as the system chooses
	to   netip.AddrPort
	data [pingSize]byte
}

// newPingerMachine makes a machine without remotes. secrets gives what makes answers
// hard to forge. The error is a *ConfigError.
func newPingerMachine(now time.Time, cfg PingerConfig, secrets io.Reader) (*pingerMachine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &pingerMachine{
		cfg: cfg, secrets: secrets, started: now, pace: now, byAddr: make(map[netip.AddrPort]*pingRemote),
	}, nil
}

// Add registers a remote: from now on its probes are answered, and it is probed
// regularly. It returns a *ConfigError for an address that must not be probed or is
// one too many, or the socket's, and does nothing for one that was added before.
func (m *pingerMachine) Add(now time.Time, remote netip.AddrPort) error {
	r, err := m.remote(remote)
	if err != nil || r.watch != nil {
		return err
	}
	r.watch = newPingSeries(0, -1, now, r.addr)
	if m.pace.After(now) {
		r.watch.next = m.pace
	}
	m.pace = r.watch.next.Add(pacing)
	return nil
}

// Remove ends what Add began; Pings that are under way go on. It reports whether the
// remote had been added.
func (m *pingerMachine) Remove(remote netip.AddrPort) bool {
	r := m.byAddr[unmapped(remote)]
	if r == nil || r.watch == nil {
		return false
	}
	r.watch = nil
	m.forgetIdle()
	return true
}

// Ping sends n probes to a remote, which counts as registered until the last of them
// has been answered or lost and pingDone says so. The error is a *ConfigError or the
// socket's.
func (m *pingerMachine) Ping(now time.Time, remote netip.AddrPort, n int) (pingID, error) {
	if n < 1 {
		return 0, badConfig("n", n, "is not a number of probes")
	}
	r, err := m.remote(remote)
	if err != nil {
		return 0, err
	}
	m.last++
	r.pings = append(r.pings, newPingSeries(m.last, n, now, r.addr))
	return m.last, nil
}

// Progress tells how a Ping stands; false when it is over.
func (m *pingerMachine) Progress(now time.Time, id pingID) (PingStats, bool) {
	for _, r := range m.remotes {
		for _, s := range r.pings {
			if s.id == id {
				return m.stats(now, r, s), true
			}
		}
	}
	return PingStats{}, false
}

// Cancel ends a Ping without pingDone.
func (m *pingerMachine) Cancel(id pingID) {
	for _, r := range m.remotes {
		r.pings = slices.DeleteFunc(r.pings, func(s *pingSeries) bool { return s.id == id })
	}
	m.forgetIdle()
}

// Stats are the statistics of a remote since it was added, its Pings not included;
// false when it is not.
func (m *pingerMachine) Stats(now time.Time, remote netip.AddrPort) (PingStats, bool) {
	r := m.byAddr[unmapped(remote)]
	if r == nil || r.watch == nil {
		return PingStats{}, false
	}
	return m.stats(now, r, r.watch), true
}

// HandleDatagram implements machine.Machine.
func (m *pingerMachine) HandleDatagram(now time.Time, d machine.Datagram) {
	p, ok := decodePing(d.Data)
	r := m.byAddr[d.Remote]
	if !ok || r == nil {
		return
	}
	if p.kind == pingProbe {
		m.answer(now, d.Local, r, p)
		return
	}
	m.expire(now, r)
	m.match(now, r, p, d.Stamp)
	m.finish(now, r)
	m.forgetIdle()
}

// HandleTimeout implements machine.Machine.
func (m *pingerMachine) HandleTimeout(now time.Time) {
	if m.broken != nil {
		return
	}
	for _, r := range m.remotes {
		m.expire(now, r)
		for s := range r.all() {
			if m.probes(s) && !s.next.After(now) {
				m.probe(now, r, s)
			}
		}
		m.finish(now, r)
	}
	m.forgetIdle()
}

// NextTimeout implements machine.Machine.
func (m *pingerMachine) NextTimeout() (next time.Time) {
	if m.broken != nil {
		return next
	}
	for _, r := range m.remotes {
		if len(r.flights) > 0 {
			next = machine.Earliest(next, r.flights[0].sent.Add(m.cfg.LostAfter))
		}
		for s := range r.all() {
			if m.probes(s) {
				next = machine.Earliest(next, s.next)
			}
		}
	}
	return next
}

// HandleNotice implements machine.Noticer. What ICMP says ends nothing: it may be
// forged, or pass.
func (m *pingerMachine) HandleNotice(now time.Time, n machine.Notice) {
	switch n.Kind {
	case machine.Unreachable:
		if r := m.byAddr[n.Remote]; r != nil {
			for s := range r.all() {
				s.stats.Err = n.Err
			}
		}
	case machine.SocketFailed:
		m.broken = n.Err
		for _, r := range m.remotes {
			for _, s := range r.pings {
				m.events.Push(pingerEvent{
					Kind: pingDone, At: now, ID: s.id, Remote: r.addr, Stats: m.stats(now, r, s), Err: n.Err,
				})
			}
			r.pings = nil
		}
		m.forgetIdle()
	}
}

// PollTransmit implements machine.Machine.
func (m *pingerMachine) PollTransmit() (machine.Transmit, bool) {
	if m.polled == len(m.out) {
		m.out, m.polled = m.out[:0], 0
		return machine.Transmit{}, false
	}
	o := &m.out[m.polled]
	m.polled++
	return machine.Transmit{Local: o.from, Remote: o.to, Data: o.data[:], DontFragment: true}, true
}

// PollEvent implements machine.Machine.
func (m *pingerMachine) PollEvent() (pingerEvent, bool) { return m.events.Pop() }

func (m *pingerMachine) send(from, to netip.AddrPort, p ping) {
	m.out = append(m.out, pingOut{from, to, p.encode()})
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
