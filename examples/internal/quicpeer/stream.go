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
// bradawl.Addr.
type Conn struct {
	*quic.Stream
	quic      *quic.Conn
	transport *quic.Transport
	under     *bradawl.Conn
	toldEnd   sync.Once
	closed    sync.Once
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

// CloseWrite ends what we send, as of a TCP connection. The peer can go on sending.
func (c *Conn) CloseWrite() error { return c.Stream.Close() }

// Read is the stream's, and tells the peer when all has been read.
func (c *Conn) Read(b []byte) (int, error) {
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

// Close closes both directions. It waits up to 5 s until the peer has read what was sent and
// has closed its side, for what QUIC has not delivered by the end of a connection is lost.
func (c *Conn) Close() error {
	c.closed.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		until, _ := ctx.Deadline()
		if c.Stream.Close() == nil && c.SetReadDeadline(until) == nil {
			if _, err := io.Copy(io.Discard, struct{ io.Reader }{c}); err == nil {
				_, _ = c.quic.AcceptUniStream(ctx)
			}
		}
		c.drop()
	})
	return nil
}

// drop gives up what there is.
func (c *Conn) drop() {
	if c.quic != nil {
		_ = c.quic.CloseWithError(0, "")
	}
	_ = c.transport.Close()
	_ = c.under.Close()
}

var _ net.Conn = (*Conn)(nil)
