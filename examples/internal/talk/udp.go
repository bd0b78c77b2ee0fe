package talk

import (
	"net"
	"net/netip"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch"
)

// udpLink is a punched path.
type udpLink struct {
	pc     net.PacketConn
	remote netip.AddrPort
	early  [][]byte
	buf    []byte
}

func newUDPLink(pc net.PacketConn, p punch.Path) *udpLink {
	return &udpLink{pc: pc, remote: p.Remote, early: p.Early, buf: make([]byte, 2048)}
}

func (l *udpLink) send(b []byte) error {
	_, err := l.pc.WriteTo(b, net.UDPAddrFromAddrPort(l.remote))
	if netio.IsTransient(err) {
		return nil // lost, and sent again
	}
	return err
}

func (l *udpLink) receive() ([]byte, error) {
	if len(l.early) > 0 {
		b := l.early[0]
		l.early = l.early[1:]
		return b, nil
	}
	for {
		n, from, err := l.pc.ReadFrom(l.buf)
		switch {
		case netio.IsTransient(err):
		case err != nil:
			return nil, err
		case netio.AddrPortOf(from) == l.remote && !punch.IsProbe(l.buf[:n]):
			return append([]byte(nil), l.buf[:n]...), nil
		}
	}
}

func (l *udpLink) close() error { return l.pc.Close() }
