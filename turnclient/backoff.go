package turnclient

import (
	"math/rand/v2"
	"time"
)

// Waits between attempts at recovery, in windows that double.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second
)

// backoff gives the waits between attempts: with full jitter, uniform between nothing
// and a window that doubles, so that many clients of a server that comes back do not
// come at once. The zero value is ready.
type backoff struct{ tries int }

func (b *backoff) next(r *rand.Rand) time.Duration {
	window := backoffFirst
	for range b.tries {
		if window *= 2; window >= backoffMost {
			window = backoffMost
			break
		}
	}
	b.tries++
	return jitter(r, window)
}

func (b *backoff) reset() { b.tries = 0 }

// jitter is uniform in [0, d].
func jitter(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(d) + 1))
}
