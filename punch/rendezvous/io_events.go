package rendezvous

import (
	"context"
	"sync"

	"github.com/bradawl/bradawl/internal/machine"
)

// eventQueue hands events from the loop to Next. It takes in whatever the loop
// gives it; its bound is that the reader waits for space between two messages
// of the server's, each of which makes at most one event.
type eventQueue struct {
	bound int

	mu     sync.Mutex
	events machine.Queue[Event]
	err    error // set once, by end

	ready chan struct{} // capacity 1: there is an event
	space chan struct{} // capacity 1: there may be space
	ended chan struct{} // closed by end
}

func newEventQueue(bound int) *eventQueue {
	return &eventQueue{
		bound: bound,
		ready: make(chan struct{}, 1),
		space: make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
}

func (q *eventQueue) push(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events.Push(e)
	signal(q.ready)
}

// end makes pop return err once it has returned every event.
func (q *eventQueue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		close(q.ended)
	}
}

// cause returns what end was called with.
func (q *eventQueue) cause() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// pop returns the next event, in preference to the context's cause.
func (q *eventQueue) pop(ctx context.Context) (Event, error) {
	for {
		q.mu.Lock()
		e, ok := q.events.Pop()
		err := q.err
		if ok {
			signal(q.space)
			if q.events.Len() > 0 {
				signal(q.ready) // another Next may wait
			}
		}
		q.mu.Unlock()
		switch {
		case ok:
			return e, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-q.ready:
		case <-q.ended:
		case <-ctx.Done():
			// A ready result beats a cancelled context.
			q.mu.Lock()
			waits := q.events.Len() > 0 || q.err != nil
			q.mu.Unlock()
			if !waits {
				return nil, context.Cause(ctx)
			}
		}
	}
}

// full reports whether the queue has reached its bound.
func (q *eventQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.events.Len() >= q.bound
}

// waitSpace returns when the queue is shorter than its bound, or gone closed.
func (q *eventQueue) waitSpace(gone <-chan struct{}) {
	for q.full() {
		select {
		case <-q.space:
		case <-gone:
			return
		}
	}
}
