package simnet

import "time"

// deadline is a channel that is closed when a time set has come. Its owner guards it.
type deadline struct {
	ch    chan struct{}
	timer *time.Timer
}

func newDeadline() deadline { return deadline{ch: make(chan struct{})} }

// done returns a channel that is closed from the deadline on.
func (d *deadline) done() <-chan struct{} { return d.ch }

func (d *deadline) set(t time.Time) {
	if d.timer != nil && !d.timer.Stop() || isDone(d.ch) {
		d.ch = make(chan struct{}) // the old one is closed, or about to be
	}
	d.timer = nil
	if t.IsZero() {
		return
	}
	ch := d.ch
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(ch) })
	} else {
		close(ch)
	}
}

func isDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
