package rendezvous

import (
	"bufio"
	"bytes"
	"errors"
	"math"
	"net"
	"net/http"
	"sync/atomic"
)

// Buffers of a WebSocket at the server. They live as long as the connection,
// and hold the typical frame; larger ones pass them by.
const (
	inBuffer  = 256
	outBuffer = 512
)

// inletBytes is what may come from a client until it has completed a message:
// the largest one in small fragments, with a lot of pings between. The rate of
// messages has a limit of its own, so this bounds all that a client can send,
// pings and empty fragments without end included.
const inletBytes = 2 * maxFrame

var errFlood = errors.New("the client sends without end what is no message")

// inlet is the connection below a WebSocket at the server. Reading fails with
// errFlood when inletBytes have come without a message being complete.
type inlet struct {
	net.Conn
	head []byte // came before the handshake was answered
	left atomic.Int64
}

func newInlet(conn net.Conn, head []byte) *inlet {
	in := &inlet{Conn: conn, head: head}
	in.left.Store(inletBytes)
	return in
}

// Read implements net.Conn. One goroutine at a time may read.
func (in *inlet) Read(b []byte) (n int, err error) {
	left := in.left.Load()
	if left <= 0 {
		return 0, errFlood
	}
	if len(in.head) > 0 {
		n = copy(b, in.head)
		if in.head = in.head[n:]; len(in.head) == 0 {
			in.head = nil
		}
	} else {
		n, err = in.Conn.Read(b)
	}
	in.left.Add(-int64(n))
	return n, err
}

// refill says that a message is complete.
func (in *inlet) refill() {
	if left := in.left.Load(); left < inletBytes {
		in.left.CompareAndSwap(left, inletBytes) // unless open comes in between
	}
}

// open lifts the limit for good: the connection is being closed, and that has a
// limit of time.
func (in *inlet) open() { in.left.Store(math.MaxInt64) }

// hijacker is a ResponseWriter that gives the connection below as an inlet, and
// remembers it. Its buffers are small, and none of the http.Server's.
type hijacker struct {
	http.ResponseWriter
	conn *inlet
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	head, _ := rw.Reader.Peek(rw.Reader.Buffered())
	h.conn = newInlet(conn, bytes.Clone(head))
	return h.conn, bufio.NewReadWriter(bufio.NewReaderSize(h.conn, inBuffer), bufio.NewWriterSize(conn, outBuffer)), nil
}
