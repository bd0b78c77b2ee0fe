package natprobe

import (
	"math"
	"time"
)

// What a run may send in the polite mode: at most so many transactions at once, then so
// many a second (RFC 5780 section 5).
const (
	politeBurst = 12
	politeRate  = 10
)

// bucket counts the transactions that may be begun. The zero value lets everything pass.
type bucket struct {
	polite bool
	tokens float64
	at     time.Time
}

func newBucket(polite bool, now time.Time) bucket {
	return bucket{polite: polite, tokens: politeBurst, at: now}
}

// take takes a token, or says when there is one.
func (b *bucket) take(now time.Time) (wait time.Duration, ok bool) {
	if !b.polite {
		return 0, true
	}
	b.tokens = min(politeBurst, b.tokens+politeRate*now.Sub(b.at).Seconds())
	b.at = now
	// A token is a fraction short where time was rounded to nanoseconds.
	const whole = 1 - 1e-6
	if b.tokens >= whole {
		b.tokens = max(0, b.tokens-1)
		return 0, true
	}
	return max(time.Duration((whole-b.tokens)/politeRate*float64(time.Second)), time.Millisecond), false
}

// Before anything is known of the round trip, requests are repeated as RFC 3489 section
// 9.3 has it.
const firstRTO = 100 * time.Millisecond

// The bounds of a retransmission timeout that was measured.
const (
	minRTO = 30 * time.Millisecond
	maxRTO = 3 * time.Second
)

// estimator measures the round trip as RFC 6298 does.
type estimator struct {
	srtt, rttvar time.Duration
	samples      int
}

func (e *estimator) add(rtt time.Duration) {
	rtt = max(rtt, 0)
	if e.samples++; e.samples == 1 {
		e.srtt, e.rttvar = rtt, rtt/2
		return
	}
	e.rttvar += ((e.srtt - rtt).Abs() - e.rttvar) / 4
	e.srtt += (rtt - e.srtt) / 8
}

func (e *estimator) known() bool { return e.samples > 0 }

func (e *estimator) rto() time.Duration {
	if !e.known() {
		return firstRTO
	}
	return min(max(e.srtt+max(4*e.rttvar, 20*time.Millisecond), minRTO), maxRTO)
}

// gap is the least time between two sends whose answers are waited for together.
func (e *estimator) gap() time.Duration { return max(e.rto()/2, 20*time.Millisecond) }

// lapse is how long after the last send silence is silence.
func (e *estimator) lapse() time.Duration { return e.rto()*6/5 + 10*time.Millisecond }

// How often a request is sent whose answer may be silence.
const (
	minListens = 5
	maxListens = 8
)

// listens is how often that must be, so that loss alone explains the silence in one case
// of a thousand at most, and of ten thousand where there is loss, when so many of the
// requests sent were answered.
func listens(sent, answered int) int {
	q := float64(answered+1) / float64(max(sent, answered)+2)
	chance := 1e-3
	if answered < sent {
		chance = 1e-4
	}
	n := math.Ceil(math.Log(chance) / math.Log(1-q))
	return int(min(max(n, minListens), maxListens))
}

// certainty is how sure silence is after n sends, where so many of the requests sent were
// answered: by the lower bound of Wilson's interval for the chance of an answer.
func certainty(n, sent, answered int) float64 {
	if sent == 0 || answered == 0 {
		return 0
	}
	const z = 1.645
	k, p := float64(sent), min(float64(answered)/float64(sent), 1)
	low := (p + z*z/(2*k) - z*math.Sqrt(p*(1-p)/k+z*z/(4*k*k))) / (1 + z*z/k)
	return 1 - math.Pow(1-low, float64(n))
}
