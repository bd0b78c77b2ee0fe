package rendezvous

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// How much may wait to be sent; beyond it calls wait.
const (
	clientQueueFrames = 256
	clientQueueBytes  = 512 << 10
)

// Client is a peer's connection to a rendezvous. When the connection is lost
// every call returns why, and a new Dial is needed; it is harmless to dial
// before the server has noticed, for the newer sign-on wins.
//
// All methods are safe for concurrent use.
type Client struct {
	m       *ClientMachine // entered on the loop only
	id      ident.PeerID
	url     string
	loop    *drive.Loop
	conn    *wsConn
	events  *eventQueue
	sending chan struct{} // capacity 1: held by the call that fills conn's queue

	welcome chan Welcome   // capacity 1
	address netip.AddrPort // set before Dial returns
	servers atomic.Pointer[[]ICEServer]

	joining map[string]chan error // rooms whose answer a Join waits for; owned by the loop
	meeting map[string]*meetWait  // rooms whose pairing a Meet waits for; owned by the loop

	closeOnce sync.Once
	reading   chan struct{} // closed when the reader has ended
}

// run starts the client over a connected WebSocket.
func run(m *ClientMachine, conn *wsConn, url string) (*Client, error) {
	c := &Client{
		m: m, id: m.cfg.Identity.ID(), url: url, conn: conn,
		events:  newEventQueue(m.cfg.QueueEvents),
		sending: make(chan struct{}, 1),
		welcome: make(chan Welcome, 1),
		joining: make(map[string]chan error),
		meeting: make(map[string]*meetWait),
		reading: make(chan struct{}),
	}
	var err error
	if c.loop, err = drive.Run(m, c.event, drive.Options{Effect: c.effect}); err != nil {
		return nil, err
	}
	_ = c.loop.Do(func(now time.Time) {
		m.HandleNotice(now, machine.Notice{Kind: machine.Connected, Stream: ClientStream})
	})
	go c.read()
	return c, nil
}

// read is the reader goroutine.
func (c *Client) read() {
	defer close(c.reading)
	err := c.conn.read(maxFrame, func(data []byte) {
		_ = c.loop.Do(func(now time.Time) {
			c.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: ClientStream, Data: data})
		})
		if c.events.full() {
			// Pongs wait unread too, so the server must not be blamed for silence.
			_ = c.loop.Do(func(time.Time) { c.m.Suspend() })
			c.events.waitSpace(c.conn.gone)
			_ = c.loop.Do(func(now time.Time) { c.m.Resume(now) })
		}
	})
	_ = c.loop.Do(func(now time.Time) {
		c.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: ClientStream, Err: err})
	})
	c.conn.kill()
}

// NetworkChanged tells that the host's addresses or routes have changed: the server is pinged,
// and the connection is given up if nothing comes from it within five seconds. It returns at
// once.
func (c *Client) NetworkChanged() { c.loop.Post(c.m.NetworkChanged) }

// effect carries out what the machine asks for, on the loop.
func (c *Client) effect(t machine.Transmit) {
	switch t.Op {
	case machine.Write:
		// A call makes room before it writes. A ping that finds none is not
		// missed: what fills the queue says as well that the client lives.
		c.conn.push(t.Data)
	case machine.Close:
		c.conn.shut(ParseClose(t.Data), false)
	}
}

// event takes in the machine's events, on the loop.
func (c *Client) event(e Event) {
	switch e := e.(type) {
	case Welcome:
		c.servers.Store(&e.ICEServers)
		c.welcome <- e // the machine gives one in its life
	case Servers:
		c.servers.Store(&e.ICEServers)
	case Joined:
		c.answer(e.Room, nil)
	case Paired:
		if !c.meets(e) {
			c.events.push(e)
		}
	case *Error:
		if !c.answer(e.Room, e) && !c.expelled(e) {
			c.events.push(e)
		}
	case Closed:
		c.events.end(e.Err)
	default:
		c.events.push(e)
	}
}

// answer ends the Join that waits for room; false if none does.
func (c *Client) answer(room string, err error) bool {
	waiting, ok := c.joining[room]
	if ok {
		delete(c.joining, room)
		waiting <- err // capacity 1
	}
	return ok
}

// ID returns the PeerID that the client signed on as.
func (c *Client) ID() ident.PeerID { return c.id }

// PublicAddr returns the address of the client's own TCP connection as the
// server sees it. It is the zero AddrPort if the server could not tell.
func (c *Client) PublicAddr() netip.AddrPort { return c.address }

// ICEServers returns the STUN and TURN servers that the rendezvous offers; none
// is no error. As long as the connection lives their credentials are renewed in
// time, so ask again whenever new ones are wanted. The rendezvous is trusted with
// this choice: it makes the client send to whomever it names. The caller owns
// what is returned.
func (c *Client) ICEServers() []ICEServer { return cloneICEServers(*c.servers.Load()) }

// Join makes the client a member of room (see [ValidRoom]) and returns when
// the server has admitted it. A nil message is none: give one with Update. As
// soon as another member is there and both have given a message, Next returns
// a [Paired] on both sides. To join again is harmless.
//
// The error is a *ConfigError for a room or a message of the wrong form, else
// an *OpError around an *Error (a full room has CodeRoomFull), the context's
// cause, or why the connection has ended.
func (c *Client) Join(ctx context.Context, room string, message []byte) error {
	answer := make(chan error, 1)
	join := func() error {
		if c.joining[room] != nil {
			return badConfig("room", room, "is being joined by another call; wait for that one")
		}
		if err := c.m.Join(room, message); err != nil {
			return err
		}
		c.joining[room] = answer
		return nil
	}
	if err := c.call(ctx, join); err != nil {
		return c.opError("join", err)
	}
	select {
	case err := <-answer:
		return c.opError("join", err)
	case <-c.events.ended:
		return c.opError("join", c.events.cause())
	case <-ctx.Done():
	}
	// The answer may still come; the membership must not outlive the call.
	_ = c.loop.Do(func(time.Time) {
		if c.joining[room] == answer {
			delete(c.joining, room)
			_ = c.m.Leave(room)
		}
	})
	select {
	case err := <-answer: // it came after all
		return c.opError("join", err)
	default:
		return c.opError("join", context.Cause(ctx))
	}
}

// Update replaces the client's message in room. Until the client is paired it
// is what the other member will be handed; afterwards it is kept for the next
// one. It returns when the message is on its way; a refusal comes as an
// [*Error] from Next. The client does not keep message.
func (c *Client) Update(ctx context.Context, room string, message []byte) error {
	return c.call(ctx, func() error { return c.m.Update(room, message) })
}

// Leave ends the client's membership of room; those it was paired with there
// get a [PeerLeft]. The error is a *ConfigError, the context's cause, or why the
// connection has ended.
func (c *Client) Leave(ctx context.Context, room string) error {
	return c.call(ctx, func() error { return c.m.Leave(room) })
}

// Send sends an opaque message of at most MaxMessage bytes to peer, which must
// be signed on. It returns when the message is on its way; if the server learns
// that it cannot be delivered, an [*Error] that names the peer comes from Next.
// The client does not keep message.
func (c *Client) Send(ctx context.Context, peer ident.PeerID, message []byte) error {
	return c.call(ctx, func() error { return c.m.Send(peer, message) })
}

// Next returns the next event: [Paired], [Message], [PeerLeft] or [*Error]. When
// all have been returned and the connection has ended, it returns why:
// ErrClosed after Close, a *CloseError if the server closed it. When ctx ends first
// it returns the context's cause.
func (c *Client) Next(ctx context.Context) (Event, error) { return c.events.pop(ctx) }

// Close ends the connection and returns when every goroutine has ended, within
// a few seconds. The error is always nil.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		_ = c.loop.Do(func(time.Time) { c.m.Close() })
		<-c.conn.gone
		<-c.reading
		_ = c.loop.Close()
	})
	return nil
}

// call enters the machine once there is room for one more frame.
func (c *Client) call(ctx context.Context, enter func() error) error {
	select {
	case c.sending <- struct{}{}:
		defer func() { <-c.sending }()
	case <-c.events.ended:
		return c.events.cause()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for !c.conn.roomy() {
		select {
		case <-c.conn.space:
		case <-c.events.ended:
			return c.events.cause()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var err error
	if errLoop := c.loop.Do(func(time.Time) { err = enter() }); errLoop != nil {
		return c.events.cause()
	}
	return err
}

// opError wraps what is neither nil nor the caller's mistake.
func (c *Client) opError(op string, err error) error {
	var wrong *ConfigError
	if err == nil || errors.As(err, &wrong) {
		return err
	}
	return &OpError{Op: op, URL: c.url, Err: err}
}
