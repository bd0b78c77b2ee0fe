package netio

import (
	"sync/atomic"
	"time"
)

// WriteDeadline is the deadline of writes that do not wait: they ask whether it has passed.
// The zero value never passes. Its methods may be called from any goroutine.
type WriteDeadline struct{ at atomic.Pointer[time.Time] }

// Set makes writes fail from t on; zero: never. No step of the wall clock moves it.
func (d *WriteDeadline) Set(t time.Time) {
	if t.IsZero() {
		d.at.Store(nil)
		return
	}
	now := time.Now()
	t = now.Add(t.Sub(now)) // on the clock that timers have, however t came about
	d.at.Store(&t)
}

// Passed reports whether a write that begins now is too late.
func (d *WriteDeadline) Passed() bool {
	t := d.at.Load()
	return t != nil && !time.Now().Before(*t)
}
