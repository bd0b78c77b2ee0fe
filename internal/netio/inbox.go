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
// net.Conn. In steady state it does not allocate. Its methods may be called from any
// goroutine.
type Inbox struct {
	waiting  chan *letter
	closing  chan struct{}
	once     sync.Once
	deadline deadline
	overrun  atomic.Uint64
}

type letter struct {
	from netip.AddrPort
	data []byte
}

var letters = sync.Pool{New: func() any { return &letter{data: make([]byte, 0, 1500)} }}

// NewInbox makes an inbox for size datagrams.
func NewInbox(size int) *Inbox {
	return &Inbox{
		waiting: make(chan *letter, size), closing: make(chan struct{}),
		deadline: deadline{passed: make(chan struct{})},
	}
}

// Deliver puts a copy of a datagram into the inbox. It reports false, and drops it, when
// the inbox is full or closed.
func (q *Inbox) Deliver(from netip.AddrPort, data []byte) bool {
	if q.Closed() {
		return false
	}
	l := letters.Get().(*letter)
	l.from, l.data = from, append(l.data[:0], data...)
	select {
	case q.waiting <- l:
		return true
	default:
		letters.Put(l)
		q.overrun.Add(1)
		return false
	}
}

// Overrun is how many datagrams were dropped because the inbox was full.
func (q *Inbox) Overrun() uint64 { return q.overrun.Load() }

// Read copies the next datagram into b; what does not fit is lost, and size, the length
// it had, tells. It waits for one until the deadline, and then returns
// os.ErrDeadlineExceeded; net.ErrClosed when the inbox was closed.
func (q *Inbox) Read(b []byte) (n, size int, from netip.AddrPort, err error) {
	expired := q.deadline.wait()
	select {
	case <-q.closing:
		return 0, 0, from, net.ErrClosed
	case <-expired:
		return 0, 0, from, os.ErrDeadlineExceeded
	default:
	}
	for {
		select {
		case l := <-q.waiting:
			n, size, from = copy(b, l.data), len(l.data), l.from
			letters.Put(l)
			return n, size, from, nil
		default:
		}
		select {
		case l := <-q.waiting:
			n, size, from = copy(b, l.data), len(l.data), l.from
			letters.Put(l)
			return n, size, from, nil
		case <-q.closing:
			return 0, 0, from, net.ErrClosed
		case <-expired:
			// It may have been moved, which makes another channel.
			if again := q.deadline.wait(); again != expired {
				expired = again
				continue
			}
			return 0, 0, from, os.ErrDeadlineExceeded
		}
	}
}

// SetReadDeadline makes reads fail from t on, those that wait included; zero: never.
func (q *Inbox) SetReadDeadline(t time.Time) { q.deadline.set(t) }

// Close ends all reads, and makes the inbox take no more.
func (q *Inbox) Close() {
	q.once.Do(func() {
		close(q.closing)
		q.deadline.set(time.Time{})
	})
}

// Closed reports whether the inbox was closed.
func (q *Inbox) Closed() bool {
	select {
	case <-q.closing:
		return true
	default:
		return false
	}
}

// deadline is a time that can be waited for, moved and taken away.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed once it has passed
}

// wait returns a channel that is closed once the deadline has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // it fires just now
	}
	d.timer = nil
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
