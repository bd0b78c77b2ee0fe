package punch

import (
	"math"
	"net/netip"
	"slices"
	"time"
)

// PingStats is what a Pinger knows of a remote, or what came of one Ping. Times are
// round trips, from sending to the kernel's reception where it tells, else to when
// the answer was read; they are zero as long as there is no answer.
type PingStats struct {
	Remote netip.AddrPort

	Sent       int // probes
	Received   int // of these answered, late ones included
	Late       int // of Received: after the deadline that the probe had
	Lost       int // of Sent: not answered within LostAfter
	Overdue    int // of Sent: past the deadline, neither answered nor lost yet
	Duplicates int // further answers to a probe that had one
	Reordered  int // of Received: after the answer to a later probe (RFC 4737 section 3)
	Strays     int // answers from Remote that match no probe: forged, or after LostAfter
	Stamped    int // of Received: the kernel told when

	Served    int // probes of the remote that were answered
	Throttled int // probes of the remote that were not, because of AnswerRate

	Last, Min, Max, Mean time.Duration // of all
	Median               time.Duration // of the last 64
	Smoothed             time.Duration // SRTT of RFC 6298 section 2
	Variation            time.Duration // RTTVAR of RFC 6298 section 2
	// Jitter is the smoothed difference between a round trip and the one before it,
	// by the formula of RFC 3550 section 6.4.1 and appendix A.8.
	Jitter time.Duration
	// Deadline is what the next probe would get.
	Deadline time.Duration

	// Err is what ICMP said last of a probe: a hint, since anyone can forge that. Nil:
	// nothing.
	Err error
}

// Pending is how many probes have neither been answered nor been lost yet.
func (s PingStats) Pending() int { return s.Sent - s.Received - s.Lost }

// Loss is the fraction of probes lost, from 0 to 1, of those whose fate is known; 0
// when none is.
func (s PingStats) Loss() float64 {
	if s.Received+s.Lost == 0 {
		return 0
	}
	return float64(s.Lost) / float64(s.Received+s.Lost)
}

// estimator is RFC 6298's: SRTT and RTTVAR.
type estimator struct {
	srtt, rttvar time.Duration
	known        bool
}

// rttClock is the least that a deadline leaves above SRTT (G in RFC 6298): what
// timers and schedulers of common systems are off by.
const rttClock = time.Millisecond

func (e *estimator) add(rtt time.Duration) {
	if !e.known {
		e.srtt, e.rttvar, e.known = rtt, rtt/2, true // (2.2)
		return
	}
	e.rttvar += ((e.srtt - rtt).Abs() - e.rttvar) / 4 // (2.3), RTTVAR first
	e.srtt += (rtt - e.srtt) / 8
}

// bound is RFC 6298's RTO before it is rounded up; 0 when nothing is known.
func (e *estimator) bound() time.Duration {
	if !e.known {
		return 0
	}
	return e.srtt + max(rttClock, 4*e.rttvar)
}

// medianOf is how many round trips the median is of.
const medianOf = 64

// pingSeries is a sequence of probes whose statistics are kept together: one Ping, or
// the probing of an added remote, which does not end.
type pingSeries struct {
	id   pingID
	left int // probes yet to send; negative: without end
	next time.Time

	stats   PingStats
	rtt     estimator
	sum     time.Duration
	jitter  float64 // in ns
	recent  [medianOf]time.Duration
	highest uint16 // sequence of the latest probe that was answered
}

func newPingSeries(id pingID, n int, now time.Time, remote netip.AddrPort) *pingSeries {
	return &pingSeries{id: id, left: n, next: now, stats: PingStats{Remote: remote}}
}

// answered takes in the answer to a probe of the series.
func (s *pingSeries) answered(seq uint16, rtt time.Duration, late, stamped bool) {
	st := &s.stats
	if st.Received == 0 {
		st.Min, st.Max, s.highest = rtt, rtt, seq
	} else {
		// In the order of arrival, as RFC 3550 has it.
		s.jitter += (math.Abs(float64(rtt-st.Last)) - s.jitter) / 16
	}
	if int16(seq-s.highest) < 0 {
		st.Reordered++
	} else {
		s.highest = seq
	}
	s.recent[st.Received%medianOf] = rtt
	st.Received++
	if late {
		st.Late++
	}
	if stamped {
		st.Stamped++
	}
	s.sum += rtt
	st.Last, st.Min, st.Max = rtt, min(st.Min, rtt), max(st.Max, rtt)
	s.rtt.add(rtt)
}

// snapshot is the statistics as they stand.
func (s *pingSeries) snapshot() PingStats {
	st := s.stats
	if st.Received > 0 {
		st.Mean = s.sum / time.Duration(st.Received)
		st.Median = median(s.recent[:min(st.Received, medianOf)])
	}
	st.Smoothed, st.Variation, st.Jitter = s.rtt.srtt, s.rtt.rttvar, time.Duration(math.Round(s.jitter))
	return st
}

// settled reports whether a Ping has nothing to wait for.
func (s *pingSeries) settled() bool { return s.left == 0 && s.stats.Pending() == 0 }

func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	m := len(of) / 2
	if len(of)%2 == 1 {
		return of[m]
	}
	return of[m-1] + (of[m]-of[m-1])/2
}
