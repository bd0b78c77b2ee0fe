package netio

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bradawl/bradawl/internal/machine"
)

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
			if u.Remote != dead || u.Reason != machine.PortUnreachable || !errors.Is(err, syscall.ECONNREFUSED) || u.From != dead.Addr() {
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

// Don't-fragment over IPv4 is the socket's on Linux. It is set for the one
// datagram, whoever sends at the same time waits, and the owner's setting is back
// afterwards.
func TestDontFragmentIsForOneDatagram(t *testing.T) {
	for _, before := range []int{unix.IP_PMTUDISC_WANT, unix.IP_PMTUDISC_DONT} {
		a := open(t, "udp4", "127.0.0.1:0").(*udpConn)
		to := open(t, "udp4", "127.0.0.1:0").LocalAddrPort()
		a.raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, before)
		})
		var seen []int
		plain := make(chan struct{})
		overtaken := false
		a.sender.sendmsg = func(fd int, b, control []byte, to unix.Sockaddr, flags int) (int, error) {
			mode, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
			if err != nil {
				t.Error(err)
			}
			seen = append(seen, mode)
			if len(seen) == 1 {
				go func() {
					defer close(plain)
					send(t, a, a.LocalAddrPort(), SendOptions{})
				}()
				select {
				case <-plain:
					overtaken = true
				case <-time.After(20 * time.Millisecond):
				}
			}
			return unix.SendmsgN(fd, b, control, to, flags)
		}
		send(t, a, to, SendOptions{DontFragment: true})
		<-plain
		if len(seen) != 2 || seen[0] != unix.IP_PMTUDISC_PROBE || seen[1] != before || overtaken {
			t.Errorf("IP_MTU_DISCOVER was %d: %v during the two sends, want %d and %d; sent both at once: %v", before, seen, unix.IP_PMTUDISC_PROBE, before, overtaken)
		}
	}
}

// A datagram to a broadcast address is answered from the host's own.
func TestLocalAddressOfABroadcast(t *testing.T) {
	a, b := open(t, "udp4", "0.0.0.0:0"), open(t, "udp4", "127.0.0.1:0")
	send(t, b, netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), a.LocalAddrPort().Port()), SendOptions{})
	if m := receive(t, a); m.Local.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("arrived at %v, want 127.0.0.1", m.Local)
	}
}

// A full send buffer loses the datagram, at once, whatever the poller thinks.
func TestFullSendBuffer(t *testing.T) {
	a := open(t, "udp4", "127.0.0.1:0").(*udpConn)
	b := open(t, "udp4", "127.0.0.1:0")
	if err := a.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	send(t, a, b.LocalAddrPort(), SendOptions{}) // nothing to wait for, so no deadline counts
	receive(t, b)

	calls := 0
	a.sender.sendmsg = func(_ int, _, _ []byte, _ unix.Sockaddr, flags int) (int, error) {
		if calls++; flags&unix.MSG_DONTWAIT == 0 {
			t.Error("the system may wait")
		}
		return 0, unix.EAGAIN
	}
	_, err := a.WriteOpts([]byte("hello"), b.LocalAddrPort(), SendOptions{})
	if !errors.Is(err, ErrBufferFull) || !IsTransient(err) || calls != 1 {
		t.Errorf("%v after %d calls, want ErrBufferFull after 1", err, calls)
	}
}

func TestReasons(t *testing.T) {
	for _, c := range []struct {
		origin, typ, code byte
		want              machine.Reason
	}{
		{unix.SO_EE_ORIGIN_ICMP, 3, 0, machine.NetUnreachable},
		{unix.SO_EE_ORIGIN_ICMP, 3, 1, machine.HostUnreachable},
		{unix.SO_EE_ORIGIN_ICMP, 3, 3, machine.PortUnreachable},
		{unix.SO_EE_ORIGIN_ICMP, 3, 4, machine.TooBig},
		{unix.SO_EE_ORIGIN_ICMP, 3, 13, machine.Prohibited},
		{unix.SO_EE_ORIGIN_ICMP, 3, 2, machine.ProtocolUnreachable},
		{unix.SO_EE_ORIGIN_ICMP, 3, 5, machine.OtherReason},
		{unix.SO_EE_ORIGIN_ICMP, 11, 0, machine.TimeExceeded},
		{unix.SO_EE_ORIGIN_ICMP, 12, 0, machine.OtherReason},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 0, machine.NetUnreachable},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 1, machine.Prohibited},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 3, machine.HostUnreachable},
		{unix.SO_EE_ORIGIN_ICMP6, 1, 4, machine.PortUnreachable},
		{unix.SO_EE_ORIGIN_ICMP6, 2, 0, machine.TooBig},
		{unix.SO_EE_ORIGIN_ICMP6, 3, 0, machine.TimeExceeded},
		{unix.SO_EE_ORIGIN_ICMP6, 4, 0, machine.OtherReason},
		{unix.SO_EE_ORIGIN_ICMP6, 4, 1, machine.ProtocolUnreachable},
		{unix.SO_EE_ORIGIN_LOCAL, 0, 0, machine.OtherReason},
	} {
		if got := reason(c.origin, c.typ, c.code); got != c.want {
			t.Errorf("origin %d type %d code %d: %v, want %v", c.origin, c.typ, c.code, got, c.want)
		}
	}
}
