package talk

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// tcpLink is a punched connection, with messages framed as in RFC 4571: a length of
// two bytes before each.
type tcpLink struct {
	conn net.Conn
	r    *bufio.Reader
}

func newTCPLink(conn net.Conn) *tcpLink {
	return &tcpLink{conn: conn, r: bufio.NewReader(conn)}
}

func (l *tcpLink) send(b []byte) error {
	if len(b) > 0xffff {
		return fmt.Errorf("message of %d bytes; a frame holds 65535", len(b))
	}
	_, err := l.conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

func (l *tcpLink) receive() ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(l.r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(l.r, b)
	return b, err
}

func (l *tcpLink) close() error { return l.conn.Close() }
