package simnet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Listen opens a TCP port of the host in the shape of net.Listen. Reuse lets other
// sockets that also ask for it share the port (SO_REUSEPORT).
func (h *Host) Listen(_ context.Context, network, address string, reuse bool) (net.Listener, error) {
	local, err := parseLocal(network, "tcp", address)
	if err != nil {
		return nil, err
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	l := &listener{w: h.w, arrived: make(chan struct{})}
	l.tcp, err = h.tcp.listen(local, reuse, l.push)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: net.TCPAddrFromAddrPort(local), Err: err}
	}
	return l, nil
}

// DialContext opens a TCP connection in the shape of net.Dialer.DialContext; address
// is a literal one.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return h.DialFrom(ctx, network, netip.AddrPort{}, address)
}

// DialFrom is DialContext from a local address, whose port, which the host chooses if
// it is 0, other sockets share that reuse it. The zero AddrPort shares nothing.
func (h *Host) DialFrom(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
	remote, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("simnet: address %q: names are not resolved here: %w", address, err)}
	}
	c := newStreamConn(h.w)
	opened := make(chan error, 1)
	h.w.mu.Lock()
	h.w.sync()
	on := c.events()
	on.connected = func() { opened <- nil }
	on.closed = func(err error) {
		c.lost(err)
		select {
		case opened <- err:
		default:
		}
	}
	c.tcp, err = h.tcp.dial(local, remote, local.IsValid(), on)
	h.w.mu.Unlock()
	if err == nil {
		select {
		case err = <-opened:
		case <-ctx.Done():
			_ = c.Close()
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: net.TCPAddrFromAddrPort(local), Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	}
	return c, nil
}

// listener is a TCP port in the shape of net.Listener.
type listener struct {
	w       *World
	tcp     *tcpListener
	ready   []*streamConn
	closed  bool
	arrived chan struct{}
}

// maxBacklog is how many connections wait to be accepted; what comes beyond is reset.
const maxBacklog = 1024

// push is called with the world locked, which guards all of the listener.
func (l *listener) push(tc *tcpConn) {
	if l.closed || len(l.ready) == maxBacklog {
		tc.abort()
		return
	}
	c := newStreamConn(l.w)
	c.tcp = tc
	tc.on = c.events()
	l.ready = append(l.ready, c)
	l.wake()
}

func (l *listener) wake() {
	close(l.arrived)
	l.arrived = make(chan struct{})
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.w.mu.Lock()
		if l.closed {
			l.w.mu.Unlock()
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		}
		if len(l.ready) > 0 {
			c := l.ready[0]
			l.ready = l.ready[1:]
			l.w.mu.Unlock()
			return c, nil
		}
		arrived := l.arrived
		l.w.mu.Unlock()
		<-arrived
	}
}

func (l *listener) Close() error {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.w.sync()
	l.closed = true
	l.tcp.close()
	for _, c := range l.ready {
		c.tcp.abort()
	}
	l.wake()
	return nil
}

// Addr is the address listened at; a port 0 has become the one chosen.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.tcp.local) }

// streamConn is a TCP connection in the shape of net.Conn. The world's lock guards
// all of it but the deadlines.
type streamConn struct {
	w      *World
	tcp    *tcpConn
	buf    []byte
	ended  bool
	err    error // what the connection died of
	dead   bool
	closed bool
	reset  bool          // when it is closed
	change chan struct{} // closed and replaced when a reader or writer should look again

	mu          sync.Mutex
	read, write deadline
}

func newStreamConn(w *World) *streamConn {
	return &streamConn{w: w, change: make(chan struct{}), read: newDeadline(), write: newDeadline()}
}

func (c *streamConn) events() tcpEvents {
	return tcpEvents{
		connected: func() {},
		received:  func(b []byte) { c.buf = append(c.buf, b...); c.wake() },
		ended:     func() { c.ended = true; c.wake() },
		space:     c.wake,
		closed:    c.lost,
	}
}

func (c *streamConn) lost(err error) {
	c.dead, c.err = true, err
	c.wake()
}

func (c *streamConn) wake() {
	close(c.change)
	c.change = make(chan struct{})
}

// wait tries fn, with the world locked, until it is done, the deadline has passed or
// the connection is closed.
func (c *streamConn) wait(op string, d *deadline, fn func() (done bool, err error)) error {
	for {
		c.mu.Lock()
		expired := d.done()
		c.mu.Unlock()
		c.w.mu.Lock()
		c.w.sync()
		done, err := false, error(nil)
		switch {
		case c.closed:
			err = net.ErrClosed
		case isDone(expired):
			err = os.ErrDeadlineExceeded
		default:
			done, err = fn()
		}
		change := c.change
		c.w.mu.Unlock()
		switch {
		case err == io.EOF:
			return err
		case err != nil:
			return c.fail(op, err)
		case done:
			return nil
		}
		select {
		case <-change:
		case <-expired:
		}
	}
}

func (c *streamConn) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	err = c.wait("read", &c.read, func() (bool, error) {
		switch {
		case len(c.buf) > 0:
			n = copy(b, c.buf)
			c.buf = c.buf[n:]
			c.tcp.consumed(n)
			return true, nil
		case c.ended:
			return false, io.EOF
		case c.dead && c.err != nil:
			return false, c.err
		case c.dead:
			return false, io.EOF
		}
		return false, nil
	})
	return n, err
}

func (c *streamConn) Write(b []byte) (n int, err error) {
	for first := true; first || n < len(b); first = false {
		err = c.wait("write", &c.write, func() (bool, error) {
			if c.dead {
				if c.err != nil {
					return false, c.err
				}
				return false, syscall.EPIPE
			}
			sent := c.tcp.write(b[n:], false)
			n += sent
			return sent > 0 || len(b) == 0, nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *streamConn) Close() error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.w.sync()
	c.closed = true
	if c.reset {
		c.tcp.abort()
	} else {
		c.tcp.close()
	}
	c.wake()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.set(time.Time{})
	c.write.set(time.Time{})
	return nil
}

// SetLinger is that of *net.TCPConn as far as 0 goes: Close then resets the
// connection.
func (c *streamConn) SetLinger(seconds int) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.reset = seconds == 0
	return nil
}

func (c *streamConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.tcp.tuple.local) }
func (c *streamConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.tcp.tuple.remote) }

func (c *streamConn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.read, &c.write)
}

func (c *streamConn) SetReadDeadline(t time.Time) error  { return c.setDeadlines(t, &c.read) }
func (c *streamConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *streamConn) setDeadlines(t time.Time, which ...*deadline) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range which {
		d.set(t)
	}
	c.wake()
	return nil
}

func (c *streamConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
