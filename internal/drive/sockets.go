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
	// bufferSize bounds a datagram: control traffic stays below 1,500 bytes,
	// and one buffer per socket must stay cheap with hundreds of sockets. A
	// datagram that fills the buffer may have been cut, so it is dropped.
	bufferSize = 4096

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
	stopping atomic.Bool
}

// stop makes the reader end, without waiting for it.
func (s *socket) stop() error {
	if s.stopping.Swap(true) {
		return nil
	}
	if s.keep && s.conn.SetReadDeadline(time.Unix(1, 0)) == nil {
		return nil
	}
	// There is no other way to unblock a socket that knows no deadlines.
	s.keep = false
	return s.conn.Close()
}

// sockets holds the sockets of a loop and their readers. Its methods are for
// the loop goroutine, except read and what it calls.
type sockets struct {
	byID map[machine.SocketID]*socket
	kept []*socket // to be handed back when the loop ends
	in   chan *packet
	quit <-chan struct{}

	readers sync.WaitGroup
}

func newSockets(quit <-chan struct{}) sockets {
	return sockets{
		byID: make(map[machine.SocketID]*socket),
		in:   make(chan *packet, inbox),
		quit: quit,
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
	if keep {
		ss.kept = append(ss.kept, s)
	}
	return s, nil
}

func (ss *sockets) start(s *socket) {
	ss.readers.Add(1)
	go ss.read(s)
}

// remove ends the reader of socket id and forgets the socket.
func (ss *sockets) remove(id machine.SocketID) error {
	s, ok := ss.byID[id]
	if !ok {
		return errNoSocket
	}
	delete(ss.byID, id)
	return s.stop()
}

// shut ends every reader, waits for them and gives the sockets back.
func (ss *sockets) shut() error {
	var errs []error
	for _, s := range ss.byID {
		errs = append(errs, s.stop())
	}
	ss.readers.Wait()
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
	defer ss.readers.Done()
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
		if s.stopping.Load() {
			p.free()
			return
		}
		fatal := p.fatal
		if !ss.deliver(p) || fatal {
			return
		}
		if failures > maxFailures && !ss.pause() {
			return
		}
	}
}

// deliver hands p to the loop; it reports false when the loop is closing.
func (ss *sockets) deliver(p *packet) bool {
	select {
	case ss.in <- p:
		return true
	case <-ss.quit:
		p.free()
		return false
	}
}

func (ss *sockets) pause() bool {
	t := time.NewTimer(failurePause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ss.quit:
		return false
	}
}
