package ice

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
)

// Conn is the path to the peer as a net.Conn: each Write is one datagram, each Read
// returns one. It follows the agent from pair to pair. Its methods may be called from any
// goroutine.
//
// Datagrams may be lost, doubled and reordered, and are neither encrypted nor
// authenticated: run DTLS, QUIC or the like over it.
type Conn struct{ a *Agent }

// Read copies the next datagram into b. What does not fit is an error, io.ErrShortBuffer,
// with what fits in b. Other errors are net.ErrClosed and os.ErrDeadlineExceeded.
func (c *Conn) Read(b []byte) (int, error) {
	n, size, _, err := c.a.inbox.Read(b)
	if err == nil && size > n {
		err = fmt.Errorf("%w: a datagram of %d bytes for a buffer of %d", io.ErrShortBuffer, size, n)
	}
	if err != nil {
		return n, c.fail("read", err)
	}
	return n, nil
}

// Write sends b as one datagram, without waiting. The error is net.ErrClosed,
// os.ErrDeadlineExceeded, one that matches ErrNoPair while no pair works, ErrTooLong, or
// the socket's. What a socket has no room for now, or TCP, is lost, as datagrams are, and
// counted as Unsent: DTLS and SCTP would give up at an error.
func (c *Conn) Write(b []byte) (int, error) {
	if c.a.writeDeadline.Passed() {
		return 0, c.fail("write", os.ErrDeadlineExceeded)
	}
	o := c.a.out.Load()
	switch {
	case c.a.inbox.Closed():
		return 0, c.fail("write", net.ErrClosed)
	case o == nil:
		return 0, c.fail("write", ErrNoPair)
	case len(b) > maxData:
		return 0, c.fail("write", fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(b), maxData))
	}
	switch err := o.Send(b); {
	case err == nil:
		c.a.stats[countOut].Add(1)
	case netio.IsTransient(err):
		c.a.stats[countUnsent].Add(1)
	default:
		c.a.stats[countUnsent].Add(1)
		return 0, c.fail("write", err)
	}
	return len(b), nil
}

// Agent returns the agent whose path c is.
func (c *Conn) Agent() *Agent { return c.a }

// Close closes the agent.
func (c *Conn) Close() error { return c.a.Close() }

// LocalAddr returns our address on the pair in use: a *net.UDPAddr or *net.TCPAddr, the
// unspecified address while there is none.
func (c *Conn) LocalAddr() net.Addr {
	o := c.a.out.Load()
	if o == nil {
		return &net.UDPAddr{}
	}
	return o.addr(o.local)
}

// RemoteAddr returns the peer's address on the pair in use.
func (c *Conn) RemoteAddr() net.Addr {
	o := c.a.out.Load()
	if o == nil {
		return &net.UDPAddr{}
	}
	return o.addr(o.Remote)
}

func (o *outlet) addr(a netip.AddrPort) net.Addr {
	if o.Stream != nil {
		return net.TCPAddrFromAddrPort(a)
	}
	return net.UDPAddrFromAddrPort(a)
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on, those that wait included; zero: never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.a.inbox.Closed() {
		return c.fail("set", net.ErrClosed)
	}
	c.a.inbox.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline makes writes fail from t on; zero: never. No write waits.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.a.inbox.Closed() {
		return c.fail("set", net.ErrClosed)
	}
	c.a.writeDeadline.Set(t)
	return nil
}

// Stats counts an agent's datagrams.
type Stats struct {
	In      uint64 // handed to Read's queue
	Out     uint64 // handed to the socket
	Overrun uint64 // came in and were dropped, because nobody read
	Unsent  uint64 // not taken by the socket: lost
}

// Stats returns the counts so far.
func (c *Conn) Stats() Stats {
	load := func(n counter) uint64 { return c.a.stats[n].Load() }
	return Stats{In: load(countIn), Out: load(countOut), Overrun: c.a.inbox.Overrun(), Unsent: load(countUnsent)}
}

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "ice", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

var _ net.Conn = (*Conn)(nil)
