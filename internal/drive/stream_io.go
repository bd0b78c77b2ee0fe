package drive

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

const (
	// chunkSize is how much is read from a stream at a time.
	chunkSize = 4096

	// streamInbox is how many chunks wait for the loop before readers do.
	streamInbox = 16

	// flushTime is how long a stream that is being closed or detached has for what
	// was written to it.
	flushTime = 5 * time.Second

	// acceptPause is how long to wait when the system refuses to accept, as it
	// does when descriptors run out.
	acceptPause = 50 * time.Millisecond
)

// streams holds the streams of a loop. Its methods are for the loop goroutine,
// except those that it starts as goroutines.
type streams struct {
	ours     bool // the loop carries out effects on streams
	byID     map[machine.StreamID]*stream
	next     machine.StreamID // the number of the next one that comes in
	incoming int              // of byID, that came in

	ctx       context.Context // ends the dials
	dial      func(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error)
	listeners []net.Listener
	limit     int // of bytes read; 0: none
	log       logging.LeveledLogger
	running   *sync.WaitGroup

	in       chan *chunk
	dialled  chan dialled
	accepted chan net.Conn

	mu     sync.Mutex
	ending map[*stream]bool // closed by the machine, and not flushed yet
}

// dialled is what came of a dial.
type dialled struct {
	stream *stream
	conn   net.Conn
	err    error
}

func newStreams(ctx context.Context, running *sync.WaitGroup, o Options) *streams {
	return &streams{
		ours:     o.Dial != nil || len(o.Listeners) > 0,
		byID:     make(map[machine.StreamID]*stream),
		next:     machine.AcceptedBase,
		ctx:      ctx,
		dial:     o.Dial,
		limit:    max(o.ReadLimit, 0),
		log:      o.Log,
		running:  running,
		in:       make(chan *chunk, streamInbox),
		dialled:  make(chan dialled),
		accepted: make(chan net.Conn),
		ending:   make(map[*stream]bool),
	}
}

func (ss *streams) add(id machine.StreamID) *stream {
	s := &stream{id: id, readEnded: make(chan struct{})}
	ss.byID[id] = s
	return s
}

func (ss *streams) remove(s *stream) {
	delete(ss.byID, s.id)
	if s.id >= machine.AcceptedBase {
		ss.incoming--
	}
}

// listen starts to accept.
func (ss *streams) listen(l net.Listener) {
	ss.listeners = append(ss.listeners, l)
	ss.running.Go(func() {
		for {
			conn, err := l.Accept()
			switch {
			case err == nil:
				ss.accepted <- conn // the loop takes it, for it ends after this goroutine
			case errors.Is(err, net.ErrClosed) || ss.ctx.Err() != nil:
				return
			default:
				ss.log.Debugf("drive: accept at %v: %v", l.Addr(), err)
				if !pause(ss.ctx.Done(), acceptPause) {
					return
				}
			}
		}
	})
}

// start lets a stream that is connected now read, and write what waits.
func (ss *streams) start(s *stream, conn net.Conn) {
	s.connected(conn)
	_ = conn.SetDeadline(time.Time{}) // one left over would stop it
	ss.running.Go(func() { ss.read(s) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		ss.startWriter(s)
	}
}

// shut ends all streams: dials end with their context.
func (ss *streams) shut() {
	for _, l := range ss.listeners {
		_ = l.Close()
	}
	for _, s := range ss.byID {
		ss.reset(s)
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for s := range ss.ending {
		ss.running.Go(func() { _ = s.conn.Close() }) // which may wait
	}
}

// end closes s in order, once what was written has been sent.
func (ss *streams) end(s *stream) {
	s.gone.Store(true)
	ss.mu.Lock()
	ss.ending[s] = true
	ss.mu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(flushTime))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	ss.startWriter(s) // Close may wait, too
}

// reset drops s at once.
func (ss *streams) reset(s *stream) {
	if s.gone.Swap(true) {
		return
	}
	if s.cancel != nil {
		s.cancel()
	}
	if s.conn != nil {
		ss.abort(s.conn)
	}
}

// abort resets a connection, without waiting for it.
func (ss *streams) abort(conn net.Conn) {
	if _, ok := conn.(lingerer); ok {
		abort(conn) // waits for nothing then, and its port is free at once
		return
	}
	ss.running.Go(func() { abort(conn) })
}

type lingerer interface{ SetLinger(seconds int) error }

// abort resets a connection where it can be. There is no TIME-WAIT then, which
// would keep its port from another try.
func abort(conn net.Conn) {
	if l, ok := conn.(lingerer); ok {
		_ = l.SetLinger(0)
	}
	_ = conn.Close()
}

// stream is one stream, or the dial for it. What is not said to be shared is the
// loop's.
type stream struct {
	id            machine.StreamID
	local, remote netip.AddrPort
	conn          net.Conn           // nil: it is being dialled
	cancel        context.CancelFunc // of the dial
	over          bool               // the machine is about to be told that it is closed
	ended         bool               // the other side has ended it, and the machine is being told

	gone      atomic.Bool   // shared: what arrives is nobody's
	detaching atomic.Bool   // shared: the reader is to end
	readEnded chan struct{} // closed when it has

	mu      sync.Mutex // guards what follows, which the writer shares
	queue   []byte     // to be written
	inHand  int        // bytes that the writer is writing
	writing bool       // there is a writer
	broken  bool       // nothing can be written any more
	closing bool       // the writer closes the connection in the end
	flushed chan struct{}
}

func (s *stream) notice(k machine.NoticeKind) machine.Notice {
	return machine.Notice{Kind: k, Stream: s.id, Local: s.local, Remote: s.remote}
}

// connected makes s one that has a connection.
func (s *stream) connected(conn net.Conn) {
	s.conn = conn
	if local := netio.AddrPortOf(conn.LocalAddr()); local.IsValid() {
		s.local = local
	}
	if remote := netio.AddrPortOf(conn.RemoteAddr()); remote.IsValid() {
		s.remote = remote
	}
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// chunk is what was read from a stream, or why nothing more can be read or
// written, on its way to the loop.
type chunk struct {
	from *stream
	n    int
	err  error
	buf  [chunkSize]byte
}

func (c *chunk) free() {
	c.from, c.n, c.err = nil, 0, nil
	chunks.Put(c)
}

// read is the reader goroutine of s.
func (ss *streams) read(s *stream) {
	defer close(s.readEnded)
	for got := 0; ss.limit == 0 || got < ss.limit; {
		c := chunks.Get().(*chunk)
		room := len(c.buf)
		if ss.limit > 0 {
			room = min(room, ss.limit-got)
		}
		var err error
		c.n, err = s.conn.Read(c.buf[:room])
		got += c.n
		stop := s.detaching.Load() && errors.Is(err, os.ErrDeadlineExceeded)
		if !stop {
			c.err = err
		}
		// What comes after the machine has closed the stream is read all the same:
		// a connection that is closed with something unread is reset, and the other
		// side may lose what was written last.
		if c.from = s; s.gone.Load() || c.n == 0 && c.err == nil {
			c.free()
		} else {
			ss.in <- c // the loop takes it, for it ends after its readers
		}
		if err != nil {
			return
		}
	}
}

// stopReading makes the reader end; it reports false when that cannot be done.
func (ss *streams) stopReading(s *stream) bool {
	if s.detaching.Swap(true) {
		return true
	}
	select {
	case <-s.readEnded:
	default:
		if s.conn.SetReadDeadline(past) != nil {
			s.detaching.Store(false)
			return false
		}
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(flushTime))
	return true
}

// write queues b. The error is an *machine.OverflowError.
func (ss *streams) write(s *stream, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return nil // the machine is about to be told
	}
	if n := len(s.queue) + s.inHand + len(b); n > machine.StreamQueue {
		return &machine.OverflowError{Stream: s.id, Queued: n}
	}
	s.queue = append(s.queue, b...)
	if s.conn != nil {
		ss.startWriter(s)
	}
	return nil
}

// startWriter is called with s.mu locked.
func (ss *streams) startWriter(s *stream) {
	if !s.writing {
		s.writing = true
		ss.running.Go(func() { ss.writeQueue(s) })
	}
}

// writeQueue is the writer goroutine of s, which lives while something waits.
func (ss *streams) writeQueue(s *stream) {
	var b []byte
	var err error
	for {
		var closing bool
		if b, closing = s.take(b, err); len(b) == 0 {
			if closing {
				_ = s.conn.Close()
				ss.mu.Lock()
				delete(ss.ending, s)
				ss.mu.Unlock()
			}
			return
		}
		if _, err = s.conn.Write(b); err != nil && !s.gone.Load() {
			c := chunks.Get().(*chunk)
			c.from, c.err = s, err
			ss.in <- c // the loop takes it, for it ends after its writers
		}
	}
}

// take gives the writer what to write next, for what it has written with this
// outcome. When there is nothing, the writer ends and, if closing, closes the
// connection.
func (s *stream) take(written []byte, err error) (b []byte, closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken = s.broken || err != nil; s.broken {
		s.queue = nil
	}
	if len(s.queue) > 0 {
		b, s.queue = s.queue, written[:0]
		s.inHand = len(b)
		return b, false
	}
	s.queue, s.inHand, s.writing = nil, 0, false
	if s.flushed != nil {
		close(s.flushed)
		s.flushed = nil
	}
	return nil, s.closing
}

// unsent returns what to wait for until everything is written; nil: it is.
func (s *stream) unsent() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writing {
		return nil
	}
	if s.flushed == nil {
		s.flushed = make(chan struct{})
	}
	return s.flushed
}
