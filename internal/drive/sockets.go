package drive

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

const (
	// bufferSize bounds a datagram. One that fills the buffer may have been cut,
	// so it is dropped.
	bufferSize = machine.MaxDatagram + 1

	// inbox is how many datagrams wait for the loop before its readers stop
	// and leave the rest to the kernel's buffer.
	inbox = 64

	// A socket whose reads fail more than maxFailures times in a row, each
	// time with an error that should pass, is read again only after
	// failurePause: it must not keep a CPU busy.
	maxFailures  = 16
	failurePause = 10 * time.Millisecond
)

var packets = sync.Pool{New: func() any { return new(packet) }}

// packet is one datagram, or an error of reading one, on its way to the loop.
type packet struct {
	from  *socket
	n     int
	meta  netio.Meta
	err   error
	fatal bool // err ended the reader
	buf   [bufferSize]byte
}

func (p *packet) free() {
	p.from, p.err, p.fatal = nil, nil, false
	packets.Put(p)
}

// socket is one datagram socket. Only stopping and conn are shared with its
// reader goroutine; the rest is the loop's.
type socket struct {
	id       machine.SocketID
	conn     netio.Conn
	keep     bool
	gone     bool // the machine has closed it
	stopping atomic.Bool
}

var past = time.Unix(1, 0)

// stop makes the reader end, without waiting for it.
func (s *socket) stop() error {
	if s.stopping.Swap(true) {
		return nil
	}
	if s.keep && s.conn.SetReadDeadline(past) == nil {
		return nil
	}
	// There is no other way to unblock a socket that knows no deadlines.
	s.keep = false
	return s.conn.Close()
}

// sockets holds the sockets of a loop and their readers. Its methods are for
// the loop goroutine, except unblock, and read and what it calls.
type sockets struct {
	byID map[machine.SocketID]*socket
	kept []*socket // to be handed back when the loop ends
	in   chan *packet
	quit <-chan struct{}

	running sync.WaitGroup // every goroutine of the loop but itself

	mu    sync.Mutex
	conns map[netio.Conn]bool // of byID, and whether to keep it, for unblock
}

func newSockets(quit <-chan struct{}) *sockets {
	return &sockets{
		byID:  make(map[machine.SocketID]*socket),
		in:    make(chan *packet, inbox),
		quit:  quit,
		conns: make(map[netio.Conn]bool),
	}
}

// unblock ends a write that the loop waits in; quit is closed already. For a
// socket that knows no deadlines there is only Close.
func (ss *sockets) unblock() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for conn, keep := range ss.conns {
		if conn.SetWriteDeadline(past) != nil && !keep {
			_ = conn.Close() // told by stop
		}
	}
}

// add takes in pc without reading from it yet.
func (ss *sockets) add(id machine.SocketID, pc net.PacketConn, keep bool) (*socket, error) {
	conn, err := netio.Wrap(pc)
	if err != nil {
		return nil, err
	}
	// A deadline left over from the socket's owner would stop the reader. A
	// socket without deadlines has none left over.
	_ = conn.SetReadDeadline(time.Time{})
	s := &socket{id: id, conn: conn, keep: keep}
	ss.byID[id] = s
	ss.mu.Lock()
	ss.conns[conn] = keep
	ss.mu.Unlock()
	if keep {
		ss.kept = append(ss.kept, s)
	}
	return s, nil
}

func (ss *sockets) start(s *socket) { ss.running.Go(func() { ss.read(s) }) }

// remove ends the reader of socket id and forgets the socket.
func (ss *sockets) remove(id machine.SocketID) error {
	s, ok := ss.byID[id]
	if !ok {
		return errNoSocket
	}
	s.gone = true
	delete(ss.byID, id)
	ss.mu.Lock()
	delete(ss.conns, s.conn)
	ss.mu.Unlock()
	return s.stop()
}

// stop makes every reader end.
func (ss *sockets) stop() (errs []error) {
	for _, s := range ss.byID {
		errs = append(errs, s.stop())
	}
	return errs
}

// giveBack gives back what is to be kept, once the readers have ended. It adds to
// errs, and returns what of that is to be told.
func (ss *sockets) giveBack(errs []error) error {
	ss.mu.Lock()
	clear(ss.conns) // unblock may still be at it, and would leave its deadline behind
	ss.mu.Unlock()
	for _, s := range ss.kept {
		if s.keep { // stop may have had to close it
			errs = append(errs, netio.Release(s.conn))
		}
	}
	// A socket that its owner has closed already is as closed as can be.
	errs = slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, net.ErrClosed) })
	return errors.Join(errs...)
}

// read is the reader goroutine of s.
func (ss *sockets) read(s *socket) {
	for failures := 0; ; {
		p := packets.Get().(*packet)
		p.from = s
		p.n, p.meta, p.err = s.conn.ReadMeta(p.buf[:])
		switch {
		case p.err == nil:
			failures = 0
		case errors.Is(p.err, os.ErrDeadlineExceeded):
			// stop's, or someone else's, which must not end the reader.
			// Cleared before stopping is looked at: stop sets the two in the
			// other order, so that its deadline survives.
			p.fatal = s.conn.SetReadDeadline(time.Time{}) != nil
			failures++
		default:
			p.fatal = !netio.IsTransient(p.err)
			failures++
		}
		stopping := s.stopping.Load()
		if stopping && p.err != nil {
			p.free()
			return
		}
		fatal := p.fatal
		ss.in <- p // the loop takes it, for it ends after its readers
		if stopping || fatal || failures > maxFailures && !pause(ss.quit, failurePause) {
			return
		}
	}
}

// pause waits for d; it reports false when quit was closed before.
func pause(quit <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-quit:
		return false
	}
}
