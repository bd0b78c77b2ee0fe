package ice

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/wire"
)

// socketTap is a UDP socket, or a relayed address, as the loop sees it: the peers' data
// never gets to the loop.
type socketTap struct {
	net.PacketConn
	conn netio.Conn
	buf  []byte // of the reader

	mu    sync.RWMutex
	peers map[netip.AddrPort]*Agent
}

// maxDatagram is the longest datagram that there can be.
const maxDatagram = 65535

func newSocketTap(pc net.PacketConn) (*socketTap, error) {
	conn, err := netio.Wrap(pc)
	if err != nil {
		return nil, err
	}
	return &socketTap{PacketConn: pc, conn: conn, buf: make([]byte, maxDatagram), peers: make(map[netip.AddrPort]*Agent)}, nil
}

// route makes a the one that data of remote is for; nil: nobody is.
func (s *socketTap) route(remote netip.AddrPort, a *Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a == nil {
		delete(s.peers, remote)
	} else {
		s.peers[remote] = a
	}
}

// ReadMeta implements netio.MetaReader: it returns what is for the loop.
func (s *socketTap) ReadMeta(b []byte) (int, netio.Meta, error) {
	for {
		n, m, err := s.conn.ReadMeta(s.buf)
		if err != nil {
			return 0, m, err
		}
		if d := s.buf[:n]; !wire.IsSTUN(d) {
			s.mu.RLock()
			a := s.peers[m.Remote]
			s.mu.RUnlock()
			if a != nil {
				a.deliver(m.Remote, d)
				continue
			}
		}
		return copy(b, s.buf[:n]), m, nil
	}
}

// WriteOpts implements netio.OptionWriter.
func (s *socketTap) WriteOpts(b []byte, to netip.AddrPort, o netio.SendOptions) (int, error) {
	return s.conn.WriteOpts(b, to, o)
}

func (s *socketTap) Close() error { return s.conn.Close() }

// streamTap is a TCP connection as the loop sees it: data of its peer, and to it, never
// gets to the loop.
type streamTap struct {
	net.Conn
	e    *Endpoint
	key  streamKey
	box  *netio.Outbox
	peer atomic.Pointer[Agent]
	in   deframer
	buf  []byte
	out  []byte // framed, for the loop
}

// maxStreamQueue bounds what waits to be written on a connection.
const maxStreamQueue = 256 << 10

func (e *Endpoint) tapStream(c net.Conn) *streamTap {
	s := &streamTap{
		Conn: c, e: e, buf: make([]byte, 4096), box: netio.NewOutbox(c, maxStreamQueue),
		key: streamKey{netio.AddrPortOf(c.LocalAddr()), netio.AddrPortOf(c.RemoteAddr())},
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streams[s.key] = s
	return s
}

// tappedListener taps what comes in.
type tappedListener struct {
	net.Listener
	e *Endpoint
}

func (l *tappedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.e.tapStream(c), nil
}

// Read returns the frames that are for the loop.
func (s *streamTap) Read(b []byte) (int, error) {
	for {
		if len(s.out) > 0 {
			n := copy(b, s.out)
			s.out = s.out[n:]
			return n, nil
		}
		n, err := s.Conn.Read(s.buf)
		s.out = s.out[:0]
		s.in.feed(s.buf[:n])
		for frame, ok := s.in.next(); ok; frame, ok = s.in.next() {
			if a := s.peer.Load(); a != nil && !wire.IsSTUN(frame) {
				a.deliver(s.key.remote, frame)
			} else {
				s.out, _ = appendFrame(s.out, frame) // it was one
			}
		}
		if err != nil && len(s.out) == 0 {
			return 0, err
		}
	}
}

// Write is the loop's: whole frames.
func (s *streamTap) Write(b []byte) (int, error) { return s.box.Write(b) }

// SetLinger is what a runner resets a connection by.
func (s *streamTap) SetLinger(seconds int) error {
	if l, ok := s.Conn.(interface{ SetLinger(int) error }); ok {
		return l.SetLinger(seconds)
	}
	return nil
}

func (s *streamTap) Close() error {
	s.e.mu.Lock()
	if s.e.streams[s.key] == s {
		delete(s.e.streams, s.key)
	}
	s.e.mu.Unlock()
	return s.box.Close()
}

// outlet is where an agent's data leaves by.
type outlet struct {
	socket *socketTap // nil: a connection
	stream *streamTap
	remote netip.AddrPort
	local  netip.AddrPort
	source netio.SendOptions
}

var frames = sync.Pool{New: func() any { b := make([]byte, 0, 1600); return &b }}

// send sends one datagram, or says why it could not.
func (o *outlet) send(b []byte) error {
	if o.socket != nil {
		_, err := o.socket.conn.WriteOpts(b, o.remote, o.source)
		if err != nil && netio.IsTransient(err) {
			return nil // of an earlier datagram, or lost as datagrams are
		}
		return err
	}
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	framed, err := appendFrame((*buf)[:0], b)
	if err != nil {
		return err
	}
	*buf = framed
	return o.stream.box.Send(framed)
}
