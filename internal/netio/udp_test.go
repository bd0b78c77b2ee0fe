package netio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// open opens a wrapped socket on loopback.
func open(t testing.TB, network, address string) Conn {
	t.Helper()
	pc, err := ListenUDP(context.Background(), network, address)
	if err != nil {
		if strings.Contains(address, "::") {
			t.Skip("this machine has no IPv6 loopback address (ip addr add ::1/128 dev lo): ", err)
		}
		t.Fatal(err)
	}
	c, err := Wrap(pc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t testing.TB, c Conn, to netip.AddrPort, o SendOptions) {
	t.Helper()
	if n, err := c.WriteOpts([]byte("hello"), to, o); err != nil || n != 5 {
		t.Fatalf("WriteOpts: %d, %v", n, err)
	}
}

func receive(t testing.TB, c Conn) Meta {
	t.Helper()
	b := make([]byte, 100)
	n, m, err := c.ReadMeta(b)
	if err != nil || string(b[:n]) != "hello" {
		t.Fatalf("ReadMeta: %q, %v", b[:n], err)
	}
	return m
}

func TestUDPLoopback(t *testing.T) {
	for _, c := range []struct{ name, network, a, b, to string }{
		{"IPv4", "udp4", "127.0.0.1:0", "127.0.0.1:0", ""},
		{"IPv6", "udp6", "[::1]:0", "[::1]:0", ""},
		{"dual stack, IPv4", "udp", "[::]:0", "127.0.0.1:0", "127.0.0.1"},
		{"dual stack, IPv6", "udp", "[::]:0", "[::1]:0", "::1"},
		{"IPv4 wildcard", "udp4", "0.0.0.0:0", "127.0.0.1:0", "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			network := c.network
			a := open(t, network, c.a)
			if network == "udp" {
				network = "udp4"
				if strings.Contains(c.b, "::") {
					network = "udp6"
				}
			}
			b := open(t, network, c.b)
			toA := a.LocalAddrPort()
			if c.to != "" {
				toA = netip.AddrPortFrom(netip.MustParseAddr(c.to), toA.Port())
			}
			for _, o := range []SendOptions{{}, {TTL: 7}, {DontFragment: true}, {TTL: 9, DontFragment: true}} {
				send(t, b, toA, o)
				m := receive(t, a)
				if m.Remote != b.LocalAddrPort() {
					t.Errorf("%+v: from %v, want %v", o, m.Remote, b.LocalAddrPort())
				}
				checkMeta(t, m, toA, o.TTL)
				send(t, a, m.Remote, o) // and back, from the dual-stack socket
				m = receive(t, b)
				if m.Remote != toA {
					t.Errorf("%+v: answer from %v, want %v", o, m.Remote, toA)
				}
				checkMeta(t, m, b.LocalAddrPort(), o.TTL)
			}
			send(t, b, toA, SendOptions{}) // options do not stick
			if m := receive(t, a); m.TTL != 0 && m.TTL < 32 {
				t.Errorf("TTL %d without options", m.TTL)
			}
			mapped := netip.AddrPortFrom(netip.AddrFrom16(toA.Addr().As16()), toA.Port())
			send(t, b, mapped, SendOptions{TTL: 5}) // given as IPv4-mapped
			receive(t, a)
		})
	}
}

// checkMeta checks what only some systems can tell, where they can.
func checkMeta(t *testing.T, m Meta, local netip.AddrPort, ttl int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	if m.Local != local {
		t.Errorf("arrived at %v, want %v", m.Local, local)
	}
	if age := time.Since(m.Stamp); m.Stamp.IsZero() || age < -time.Second || age > 10*time.Second {
		t.Errorf("kernel timestamp %v is %v old", m.Stamp, age)
	}
	if ttl != 0 && m.TTL != ttl || m.TTL == 0 {
		t.Errorf("TTL %d, want %d", m.TTL, ttl)
	}
}

func TestUDPCloseAndDeadlineUnblock(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0")
	c.SetReadDeadline(time.Unix(1, 0))
	if _, _, err := c.ReadMeta(nil); !errors.Is(err, os.ErrDeadlineExceeded) || IsTransient(err) {
		t.Errorf("deadline passed: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	done := make(chan error)
	go func() {
		_, _, err := c.ReadMeta(make([]byte, 10))
		done <- err
	}()
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) || IsTransient(err) {
		t.Errorf("closed: %v", err)
	}
}

func TestUDPCutsLongDatagrams(t *testing.T) {
	a, b := open(t, "udp4", "127.0.0.1:0"), open(t, "udp4", "127.0.0.1:0")
	send(t, a, b.LocalAddrPort(), SendOptions{})
	buf := make([]byte, 3)
	n, _, err := b.ReadMeta(buf)
	if runtime.GOOS == "windows" {
		if !IsTransient(err) {
			t.Errorf("cut datagram: %v", err)
		}
	} else if n != 3 || err != nil {
		t.Errorf("cut datagram: %d, %v", n, err)
	}
}

func TestUDPDoesNotAllocate(t *testing.T) {
	a, b := open(t, "udp4", "127.0.0.1:0"), open(t, "udp4", "127.0.0.1:0")
	buf := make([]byte, 1500)
	to := b.LocalAddrPort()
	for _, o := range []SendOptions{{}, {TTL: 9}} {
		if runtime.GOOS != "linux" && o.TTL != 0 {
			continue // a socket option each time, which costs more than an allocation
		}
		n := testing.AllocsPerRun(100, func() {
			if _, err := a.WriteOpts(buf[:100], to, o); err != nil {
				t.Error(err)
			}
			if _, _, err := b.ReadMeta(buf); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%+v: %v allocations for one datagram sent and received", o, n)
		}
	}
}

func TestListenUDPErrors(t *testing.T) {
	if _, err := ListenUDP(context.Background(), "tcp", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), `"tcp"`) {
		t.Errorf("network tcp: %v", err)
	}
	c := open(t, "udp4", "127.0.0.1:0")
	_, err := ListenUDP(context.Background(), "udp4", c.LocalAddrPort().String())
	if err == nil || !strings.Contains(err.Error(), c.LocalAddrPort().String()) || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("port in use: %v", err)
	}
}

func TestReusePort(t *testing.T) {
	if runtime.GOOS == "js" || runtime.GOOS == "wasip1" || runtime.GOOS == "plan9" {
		t.Skip("no shared ports on", runtime.GOOS)
	}
	ctx := context.Background()
	lc := net.ListenConfig{Control: ReusePort}
	u1, err := lc.ListenPacket(ctx, "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u1.Close()
	u2, err := lc.ListenPacket(ctx, "udp4", u1.LocalAddr().String())
	if err != nil {
		t.Fatalf("second UDP socket on %v: %v", u1.LocalAddr(), err)
	}
	defer u2.Close()

	// Listening and dialling from one TCP port, as simultaneous open does.
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	d := net.Dialer{LocalAddr: l.Addr(), Control: ReusePort}
	c, err := d.DialContext(ctx, "tcp4", other.Addr().String())
	if err != nil {
		t.Fatalf("dial from the listening port %v: %v", l.Addr(), err)
	}
	defer c.Close()
	if c.LocalAddr().String() != l.Addr().String() {
		t.Errorf("dialled from %v, want %v", c.LocalAddr(), l.Addr())
	}
}

func BenchmarkUDPLoopback(b *testing.B) {
	x, y := open(b, "udp4", "127.0.0.1:0"), open(b, "udp4", "127.0.0.1:0")
	x.SetReadDeadline(time.Time{})
	y.SetReadDeadline(time.Time{})
	buf := make([]byte, 1500)
	to := y.LocalAddrPort()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.WriteOpts(buf[:1200], to, SendOptions{}); err != nil {
			b.Fatal(err)
		}
		if _, _, err := y.ReadMeta(buf); err != nil {
			b.Fatal(err)
		}
	}
}
