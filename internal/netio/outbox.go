package netio

import (
	"net"
	"sync"
	"time"
)

// Outbox writes whole messages to a stream without letting their senders wait: what the
// stream does not take at once waits, up to a bound, and what comes beyond is refused.
// Its methods may be called from any goroutine.
type Outbox struct {
	conn    net.Conn
	limit   int
	writing chan struct{} // holds one while a whole message is written; waiting for it is no hindrance to synctest

	mu    sync.Mutex
	queue []byte
	busy  bool // there is a writer
	ended bool
	wg    sync.WaitGroup
}

// NewOutbox makes an outbox for conn in which limit bytes can wait.
func NewOutbox(conn net.Conn, limit int) *Outbox {
	return &Outbox{conn: conn, limit: limit, writing: make(chan struct{}, 1)}
}

// Send writes b, or keeps a copy of it to be written soon. The error is ErrBufferFull, or
// net.ErrClosed after Close.
func (o *Outbox) Send(b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ended:
		return net.ErrClosed
	case len(o.queue)+len(b) > o.limit:
		return ErrBufferFull
	}
	o.queue = append(o.queue, b...)
	if !o.busy {
		o.busy = true
		o.wg.Go(o.flush)
	}
	return nil
}

// Write writes b to the stream itself, between two messages, and waits for that.
func (o *Outbox) Write(b []byte) (int, error) {
	o.writing <- struct{}{}
	defer func() { <-o.writing }()
	return o.conn.Write(b)
}

// flush writes the queue until it is empty.
func (o *Outbox) flush() {
	var batch []byte
	for {
		o.mu.Lock()
		if len(o.queue) == 0 || o.ended {
			o.busy = false
			o.mu.Unlock()
			return
		}
		batch, o.queue = o.queue, batch[:0]
		o.mu.Unlock()
		if _, err := o.Write(batch); err != nil {
			_ = o.conn.SetReadDeadline(time.Unix(1, 0)) // who reads the stream finds out
		}
	}
}

// Close drops what waits, closes the stream and returns once nothing is written any more.
func (o *Outbox) Close() error {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	err := o.conn.Close()
	o.wg.Wait()
	return err
}
