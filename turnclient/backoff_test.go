package turnclient

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBackoffHasFullJitter(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, seed))
	windows := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}
	low, high := make([]time.Duration, len(windows)), make([]time.Duration, len(windows))
	for range 2000 {
		var b backoff
		for i, w := range windows {
			d := b.next(r)
			if d < 0 || d > w {
				t.Fatalf("try %d: %v is not within %v (seed %d)", i, d, w, seed)
			}
			if low[i] == 0 || d < low[i] {
				low[i] = d
			}
			high[i] = max(high[i], d)
		}
	}
	for i, w := range windows {
		if low[i] > w/20 || high[i] < w*19/20 {
			t.Errorf("try %d: between %v and %v of %v (seed %d)", i, low[i], high[i], w, seed)
		}
	}
}
