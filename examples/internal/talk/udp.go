package talk

import (
	"net"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch"
)

// udpLink is a punched path.
type udpLink struct {
	conn  netio.Conn
	path  punch.Path
	early [][]byte
	buf   []byte
}

func newUDPLink(pc net.PacketConn, p punch.Path) (*udpLink, error) {
	conn, err := netio.Wrap(pc)
	if err != nil {
		return nil, err
	}
	return &udpLink{conn: conn, path: p, early: p.Early, buf: make([]byte, 2048)}, nil
}

// send leaves from the address that the path was found with, whatever others the host
// has: to a NAT or a relay another one would be somebody else.
func (l *udpLink) send(b []byte) error {
	_, err := l.conn.WriteOpts(b, l.path.Remote, netio.SendOptions{Source: l.path.Local.Addr()})
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
		n, m, err := l.conn.ReadMeta(l.buf)
		switch {
		case netio.IsTransient(err):
		case err != nil:
			return nil, err
		case m.Remote == l.path.Remote && !punch.IsProbe(l.buf[:n]):
			return append([]byte(nil), l.buf[:n]...), nil
		}
	}
}

func (l *udpLink) close() error { return l.conn.Close() }
