//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package netio

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// sender sends the datagrams of one socket, one at a time: options of a single
// datagram are set on the socket around its send, and a deadline keeps the send
// from waiting.
type sender struct {
	uc  *net.UDPConn
	raw syscall.RawConn
	mu  sync.Mutex
}

func newSender(uc *net.UDPConn, raw syscall.RawConn, _ netip.AddrPort) (*sender, error) {
	return &sender{uc: uc, raw: raw}, nil
}

func (s *sender) writeOpts(b []byte, to netip.AddrPort, o SendOptions) (int, error) {
	to = unmap(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.TTL > 0 || o.DontFragment {
		var undo func(fd uintptr)
		if err := s.raw.Control(func(fd uintptr) { undo = setSendOptions(fd, to.Addr().Is6(), o) }); err != nil {
			return 0, err
		}
		if undo != nil {
			defer s.raw.Control(undo)
		}
	}
	defer s.uc.SetWriteDeadline(time.Time{})
	var n int
	var err error
	for range sendTries {
		until := time.Now().Add(sendWait)
		_ = s.uc.SetWriteDeadline(until) // a closed socket says so below
		n, err = s.uc.WriteToUDPAddrPort(b, to)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().Before(until) {
			break // the latter: somebody else's deadline, for the socket is being closed
		}
	}
	return n, writeError(s.uc.LocalAddr(), to, err)
}
