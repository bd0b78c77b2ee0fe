package tap

import (
	"net"
	"net/netip"
	"sync"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/wire"
)

// maxQueue bounds what waits to be written on a connection, in bytes.
const maxQueue = 256 << 10

// Stream is a connection of frames (RFC 4571) as the event loop sees it.
type Stream struct {
	net.Conn
	Local, Remote netip.AddrPort

	box    *netio.Outbox
	take   func(frame []byte) bool
	closed func()
	once   sync.Once
	in     wire.Deframer
	buf    []byte
	out    []byte // framed, for the loop
}

// NewStream taps c. take is asked, on the reader's goroutine, about each frame that
// arrives, as in NewSocket; closed is called once, when the connection is closed.
func NewStream(c net.Conn, take func(frame []byte) bool, closed func()) *Stream {
	return &Stream{
		Conn: c, Local: netio.AddrPortOf(c.LocalAddr()), Remote: netio.AddrPortOf(c.RemoteAddr()),
		box: netio.NewOutbox(c, maxQueue), take: take, closed: closed, buf: make([]byte, 4096),
	}
}

// Read returns the frames that are for the loop. It is for one goroutine at a time.
func (s *Stream) Read(b []byte) (int, error) {
	for {
		if len(s.out) > 0 {
			n := copy(b, s.out)
			s.out = s.out[n:]
			return n, nil
		}
		n, err := s.Conn.Read(s.buf)
		s.out = s.out[:0]
		s.in.Feed(s.buf[:n])
		for frame, ok := s.in.Next(); ok; frame, ok = s.in.Next() {
			if !s.take(frame) {
				s.out, _ = wire.AppendFrame(s.out, frame) // it was one
			}
		}
		if err != nil && len(s.out) == 0 {
			return 0, err
		}
	}
}

// Write is the loop's: whole frames.
func (s *Stream) Write(b []byte) (int, error) { return s.box.Write(b) }

var frames = sync.Pool{New: func() any { b := make([]byte, 0, 1600); return &b }}

// Send sends data as one frame, from any goroutine, without waiting. The error is
// netio.ErrBufferFull, net.ErrClosed or wire.ErrFrameTooLong.
func (s *Stream) Send(b []byte) error {
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	framed, err := wire.AppendFrame((*buf)[:0], b)
	if err != nil {
		return err
	}
	*buf = framed
	return s.box.Send(framed)
}

// SetLinger is what a runner resets a connection by.
func (s *Stream) SetLinger(seconds int) error {
	if l, ok := s.Conn.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(seconds)
	}
	return nil
}

// Close closes the connection.
func (s *Stream) Close() error {
	s.once.Do(s.closed)
	return s.box.Close()
}

// Listener taps what comes in.
type Listener struct {
	net.Listener
	Tap func(net.Conn) *Stream
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.Tap(c), nil
}
