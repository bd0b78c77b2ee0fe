package rendezvous

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// closeGrace is how long what is queued and the closing handshake may take.
const closeGrace = 2 * time.Second

// wsConn is one WebSocket with a bounded queue before it. Two goroutines serve
// it: one runs read, the other write.
type wsConn struct {
	ws  *websocket.Conn
	raw net.Conn // below ws, for deadlines: some waits of ws have none

	maxFrames, maxBytes int

	mu      sync.Mutex
	queue   [][]byte
	bytes   int
	closing bool // nothing is queued any more; then close with code
	code    websocket.StatusCode
	reason  string

	wake  chan struct{} // capacity 1: there is something for write to do
	space chan struct{} // capacity 1: the queue has become shorter
	gone  chan struct{} // closed when write has ended, and with it the connection
}

func newConn(ws *websocket.Conn, raw net.Conn, maxFrames, maxBytes int) *wsConn {
	ws.SetReadLimit(-1) // read has its own
	return &wsConn{
		ws: ws, raw: raw, maxFrames: maxFrames, maxBytes: maxBytes,
		wake:  make(chan struct{}, 1),
		space: make(chan struct{}, 1),
		gone:  make(chan struct{}),
	}
}

// push queues a copy of data; false when the queue is full. It never blocks.
func (c *wsConn) push(data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return true // nobody will miss it
	}
	if len(c.queue) >= c.maxFrames || len(data) > c.maxBytes-c.bytes {
		return false
	}
	c.queue = append(c.queue, bytes.Clone(data))
	c.bytes += len(data)
	signal(c.wake)
	return true
}

// shut closes the connection with what close says, after what is queued unless
// drop is set, within closeGrace. It does not wait.
func (c *wsConn) shut(close *CloseError, drop bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.closing = true
	c.code, c.reason = websocket.StatusNormalClosure, ""
	if close != nil {
		c.code, c.reason = websocket.StatusCode(close.Code), close.Reason
	}
	if drop {
		clear(c.queue)
		c.queue, c.bytes = nil, 0
	}
	_ = c.raw.SetDeadline(time.Now().Add(closeGrace))
	signal(c.wake)
}

// kill ends the connection at once.
func (c *wsConn) kill() {
	_ = c.raw.Close()
	c.shut(nil, true)
}

// roomy reports whether at least one frame of any size fits into the queue.
func (c *wsConn) roomy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing || len(c.queue) < c.maxFrames && c.maxBytes-c.bytes >= MaxFrame
}

// write sends what is queued until shut or kill, or until sending fails.
func (c *wsConn) write() {
	defer close(c.gone)
	for {
		c.mu.Lock()
		var data []byte
		if len(c.queue) > 0 {
			data = c.queue[0]
			c.queue[0] = nil
			c.queue = c.queue[1:]
			c.bytes -= len(data)
		}
		closing, code, reason := c.closing, c.code, c.reason
		c.mu.Unlock()
		switch {
		case data != nil:
			signal(c.space)
			if err := c.ws.Write(context.Background(), websocket.MessageText, data); err != nil {
				c.kill() // so that read ends too
				_ = c.ws.CloseNow()
				return
			}
		case closing:
			_ = c.ws.Close(code, reason)
			return
		default:
			<-c.wake
		}
	}
}

// read calls message for each message until the connection ends, and returns
// why. A message over MaxFrame is cut to one byte more than that. The slice is
// valid during the call only.
func (c *wsConn) read(message func(data []byte)) error {
	for {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return closeCause(err)
		}
		buf := buffers.Get().(*bytes.Buffer)
		buf.Reset()
		_, err = buf.ReadFrom(io.LimitReader(r, MaxFrame+1))
		switch {
		case err != nil:
		case kind != websocket.MessageText:
			message(nil) // no frame: refused like any other garbage
		default:
			message(buf.Bytes())
		}
		cut := buf.Len() > MaxFrame
		buffers.Put(buf)
		if err != nil {
			return closeCause(err)
		}
		if cut {
			// The rest of it is not worth reading. The machine has asked for the
			// close by now; the goroutine that writes carries it out.
			<-c.gone
			return errFrameSize
		}
	}
}

// buffers are for reading: a client that says nothing needs none.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// closeCause turns what ended a WebSocket into the errors of this package.
func closeCause(err error) error {
	if ce := (websocket.CloseError{}); errors.As(err, &ce) {
		return &CloseError{Code: Code(ce.Code), Reason: ce.Reason}
	}
	return err
}

// signal makes sure that a channel of capacity 1 holds a value.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
