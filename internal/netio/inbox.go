package netio

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Inbox is what has come in for one reader of datagrams, with the deadlines of a
// net.Conn. It takes room as datagrams wait, so that an idle one costs little, and in
// steady state it does not allocate. Its methods may be called from any goroutine.
type Inbox struct {
	limit   int
	overrun atomic.Uint64
	closed  atomic.Bool // written under mu, as is ended
	ended   atomic.Bool

	mu      sync.Mutex
	changed sync.Cond // a datagram came, the deadline passed, or the inbox was closed
	ring    []*letter // as long as the most that ever waited, up to limit
	first   int
	waiting int

	timer   *time.Timer // nil until there is a deadline
	until   time.Time   // zero: none
	expired bool
}

type letter struct {
	from netip.AddrPort
	data []byte
}

var letters = sync.Pool{New: func() any { return &letter{data: make([]byte, 0, 1500)} }}

// NewInbox makes an inbox for size datagrams.
func NewInbox(size int) *Inbox {
	q := &Inbox{limit: size}
	q.changed.L = &q.mu
	return q
}

// Deliver puts a copy of a datagram into the inbox. It reports false, and drops it, when
// the inbox is full or closed.
func (q *Inbox) Deliver(from netip.AddrPort, data []byte) bool {
	l := letters.Get().(*letter)
	l.from, l.data = from, append(l.data[:0], data...)
	if !q.put(l) {
		letters.Put(l)
		return false
	}
	q.changed.Signal()
	return true
}

func (q *Inbox) put(l *letter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed.Load() || q.ended.Load():
		return false
	case q.waiting == q.limit:
		q.overrun.Add(1)
		return false
	case q.waiting == len(q.ring):
		q.grow()
	}
	q.ring[(q.first+q.waiting)%len(q.ring)] = l
	q.waiting++
	return true
}

func (q *Inbox) grow() {
	ring := make([]*letter, min(max(4, 2*len(q.ring)), q.limit))
	n := copy(ring, q.ring[q.first:])
	copy(ring[n:], q.ring[:q.first])
	q.ring, q.first = ring, 0
}

// Overrun is how many datagrams were dropped because the inbox was full.
func (q *Inbox) Overrun() uint64 { return q.overrun.Load() }

// Read copies the next datagram into b; what does not fit is lost, and size, the length
// it had, tells. It waits for one until the deadline, and then returns
// os.ErrDeadlineExceeded; net.ErrClosed when the inbox was closed.
func (q *Inbox) Read(b []byte) (n, size int, from netip.AddrPort, err error) {
	l, err := q.take()
	if err != nil {
		return 0, 0, from, err
	}
	n, size, from = copy(b, l.data), len(l.data), l.from
	letters.Put(l)
	return n, size, from, nil
}

// take waits for a datagram.
func (q *Inbox) take() (*letter, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.closed.Load():
			return nil, net.ErrClosed
		case q.expired:
			return nil, os.ErrDeadlineExceeded
		case q.waiting > 0:
			l := q.ring[q.first]
			q.ring[q.first] = nil
			q.first = (q.first + 1) % len(q.ring)
			q.waiting--
			return l, nil
		case q.ended.Load():
			return nil, net.ErrClosed
		}
		q.changed.Wait()
	}
}

// SetReadDeadline makes reads fail from t on, those that wait included; zero: never.
func (q *Inbox) SetReadDeadline(t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop() // one that fires just now finds until moved
	}
	q.until, q.expired = time.Time{}, false
	if t.IsZero() {
		return
	}
	now := time.Now()
	wait := t.Sub(now)
	if wait <= 0 {
		q.expired = true
		q.changed.Broadcast()
		return
	}
	q.until = now.Add(wait) // on the clock that timers have
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, q.expire)
	} else {
		q.timer.Reset(wait)
	}
}

func (q *Inbox) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.until.IsZero() && !time.Now().Before(q.until) {
		q.expired = true
		q.changed.Broadcast()
	}
}

// Close ends all reads, and makes the inbox take no more. What waits is lost.
func (q *Inbox) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Swap(true) {
		return
	}
	for range q.waiting {
		letters.Put(q.ring[q.first])
		q.first = (q.first + 1) % len(q.ring)
	}
	q.ring, q.waiting = nil, 0
	if q.timer != nil {
		q.timer.Stop()
	}
	q.changed.Broadcast()
}

// End makes the inbox take no more: what waits can be read, then reads end as after Close.
func (q *Inbox) End() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended.Store(true)
	q.changed.Broadcast()
}

// Closed reports whether the inbox was closed.
func (q *Inbox) Closed() bool { return q.closed.Load() }
