package netio

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deadPort is a loopback port that nobody listens on.
func deadPort(t *testing.T, network, address string) netip.AddrPort {
	c := open(t, network, address)
	defer c.Close()
	return c.LocalAddrPort()
}

func TestUnreachableIsTold(t *testing.T) {
	for _, c := range []struct{ name, network, own, dead string }{
		{"IPv4", "udp4", "127.0.0.1:0", "127.0.0.1:0"},
		{"IPv6", "udp6", "[::1]:0", "[::1]:0"},
		{"IPv4 from a dual-stack socket", "udp", "[::]:0", "127.0.0.1:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t, c.network, c.own)
			dead := deadPort(t, c.network, c.dead)
			live := open(t, c.network, c.dead)
			send(t, a, dead, SendOptions{})
			// The error is pending on the socket now (loopback is synchronous): sending must not fail because of it.
			send(t, a, live.LocalAddrPort(), SendOptions{})
			receive(t, live)

			_, _, err := a.ReadMeta(make([]byte, 100))
			var u *UnreachableError
			if !errors.As(err, &u) {
				t.Fatalf("ReadMeta: %v, want an *UnreachableError", err)
			}
			if u.Remote != dead || u.Reason != PortUnreachable || !errors.Is(err, syscall.ECONNREFUSED) || u.From != dead.Addr() {
				t.Errorf("got %+v", u)
			}
			if !IsTransient(err) {
				t.Error("not transient")
			}
			send(t, live, netip.AddrPortFrom(live.LocalAddrPort().Addr(), a.LocalAddrPort().Port()), SendOptions{})
			receive(t, a)
		})
	}
}

// A reader that already waits learns of the error although the writer's next
// call is the one that the kernel tells.
func TestUnreachableWakesTheReader(t *testing.T) {
	a := open(t, "udp4", "127.0.0.1:0")
	dead := deadPort(t, "udp4", "127.0.0.1:0")
	const n = 50
	go func() {
		for range n {
			a.WriteOpts([]byte("hello"), dead, SendOptions{})
		}
	}()
	for i := range n {
		_, _, err := a.ReadMeta(make([]byte, 100))
		var u *UnreachableError
		if errors.As(err, &u) && u.Remote == dead {
			continue
		}
		// The kernel limits the rate of its ICMP errors, so that later ones may be missing.
		if i > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if !IsTransient(err) {
			t.Fatalf("error %d: %v", i, err)
		}
		a.SetReadDeadline(time.Now().Add(time.Second))
	}
}

func TestReleaseSilencesErrors(t *testing.T) {
	a := open(t, "udp4", "127.0.0.1:0")
	dead := deadPort(t, "udp4", "127.0.0.1:0")
	send(t, a, dead, SendOptions{})
	if err := Release(a); err != nil {
		t.Fatal(err)
	}
	uc := a.(*udpConn).uc
	for range 3 {
		if _, err := uc.WriteToUDPAddrPort([]byte("hello"), dead); err != nil {
			t.Errorf("write after Release: %v", err)
		}
	}
	uc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, _, err := uc.ReadFromUDPAddrPort(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after Release: %v, want nothing but the deadline", err)
	}
}

func TestDontFragment(t *testing.T) {
	a := open(t, "udp4", "127.0.0.1:0")
	to := open(t, "udp4", "127.0.0.1:0").LocalAddrPort()
	mode := func() (v int) {
		a.(*udpConn).raw.Control(func(fd uintptr) { v, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER) })
		return v
	}
	before := mode()
	send(t, a, to, SendOptions{DontFragment: true})
	if mode() != before {
		t.Errorf("IP_MTU_DISCOVER is %d afterwards, was %d", mode(), before)
	}
}

func TestReasons(t *testing.T) {
	for _, c := range []struct {
		origin, typ, code byte
		want              Reason
	}{
		{unix.SO_EE_ORIGIN_ICMP, 3, 0, NetUnreachable},
		{unix.SO_EE_ORIGIN_ICMP, 3, 1, HostUnreachable},
		{unix.SO_EE_ORIGIN_ICMP, 3, 3, PortUnreachable},
		{unix.SO_EE_ORIGIN_ICMP, 3, 4, TooBig},
		{unix.SO_EE_ORIGIN_ICMP, 3, 13, Prohibited},
		{unix.SO_EE_ORIGIN_ICMP, 3, 2, OtherReason},
		{unix.SO_EE_ORIGIN_ICMP, 11, 0, TimeExceeded},
		{unix.SO_EE_ORIGIN_ICMP, 12, 0, OtherReason},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 0, NetUnreachable},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 1, Prohibited},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 3, HostUnreachable},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 4, PortUnreachable},
		{unix.SO_EE_ORIGIN_ICMP6, 2, 0, TooBig},
		{unix.SO_EE_ORIGIN_ICMP6, 3, 0, TimeExceeded},
		{unix.SO_EE_ORIGIN_LOCAL, 0, 0, OtherReason},
	} {
		if got := reason(c.origin, c.typ, c.code); got != c.want {
			t.Errorf("origin %d type %d code %d: %v, want %v", c.origin, c.typ, c.code, got, c.want)
		}
	}
}
