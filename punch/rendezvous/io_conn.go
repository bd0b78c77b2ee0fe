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

	"github.com/bradawl/bradawl/internal/machine"
)

// closeGrace is how long what is queued and the closing handshake may take.
const closeGrace = 2 * time.Second

// wsConn is one WebSocket with a bounded queue before it. Somebody's goroutine
// runs read. A second one runs write while there is something to send, and the
// connection ends by it: after shut or kill, gone is closed soon.
type wsConn struct {
	ws  *websocket.Conn
	raw net.Conn // below ws, for deadlines: some waits of ws have none
	in  *inlet   // raw again, at a server; nil at a client

	maxFrames, maxBytes int

	mu      sync.Mutex
	queue   machine.Queue[[]byte]
	bytes   int
	writing bool // a goroutine runs write, or has ended the connection
	closing bool // nothing is queued any more; then close with code
	code    websocket.StatusCode
	reason  string

	space chan struct{} // capacity 1: the queue has become shorter; nil: nobody wants to know
	gone  chan struct{} // closed when the connection has ended
}

func newConn(ws *websocket.Conn, raw net.Conn, maxFrames, maxBytes int) *wsConn {
	ws.SetReadLimit(-1) // read has its own
	in, _ := raw.(*inlet)
	return &wsConn{ws: ws, raw: raw, in: in, maxFrames: maxFrames, maxBytes: maxBytes, gone: make(chan struct{})}
}

// push queues a copy of data; false when the queue is full. It never blocks.
func (c *wsConn) push(data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return true // nobody will miss it
	}
	if c.queue.Len() >= c.maxFrames || len(data) > c.maxBytes-c.bytes {
		return false
	}
	c.queue.Push(bytes.Clone(data))
	c.bytes += len(data)
	c.startWriting()
	return true
}

// startWriting sees to it that a goroutine runs write. The caller holds mu.
func (c *wsConn) startWriting() {
	if !c.writing {
		c.writing = true
		go c.write()
	}
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
		c.queue, c.bytes = machine.Queue[[]byte]{}, 0
	}
	_ = c.raw.SetDeadline(time.Now().Add(closeGrace))
	if c.in != nil {
		c.in.open()
	}
	c.startWriting()
}

// cut closes the connection at once and tells nobody why. Unlike kill it does not
// wait: closing TLS writes something.
func (c *wsConn) cut() {
	c.shut(nil, true)
	_ = c.raw.SetDeadline(time.Unix(1, 0))
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
	return c.closing || c.queue.Len() < c.maxFrames && c.maxBytes-c.bytes >= maxFrame
}

// write sends what is queued, and then the close if there is to be one.
func (c *wsConn) write() {
	for {
		data, closing := c.next()
		switch {
		case data != nil:
			if err := c.ws.Write(context.Background(), websocket.MessageText, data); err != nil {
				c.kill() // so that read ends too
				_ = c.ws.CloseNow()
				close(c.gone)
				return
			}
		case closing:
			_ = c.ws.Close(c.code, c.reason) // neither changes any more
			close(c.gone)
			return
		default:
			return
		}
	}
}

// next takes what write is to send from the queue. With nothing to send and no
// close to make, write has ended.
func (c *wsConn) next() (data []byte, closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.queue.Pop()
	if !ok {
		c.queue = machine.Queue[[]byte]{} // whoever is quiet holds no memory
		c.writing = c.closing
		return nil, c.closing
	}
	c.bytes -= len(data)
	signal(c.space)
	return data, false
}

// read calls message for each message until the connection ends, and returns
// why. The first message is cut to one byte more than first bytes, those after
// it to one byte more than maxFrame. The slice is valid during the call only.
func (c *wsConn) read(first int, message func(data []byte)) error {
	for limit := first; ; limit = maxFrame {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return closeCause(err)
		}
		buf := buffers.Get().(*bytes.Buffer)
		buf.Reset()
		_, err = buf.ReadFrom(io.LimitReader(r, int64(limit)+1))
		switch {
		case err != nil:
		case kind != websocket.MessageText:
			message(nil) // no frame: refused like any other garbage
		default:
			message(buf.Bytes())
		}
		cut := buf.Len() > limit
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
		if c.in != nil {
			c.in.refill()
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

// signal makes sure that a channel of capacity 1 holds a value. A nil channel is
// nobody's.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
