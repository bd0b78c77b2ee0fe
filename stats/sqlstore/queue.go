package sqlstore

import (
	"sync"

	"github.com/bradawl/bradawl/stats"
)

// queue is the events that wait to be written, a ring that grows up to its limit. An event
// leaves it when it is in the database, not before.
type queue struct {
	mu     sync.Mutex
	ring   []stats.Event
	first  int
	n      int
	limit  int
	closed bool

	accepted, dropped uint64
}

// put adds an event, unless there is no room, and returns how many wait then.
func (q *queue) put(e *stats.Event) (waiting int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.n == q.limit {
		q.dropped++
		return q.n, false
	}
	if q.n == len(q.ring) {
		ring := make([]stats.Event, min(q.limit, max(64, 2*q.n)))
		for i := range q.n {
			ring[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = ring, 0
	}
	q.ring[(q.first+q.n)%len(q.ring)] = *e
	q.n++
	q.accepted++
	return q.n, true
}

// peek copies the first events to batch, up to its capacity.
func (q *queue) peek(batch []stats.Event) []stats.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch = batch[:0]
	for i := range min(q.n, cap(batch)) {
		batch = append(batch, q.ring[(q.first+i)%len(q.ring)])
	}
	return batch
}

// remove takes the first n events away, and has some of them wait again, behind all others.
// Where none is left, a large ring is let go.
func (q *queue) remove(n int, again ...stats.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range n {
		q.ring[q.first] = stats.Event{} // lets go of its words
		q.first = (q.first + 1) % len(q.ring)
	}
	q.n -= n
	for _, e := range again {
		q.ring[(q.first+q.n)%len(q.ring)] = e
		q.n++
	}
	if q.n == 0 && len(q.ring) > 1024 {
		q.ring, q.first = nil, 0
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func (q *queue) counts() (waiting int, accepted, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n, q.accepted, q.dropped
}
