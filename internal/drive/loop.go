package drive

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// Options says what a loop runs over. The zero value is a loop without sockets
// and streams.
type Options struct {
	// Sockets are the machine's first sockets: the index is the
	// machine.SocketID. The loop owns them until Close, and closes them then
	// unless KeepSockets is set. When Run fails they stay the caller's.
	Sockets []net.PacketConn

	// Effect carries out what the loop does not: OpenSocket and CloseSocket
	// unless ListenPacket is set; Dial, Write, Close and Reset unless Dial or
	// Listeners is. It runs on the loop: it must not block and must not call Do
	// or Close (Post is fine). t.Data is valid during the call only. What came
	// of the effect is told to the machine through Post and its HandleNotice.
	// Nil: such effects are logged and dropped.
	Effect func(t machine.Transmit)

	// ListenPacket, when set, makes the loop carry out OpenSocket and
	// CloseSocket itself. It is called on a goroutine of its own, one call at
	// a time, with network "udp4", "udp6" or "udp" (no address asked for) and
	// a literal address; it must return when ctx ends, for Close waits for
	// it. Sockets opened so are always closed by the loop.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)

	// Dial, when set, makes the loop carry out the effects on streams itself. It is
	// called on a goroutine of its own, with network "tcp4" or "tcp6", the address
	// to dial from (the zero AddrPort: any) and a literal address; it must return
	// when ctx ends, for Close waits for it. StreamOf(ctx) is which stream it is for.
	Dial func(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error)

	// Listeners bring the machine streams, with or without Dial. The loop owns
	// them and closes them; when Run fails they stay the caller's.
	Listeners []net.Listener

	// ReadLimit is how many bytes are read from a stream before its reader stops
	// until it is detached: what follows is for whoever it is detached for. 0 or
	// less: no limit.
	ReadLimit int

	// Log receives what the machine cannot be told: datagrams that could not
	// be sent or were too long, at trace and debug level. Nil: discarded.
	Log logging.LeveledLogger

	// KeepSockets leaves Sockets open when the loop closes, with their deadlines
	// cleared, so that their owner can go on with them. Datagrams that were read
	// until then still enter the machine, which can do nothing about them but
	// remember and tell.
	KeepSockets bool
}

// Loop is a running machine. Its methods may be called from any goroutine
// except the loop's own, on which onEvent, Effect and the functions given to
// Do and Post run; there only Post and Done are allowed.
type Loop struct {
	mu     sync.Mutex
	queue  []func(now time.Time) // posted, not yet taken by the loop
	closed bool

	wake         chan struct{} // capacity 1: queue is not empty
	cancel       func()        // tells every goroutine to end
	unblock      func()        // ends a write that waits
	detach       func(machine.StreamID) (net.Conn, <-chan struct{})
	addSocket    func(machine.SocketID, net.PacketConn) error
	removeSocket func(machine.SocketID) error
	streams      *streams      // the loop's
	done         chan struct{} // closed when every goroutine has ended
	err          error         // of closing the sockets; read after done
}

// Run starts m on sockets and returns at once. Deadlines that m already has
// and whatever it already wants to send are served first.
//
// Events go to onEvent, on the loop goroutine: it must not block, so a shell
// forwards them to a queue of its own. It may call m's methods. A nil onEvent
// drops events. If m implements [machine.Noticer], it gets the notices that
// package machine promises: ICMP errors when the socket can tell, sockets that
// broke, and what comes of its effects.
//
// A panic in m or in onEvent is not recovered. The error is non-nil only when
// o is unusable: a nil socket or listener, or a socket without an address.
func Run[E any](m machine.Machine[E], onEvent func(E), o Options) (*Loop, error) {
	if o.Log == nil {
		o.Log = plog.OrDiscard(nil).NewLogger("drive")
	}
	if onEvent == nil {
		onEvent = func(E) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Loop{
		wake:   make(chan struct{}, 1),
		cancel: cancel,
		done:   make(chan struct{}),
	}
	r := &runner[E]{
		loop:    l,
		m:       m,
		event:   onEvent,
		effect:  o.Effect,
		log:     o.Log,
		sockets: newSockets(ctx.Done()),
		opened:  make(chan opened),
	}
	r.streams = newStreams(ctx, &r.sockets.running, o)
	l.streams = r.streams
	r.noticer, _ = m.(machine.Noticer)
	r.transmit = r.carryOut // made once: a method value allocates
	r.collect = r.events.Push
	l.unblock = r.sockets.unblock
	l.detach = r.detachStep
	l.addSocket, l.removeSocket = r.addSocket, r.close
	if o.ListenPacket != nil {
		r.listen = func(network, address string) (net.PacketConn, error) {
			return o.ListenPacket(ctx, network, address)
		}
	}
	if i := slices.Index(o.Listeners, nil); i >= 0 {
		cancel()
		return nil, fmt.Errorf("drive: Options.Listeners[%d] is nil", i)
	}
	for i, pc := range o.Sockets {
		if _, err := r.sockets.add(machine.SocketID(i), pc, o.KeepSockets); err != nil {
			cancel()
			for _, s := range r.sockets.byID {
				_ = netio.Release(s.conn)
			}
			return nil, fmt.Errorf("drive: Options.Sockets[%d]: %w", i, err)
		}
	}
	for _, s := range r.sockets.byID {
		r.sockets.start(s)
	}
	for _, listener := range o.Listeners {
		r.streams.listen(listener)
	}
	go r.run()
	return l, nil
}

// Detach hands over the connection of a stream, which leaves the loop: the
// machine hears no more of it. The machine was given whatever was read from it,
// and nothing else was read; what was written to it has been sent, for which
// Detach waits a few seconds at most. Deadlines are cleared.
//
// It reports false when there is no such stream, which may just have ended, when
// it is not connected yet, when its connection cannot be told to stop reading by
// a deadline, and when the loop was closed. It must not be called from the loop
// goroutine, as Do must not.
func (l *Loop) Detach(id machine.StreamID) (net.Conn, bool) {
	for {
		var conn net.Conn
		var wait <-chan struct{}
		err := l.Do(func(time.Time) { conn, wait = l.detach(id) })
		if err != nil || conn == nil && wait == nil {
			return nil, false
		}
		if conn != nil {
			return conn, true
		}
		<-wait // closed at the latest when the loop has been
	}
}

// Do runs fn on the loop goroutine, where it may use the machine freely, then
// drains the machine and returns. It returns [ErrClosed], without fn having
// run, when the loop is closed before fn's turn. It must not be called from
// the loop goroutine (onEvent, Effect, another fn): it would wait for itself.
func (l *Loop) Do(fn func(now time.Time)) error {
	ran := make(chan struct{})
	// The loop drains the machine after fn and before the queue's next
	// function, so the second function marks the end of the first's drain.
	if !l.enqueue(fn, func(time.Time) { close(ran) }) {
		return ErrClosed
	}
	select {
	case <-ran:
		return nil
	case <-l.done:
	}
	select {
	case <-ran:
		return nil
	default:
		return ErrClosed
	}
}

// Post queues fn to run on the loop goroutine and returns at once; the
// machine is drained after fn. It reports false, and drops fn, when the loop
// is closed. What is still queued when Close is called is dropped too. Post
// may be called from the loop goroutine; functions run in the order posted.
func (l *Loop) Post(fn func(now time.Time)) bool { return l.enqueue(fn) }

func (l *Loop) enqueue(fns ...func(now time.Time)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, fns...)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// take moves what was posted into buf.
func (l *Loop) take(buf []func(now time.Time)) []func(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return buf[:0]
	}
	buf = append(buf[:0], l.queue...)
	clear(l.queue)
	l.queue = l.queue[:0]
	return buf
}

// Close ends the loop and returns after every goroutine of it has ended. The
// machine is not told, and nothing that it still wants to send is sent; to let it
// say goodbye, call Do first. The sockets are closed, or handed back when
// Options.KeepSockets is set; the error is of closing them. Streams are reset;
// one that the machine has closed is not, but what the system has not taken yet
// of what was written to it is lost. Every call returns the same.
func (l *Loop) Close() error {
	l.mu.Lock()
	first := !l.closed
	if first {
		l.closed = true
		clear(l.queue)
		l.queue = nil
		l.cancel()
	}
	l.mu.Unlock()
	if first {
		l.unblock()
	}
	<-l.done
	return l.err
}

// Done is closed when the loop has been closed and every goroutine of it has
// ended.
func (l *Loop) Done() <-chan struct{} { return l.done }
