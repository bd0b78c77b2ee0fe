package decay

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestWeight(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want float64
	}{
		{-time.Hour, 1},
		{0, 1},
		{30 * time.Minute, 0.959166304662544},
		{time.Hour, 0.92},
		{2 * time.Hour, 0.8464},
		{6 * time.Hour, 0.606355001344},
		{12 * time.Hour, 0.367666387654882},
		{23 * time.Hour, 0.146933231099120},
		{24 * time.Hour, 0},
		{math.MaxInt64, 0},
	} {
		if got := Weight(c.age); !near(got, c.want) {
			t.Errorf("after %v: %.15f, want %v", c.age, got, c.want)
		}
	}
}

func TestQuality(t *testing.T) {
	for _, c := range []struct {
		succeeded, failed, want float64
		known                   bool
	}{
		{0, 0, 0.5, false},
		{1, 0, 0.75, true},
		{0, 1, 0.25, true},
		{1, 1, 0.5, true},
		{9, 0, 0.95, true},
		{0.001, 0, 0.5004995, true},
		{math.NaN(), 0, 0.5, false},
	} {
		if got, known := Quality(c.succeeded, c.failed); math.Abs(got-c.want) > 1e-7 || known != c.known {
			t.Errorf("%v succeeded, %v failed: %v, %v, want %v, %v", c.succeeded, c.failed, got, known, c.want, c.known)
		}
	}
}

// A tally is the sum of the weights of its outcomes, whatever they are.
func TestTallyIsTheSumOfItsWeights(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 6))
		type outcome struct {
			hour int
			ok   bool
		}
		var tally Tally
		var all []outcome
		for hour := 0; hour < 60; hour += rng.IntN(9) {
			o := outcome{max(0, hour-rng.IntN(3)), rng.IntN(2) == 0} // some come a little late
			tally.Add(o.ok, epoch.Add(time.Duration(o.hour)*time.Hour))
			all = append(all, o)
		}
		now := 40 + rng.IntN(50)
		var succeeded, failed float64
		for _, o := range all {
			w := Weight(time.Duration(now-o.hour) * time.Hour)
			if o.ok {
				succeeded += w
			} else {
				failed += w
			}
		}
		// What is later than now counts in full, but what it pushed out of the window is gone.
		if latest := all[len(all)-1].hour; now < latest {
			continue
		}
		s, f := tally.Sum(epoch.Add(time.Duration(now) * time.Hour))
		if !near(s, succeeded) || !near(f, failed) {
			t.Errorf("seed %d: %v and %v, want %v and %v", seed, s, f, succeeded, failed)
		}
	}
}

func TestTallyOfOddClocks(t *testing.T) {
	sum := func(tally *Tally, at time.Time) float64 {
		s, f := tally.Sum(at)
		if f != 0 {
			t.Errorf("%v failures", f)
		}
		return s
	}
	for _, at := range []time.Time{{}, time.Date(1960, 2, 29, 12, 30, 0, 0, time.UTC), time.Unix(0, 0), epoch, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		var tally Tally
		tally.Add(true, at)
		if got := sum(&tally, at); got != 1 {
			t.Errorf("%v: %v", at, got)
		}
		if got := sum(&tally, at.Add(25*time.Hour)); got != 0 {
			t.Errorf("%v: a day later %v", at, got)
		}
		if got := sum(&tally, at.Add(-3*time.Hour)); got != 1 {
			t.Errorf("%v: after the clock was set back %v", at, got)
		}
	}
	// A clock that was wrong by years, and was then set right, does not make the tally deaf.
	var tally Tally
	tally.Add(true, epoch.AddDate(50, 0, 0))
	tally.Add(true, epoch)
	tally.Add(true, epoch)
	if got := sum(&tally, epoch); got != 2 {
		t.Errorf("after a clock 50 years ahead: %v, want 2", got)
	}
}

func TestTallyCountsAreBounded(t *testing.T) {
	var tally Tally
	for range 70_000 {
		tally.Add(true, epoch)
	}
	if s, _ := tally.Sum(epoch); s != math.MaxUint16 {
		t.Errorf("%v", s)
	}
}
