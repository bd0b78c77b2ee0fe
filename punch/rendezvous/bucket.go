package rendezvous

import "time"

// bucket is a token bucket: it lets burst frames through at once and rate a
// second on average.
type bucket struct {
	tokens float64
	at     time.Time // when tokens was right; zero: the bucket is full
}

// take takes one token, if there is one. A negative rate always gives.
func (b *bucket) take(now time.Time, rate float64, burst int) bool {
	if rate < 0 {
		return true
	}
	if b.at.IsZero() {
		b.tokens = float64(burst)
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*rate, float64(burst))
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
