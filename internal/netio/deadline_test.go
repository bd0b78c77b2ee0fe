package netio

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d WriteDeadline
		if d.Passed() {
			t.Error("none has passed")
		}
		wall := func(t time.Time) time.Time { return t.Round(0) }
		for _, c := range []struct {
			what   string
			at     time.Time
			passed bool
		}{
			{"in a while", time.Now().Add(time.Second), false}, {"just now", time.Now(), true}, {"long ago", time.Unix(1, 0), true},
			{"in a while, by the wall clock", wall(time.Now().Add(time.Second)), false}, {"just now, by the wall clock", wall(time.Now()), true},
			{"in a thousand years", time.Now().AddDate(1000, 0, 0), false}, {"never", time.Time{}, false},
		} {
			if d.Set(c.at); d.Passed() != c.passed {
				t.Errorf("%s: passed %v", c.what, !c.passed)
			}
		}
		d.Set(time.Now().Add(time.Second))
		time.Sleep(time.Second - 1)
		if d.Passed() {
			t.Error("it passed too soon")
		}
		time.Sleep(time.Nanosecond)
		if !d.Passed() {
			t.Error("it did not pass")
		}
	})
}

func TestPassedDoesNotAllocate(t *testing.T) {
	var d WriteDeadline
	d.Set(time.Now().Add(time.Hour))
	if n := testing.AllocsPerRun(100, func() { d.Passed() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
