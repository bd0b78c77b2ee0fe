package simnet

import (
	"sync"
	"time"
)

// pilot moves a world by the clock. A nil pilot belongs to a world that a test moves.
type pilot struct {
	kick chan struct{}
	quit chan struct{}
	done chan struct{}
}

func (p *pilot) wake() {
	if p == nil {
		return
	}
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Go ties the world's time to the clock from now on and moves it from a goroutine
// of its own, until stop is called, which returns when that goroutine has ended.
// In testing/synctest the clock is the test's. Call it before the first packet, and
// do not call Run beside it.
func (w *World) Go() (stop func()) {
	p := &pilot{kick: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	w.mu.Lock()
	shift := time.Until(w.now)
	w.start, w.now = w.start.Add(-shift), time.Now()
	for i := range w.queue {
		w.queue[i].at = w.queue[i].at.Add(-shift)
	}
	w.pilot = p
	w.mu.Unlock()
	go w.fly(p)
	var once sync.Once
	return func() {
		once.Do(func() {
			close(p.quit)
			<-p.done
			w.mu.Lock()
			w.pilot = nil
			w.mu.Unlock()
		})
	}
}

func (w *World) fly(p *pilot) {
	defer close(p.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.mu.Lock()
		w.sync()
		wait := time.Hour
		if len(w.queue) > 0 {
			wait = w.queue[0].at.Sub(w.now)
		}
		w.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.kick:
		case <-p.quit:
			return
		}
	}
}

// Do runs fn with the world locked and its time current: the way in for whoever is
// not a callback while the world moves by the clock.
func (w *World) Do(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sync()
	fn()
}

// sync brings a world that goes by the clock up to date: a face must not act in the
// past of events that are due but that the pilot has not got to.
func (w *World) sync() {
	if w.pilot == nil {
		return
	}
	now := time.Now()
	for len(w.queue) > 0 && !w.queue[0].at.After(now) {
		w.step()
	}
	if now.After(w.now) {
		w.now = now
	}
}
