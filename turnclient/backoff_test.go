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

func TestTimersFireInOrder(t *testing.T) {
	var ts timers
	var got []int
	start := time.Unix(100, 0)
	var all [50]timer
	r := rand.New(rand.NewPCG(3, 3))
	for i := range all {
		all[i].fire = func(time.Time) { got = append(got, i) }
	}
	for _, i := range r.Perm(len(all)) {
		ts.set(&all[i], start.Add(time.Duration(i/2)*time.Second)) // pairs at one time
	}
	for i := 0; i < len(all); i += 7 {
		ts.stop(&all[i])
	}
	ts.set(&all[1], start.Add(time.Hour))
	all[9].fire = func(now time.Time) { got = append(got, 9); ts.set(&all[9], now) }
	ts.run(start.Add(time.Minute))
	seen := map[int]bool{}
	for i, n := range got {
		if n%7 == 0 || n == 1 || seen[n] || i > 0 && n/2 < got[i-1]/2 {
			t.Errorf("fired %v", got)
			break
		}
		seen[n] = true
	}
	if len(got) != 50-8-1 || !all[9].isSet() || !ts.next().Equal(start.Add(time.Minute)) {
		t.Errorf("%d fired, next %v", len(got), ts.next())
	}
}
