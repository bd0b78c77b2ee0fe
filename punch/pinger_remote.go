package punch

import (
	"encoding/binary"
	"io"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
)

// maxPingFlights bounds the probes to one remote whose fate is open. It is far below
// half of the sequence numbers, so that these stay unambiguous.
const maxPingFlights = 4096

// pingRemote is a registered remote.
type pingRemote struct {
	addr  netip.AddrPort
	watch *pingSeries   // regular probing; nil: not added
	pings []*pingSeries // by pingID
	path  estimator     // of all series

	// flights are the probes of the last LostAfter, answered ones included, which
	// shows duplicates. They bear consecutive sequence numbers from first on.
	flights []pingFlight
	first   uint16
	origin  uint32 // of timestamps

	answers time.Time // when the answers sent so far are paid for at AnswerRate
}

type pingFlight struct {
	series   *pingSeries
	sent     time.Time
	deadline time.Duration
	stamp    uint32
	answered bool
}

// remote returns the remote at an address, which is new unless it is known.
func (m *pingerMachine) remote(a netip.AddrPort) (*pingRemote, error) {
	a = unmapped(a)
	if m.broken != nil {
		return nil, m.broken
	}
	if r := m.byAddr[a]; r != nil {
		return r, nil
	}
	if why := ipcheck.Unusable(a, true); why != "" {
		return nil, badConfig("remote", a, why)
	}
	if len(m.remotes) == MaxPingRemotes {
		return nil, badConfig("remote", a, "is one more than 1024; remove another first")
	}
	var b [6]byte
	if _, err := io.ReadFull(m.secrets, b[:]); err != nil {
		return nil, err
	}
	r := &pingRemote{addr: a, first: binary.BigEndian.Uint16(b[:]), origin: binary.BigEndian.Uint32(b[2:])}
	m.remotes = append(m.remotes, r)
	m.byAddr[a] = r
	return r, nil
}

// all are the series of r.
func (r *pingRemote) all() iter.Seq[*pingSeries] {
	return func(yield func(*pingSeries) bool) {
		if r.watch != nil && !yield(r.watch) {
			return
		}
		for _, s := range r.pings {
			if !yield(s) {
				return
			}
		}
	}
}

// probes reports whether s has a probe to send at s.next.
func (m *pingerMachine) probes(s *pingSeries) bool {
	return s.left > 0 || s.left < 0 && m.cfg.Interval > 0
}

// probe sends the next probe of a series.
func (m *pingerMachine) probe(now time.Time, r *pingRemote, s *pingSeries) {
	interval := m.cfg.Interval
	if interval < 0 {
		interval = defaultPingInterval
	}
	if s.next = s.next.Add(interval); !s.next.After(now) {
		s.next = now.Add(interval) // what was missed is not caught up with by a burst
	}
	if len(r.flights) == maxPingFlights {
		return // it waits, and nothing is counted that was not measured
	}
	f := pingFlight{
		series: s, sent: now, deadline: m.deadline(r),
		stamp: r.origin + uint32(now.Sub(m.started).Microseconds()),
	}
	m.send(netip.AddrPort{}, r.addr, ping{kind: pingProbe, seq: r.first + uint16(len(r.flights)), stamp: f.stamp})
	r.flights = append(r.flights, f)
	s.stats.Sent++
	if s.left > 0 {
		s.left--
	}
}

// deadline is when the answer to a probe that leaves now begins to be late.
func (m *pingerMachine) deadline(r *pingRemote) time.Duration {
	if m.cfg.Deadline < 0 {
		return m.cfg.LostAfter
	}
	return min(max(m.cfg.Deadline, r.path.bound()), m.cfg.LostAfter)
}

// answer answers a probe of r, unless it has had its share.
func (m *pingerMachine) answer(now time.Time, at netip.AddrPort, r *pingRemote, p ping) {
	throttled := m.cfg.AnswerRate < 0 || r.answers.Sub(now) > time.Second/4
	for s := range r.all() {
		if throttled {
			s.stats.Throttled++
		} else {
			s.stats.Served++
		}
	}
	if throttled {
		return
	}
	if r.answers.Before(now) {
		r.answers = now
	}
	r.answers = r.answers.Add(time.Second / time.Duration(m.cfg.AnswerRate))
	p.kind = pingAnswer
	m.send(at, r.addr, p) // from where it was asked
}

// match takes in an answer of r. stamp is when the kernel received it; zero: unknown.
func (m *pingerMachine) match(now time.Time, r *pingRemote, p ping, stamp time.Time) {
	i := int(p.seq - r.first)
	if i >= len(r.flights) || r.flights[i].stamp != p.stamp {
		for s := range r.all() {
			s.stats.Strays++
		}
		return
	}
	f := &r.flights[i]
	if f.answered {
		f.series.stats.Duplicates++
		return
	}
	f.answered = true
	rtt := now.Sub(f.sent)
	wait, stamped := sinceStamp(now, stamp, rtt)
	rtt -= wait
	late := rtt > f.deadline
	f.series.answered(p.seq, rtt, late, stamped)
	r.path.add(rtt)
	m.events.Push(pingerEvent{
		Kind: pingAnswered, At: now, ID: f.series.id, Remote: r.addr, Sequence: p.seq, RTT: rtt, Late: late,
	})
}

// sinceStamp is how long an answer waited for us since the kernel received it. The
// kernel tells by the wall clock, which may be set meanwhile; the round trip goes by
// the monotonic one. So the wall clock serves for this wait alone, and what it says
// is used only where it can be true: at least 0 and at most the round trip.
func sinceStamp(now, stamp time.Time, rtt time.Duration) (wait time.Duration, ok bool) {
	if stamp.IsZero() {
		return 0, false
	}
	wait = now.Round(0).Sub(stamp.Round(0))
	if wait < 0 || wait > rtt {
		return 0, false
	}
	return wait, true
}

// expire forgets the probes of r that are older than LostAfter.
func (m *pingerMachine) expire(now time.Time, r *pingRemote) {
	for len(r.flights) > 0 && now.Sub(r.flights[0].sent) >= m.cfg.LostAfter {
		if f := r.flights[0]; !f.answered {
			f.series.stats.Lost++
			m.events.Push(pingerEvent{Kind: pingLost, At: now, ID: f.series.id, Remote: r.addr, Sequence: r.first})
		}
		r.flights = r.flights[1:]
		r.first++
	}
}

// finish ends the Pings of r that have nothing to wait for.
func (m *pingerMachine) finish(now time.Time, r *pingRemote) {
	r.pings = slices.DeleteFunc(r.pings, func(s *pingSeries) bool {
		if !s.settled() {
			return false
		}
		m.events.Push(pingerEvent{Kind: pingDone, At: now, ID: s.id, Remote: r.addr, Stats: m.stats(now, r, s)})
		return true
	})
}

// forgetIdle forgets the remotes that nobody wants any more.
func (m *pingerMachine) forgetIdle() {
	m.remotes = slices.DeleteFunc(m.remotes, func(r *pingRemote) bool {
		idle := r.watch == nil && len(r.pings) == 0
		if idle {
			delete(m.byAddr, r.addr)
		}
		return idle
	})
}

func (m *pingerMachine) stats(now time.Time, r *pingRemote, s *pingSeries) PingStats {
	st := s.snapshot()
	st.Deadline = m.deadline(r)
	for _, f := range r.flights {
		if f.series == s && !f.answered && now.Sub(f.sent) > f.deadline {
			st.Overdue++
		}
	}
	return st
}
