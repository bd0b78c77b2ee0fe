package rendezvous

import (
	"context"
	"sync"
)

// eventQueue hands events from the loop to Recv. It takes in whatever the loop
// gives it; its bound is that the reader waits for space between two messages
// of the server's, each of which makes at most one event.
type eventQueue struct {
	bound int

	mu     sync.Mutex
	events queue[Event]
	n      int
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
	q.events.push(e)
	q.n++
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

// pop returns the next event, in preference to the context's error.
func (q *eventQueue) pop(ctx context.Context) (Event, error) {
	for {
		q.mu.Lock()
		e, ok := q.events.pop()
		err := q.err
		if ok {
			q.n--
			signal(q.space)
			if q.n > 0 {
				signal(q.ready) // another Recv may wait
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
			waits := q.n > 0 || q.err != nil
			q.mu.Unlock()
			if !waits {
				return nil, ctx.Err()
			}
		}
	}
}

// waitSpace returns when the queue is shorter than its bound, or gone closed.
func (q *eventQueue) waitSpace(gone <-chan struct{}) {
	for {
		q.mu.Lock()
		full := q.n >= q.bound
		q.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-q.space:
		case <-gone:
			return
		}
	}
}
