package turnclient

import (
	"sync"
	"time"
)

// deadline is a time that can be waited for, moved and taken away. Once ended it has
// passed for good: one channel says both, for a select of two channels is cheaper than
// one of three.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed once it has passed
	ended  bool
}

func newDeadline() deadline { return deadline{passed: make(chan struct{})} }

// wait returns a channel that is closed once the deadline has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// set moves the deadline to t; the zero time: never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.stop()
	select {
	case <-d.passed:
		d.passed = make(chan struct{})
	default:
	}
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(d.passed)
	default:
		passed := d.passed
		d.timer = time.AfterFunc(wait, func() { close(passed) })
	}
}

// end makes the deadline pass for good.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.stop()
	d.ended = true
	select {
	case <-d.passed:
	default:
		close(d.passed)
	}
}

func (d *deadline) stop() {
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // it fires just now
	}
	d.timer = nil
}
