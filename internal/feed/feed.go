package feed

import (
	"context"
	"sync"
)

// Feed keeps events until they are taken: the last ones, if nobody takes them. Its methods
// may be called from any goroutine.
type Feed[E any] struct {
	limit int

	mu      sync.Mutex
	waiting []E
	missed  int           // events that went, since one was taken last
	changed chan struct{} // closed with the next change; nil: nobody waits for it
	closed  bool
}

// New returns a feed in which so many events wait, at least 1.
func New[E any](limit int) *Feed[E] { return &Feed[E]{limit: limit} }

// Push adds an event, in place of the oldest where too many wait. After Close it does nothing.
func (f *Feed[E]) Push(e E) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if len(f.waiting) == f.limit {
		f.drop()
		f.missed++
	}
	f.waiting = append(f.waiting, e)
	f.tell()
}

// Close ends the feed: what waits can be taken still, and nothing is added.
func (f *Feed[E]) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.tell()
}

// Changed returns what is closed with the next Push or Close: whoever asks for it, then looks
// at what the events tell of, and then waits, misses nothing.
func (f *Feed[E]) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next()
}

// Next takes the oldest event, waiting for it, and says how many before it were not taken in
// time. The error is ctx's cause, or closed when the feed is, and empty.
func (f *Feed[E]) Next(ctx context.Context, closed error) (e E, missed int, err error) {
	for {
		f.mu.Lock()
		if len(f.waiting) > 0 {
			e, missed = f.waiting[0], f.missed
			f.drop()
			f.missed = 0
			f.mu.Unlock()
			return e, missed, nil
		}
		ended, changed := f.closed, f.next()
		f.mu.Unlock()
		if ended {
			return e, 0, closed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return e, 0, context.Cause(ctx)
		}
	}
}

// drop forgets the oldest event. The feed is locked, as it is for the rest.
func (f *Feed[E]) drop() {
	var none E
	f.waiting[0] = none // which the array would keep alive
	if f.waiting = f.waiting[1:]; len(f.waiting) == 0 {
		f.waiting = nil // a feed that is read keeps no memory
	}
}

// tell wakes those who wait for a change.
func (f *Feed[E]) tell() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// next is closed with the next change.
func (f *Feed[E]) next() chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}
