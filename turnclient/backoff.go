package turnclient

import (
	"math/rand/v2"
	"time"
)

// windows are the waits between attempts at recovery, at the most. The window stays at
// 8 s for three tries, so that a server that was restarted is found again within 10 s,
// before it opens to what a longer outage deserves.
var windows = [...]time.Duration{
	500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second,
	8 * time.Second, 8 * time.Second, 8 * time.Second,
	16 * time.Second, 30 * time.Second,
}

// leastWait is between repeats of what must not be repeated at once.
const leastWait = 500 * time.Millisecond

// backoff gives the waits between attempts: with full jitter, uniform between nothing
// and the window, so that many clients of a server that comes back do not come at once.
// The zero value is ready.
type backoff struct{ tries int }

func (b *backoff) next(r *rand.Rand) time.Duration {
	window := windows[min(b.tries, len(windows)-1)]
	b.tries++
	return jitter(r, window)
}

func (b *backoff) reset() { b.tries = 0 }

// jitter is uniform in [0, d].
func jitter(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(d) + 1))
}
