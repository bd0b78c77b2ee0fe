package simnet

import (
	"fmt"
	"net/netip"
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
	closed    bool
}

// Run runs m on h from now on. onEvent is called with each of its events, after the
// machine has been drained, so that it may enter the machine again (Do); nil drops
// them.
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
	r.drain = func() {
		var events []E
		machine.Drain(m, r.transmit, func(e E) { events = append(events, e) })
		r.arm()
		for _, e := range events {
			if onEvent != nil {
				onEvent(h.w.now, e)
			}
		}
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

// Connect dials a stream for a machine that leaves that to its runner.
func (r *Runner) Connect(id machine.StreamID, remote netip.AddrPort) {
	r.dial(machine.Transmit{Op: machine.Dial, Stream: id, Remote: remote})
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
		r.enter(func(now time.Time) {
			r.datagram(now, machine.Datagram{
				Socket: id, Local: p.Dst, Remote: p.Src, Data: p.Data, TTL: int(p.TTL), Stamp: now,
			})
		})
	}
	s.failed = func(e *Error) {
		r.notify(machine.Notice{Kind: machine.Unreachable, Socket: id, Remote: e.Dst, Err: e})
	}
	return nil
}

func (r *Runner) transmit(t machine.Transmit) {
	switch t.Op {
	case machine.Send:
		if s := r.sockets[t.Socket]; s != nil {
			_ = s.send(t.Remote, t.Data, t.TTL, t.DontFragment) // a datagram that cannot leave is lost
		}
	case machine.OpenSocket:
		n := machine.Notice{Kind: machine.SocketOpened, Socket: t.Socket}
		if err := r.open(t.Socket, t.Local); err != nil {
			n.Kind, n.Err = machine.SocketFailed, err
		}
		n.Local = r.LocalAddr(t.Socket)
		r.tell(n)
	case machine.CloseSocket:
		if s := r.sockets[t.Socket]; s != nil {
			s.close()
			delete(r.sockets, t.Socket)
		}
	default:
		r.stream(t)
	}
}

// tell brings the machine a notice once it has been drained.
func (r *Runner) tell(n machine.Notice) {
	r.h.w.at(r.h.w.now, func() { r.notify(n) })
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
