package drive

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// opening is a socket that is being opened, or waits for its turn.
type opening struct {
	id        machine.SocketID
	local     netip.AddrPort
	err       error // why it will not be opened; nil: it will
	cancelled bool  // closed by the machine before it was open
}

// opened is what came of the first opening.
type opened struct {
	pc  net.PacketConn
	err error
}

// open has socket id opened. Listening may block, so that it happens on a
// goroutine; one at a time, so that a machine that wants hundreds of sockets
// costs one.
func (r *runner[E]) open(id machine.SocketID, local netip.AddrPort) {
	o := &opening{id: id, local: local}
	if r.inUse(id) {
		o.err = errInUse
	}
	r.opening = append(r.opening, o)
	if len(r.opening) == 1 {
		r.openFirst()
	}
}

func (r *runner[E]) inUse(id machine.SocketID) bool {
	_, taken := r.sockets.byID[id]
	return taken || slices.ContainsFunc(r.opening, func(o *opening) bool { return o.id == id && o.err == nil && !o.cancelled })
}

func (r *runner[E]) openFirst() {
	first := r.opening[0]
	if first.err != nil {
		r.later(func() { r.finishOpen(opened{err: first.err}) })
		return
	}
	network, address := listenAddress(first.local)
	r.sockets.running.Go(func() {
		pc, err := r.listen(network, address)
		r.opened <- opened{pc, err} // the loop takes it, for it ends after this goroutine
	})
}

// finishOpen takes in a socket that was opened, and has the next one opened.
func (r *runner[E]) finishOpen(res opened) {
	o := r.opening[0]
	r.opening = r.opening[1:]
	if o.cancelled && res.err == nil {
		_ = res.pc.Close() // opened for nothing
	}
	if len(r.opening) > 0 {
		r.openFirst() // perhaps on the port that has just become free
	}
	if o.cancelled {
		return
	}
	var s *socket
	if res.err == nil {
		if s, res.err = r.sockets.add(o.id, res.pc, false); res.err != nil && res.pc != nil {
			_ = res.pc.Close() // the error to tell is of add
		}
	}
	if res.err != nil {
		r.notice(machine.Notice{Kind: machine.SocketFailed, Socket: o.id, Local: o.local, Err: res.err})
		return
	}
	r.sockets.start(s)
	r.notice(machine.Notice{Kind: machine.SocketOpened, Socket: o.id, Local: s.conn.LocalAddrPort()})
}

// close closes socket id, or sees to it that it does not open.
func (r *runner[E]) close(id machine.SocketID) error {
	err := r.sockets.remove(id)
	for _, o := range r.opening {
		if o.id == id && !o.cancelled {
			o.cancelled, err = true, nil
		}
	}
	return err
}

// listenAddress is what net.ListenConfig.ListenPacket wants for local.
func listenAddress(local netip.AddrPort) (network, address string) {
	switch addr := local.Addr().Unmap(); {
	case addr.Is4():
		return "udp4", netip.AddrPortFrom(addr, local.Port()).String()
	case addr.Is6():
		return "udp6", local.String()
	default:
		return "udp", ":" + strconv.Itoa(int(local.Port()))
	}
}

// AddSocket makes pc socket id of the machine, as if it had been among Options.Sockets:
// for sockets that somebody else opens, such as a relayed address. The loop owns and
// closes it, unless an error is returned: pc is no socket that the loop can use, id is
// taken, or the loop was closed (ErrClosed). It must not be called from the loop
// goroutine.
func (l *Loop) AddSocket(id machine.SocketID, pc net.PacketConn) error {
	var err error
	if closed := l.Do(func(time.Time) { err = l.addSocket(id, pc) }); closed != nil {
		return closed
	}
	return err
}

// RemoveSocket closes a socket of the machine, which is not told. The error is of closing
// it, or ErrClosed. It must not be called from the loop goroutine.
func (l *Loop) RemoveSocket(id machine.SocketID) error {
	var err error
	if closed := l.Do(func(time.Time) { err = l.removeSocket(id) }); closed != nil {
		return closed
	}
	return err
}

func (r *runner[E]) addSocket(id machine.SocketID, pc net.PacketConn) error {
	if r.inUse(id) {
		return errInUse
	}
	s, err := r.sockets.add(id, pc, false)
	if err != nil {
		return err
	}
	r.sockets.start(s)
	return nil
}
