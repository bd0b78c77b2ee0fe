//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package netio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bradawl/bradawl/internal/machine"
)

// deadPort is a loopback port at which nobody takes anything in. A connected socket keeps it:
// what does not come from its peer is refused, and no other socket is given the port meanwhile.
func deadPort(t *testing.T, network, address string) netip.AddrPort {
	t.Helper()
	c, err := net.Dial(network, open(t, network, address).LocalAddrPort().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return AddrPortOf(c.LocalAddr())
}

func dialBlocking(t *testing.T, local, remote netip.AddrPort) *Blocking {
	t.Helper()
	b, err := DialBlocking(context.Background(), local, remote)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestBlocking(t *testing.T) {
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		t.Run(network, func(t *testing.T) { // on a machine without IPv6 one of them is left out
			other := open(t, network, address)
			b := dialBlocking(t, netip.AddrPort{}, other.LocalAddrPort())
			if err := b.Send([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, m, err := other.ReadMeta(buf)
			if err != nil || string(buf[:n]) != "hello" || m.Remote != b.LocalAddrPort() {
				t.Fatalf("%q from %v, %v; want it from %v", buf[:n], m.Remote, err, b.LocalAddrPort())
			}
			if flags, err := unix.FcntlInt(uintptr(b.fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
				t.Errorf("the socket is non-blocking (flags %#x, %v)", flags, err)
			}

			// Nothing there: the system itself ends the wait, and not at once.
			began := time.Now()
			for time.Since(began) < 15*time.Millisecond {
				if _, _, err := b.Receive(buf, 15*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("reading nothing: %v", err)
				}
			}
			before := time.Now().Round(0)
			send(t, other, b.LocalAddrPort(), SendOptions{})
			n, m, err = b.Receive(buf, time.Minute)
			if err != nil || n == 0 || m.Remote != other.LocalAddrPort() || m.Local != b.LocalAddrPort() {
				t.Fatalf("%d bytes, %+v, %v", n, m, err)
			}
			if runtime.GOOS == "linux" && (m.Stamp.Before(before) || m.Stamp.After(time.Now())) {
				t.Errorf("kernel's receive time %v, want it after %v", m.Stamp, before)
			}
		})
	}
}

func TestBlockingUnreachable(t *testing.T) {
	dead := deadPort(t, "udp4", "127.0.0.1:0")
	b := dialBlocking(t, netip.AddrPort{}, dead)
	b.Send([]byte("anybody?"))
	_, _, err := b.Receive(make([]byte, 10), time.Minute)
	var u *UnreachableError
	if !errors.As(err, &u) || u.Remote != dead || u.Reason != machine.PortUnreachable || !IsTransient(err) {
		t.Errorf("got %v, want an *UnreachableError about %v", err, dead)
	}
}

// A blocking socket on the port of one that shares it gets what its remote sends.
func TestBlockingSharesPort(t *testing.T) {
	lc := net.ListenConfig{Control: ReusePort}
	pc, err := lc.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	local := AddrPortOf(pc.LocalAddr())
	remote := open(t, "udp4", "127.0.0.1:0")
	b := dialBlocking(t, local, remote.LocalAddrPort())
	if b.LocalAddrPort() != local {
		t.Errorf("bound to %v, want %v", b.LocalAddrPort(), local)
	}
	send(t, remote, local, SendOptions{})
	if n, _, err := b.Receive(make([]byte, 100), time.Minute); err != nil || n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}

	taken := open(t, "udp4", "127.0.0.1:0").LocalAddrPort()
	if _, err := DialBlocking(context.Background(), taken, remote.LocalAddrPort()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a port that is not shared: %v", err)
	}
}

func TestBlockingClosed(t *testing.T) {
	b := dialBlocking(t, netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:9"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Send([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	if _, _, err := b.Receive(make([]byte, 1), time.Millisecond); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive after Close: %v", err)
	}
	if err := b.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

func TestNoBlockingIsUnsupported(t *testing.T) {
	if !errors.Is(ErrNoBlocking, errors.ErrUnsupported) {
		t.Error("ErrNoBlocking does not match errors.ErrUnsupported")
	}
}
