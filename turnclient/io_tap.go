package turnclient

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/wire"
)

// maxMessage is the longest message there can be on either transport.
const maxMessage = wire.HeaderSize + 0xFFFF + 1

// tap is a socket or connection to a server as the loop sees it: data that the path of
// an allocation takes never gets to the loop.
type tap struct {
	path   atomic.Pointer[path]
	server netip.AddrPort // set before path
	buf    []byte         // of the reader
	closed func()         // told once
	once   sync.Once
}

// attach gives the data of the tap to p.
func (t *tap) attach(p *path, server netip.AddrPort) {
	if t.path.Load() != p { // an allocation may be made anew on the same tap
		t.server = server
		t.path.Store(p)
	}
}

// takes reports whether the path took a message that came from remote.
func (t *tap) takes(remote netip.AddrPort, b []byte) bool {
	p := t.path.Load()
	return p != nil && remote == t.server && p.take(b)
}

func (t *tap) gone() {
	t.path.Store(nil)
	t.once.Do(t.closed)
}

// socketTap is a UDP socket.
type socketTap struct {
	net.PacketConn
	tap
	conn netio.Conn
}

func newSocketTap(pc net.PacketConn) (*socketTap, error) {
	conn, err := netio.Wrap(pc)
	if err != nil {
		return nil, err
	}
	return &socketTap{PacketConn: pc, conn: conn, tap: tap{buf: make([]byte, maxMessage)}}, nil
}

// ReadMeta implements netio.MetaReader.
func (s *socketTap) ReadMeta(b []byte) (int, netio.Meta, error) {
	for {
		n, m, err := s.conn.ReadMeta(s.buf)
		if err == nil && s.takes(m.Remote, s.buf[:n]) {
			continue
		}
		if err != nil {
			return 0, m, err
		}
		return copy(b, s.buf[:n]), m, nil
	}
}

// WriteOpts implements netio.OptionWriter.
func (s *socketTap) WriteOpts(b []byte, to netip.AddrPort, o netio.SendOptions) (int, error) {
	return s.conn.WriteOpts(b, to, o)
}

func (s *socketTap) Close() error {
	s.gone()
	return s.conn.Close()
}

func (s *socketTap) send(b []byte) error {
	_, err := s.conn.WriteOpts(b, s.server, netio.SendOptions{})
	if err != nil && netio.IsTransient(err) {
		return nil // of an earlier datagram, or lost as datagrams are
	}
	return err
}

func (s *socketTap) isStream() bool { return false }

// streamTap is a TCP or TLS connection. Its writes are whole messages, from the loop and
// from the path; those of the path do not wait: what finds the queue full is dropped.
type streamTap struct {
	net.Conn
	tap
	from, to int // of buf: what has been read and not handed on
	control  int // of that, how much of a message for the loop is still to be handed on

	bound    bool          // the rest is a peer's, and whoever the connection is detached for reads it
	released chan struct{} // closed when a reader that has stopped for that is to end
	release  sync.Once

	out *netio.Outbox // of Conn
}

// maxStreamQueue bounds what waits to be written on a stream.
const maxStreamQueue = 256 << 10

var errStreamFull = fmt.Errorf("the connection to the server takes no more for now: %w", ErrQueueFull)

// queueFull is ErrQueueFull, which to what is laid over an allocation is a full send buffer.
type queueFull struct{}

func (queueFull) Error() string        { return "too much is waiting to be sent" }
func (queueFull) Is(target error) bool { return target == netio.ErrBufferFull }

func newStreamTap(c net.Conn) *streamTap {
	return &streamTap{Conn: c, tap: tap{buf: make([]byte, maxMessage)}, released: make(chan struct{}), out: netio.NewOutbox(c, maxStreamQueue)}
}

// bindSuccess is the first two bytes of an answer after which a connection carries a
// peer's bytes (RFC 6062 section 4.5).
var bindSuccess = wire.MessageType{Method: wire.ConnectionBind, Class: wire.Success}.Value()

// Read returns what is for the loop: everything but data that the path takes. Before there
// is a path it reads message by message, and nothing behind a bindSuccess.
func (s *streamTap) Read(b []byte) (int, error) {
	for {
		if s.control > 0 {
			n := copy(b, s.buf[s.from:s.from+s.control])
			s.from += n
			s.control -= n
			return n, nil
		}
		if s.bound {
			<-s.released
			return 0, os.ErrDeadlineExceeded
		}
		have := s.buf[s.from:s.to]
		size, err := wire.StreamFrame(have)
		switch {
		case err != nil, len(have) > 0 && have[0] >= 4 && s.path.Load() == nil:
			s.control = len(have) // the machine sees that it is out of step, or no TURN
			continue
		case size > 0 && size <= len(have):
			if p := s.path.Load(); p != nil && p.take(have[:size]) {
				s.from += size
			} else {
				s.control = size
				s.bound = binary.BigEndian.Uint16(have) == bindSuccess
			}
			continue
		}
		s.to = copy(s.buf, have)
		s.from = 0
		room := s.buf[s.to:]
		if s.path.Load() == nil {
			room = room[:max(size, 4)-s.to]
		}
		n, err := s.Conn.Read(room)
		s.to += n
		if n == 0 && err != nil {
			if err == io.EOF && s.to > 0 {
				err = fmt.Errorf("%w: the connection ended within a message (%w)", ErrNotTURN, io.ErrUnexpectedEOF)
			}
			return 0, err
		}
	}
}

// Write is the loop's.
func (s *streamTap) Write(b []byte) (int, error) { return s.out.Write(b) }

func (s *streamTap) isStream() bool { return true }

func (s *streamTap) send(b []byte) error {
	err := s.out.Send(b)
	if err == netio.ErrBufferFull {
		return errStreamFull
	}
	return err
}

// SetReadDeadline is what a runner stops its reader by.
func (s *streamTap) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		s.release.Do(func() { close(s.released) })
	}
	return s.Conn.SetReadDeadline(t)
}

// SetLinger is what a runner resets a TCP connection by.
func (s *streamTap) SetLinger(seconds int) error {
	if l, ok := s.Conn.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(seconds)
	}
	return nil
}

func (s *streamTap) Close() error {
	s.release.Do(func() { close(s.released) })
	err := s.out.Close()
	s.gone()
	return err
}
