package machine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestTimersFireInOrder(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ts Timers
	var fired []time.Time
	timers := make([]*Timer, 100)
	for i := range timers {
		timers[i] = new(Timer)
		timers[i].Fire = func(time.Time) { fired = append(fired, timers[i].At()) }
	}
	for range 1000 {
		timer := timers[random.IntN(len(timers))]
		if random.IntN(4) == 0 {
			ts.Stop(timer)
		} else {
			ts.Set(timer, start.Add(time.Duration(random.IntN(50))*time.Second))
		}
	}
	set := 0
	for _, timer := range timers {
		if timer.IsSet() {
			set++
		}
	}
	for next := ts.Next(); !next.IsZero(); next = ts.Next() {
		ts.Run(next)
	}
	if len(fired) != set || !slices.IsSortedFunc(fired, time.Time.Compare) {
		t.Errorf("%d of %d timers fired, sorted: %v (seed %d)", len(fired), set, slices.IsSortedFunc(fired, time.Time.Compare), seed)
	}
}

func TestTimerSetAnewWaits(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ts Timers
	fired := 0
	timer := new(Timer)
	timer.Fire = func(now time.Time) {
		fired++
		ts.Set(timer, now)
	}
	ts.Set(timer, now)
	ts.Run(now)
	if fired != 1 || !timer.IsSet() {
		t.Errorf("fired %d times in one run, set anew: %v", fired, timer.IsSet())
	}
}
