package quicpeer

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/bradawl/bradawl"
)

const (
	protocol = "bradawl-stream"
	// farewell is how long Close waits for the peer to have read all.
	farewell = 5 * time.Second
)

// Conn is a stream to a peer, alone on a connection of its own: another connection to the
// same peer costs one round trip and no new path. Addresses are PeerIDs: RemoteAddr is a
// bradawl.Addr. Its methods are safe for several goroutines.
type Conn struct {
	*quic.Stream
	quic      *quic.Conn
	transport *quic.Transport
	under     *bradawl.Conn
	toldEnd   sync.Once
	closed    sync.Once

	reading, writing sync.Mutex // by whom there is one at a time
	deadlines        sync.Mutex
	closing          bool // under deadlines, which are Close's from then on
}

// Dial connects to a peer whose session has a Listener.
func Dial(ctx context.Context, s *bradawl.Session, peer bradawl.PeerID) (*Conn, error) {
	under, err := s.Dial(ctx, peer)
	if err != nil {
		return nil, err
	}
	c := &Conn{under: under, transport: &quic.Transport{Conn: PacketConn(under)}}
	if c.quic, err = c.transport.Dial(ctx, under.RemoteAddr(), ClientTLS(protocol), Config()); err == nil {
		if c.Stream, err = c.quic.OpenStreamSync(ctx); err == nil {
			_, err = c.Write([]byte{0}) // a stream is there for the peer when something comes on it
		}
	}
	if err != nil {
		c.drop()
		return nil, fmt.Errorf("QUIC to %s: %w", peer.Short(), err)
	}
	return c, nil
}

// accept is the other side's Dial.
func accept(ctx context.Context, under *bradawl.Conn) (*Conn, error) {
	c := &Conn{under: under, transport: &quic.Transport{Conn: PacketConn(under)}}
	err := c.accept(ctx)
	if err != nil {
		c.drop()
		return nil, err
	}
	return c, nil
}

func (c *Conn) accept(ctx context.Context) error {
	tls, err := ServerTLS(protocol)
	if err != nil {
		return err
	}
	ln, err := c.transport.Listen(tls, Config())
	if err != nil {
		return err
	}
	if c.quic, err = ln.Accept(ctx); err != nil {
		return err
	}
	if c.Stream, err = c.quic.AcceptStream(ctx); err != nil {
		return err
	}
	_, err = io.ReadFull(c.Stream, make([]byte, 1))
	return err
}

// Under returns the connection that the stream is on, for its Path and Explain.
func (c *Conn) Under() *bradawl.Conn { return c.under }

// LocalAddr returns our PeerID, as a bradawl.Addr.
func (c *Conn) LocalAddr() net.Addr { return c.under.LocalAddr() }

// RemoteAddr returns the peer's PeerID, as a bradawl.Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.under.RemoteAddr() }

// Write is the stream's, but one at a time. The error is net.ErrClosed after Close.
func (c *Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.isClosing() {
		return 0, net.ErrClosed
	}
	n, err := c.Stream.Write(b)
	if err != nil && c.isClosing() {
		err = net.ErrClosed
	}
	return n, err
}

// CloseWrite ends what we send, as of a TCP connection, after a Write that is under way. The
// peer can go on sending.
func (c *Conn) CloseWrite() error {
	c.writing.Lock() // quic-go wants it so
	defer c.writing.Unlock()
	return c.Stream.Close()
}

// Read is the stream's, but one at a time, and tells the peer when all has been read. The
// error is net.ErrClosed after Close.
func (c *Conn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.isClosing() {
		return 0, net.ErrClosed
	}
	n, err := c.read(b)
	if err != nil && err != io.EOF && c.isClosing() {
		err = net.ErrClosed
	}
	return n, err
}

func (c *Conn) read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if err == io.EOF {
		c.toldEnd.Do(func() {
			if told, err := c.quic.OpenUniStream(); err == nil {
				_ = told.Close() // that it comes is what it says
			}
		})
	}
	return n, err
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadline(c.Stream.SetDeadline, t) }

// SetReadDeadline sets until when Read waits.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(c.Stream.SetReadDeadline, t) }

// SetWriteDeadline sets until when Write waits.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(c.Stream.SetWriteDeadline, t)
}

func (c *Conn) setDeadline(set func(time.Time) error, t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	return set(t)
}

func (c *Conn) isClosing() bool {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	return c.closing
}

// Close closes both directions, and ends what waits in Read or Write at once: of a Write, the
// peer has as much as it says. It waits up to 5 s until the peer has read what was sent and
// has closed its side, for what QUIC has not delivered by the end of a connection is lost; what
// comes meanwhile is thrown away.
func (c *Conn) Close() error {
	c.closed.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		c.deadlines.Lock()
		c.closing = true
		_ = c.Stream.SetDeadline(time.Now()) // fails where nobody waits any more
		c.deadlines.Unlock()
		c.reading.Lock()
		defer c.reading.Unlock()
		until, _ := ctx.Deadline()
		if c.CloseWrite() == nil && c.Stream.SetReadDeadline(until) == nil {
			if _, err := io.Copy(io.Discard, reader(c.read)); err == nil {
				_, _ = c.quic.AcceptUniStream(ctx)
			}
		}
		c.drop()
	})
	return nil
}

// reader is a Read method.
type reader func([]byte) (int, error)

func (r reader) Read(b []byte) (int, error) { return r(b) }

// drop gives up what there is.
func (c *Conn) drop() {
	if c.quic != nil {
		_ = c.quic.CloseWithError(0, "")
	}
	_ = c.transport.Close()
	_ = c.under.Close()
}

var _ net.Conn = (*Conn)(nil)
