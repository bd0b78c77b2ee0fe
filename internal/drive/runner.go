package drive

import (
	"errors"
	"net"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

const (
	// batch is how many datagrams are taken in before timers are looked at again.
	batch = 64

	// A machine whose deadline is still due after maxDue calls of
	// HandleTimeout is called again only after duePause: a machine that
	// forgets to move its deadline must not keep a CPU busy, nor stop the
	// clock of testing/synctest.
	maxDue   = 16
	duePause = time.Millisecond
)

// runner is the loop goroutine's state.
type runner[E any] struct {
	loop     *Loop
	m        machine.Machine[E]
	noticer  machine.Noticer // m, or nil
	transmit func(machine.Transmit)
	collect  func(E)
	events   machine.Queue[E]
	event    func(E)
	effect   func(machine.Transmit)
	log      logging.LeveledLogger
	sockets  *sockets
	streams  *streams
	closing  bool // nothing leaves any more

	listen  func(network, address string) (net.PacketConn, error) // nil: not ours
	opening []*opening                                            // the first is under way
	opened  chan opened

	posted []func(now time.Time) // reused by runPosted
	stuck  bool                  // the deadline did not move although it was served
	warned bool
}

func (r *runner[E]) run() {
	timer := time.NewTimer(0)
	timer.Stop()
	r.drain()
	for {
		r.serveDue()
		r.arm(timer)
		select {
		case p := <-r.sockets.in:
			r.takeIn(p)
			r.takeInMore()
		case c := <-r.streams.in:
			r.takeChunk(c)
		case d := <-r.streams.dialled:
			r.finishDial(d)
		case conn := <-r.streams.accepted:
			r.takeAccepted(conn)
		case <-r.loop.wake:
			r.runPosted()
		case o := <-r.opened:
			r.finishOpen(o)
		case <-timer.C:
		case <-r.sockets.quit:
			timer.Stop()
			r.loop.err = r.shut()
			close(r.loop.done)
			return
		}
	}
}

// shut ends every goroutine, and gives what is to be kept back. Until they have
// ended it takes what they bring, or they could not.
func (r *runner[E]) shut() error {
	r.closing = true
	errs := r.sockets.stop()
	r.streams.shut()
	ended := make(chan struct{})
	go func() {
		r.sockets.running.Wait()
		close(ended)
	}()
	for running := true; running; {
		select {
		case p := <-r.sockets.in:
			r.takeIn(p)
		case c := <-r.streams.in:
			c.free()
		case d := <-r.streams.dialled:
			if d.err == nil {
				abort(d.conn)
			}
		case conn := <-r.streams.accepted:
			abort(conn)
		case o := <-r.opened:
			if o.err == nil {
				_ = o.pc.Close() // nobody is left to tell
			}
		case <-ended:
			running = false
		}
	}
	r.takeInMore()
	return r.sockets.giveBack(errs)
}

// drain follows whatever may have changed the machine.
func (r *runner[E]) drain() { machine.Serve(r.m, r.transmit, r.collect, &r.events, r.event) }

// serveDue calls HandleTimeout while the machine's deadline is due.
func (r *runner[E]) serveDue() {
	r.stuck = false
	for range maxDue {
		now := time.Now()
		next := r.m.NextTimeout()
		if next.IsZero() || next.After(now) {
			return
		}
		r.m.HandleTimeout(now)
		r.drain()
	}
	r.stuck = true
	if !r.warned {
		r.warned = true
		r.log.Warnf("drive: %T does not move its deadline: still due after %d calls of HandleTimeout", r.m, maxDue)
	}
}

func (r *runner[E]) arm(timer *time.Timer) {
	next := r.m.NextTimeout()
	if next.IsZero() {
		timer.Stop()
		return
	}
	wait := time.Until(next)
	if r.stuck {
		wait = max(wait, duePause)
	}
	timer.Reset(wait)
}

// takeInMore takes in what else has arrived, without waiting.
func (r *runner[E]) takeInMore() {
	for range batch {
		select {
		case p := <-r.sockets.in:
			r.takeIn(p)
		default:
			return
		}
	}
}

// takeIn feeds one packet to the machine.
func (r *runner[E]) takeIn(p *packet) {
	defer p.free()
	s := p.from
	if s.gone || r.closing && (!s.keep || p.err != nil) {
		return // closed meanwhile, by the machine or with the loop
	}
	switch {
	case p.err != nil:
		r.readFailed(p)
	case p.n == len(p.buf):
		r.log.Debugf("drive: dropped a datagram of %d bytes or more from %v", p.n, p.meta.Remote)
	case !p.meta.Remote.IsValid():
		r.log.Debugf("drive: dropped a datagram without a sender's address on socket %d", s.id)
	default:
		r.m.HandleDatagram(time.Now(), machine.Datagram{
			Socket: s.id,
			Local:  p.meta.Local,
			Remote: p.meta.Remote,
			Data:   p.buf[:p.n],
			TTL:    p.meta.TTL,
			Stamp:  p.meta.Stamp,
		})
		r.drain()
	}
}

func (r *runner[E]) readFailed(p *packet) {
	n := machine.Notice{Socket: p.from.id, Local: p.from.conn.LocalAddrPort(), Err: p.err}
	var unreachable *netio.UnreachableError
	switch {
	case p.fatal && r.quitting(): // broken by Close
		return
	case p.fatal:
		r.log.Debugf("drive: socket %d on %v broke: %v", n.Socket, n.Local, p.err)
		n.Kind = machine.SocketFailed
	case errors.As(p.err, &unreachable):
		n.Kind = machine.Unreachable
		n.Remote = unreachable.Remote
		n.Reason = unreachable.Reason
	default:
		r.log.Tracef("drive: socket %d on %v: %v", n.Socket, n.Local, p.err)
		return
	}
	r.notice(n)
}

// notice enters the machine, so it is not for what happens while that is drained.
func (r *runner[E]) notice(n machine.Notice) {
	if r.noticer == nil {
		return
	}
	r.noticer.HandleNotice(time.Now(), n)
	r.drain()
}

func (r *runner[E]) runPosted() {
	r.posted = r.loop.take(r.posted)
	for _, fn := range r.posted {
		fn(time.Now())
		r.drain()
	}
	clear(r.posted)
}

// quitting reports whether Close was called.
func (r *runner[E]) quitting() bool {
	select {
	case <-r.sockets.quit:
		return true
	default:
		return false
	}
}

// later runs fn once the machine has been drained.
func (r *runner[E]) later(fn func()) {
	r.loop.enqueue(func(time.Time) { fn() })
}

// carryOut does what the machine asked for.
func (r *runner[E]) carryOut(t machine.Transmit) {
	if r.quitting() {
		return // Close does not wait for what a machine still has to say
	}
	switch {
	case t.Op == machine.Send:
		r.send(t)
	case t.Op == machine.OpenSocket && r.listen != nil:
		r.open(t.Socket, t.Local)
	case t.Op == machine.CloseSocket && r.listen != nil:
		if err := r.close(t.Socket); err != nil {
			r.log.Debugf("drive: close socket %d: %v", t.Socket, err)
		}
	case r.streams.ours && (t.Op == machine.Dial || t.Op == machine.Write || t.Op == machine.Close || t.Op == machine.Reset):
		r.stream(t)
	case r.effect != nil:
		r.effect(t)
	default:
		r.log.Debugf("drive: nobody carries out %v", t.Op)
	}
}

func (r *runner[E]) send(t machine.Transmit) {
	s, ok := r.sockets.byID[t.Socket]
	if !ok {
		r.log.Debugf("drive: send to %v: no socket %d", t.Remote, t.Socket)
		return
	}
	o := netio.SendOptions{Source: t.Local.Addr(), TTL: t.TTL, DontFragment: t.DontFragment}
	if _, err := s.conn.WriteOpts(t.Data, t.Remote, o); err != nil {
		r.log.Tracef("drive: send %d bytes to %v from socket %d: %v", len(t.Data), t.Remote, t.Socket, err)
	}
}
