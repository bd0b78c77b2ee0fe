package drive

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// maxAccepted is how many streams may have come in and still be there; what comes
// beyond is reset. A machine should have a lower bound of its own.
const maxAccepted = 1024

// stream carries out an effect on a stream.
func (r *runner[E]) stream(t machine.Transmit) {
	s := r.streams.byID[t.Stream]
	switch {
	case t.Op == machine.Dial:
		r.dial(t)
	case s == nil || s.over:
	case t.Op == machine.Write:
		if err := r.streams.write(s, t.Data); err != nil {
			r.lose(s, err)
		}
	case t.Op == machine.Close && s.conn != nil:
		r.streams.remove(s)
		r.streams.end(s)
	default:
		r.streams.remove(s)
		r.streams.reset(s)
	}
}

func (r *runner[E]) dial(t machine.Transmit) {
	ss := r.streams
	if s := ss.byID[t.Stream]; s != nil && s.ended {
		ss.remove(s)
		ss.end(s)
	} else if s != nil {
		n := machine.Notice{Kind: machine.Closed, Stream: t.Stream, Local: t.Local, Remote: t.Remote, Err: errStreamInUse}
		r.later(func() { r.notice(n) })
		return
	}
	s := ss.add(t.Stream)
	s.local, s.remote = t.Local, t.Remote
	if ss.dial == nil {
		r.lose(s, errNoDial)
		return
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.WithValue(ss.ctx, streamKey{}, t.Stream))
	network := "tcp4"
	if t.Remote.Addr().Unmap().Is6() {
		network = "tcp6"
	}
	address := netip.AddrPortFrom(t.Remote.Addr().Unmap(), t.Remote.Port()).String()
	ss.running.Go(func() {
		conn, err := ss.dial(ctx, network, t.Local, address)
		ss.dialled <- dialled{s, conn, err}
	})
}

type streamKey struct{}

// AddListener brings the machine streams from one more listener, as if it had been among
// Options.Listeners, of which there must have been one, or a Dial. The loop owns and closes
// it, unless an error is returned: it is nil, or the loop was closed (ErrClosed). It must not
// be called from the loop goroutine.
func (l *Loop) AddListener(listener net.Listener) error {
	var err error
	if closed := l.Do(func(time.Time) { err = l.streams.addListener(listener) }); closed != nil {
		return closed
	}
	return err
}

// RemoveListener closes a listener of the loop's; streams that came by it stay. The error is
// of closing it, or ErrClosed. It must not be called from the loop goroutine.
func (l *Loop) RemoveListener(listener net.Listener) error {
	var err error
	if closed := l.Do(func(time.Time) { err = l.streams.removeListener(listener) }); closed != nil {
		return closed
	}
	return err
}

func (ss *streams) addListener(l net.Listener) error {
	switch {
	case l == nil:
		return errNoListener
	case !ss.ours:
		return errNoStreams
	}
	ss.listen(l)
	return nil
}

func (ss *streams) removeListener(l net.Listener) error {
	i := slices.Index(ss.listeners, l)
	if i < 0 {
		return errNoListener
	}
	ss.listeners = slices.Delete(ss.listeners, i, i+1)
	return l.Close()
}

// StreamOf returns which stream a call of Options.Dial is for, by its ctx, for those
// whose streams are not all made alike.
func StreamOf(ctx context.Context) machine.StreamID {
	id, _ := ctx.Value(streamKey{}).(machine.StreamID)
	return id
}

func (r *runner[E]) finishDial(d dialled) {
	s := d.stream
	s.cancel()
	switch {
	case r.streams.byID[s.id] != s || s.over:
		if d.err == nil {
			r.streams.abort(d.conn) // reset meanwhile
		}
	case d.err != nil:
		r.forget(s, d.err)
	default:
		r.streams.start(s, d.conn)
		r.notice(s.notice(machine.Connected))
	}
}

func (r *runner[E]) takeAccepted(conn net.Conn) {
	ss := r.streams
	if ss.incoming >= maxAccepted {
		r.log.Debugf("drive: reset a stream from %v: %d are there already", conn.RemoteAddr(), ss.incoming)
		ss.abort(conn)
		return
	}
	ss.incoming++
	s := ss.add(ss.next)
	ss.next++
	ss.start(s, conn)
	r.notice(s.notice(machine.Accepted))
}

// takeChunk feeds to the machine what a stream's reader, or its writer, brings.
func (r *runner[E]) takeChunk(c *chunk) {
	defer c.free()
	s := c.from
	if r.streams.byID[s.id] != s || s.over {
		return
	}
	if c.n > 0 {
		n := s.notice(machine.Received)
		n.Data = c.buf[:c.n]
		r.notice(n)
	}
	if c.err == nil || r.streams.byID[s.id] != s || s.over {
		return
	}
	if errors.Is(c.err, io.EOF) {
		c.err = nil // the other side's orderly end
	}
	r.forget(s, c.err)
}

// lose is forget from within a drain.
func (r *runner[E]) lose(s *stream, err error) {
	s.over = true
	r.streams.reset(s)
	r.later(func() {
		if r.streams.byID[s.id] == s {
			r.forget(s, err)
		}
	})
}

// forget tells the machine that s is closed, because of err.
func (r *runner[E]) forget(s *stream, err error) {
	n := s.notice(machine.Closed)
	n.Err = err
	if err != nil {
		r.streams.remove(s)
		r.streams.reset(s)
		r.notice(n)
		return
	}
	s.ended = true
	r.notice(n)
	if r.streams.byID[s.id] == s {
		r.streams.remove(s)
		r.streams.end(s)
	}
}

// detachStep does one step of Detach: it returns the connection, or what to wait for
// before the next step, or neither when it cannot be.
func (r *runner[E]) detachStep(id machine.StreamID) (net.Conn, <-chan struct{}) {
	ss := r.streams
	s := ss.byID[id]
	if s == nil || s.over || s.conn == nil || !ss.stopReading(s) {
		return nil, nil
	}
	select {
	case <-s.readEnded:
	default:
		return nil, s.readEnded
	}
	for more := true; more; { // what has been read is the machine's
		select {
		case c := <-ss.in:
			r.takeChunk(c)
		default:
			more = false
		}
	}
	if ss.byID[id] != s || s.over {
		return nil, nil
	}
	if wait := s.unsent(); wait != nil {
		return nil, wait
	}
	ss.remove(s)
	_ = s.conn.SetDeadline(time.Time{})
	return s.conn, nil
}
