package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Listen is [Host.Listen] over real connections: each one accepted is one end of a
// real connection on 127.0.0.1.
func (b *Loopback) Listen(ctx context.Context, network, address string, reuse bool) (net.Listener, error) {
	sim, err := b.h.Listen(ctx, network, address, reuse)
	if err != nil {
		return nil, err
	}
	l := &loopbackListener{Listener: sim, b: b}
	if err := b.start(l, nil); err != nil {
		_ = sim.Close()
		return nil, &net.OpError{Op: "listen", Net: network, Addr: sim.Addr(), Err: err}
	}
	return l, nil
}

// DialContext is [Host.DialContext] over a real connection, which is made once the
// simulated one stands. What fails the simulated one is the error.
func (b *Loopback) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return b.DialFrom(ctx, network, netip.AddrPort{}, address)
}

// DialFrom is [Host.DialFrom] over a real connection, as DialContext.
func (b *Loopback) DialFrom(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
	sim, err := b.h.DialFrom(ctx, network, local, address)
	if err != nil {
		return nil, err
	}
	return b.join("dial", sim.(*streamConn))
}

type loopbackListener struct {
	net.Listener
	b *Loopback
}

func (l *loopbackListener) Accept() (net.Conn, error) {
	sim, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.b.join("accept", sim.(*streamConn))
}

func (l *loopbackListener) Close() error {
	l.b.forget(l)
	return l.Listener.Close()
}

func (l *loopbackListener) kill() { _ = l.Listener.Close() }

// loopbackTCP is the user's end of a real connection, whose other end is the relay's.
// A half-close, a reset and the error that a connection died of are carried over.
type loopbackTCP struct {
	*net.TCPConn
	relay *net.TCPConn
	sim   *streamConn
	cause atomic.Pointer[error] // what the simulated connection died of

	over    chan struct{} // the world has no more for the user
	closing chan struct{} // the user has closed
	close   sync.Once
}

// join makes a real connection for a simulated one that stands.
func (b *Loopback) join(op string, sim *streamConn) (net.Conn, error) {
	c := &loopbackTCP{sim: sim, over: make(chan struct{}), closing: make(chan struct{})}
	err := c.connect()
	if err == nil {
		if err = b.start(c, c.run); err != nil {
			c.kill()
		}
	}
	if err != nil {
		sim.abort()
		return nil, &net.OpError{Op: op, Net: "tcp", Source: sim.LocalAddr(), Addr: sim.RemoteAddr(), Err: err}
	}
	return c, nil
}

// connect makes both ends. Whoever else connects is turned away.
func (c *loopbackTCP) connect() error {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopbackAddr()})
	if err != nil {
		return err
	}
	defer l.Close()
	if c.TCPConn, err = net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr)); err != nil {
		return err
	}
	_ = l.SetDeadline(time.Now().Add(10 * time.Second)) // it waits there already
	for {
		if c.relay, err = l.AcceptTCP(); err != nil {
			_ = c.TCPConn.Close()
			return err
		}
		if c.relay.RemoteAddr().String() == c.TCPConn.LocalAddr().String() {
			return nil
		}
		_ = c.relay.Close()
	}
}

func (c *loopbackTCP) kill() {
	c.close.Do(func() { close(c.closing) })
	reset(c.TCPConn)
	reset(c.relay)
	c.sim.abort()
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// run ends when the connection has and the user has closed it.
func (c *loopbackTCP) run() {
	var up sync.WaitGroup
	up.Go(c.up)
	c.down()
	up.Wait()
	_ = c.relay.Close()
	<-c.closing
}

// up carries what the user writes into the world.
func (c *loopbackTCP) up() {
	err := carry(c.sim, c.relay)
	switch {
	case err.write != nil:
		<-c.over // what came before is still the user's
		c.broke(err.write)
		return
	case err.read != io.EOF:
		c.sim.abort()
		return
	}
	select {
	case <-c.closing:
	default:
		c.sim.closeWrite()
		select {
		case <-c.closing:
		case <-c.over:
		}
	}
	_ = c.sim.Close()
}

// down carries what the world brings to the user.
func (c *loopbackTCP) down() {
	defer close(c.over)
	err := carry(c.relay, c.sim)
	switch {
	case err.write != nil:
		c.sim.abort()
	case err.read == io.EOF:
		_ = c.relay.CloseWrite()
	default:
		c.broke(err.read)
	}
}

// carry copies until one of the two fails, and says which.
func carry(to io.Writer, from io.Reader) (err struct{ read, write error }) {
	buf := make([]byte, 32<<10)
	for err.read == nil && err.write == nil {
		var n int
		if n, err.read = from.Read(buf); n > 0 {
			_, err.write = to.Write(buf[:n])
		}
	}
	return err
}

// broke tells the user what the simulated connection died of, if not of the user.
func (c *loopbackTCP) broke(err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	c.cause.CompareAndSwap(nil, &err)
	reset(c.relay)
}

func (c *loopbackTCP) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	return n, c.tell(err)
}

func (c *loopbackTCP) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	return n, c.tell(err)
}

// ReadFrom keeps io.Copy from going round Write.
func (c *loopbackTCP) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// WriteTo keeps io.Copy from going round Read.
func (c *loopbackTCP) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

// tell puts what the simulated connection died of in the place of what the real one
// did.
func (c *loopbackTCP) tell(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	err = retell(err, c.LocalAddr(), c.RemoteAddr())
	cause := c.cause.Load()
	var op *net.OpError
	if cause != nil && errors.As(err, &op) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		op.Err = *cause
	}
	return err
}

// Close closes the real connection at once. What was written still travels.
func (c *loopbackTCP) Close() error {
	c.close.Do(func() { close(c.closing) })
	return c.tell(c.TCPConn.Close())
}

func (c *loopbackTCP) LocalAddr() net.Addr  { return c.sim.LocalAddr() }
func (c *loopbackTCP) RemoteAddr() net.Addr { return c.sim.RemoteAddr() }

// closeWrite ends the connection towards the other side; reading goes on.
func (c *streamConn) closeWrite() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.sync()
	if !c.closed && !c.tcp.closing {
		c.tcp.closing = true
		c.tcp.push()
	}
}

// abort resets the connection.
func (c *streamConn) abort() {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.closed {
		return
	}
	c.w.sync()
	c.closed = true
	c.tcp.abort()
	c.wake()
}
