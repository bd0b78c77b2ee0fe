package bradawl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/internal/tap"
)

// Conn is a connection to a peer: a net.Conn whose Writes and Reads are datagrams, of
// MaxDatagram bytes at most, sealed to the peer's key. Datagrams may be lost and
// reordered; none is changed, forged or doubled. It moves from path to path by itself, and
// lives on while there is none, for half an hour. Its methods may be called from any goroutine.
type Conn struct {
	s       *Session
	number  uint32
	peer    PeerID
	dialled bool
	keys    *seal.Keys
	index   uint32 // the peer's
	ours    uint32

	inbox *netio.Inbox
	out   atomic.Pointer[[]tap.Outlet]
	known atomic.Pointer[[]ice.Route]
	heard atomic.Bool // something of the peer has been opened
	quiet atomic.Bool // the control wants to know of the next write
	over  atomic.Bool
	stats [numCounters]atomic.Uint64

	writeDeadline netio.WriteDeadline

	mu      sync.Mutex
	path    Path
	changed chan struct{} // closed, and made anew, with each change of path
	err     error         // why it is over
	ended   bool
}

type counter int

const (
	countIn counter = iota
	countOut
	countUnsent
	countRejected
	numCounters
)

func (s *Session) newConn(n note) *Conn {
	return &Conn{
		s: s, number: n.conn, peer: n.peer, dialled: n.dialled, keys: n.keys, index: n.index, ours: n.ours,
		inbox: netio.NewInbox(s.cfg.ReadBuffer), changed: make(chan struct{}),
	}
}

// Peer returns who the connection is to. That is proven.
func (c *Conn) Peer() PeerID { return c.peer }

// Dialled reports whether this side dialled.
func (c *Conn) Dialled() bool { return c.dialled }

func (c *Conn) deliver(b []byte) {
	if c.inbox.Deliver(netip.AddrPort{}, b) {
		c.stats[countIn].Add(1)
	}
}

// knows reports whether from is one of the connection's paths.
func (c *Conn) knows(from ice.Route) bool {
	known := c.known.Load()
	return known != nil && slices.ContainsFunc(*known, func(r ice.Route) bool {
		return r.Socket == from.Socket && r.Stream == from.Stream && r.Remote == from.Remote
	})
}

// Read copies the next datagram into b. What does not fit is an error, io.ErrShortBuffer,
// with what fits in b. After the end of the connection the error is io.EOF if the peer
// closed it, else it matches net.ErrClosed and what Err returns; before, it is
// os.ErrDeadlineExceeded.
func (c *Conn) Read(b []byte) (int, error) {
	n, size, _, err := c.inbox.Read(b)
	if errors.Is(err, net.ErrClosed) {
		if errors.Is(c.Err(), ErrPeerClosed) {
			return 0, io.EOF
		}
		return 0, c.fail("read", c.ending())
	}
	if err == nil && size > n {
		err = fmt.Errorf("%w: a datagram of %d bytes for a buffer of %d", io.ErrShortBuffer, size, n)
	}
	if err != nil {
		return n, c.fail("read", err)
	}
	return n, nil
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1500); return &b }}

// Write sends b as one datagram, without waiting. The error matches os.ErrDeadlineExceeded,
// ErrTooLong, ErrLost while no path works, net.ErrClosed and what Err returns after the end of
// the connection, or it is the socket's. What a socket has no room for now, or TCP, is lost, as
// datagrams are, and counted as Unsent.
func (c *Conn) Write(b []byte) (int, error) {
	if c.writeDeadline.Passed() {
		return 0, c.fail("write", os.ErrDeadlineExceeded)
	}
	out := c.out.Load()
	switch {
	case c.over.Load():
		return 0, c.fail("write", c.ending())
	case len(b) > MaxDatagram:
		return 0, c.fail("write", fmt.Errorf("%w: %d bytes, at most %d (MaxDatagram)", ErrTooLong, len(b), MaxDatagram))
	case out == nil || len(*out) == 0:
		return 0, c.fail("write", ErrLost)
	}
	data := b
	if !c.s.cfg.Plaintext {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		*buf = c.keys.Seal((*buf)[:0], seal.Data, c.index, b)
		data = *buf
	}
	var err error
	sent := false
	for i := range *out { // several while the path in use is in doubt
		if failed := (*out)[i].Send(data); failed == nil {
			sent = true
		} else if err == nil {
			err = failed
		}
	}
	if !sent {
		c.stats[countUnsent].Add(1)
		if netio.IsTransient(err) {
			return len(b), nil
		}
		if errors.Is(err, net.ErrClosed) && !c.over.Load() {
			err = fmt.Errorf("%w: %v", ErrLost, err) // the path is being left
		}
		return 0, c.fail("write", err)
	}
	c.stats[countOut].Add(1)
	if c.quiet.Load() && c.quiet.CompareAndSwap(true, false) {
		c.s.loop.Post(func(now time.Time) { c.s.c.wrote(now, c.number) })
	}
	return len(b), nil
}

// Close closes the connection, and tells the peer.
func (c *Conn) Close() error {
	_ = c.s.loop.Do(func(now time.Time) { c.s.c.close(now, c.number) })
	c.finish(ErrClosed)
	c.inbox.Close()
	return nil
}

// finish ends the connection for its user.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.err = true, err
	c.path = Path{}
	close(c.changed)
	c.changed = make(chan struct{})
	c.over.Store(true)
	if errors.Is(err, ErrPeerClosed) {
		c.inbox.End() // what it sent before can still be read
	} else {
		c.inbox.Close()
	}
}

// Err returns why the connection is over: ErrClosed, or what matches ErrPeerClosed,
// ErrPeerRestarted or ErrLost; nil while it is not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ending is what using the connection after its end gives.
func (c *Conn) ending() error {
	switch err := c.Err(); err {
	case nil, ErrClosed:
		return ErrClosed
	default:
		return fmt.Errorf("%w: %w", net.ErrClosed, err)
	}
}

// Path returns the path in use; not valid while there is none.
func (c *Conn) Path() Path {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.path
}

// Paths returns an iterator over the paths that the connection takes: the one in use, and
// each that takes its place, until the connection is over or ctx ends. One that is not
// valid says that there is none for the time being. Changes that come faster than the loop
// turns are left out.
func (c *Conn) Paths(ctx context.Context) func(yield func(Path) bool) {
	return func(yield func(Path) bool) {
		first, last := true, Path{}
		for {
			c.mu.Lock()
			path, changed, ended := c.path, c.changed, c.ended
			c.mu.Unlock()
			if ended {
				return
			}
			if same := path; first || !samePath(same, last) {
				first, last = false, path
				if !yield(path) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func samePath(a, b Path) bool {
	a.RTT, a.Loss, b.RTT, b.Loss = 0, 0, 0, 0
	return a == b
}

func (c *Conn) setPath(p Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.path = p
	close(c.changed)
	c.changed = make(chan struct{})
}

// Explain says how the connection came to use the path that it uses, and what was tried;
// after its end, no more than why it ended.
func (c *Conn) Explain() (e Explanation) {
	known := false
	_ = c.s.loop.Do(func(now time.Time) { e, known = c.s.c.explain(now, c.number) })
	if !known {
		return Explanation{Peer: c.peer, State: connStates[over], Reason: ReasonOver, Why: c.ending().Error()}
	}
	e.Routers = c.s.routerWords()
	return e
}

// ConnStats counts a connection's datagrams.
type ConnStats struct {
	In       uint64 // handed to Read's queue
	Out      uint64 // handed to a socket
	Overrun  uint64 // came in and were dropped, because nobody read
	Unsent   uint64 // not taken by the socket: lost
	Rejected uint64 // not the peer's, or taken before: duplicates of a path in doubt among them
}

// Stats returns the counts so far.
func (c *Conn) Stats() ConnStats {
	load := func(n counter) uint64 { return c.stats[n].Load() }
	return ConnStats{In: load(countIn), Out: load(countOut), Overrun: c.inbox.Overrun(), Unsent: load(countUnsent), Rejected: load(countRejected)}
}

// Addr is a peer's address: its PeerID.
type Addr struct{ Peer PeerID }

// Network returns "bradawl".
func (Addr) Network() string { return "bradawl" }

// String returns the PeerID.
func (a Addr) String() string { return a.Peer.String() }

// LocalAddr returns our PeerID, as an Addr. Path tells IP addresses.
func (c *Conn) LocalAddr() net.Addr { return Addr{c.s.ID()} }

// RemoteAddr returns the peer's PeerID, as an Addr.
func (c *Conn) RemoteAddr() net.Addr { return Addr{c.peer} }

// SetDeadline sets both deadlines. The error is that of SetReadDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail from t on, those that wait included; zero: never. The error
// matches net.ErrClosed.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.inbox.Closed() {
		return c.fail("set", c.ending())
	}
	c.inbox.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline makes writes fail from t on; zero: never. No write waits.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.inbox.Closed() {
		return c.fail("set", c.ending())
	}
	c.writeDeadline.Set(t)
	return nil
}

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "bradawl", Addr: c.RemoteAddr(), Err: err} // our own ID would be a line more
}

// PacketConn returns the connection in the shape that QUIC and others want: ReadFrom tells
// the peer's Addr, WriteTo takes no other. Closing one closes the other. Give QUIC packets
// of at most MaxDatagram bytes.
func (c *Conn) PacketConn() net.PacketConn { return packetConn{c} }

type packetConn struct{ *Conn }

// ReadFrom implements net.PacketConn.
func (p packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	if errors.Is(err, io.ErrShortBuffer) {
		err = nil // as UDP sockets have it
	}
	return n, Addr{p.peer}, err
}

// WriteTo implements net.PacketConn.
func (p packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if a, ok := to.(Addr); !ok || a.Peer != p.peer {
		return 0, p.fail("write", fmt.Errorf("%v is not the peer of this connection; use RemoteAddr", to))
	}
	return p.Write(b)
}

var _ net.Conn = (*Conn)(nil)
