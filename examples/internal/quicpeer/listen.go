package quicpeer

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
)

const (
	greeting = 10 * time.Second // for a peer that has connected to open its stream
	maxGuest = 64               // that are between the two at once
)

// Listener accepts the streams of peers that dial a session. Nothing else may call the
// session's Accept.
type Listener struct {
	s      *bradawl.Session
	ctx    context.Context
	cancel context.CancelFunc
	conns  chan *Conn
	wg     sync.WaitGroup
	err    error         // why there will be no more
	done   chan struct{} // closed when err is set
}

// Listen returns a listener on a session. Who may connect is what the session's AllowPeer
// says.
func Listen(s *bradawl.Session) *Listener {
	l := &Listener{s: s, conns: make(chan *Conn), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.run)
	return l
}

func (l *Listener) run() {
	defer close(l.done)
	guests := make(chan struct{}, maxGuest)
	for {
		under, err := l.s.Accept(l.ctx)
		if err != nil {
			if l.err = err; l.ctx.Err() != nil {
				l.err = net.ErrClosed
			}
			return
		}
		guests <- struct{}{}
		l.wg.Go(func() {
			defer func() { <-guests }()
			l.greet(under)
		})
	}
}

// greet waits for a peer's stream and hands it to Accept. A peer that opens none is let go.
func (l *Listener) greet(under *bradawl.Conn) {
	ctx, cancel := context.WithTimeout(l.ctx, greeting)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { under.Close() })
	c, err := accept(ctx, under)
	if err != nil {
		stop()
		return
	}
	if !stop() { // it is closed already
		c.drop()
		return
	}
	select {
	case l.conns <- c:
	case <-l.ctx.Done():
		c.drop()
	}
}

// Accept returns the next stream, a *Conn. The error is net.ErrClosed after Close, or the
// session's.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "bradawl", Addr: l.Addr(), Err: l.err}
	}
}

// Close ends Accept. What has been accepted stays.
func (l *Listener) Close() error {
	l.cancel()
	l.wg.Wait()
	return nil
}

// Addr returns the session's PeerID, as a bradawl.Addr.
func (l *Listener) Addr() net.Addr { return bradawl.Addr{Peer: l.s.ID()} }
