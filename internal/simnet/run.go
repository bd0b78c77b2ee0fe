package simnet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// RunOptions says what a machine gets from its host.
type RunOptions struct {
	// Sockets are the local addresses of the machine's sockets 0, 1, 2 …. Port 0 takes
	// an ephemeral port; an invalid or unspecified address, any address of the host.
	Sockets []netip.AddrPort
	// Listen are the local addresses that take streams for the machine.
	Listen []netip.AddrPort
	// Messages makes every stream carry whole messages: what one Write sends, one
	// Received brings. It stands for the framing that shells have (WebSocket).
	Messages bool
}

// Runner runs one machine on one host.
type Runner struct {
	h         *Host
	sockets   map[machine.SocketID]*socket
	opening   []*opening
	streams   streams
	drain     func()
	timeout   func(now time.Time)
	next      func() time.Time
	notice    func(now time.Time, n machine.Notice)
	datagram  func(now time.Time, d machine.Datagram)
	armed     time.Time // for when a timeout event is queued; zero: for never
	timer     int       // generation of the queued timeout event
	idleSince time.Time
	idle      int
	serving   bool // events are being handed on
	closed    bool
}

// opening is a socket that is about to be opened.
type opening struct {
	id        machine.SocketID
	local     netip.AddrPort
	err       error // why it will not be
	cancelled bool  // closed by the machine before
}

// Run runs m on h from now on, as package machine promises. onEvent is called with
// each of its events and may enter the machine again (Do); nil drops them.
func Run[E any](h *Host, m machine.Machine[E], o RunOptions, onEvent func(now time.Time, e E)) (*Runner, error) {
	r := &Runner{h: h, sockets: make(map[machine.SocketID]*socket), streams: newStreams(o.Messages)}
	for i, local := range o.Sockets {
		if err := r.open(machine.SocketID(i), local); err != nil {
			r.Close()
			return nil, err
		}
	}
	for _, local := range o.Listen {
		if err := r.listen(local); err != nil {
			r.Close()
			return nil, err
		}
	}
	r.datagram = m.HandleDatagram
	r.timeout = m.HandleTimeout
	r.next = m.NextTimeout
	r.notice = func(time.Time, machine.Notice) {}
	if n, ok := m.(machine.Noticer); ok {
		r.notice = n.HandleNotice
	}
	var events machine.Queue[E]
	deliver := func(e E) {
		r.arm()
		if onEvent != nil && !r.closed {
			onEvent(h.w.now, e)
		}
	}
	r.drain = func() {
		if r.serving { // onEvent has entered the machine; what follows is its caller's
			machine.Drain(m, r.transmit, events.Push)
		} else {
			r.serving = true
			machine.Serve(m, r.transmit, events.Push, &events, deliver)
			r.serving = false
		}
		r.arm()
	}
	r.drain()
	return r, nil
}

// Do enters the machine: fn may call its methods. What it then wants to send is sent.
func (r *Runner) Do(fn func(now time.Time)) { r.enter(fn) }

func (r *Runner) enter(fn func(now time.Time)) {
	if r.closed {
		return
	}
	fn(r.h.w.now)
	r.drain()
}

// Connect dials a stream for a machine that leaves that to its runner. The zero local
// address takes any; a port is shared with whoever else reuses it.
func (r *Runner) Connect(id machine.StreamID, local, remote netip.AddrPort) {
	r.dial(machine.Transmit{Op: machine.Dial, Stream: id, Local: local, Remote: remote})
}

// LocalAddr is the address of one of the machine's sockets.
func (r *Runner) LocalAddr(id machine.SocketID) netip.AddrPort {
	s := r.sockets[id]
	if s == nil {
		return netip.AddrPort{}
	}
	local := s.local
	if local.Addr().IsUnspecified() {
		if all := r.h.addrs(); len(all) > 0 {
			local = netip.AddrPortFrom(all[0], local.Port())
		}
	}
	return local
}

// Sockets is how many datagram sockets the machine has.
func (r *Runner) Sockets() int { return len(r.sockets) }

// Close stops running the machine, closes its sockets and drops its streams.
func (r *Runner) Close() {
	r.closed = true
	for _, s := range r.sockets {
		s.close()
	}
	r.streams.close()
}

func (r *Runner) open(id machine.SocketID, local netip.AddrPort) error {
	s, err := r.h.bind(local)
	if err != nil {
		return err
	}
	r.sockets[id] = s
	s.receive = func(p *Packet) {
		if len(p.Data) > machine.MaxDatagram {
			r.h.w.trace.drop(r.h.w.now, r.h.name, p, "longer than machines take")
			return
		}
		r.enter(func(now time.Time) {
			r.datagram(now, machine.Datagram{
				Socket: id, Local: p.Dst, Remote: p.Src, Data: p.Data, TTL: int(p.TTL), Stamp: now,
			})
		})
	}
	s.failed = func(e *Error) {
		r.notify(machine.Notice{Kind: machine.Unreachable, Socket: id, Local: s.local, Remote: e.Dst, Reason: e.Kind.reason(), Err: e})
	}
	return nil
}

func (r *Runner) transmit(t machine.Transmit) {
	switch {
	case r.closed:
	case t.Op == machine.Send:
		if s := r.sockets[t.Socket]; s != nil {
			_ = s.sendFrom(t.Local.Addr(), t.Remote, t.Data, t.TTL, t.DontFragment) // a datagram that cannot leave is lost
		}
	case t.Op == machine.OpenSocket:
		o := &opening{id: t.Socket, local: t.Local}
		taken := slices.ContainsFunc(r.opening, func(o *opening) bool { return o.id == t.Socket && o.err == nil && !o.cancelled })
		if taken || r.sockets[t.Socket] != nil {
			o.err = fmt.Errorf("simnet: socket number %d of a machine on %s is in use", t.Socket, r.h.name)
		}
		r.opening = append(r.opening, o)
		r.h.w.at(r.h.w.now, func() { r.finishOpen(o) })
	case t.Op == machine.CloseSocket:
		if s := r.sockets[t.Socket]; s != nil {
			s.close()
			delete(r.sockets, t.Socket)
		}
		for _, o := range r.opening {
			o.cancelled = o.cancelled || o.id == t.Socket
		}
	default:
		r.stream(t)
	}
}

func (r *Runner) finishOpen(o *opening) {
	r.opening = slices.DeleteFunc(r.opening, func(have *opening) bool { return have == o })
	if o.cancelled || r.closed {
		return
	}
	n := machine.Notice{Kind: machine.SocketOpened, Socket: o.id, Local: o.local, Err: o.err}
	if n.Err == nil {
		n.Err = r.open(o.id, o.local)
	}
	if n.Err != nil {
		n.Kind = machine.SocketFailed
	} else {
		n.Local = r.sockets[o.id].local
	}
	r.notify(n)
}

func (r *Runner) notify(n machine.Notice) {
	r.enter(func(now time.Time) { r.notice(now, n) })
}

// stuck is how often a machine may ask for a timeout at one instant before its
// runner calls that a defect.
const stuck = 10000

// arm queues the machine's next timeout.
func (r *Runner) arm() {
	next := r.next()
	if r.armed.Equal(next) {
		return
	}
	r.armed = next
	r.timer++
	if next.IsZero() {
		return
	}
	generation := r.timer
	r.h.w.at(next, func() {
		if r.timer != generation || r.closed {
			return
		}
		r.armed = time.Time{}
		if now := r.h.w.now; !now.Equal(r.idleSince) {
			r.idleSince, r.idle = now, 0
		} else if r.idle++; r.idle > stuck {
			panic(fmt.Sprintf("simnet: machine on %s asks for a timeout at %v again and again (seed %d)", r.h.name, now, r.h.w.seed))
		}
		r.enter(r.timeout)
	})
}
