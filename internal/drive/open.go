package drive

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/bradawl/bradawl/internal/machine"
)

// opening is a socket that is being opened, or waits for its turn.
type opening struct {
	id        machine.SocketID
	local     netip.AddrPort
	cancelled bool // closed by the machine before it was open
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
	r.opening = append(r.opening, &opening{id: id, local: local})
	if len(r.opening) == 1 {
		r.openFirst()
	}
}

func (r *runner[E]) openFirst() {
	network, address := listenAddress(r.opening[0].local)
	r.sockets.readers.Add(1)
	go func() {
		defer r.sockets.readers.Done()
		pc, err := r.listen(network, address)
		select {
		case r.opened <- opened{pc, err}:
		case <-r.sockets.quit:
			if err == nil {
				_ = pc.Close() // nobody is left to tell
			}
		}
	}()
}

// finishOpen takes in a socket that was opened, and has the next one opened.
func (r *runner[E]) finishOpen(res opened) {
	o := r.opening[0]
	r.opening = r.opening[1:]
	if len(r.opening) > 0 {
		r.openFirst()
	}
	if o.cancelled {
		if res.err == nil {
			_ = res.pc.Close() // opened for nothing
		}
		return
	}
	s, err := r.adopt(o.id, res)
	if err != nil {
		r.notice(machine.Notice{Kind: machine.SocketFailed, Socket: o.id, Local: o.local, Err: err})
		return
	}
	r.notice(machine.Notice{Kind: machine.SocketOpened, Socket: o.id, Local: s.conn.LocalAddrPort()})
}

// adopt makes what was opened socket id and starts to read from it.
func (r *runner[E]) adopt(id machine.SocketID, res opened) (*socket, error) {
	if res.err != nil {
		return nil, res.err
	}
	var s *socket
	err := errInUse
	if _, taken := r.sockets.byID[id]; !taken {
		s, err = r.sockets.add(id, res.pc, false)
	}
	if err != nil {
		if res.pc != nil {
			_ = res.pc.Close() // the error to tell is err
		}
		return nil, err
	}
	r.sockets.start(s)
	return s, nil
}

// close closes socket id, or sees to it that it does not open.
func (r *runner[E]) close(id machine.SocketID) error {
	for _, o := range r.opening {
		if o.id == id && !o.cancelled {
			o.cancelled = true
			return nil
		}
	}
	return r.sockets.remove(id)
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
