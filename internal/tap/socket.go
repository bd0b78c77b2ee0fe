package tap

import (
	"net"
	"net/netip"

	"github.com/bradawl/bradawl/internal/netio"
)

// maxDatagram is the longest datagram that there can be.
const maxDatagram = 65535

// Socket is a datagram socket, or a relayed address, as the event loop sees it
// (netio.MetaReader, netio.OptionWriter).
type Socket struct {
	net.PacketConn
	conn netio.Conn
	take func(b []byte, m netio.Meta) bool
	buf  []byte // of the reader
}

// NewSocket taps pc. take is asked, on the reader's goroutine, about each datagram that
// arrives, and returns true for what it has taken; b is valid during the call only. The
// error is that of netio.Wrap.
func NewSocket(pc net.PacketConn, take func(b []byte, m netio.Meta) bool) (*Socket, error) {
	conn, err := netio.Wrap(pc)
	if err != nil {
		return nil, err
	}
	return &Socket{PacketConn: pc, conn: conn, take: take, buf: make([]byte, maxDatagram)}, nil
}

// LocalAddrPort returns the address that the socket is bound to.
func (s *Socket) LocalAddrPort() netip.AddrPort { return s.conn.LocalAddrPort() }

// ReadMeta returns what is for the loop. It is for one goroutine at a time.
func (s *Socket) ReadMeta(b []byte) (int, netio.Meta, error) {
	for {
		n, m, err := s.conn.ReadMeta(s.buf)
		if err != nil {
			return 0, m, err
		}
		if !s.take(s.buf[:n], m) {
			return copy(b, s.buf[:n]), m, nil
		}
	}
}

// WriteOpts sends a datagram, from any goroutine.
func (s *Socket) WriteOpts(b []byte, to netip.AddrPort, o netio.SendOptions) (int, error) {
	return s.conn.WriteOpts(b, to, o)
}

// Close closes the socket.
func (s *Socket) Close() error { return s.conn.Close() }
