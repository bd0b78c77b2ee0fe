//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bradawl/bradawl/internal/machine"
)

var unreachableErrnos = []struct {
	errno  error
	reason machine.Reason
}{
	{unix.ECONNREFUSED, machine.PortUnreachable},
	{unix.ENOPROTOOPT, machine.ProtocolUnreachable},
	{unix.EHOSTUNREACH, machine.HostUnreachable},
	{unix.EHOSTDOWN, machine.HostUnreachable},
	{unix.ENETUNREACH, machine.NetUnreachable},
	{unix.EACCES, machine.Prohibited},
	{unix.EMSGSIZE, machine.TooBig},
}

// Blocking is a UDP socket in blocking mode, connected to one remote, with
// don't-fragment set and kernel timestamps on. Go's own sockets are non-blocking
// and waited for by the runtime's poller, so that SO_RCVTIMEO does nothing on
// them; here the system itself wakes the thread that waits.
//
// A Blocking is for one goroutine, which should have locked its OS thread.
type Blocking struct {
	fd            int
	local, remote netip.AddrPort
	timeout       time.Duration // set on the socket
	oob           [128]byte
}

// DialBlocking opens a Blocking from local to remote. An invalid local leaves the
// choice to the system. A local port is shared with other sockets that allow it
// ([ReusePort]); being connected, this one then gets what comes from remote.
func DialBlocking(ctx context.Context, local, remote netip.AddrPort) (*Blocking, error) {
	local, remote = unmap(local), unmap(remote)
	network := "udp4"
	if remote.Addr().Is6() {
		network = "udp6"
	}
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(local)
		if local.Port() != 0 {
			d.Control = ReusePort
		}
	}
	c, err := d.DialContext(ctx, network, remote.String())
	if err != nil {
		if errors.Is(err, errAddrInUse) {
			err = fmt.Errorf("%w; the socket that has the port must have been opened with ReusePort", err)
		}
		return nil, fmt.Errorf("netio: %w", err)
	}
	defer c.Close()
	b := &Blocking{fd: -1, local: AddrPortOf(c.LocalAddr()), remote: remote}
	// A duplicate that the poller knows nothing of, or each datagram would wake
	// two threads. Blocking mode belongs to both, so that the first one goes.
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var errDup error
	err = raw.Control(func(fd uintptr) { b.fd, errDup = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, errDup); err != nil {
		return nil, fmt.Errorf("netio: duplicate socket: %w", err)
	}
	if err := c.Close(); err != nil {
		unix.Close(b.fd)
		return nil, fmt.Errorf("netio: %w", err)
	}
	if err := unix.SetNonblock(b.fd, false); err != nil {
		unix.Close(b.fd)
		return nil, fmt.Errorf("netio: blocking mode: %w", err)
	}
	prepareBlocking(b.fd, remote.Addr().Is6())
	return b, nil
}

// LocalAddrPort returns the address that the socket is bound to.
func (b *Blocking) LocalAddrPort() netip.AddrPort { return b.local }

// Send sends p to the remote.
func (b *Blocking) Send(p []byte) error {
	for try := 1; ; try++ {
		_, err := unix.Write(b.fd, p)
		switch {
		case err == nil:
			return nil
		case try < maxBlockingTries && (err == unix.EINTR || unreachableBy(err, b.remote) != nil):
			// Interrupted; or the ICMP error of an earlier datagram, which is told once.
		default:
			return b.fail("write", err)
		}
	}
}

// maxBlockingTries bounds the retries of a send.
const maxBlockingTries = 4

// Receive reads one datagram into p, and waits at most about timeout for it
// (SO_RCVTIMEO, which Linux rounds up to a tick of its scheduler). After that,
// and sooner when a signal came in between, the error is os.ErrDeadlineExceeded.
// A timeout that is not positive is the least that there is.
func (b *Blocking) Receive(p []byte, timeout time.Duration) (int, Meta, error) {
	// The zero timeval means forever.
	timeout = max(timeout.Truncate(time.Microsecond), time.Microsecond)
	if timeout != b.timeout {
		tv := unix.NsecToTimeval(timeout.Nanoseconds())
		if err := unix.SetsockoptTimeval(b.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return 0, Meta{}, b.fail("set SO_RCVTIMEO of", err)
		}
		b.timeout = timeout
	}
	n, oobn, _, _, err := unix.Recvmsg(b.fd, p, b.oob[:], 0)
	switch err {
	case nil:
		return n, Meta{Remote: b.remote, Local: b.local, Stamp: stampOf(b.oob[:oobn])}, nil
	case unix.EAGAIN, unix.EINTR:
		err = os.ErrDeadlineExceeded
	}
	return 0, Meta{}, b.fail("read", err)
}

// Close closes the socket. It does not wake a Receive.
func (b *Blocking) Close() error {
	if b.fd < 0 {
		return net.ErrClosed
	}
	fd := b.fd
	b.fd = -1
	return unix.Close(fd)
}

func (b *Blocking) fail(op string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if u := unreachableBy(errno, b.remote); u != nil {
			err = u
		} else if b.fd < 0 {
			err = net.ErrClosed
		}
	}
	return &net.OpError{Op: op, Net: "udp", Source: net.UDPAddrFromAddrPort(b.local), Addr: net.UDPAddrFromAddrPort(b.remote), Err: err}
}

// stampOf finds the kernel's receive time in ancillary data.
func stampOf(oob []byte) time.Time {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		if h.Level == unix.SOL_SOCKET {
			if t := controlStamp(int(h.Type), data); !t.IsZero() {
				return t
			}
		}
	}
	return time.Time{}
}
