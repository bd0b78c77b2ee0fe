package fingerprint

import (
	"slices"
	"time"
)

// echoRun is the probing of one address by ICMP echo: when the next request is due,
// what was answered, when there is nothing more to wait for. It knows no socket and
// no clock.
type echoRun struct {
	requests int
	gap      time.Duration // from one request to the next
	deadline time.Time
	sent     []echoRequest
	answered int
	slowest  time.Duration // round trip so far
}

// echoRequest is one request, by its sequence number.
type echoRequest struct {
	at       time.Time
	answered bool
	ttl      int // of the answer; 0: not told
}

const leastPatience = 200 * time.Millisecond // with the last answers, after one came

// next says whether a request with sequence number seq is due, and if none is, when
// to come again; done when the run is over.
func (r *echoRun) next(now time.Time) (seq uint16, due bool, wake time.Time, done bool) {
	wake = r.deadline
	switch n := len(r.sent); {
	case !now.Before(r.deadline) || n == r.requests && r.answered == n:
		return 0, false, wake, true
	case n < r.requests:
		if n > 0 {
			if at := r.sent[n-1].at.Add(r.gap); now.Before(at) {
				return 0, false, earlier(at, wake), false
			}
		}
		return uint16(n), true, wake, false
	case r.answered > 0:
		// Who answers at all has answered by now, or will not.
		last := r.sent[n-1].at.Add(max(2*r.slowest, leastPatience))
		return 0, false, earlier(last, wake), !now.Before(last)
	}
	return 0, false, wake, false
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// requested notes that the request that was due has gone out.
func (r *echoRun) requested(now time.Time) { r.sent = append(r.sent, echoRequest{at: now}) }

// replied takes in an answer. One to nothing, or a second one, counts nothing.
func (r *echoRun) replied(now time.Time, seq uint16, ttl int) {
	if int(seq) >= len(r.sent) || r.sent[seq].answered {
		return
	}
	q := &r.sent[seq]
	q.answered, q.ttl = true, min(max(ttl, 0), 255)
	r.answered++
	r.slowest = max(r.slowest, now.Sub(q.at))
}

// rate is the share of requests that were answered; false if none was sent.
func (r *echoRun) rate() (float64, bool) {
	if len(r.sent) == 0 {
		return 0, false
	}
	return float64(r.answered) / float64(len(r.sent)), true
}

// ttlDelta is how many hops answers came; false if no TTL is known. It is the
// median, since paths change.
func (r *echoRun) ttlDelta() (float64, bool) {
	var deltas []float64
	for _, q := range r.sent {
		if q.ttl > 0 {
			deltas = append(deltas, float64(initialTTL(q.ttl)-q.ttl))
		}
	}
	if len(deltas) == 0 {
		return 0, false
	}
	slices.Sort(deltas)
	return median(deltas), true
}

// initialTTL guesses what TTL a packet set out with: the least of the usual ones
// that it can have been. Paths of more than 32 hops, of which there are few, are
// taken for shorter ones.
func initialTTL(received int) int {
	for _, initial := range []int{32, 64, 128} {
		if received <= initial {
			return initial
		}
	}
	return 255
}
