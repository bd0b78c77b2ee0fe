package turnclient

import "time"

// Retransmission over UDP (RFC 8489 section 6.2.1), and its limits.
const (
	maxSends = 7  // Rc
	lastWait = 16 // Rm, in multiples of the RTO

	minRTO = 50 * time.Millisecond
	maxRTO = 5 * time.Second
)

// rtt estimates the round-trip time to a server as RFC 6298 does. Requests that were
// sent more than once give no sample (Karn's algorithm); the doubled RTO is kept
// instead until one does, or a path that is slower than the RTO would never be measured.
type rtt struct {
	smoothed, variation time.Duration
	measured            bool
	doubled             int // times, since the last sample
}

const maxDoubled = 4

func (e *rtt) sample(d time.Duration) {
	e.doubled = 0
	if !e.measured {
		e.measured, e.smoothed, e.variation = true, d, d/2
		return
	}
	e.variation += ((e.smoothed - d).Abs() - e.variation) / 4
	e.smoothed += (d - e.smoothed) / 8
}

// repeated takes in that a request was answered after it had been sent again.
func (e *rtt) repeated() { e.doubled = min(e.doubled+1, maxDoubled) }

// timeout is the RTO: initial until there is a sample.
func (e *rtt) timeout(initial time.Duration) time.Duration {
	rto := initial
	if e.measured {
		rto = min(max(e.smoothed+4*e.variation, minRTO), maxRTO)
	}
	return min(rto<<e.doubled, max(rto, maxRTO))
}
