package punch

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
)

// laneRun is one lane that is run.
type laneRun struct {
	Lane
	work                           laneWork
	until                          time.Time // when it is over, at the latest
	why                            string    // the reason for until
	sent, sockets, failed, entries int
	ended                          bool
}

// laneWork is what a lane does. Each call finds the lane not ended.
type laneWork interface {
	// wants says how many packets are to leave together next, and when; 0: none, as far as
	// is known.
	wants() (n int, at time.Time)
	// send lets them leave, or finds that there is nothing to do.
	send(now time.Time)
	// opened and lost tell of the lane's sockets, answered of a STUN server's answer.
	opened(now time.Time, s *laneSocket)
	lost(now time.Time, s *laneSocket)
	answered(now time.Time, q *laneQuery)
	// heard tells what the peer said of the lane.
	heard(now time.Time, t tellEntry)
	// say fills in what the peer has to know; false: nothing.
	say(t *tellEntry) bool
}

// silent is for works that need nothing of what it has.
type silent struct{}

func (silent) opened(time.Time, *laneSocket)  {}
func (silent) lost(time.Time, *laneSocket)    {}
func (silent) answered(time.Time, *laneQuery) {}
func (silent) heard(time.Time, tellEntry)     {}
func (silent) say(*tellEntry) bool            { return false }

func running(r *laneRun) bool { return !r.ended }

// spare is how many tokens a lane leaves: those that try many ports leave a burst to those
// whose packets must leave together.
func (r *laneRun) spare() int {
	if r.use() == forMany {
		return pacerDepth - 4
	}
	return 0
}

func (r *laneRun) use() use {
	if r.Kind.Sprays() {
		return forMany
	}
	return forFew
}

// begin starts a lane, if it is one of ours.
func (m *Lanes) begin(now time.Time, l Lane) {
	r := &laneRun{Lane: l, until: now.Add(laneTime), why: "10 s have passed"}
	switch l.Kind {
	case LaneBirthday:
		r.work = m.newBirthday(r)
	case LanePredicted:
		r.work = m.newPredicted(r)
	case LaneCrossing:
		r.work = m.newCrossing(r)
	case LaneBlocks:
		r.work = m.newBlocks(r)
	case LaneTCPPredicted:
		r.work = m.newTCPPredicted(r)
	default:
		return
	}
	m.lanes = append(m.lanes, r)
	slices.SortStableFunc(m.lanes, func(a, b *laneRun) int { return a.spare() - b.spare() })
	m.events.Push(LaneEvent{Kind: LaneStarted, At: now, Lane: l.Kind})
	switch {
	case len(m.ips) == 0 || len(m.dests) == 0:
		m.end(now, r, "the peer named no public address")
	case r.work == nil:
		m.end(now, r, "what it needs is not known")
	case m.limits.tries(r.use()) == 0:
		m.end(now, r, "the budget has nothing left for it")
	}
}

// believed reports whether a lane that foretells ports should go on after so many rounds
// that failed. Where the profile is right, most rounds succeed; the more fail, the likelier
// it is wrong.
func (m *Lanes) believed(failed int, profiles ...natprobe.Profile) bool {
	const succeeds = 0.7 // of the rounds, with loss and others behind the same NAT
	right := 1.0
	for _, p := range profiles {
		if c := p.Ports.Confidence; c > 0 {
			right *= min(c, 0.99)
		} else {
			right *= 0.9
		}
	}
	still := right * math.Pow(1-succeeds, float64(failed))
	return still/(still+1-right)*succeeds >= m.limits.Least
}

// end ends a lane. Its sockets stay where something came in by them, until all is over.
func (m *Lanes) end(now time.Time, r *laneRun, why string) {
	if r.ended {
		return
	}
	r.ended = true
	m.events.Push(LaneEvent{Kind: LaneEnded, At: now, Lane: r.Kind, Reason: why, Sent: r.sent, Sockets: r.sockets, Entries: r.entries})
	if m.state != lanesRun {
		return // sockets linger: something may be on its way to them
	}
	for _, s := range m.order {
		if s.lane == r && !s.gone && !s.met {
			m.close(s)
		}
	}
	m.hangUp(r)
	m.tell(now)
}

// run does all that is due.
func (m *Lanes) run(now time.Time) {
	if m.state == lanesOver {
		return
	}
	m.timers.Run(now)
	for i := 0; i < len(m.lanes) && m.state == lanesRun; i++ {
		r := m.lanes[i]
		for !r.ended {
			if !now.Before(r.until) {
				m.end(now, r, r.why)
				break
			}
			n, at := r.work.wants()
			if n == 0 || at.After(now) || m.limits.pacer.When(n+r.spare()).After(now) {
				break
			}
			r.work.send(now)
		}
	}
	if m.state == lanesRun && !slices.ContainsFunc(m.lanes, running) && !slices.ContainsFunc(m.pairs, (*lanePair).open) {
		m.finish(now)
	}
}

// laneSocket is a socket that was opened for a lane.
type laneSocket struct {
	id    machine.SocketID
	lane  *laneRun
	local netip.AddrPort
	open  bool
	met   bool // the peer was heard on it
	kept  bool // it has an open path
	gone  bool
	tag   int // the lane's own mark
	sends int
}

// openSocket asks for one more socket; nil: the budget has none left.
func (m *Lanes) openSocket(r *laneRun) *laneSocket {
	bind := m.bind
	if r.use() == forMany {
		bind = m.evenPort(bind)
	}
	if m.limits.left(r.use()).sockets <= 0 || len(m.order) >= m.limits.entries() || !m.limits.pacer.Open() {
		return nil
	}
	s := &laneSocket{id: m.lastID, lane: r}
	m.lastID++
	r.sockets++
	m.socks[s.id] = s
	m.order = append(m.order, s)
	m.out.Push(machine.Transmit{Op: machine.OpenSocket, Socket: s.id, Local: bind})
	return s
}

// evenPort chooses an even local port where the NAT keeps parity: then the peer need try no
// odd ones.
func (m *Lanes) evenPort(a netip.AddrPort) netip.AddrPort {
	if m.cfg.Local.Ports.Parity != natprobe.Yes {
		return a
	}
	return netip.AddrPortFrom(a.Addr(), uint16(32768+2*m.random.IntN(16384)))
}

func (m *Lanes) close(s *laneSocket) {
	if s.gone {
		return
	}
	s.gone, s.open = true, false
	m.limits.pacer.Close()
	delete(m.socks, s.id)
	m.out.Push(machine.Transmit{Op: machine.CloseSocket, Socket: s.id})
}

func (m *Lanes) isOpen(id machine.SocketID) bool {
	s := m.socks[id]
	return s != nil && s.open
}
