package netio

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// fake is a net.PacketConn that only remembers.
type fake struct {
	net.PacketConn // nil: a call that the test does not expect panics
	local          net.Addr
	from           net.Addr
	to             net.Addr
}

func (f *fake) LocalAddr() net.Addr              { return f.local }
func (f *fake) SetWriteDeadline(time.Time) error { return nil }
func (f *fake) ReadFrom(b []byte) (int, net.Addr, error) {
	return copy(b, "plain"), f.from, nil
}
func (f *fake) WriteTo(b []byte, to net.Addr) (int, error) {
	f.to = to
	return len(b), nil
}

// fakePorts has the allocation-free pair too.
type fakePorts struct {
	fake
	toPort netip.AddrPort
}

func (f *fakePorts) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	return copy(b, "ports"), netip.MustParseAddrPort("[::ffff:10.0.0.9]:9"), nil
}
func (f *fakePorts) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	f.toPort = to
	return len(b), nil
}

// fakeMeta has everything.
type fakeMeta struct {
	fakePorts
	o SendOptions
}

func (f *fakeMeta) ReadMeta(b []byte) (int, Meta, error) {
	return copy(b, "meta"), Meta{Remote: netip.MustParseAddrPort("[::ffff:10.0.0.9]:9"), TTL: 61, Stamp: time.Unix(5, 6)}, nil
}
func (f *fakeMeta) WriteOpts(b []byte, to netip.AddrPort, o SendOptions) (int, error) {
	f.toPort, f.o = to, o
	return len(b), nil
}

func TestWrapFindsWhatASocketCanDo(t *testing.T) {
	local := netip.MustParseAddrPort("10.0.0.1:1")
	remote := netip.MustParseAddrPort("10.0.0.9:9")
	mapped := netip.MustParseAddrPort("[::ffff:10.0.0.9]:9")
	o := SendOptions{TTL: 3, DontFragment: true}

	plain := &fake{local: net.UDPAddrFromAddrPort(local), from: net.UDPAddrFromAddrPort(mapped)}
	ports := &fakePorts{fake: *plain}
	meta := &fakeMeta{fakePorts: *ports}
	for name, pc := range map[string]net.PacketConn{"plain": plain, "ports": ports, "meta": meta} {
		c, err := Wrap(pc)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		n, m, err := c.ReadMeta(b)
		if string(b[:n]) != name || err != nil {
			t.Errorf("%s: read %q, %v", name, b[:n], err)
		}
		if m.Remote != remote || m.Local != local {
			t.Errorf("%s: from %v at %v, want %v at %v", name, m.Remote, m.Local, remote, local)
		}
		if _, err := c.WriteOpts(b, mapped, o); err != nil {
			t.Error(err)
		}
	}
	if plain.to.String() != remote.String() {
		t.Errorf("plain: sent to %v", plain.to)
	}
	if ports.toPort != remote {
		t.Errorf("ports: sent to %v", ports.toPort)
	}
	if meta.toPort != remote || meta.o != o {
		t.Errorf("meta: sent to %v with %+v", meta.toPort, meta.o)
	}
}

func TestWrapRefuses(t *testing.T) {
	if _, err := Wrap(nil); err == nil {
		t.Error("nil was accepted")
	}
	if _, err := Wrap(&fake{local: &net.UnixAddr{Name: "/tmp/x"}}); err == nil {
		t.Error("a Unix socket was accepted")
	}
}

func TestAddrPortOf(t *testing.T) {
	for _, c := range []struct {
		a    net.Addr
		want string
	}{
		{&net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5}, "10.0.0.1:5"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 5, Zone: "eth0"}, "[fe80::1%eth0]:5"},
		{stringAddr("[::ffff:10.0.0.1]:5"), "10.0.0.1:5"},
		{stringAddr("nonsense"), "invalid AddrPort"},
		{(*net.UDPAddr)(nil), "invalid AddrPort"},
		{nil, "invalid AddrPort"},
	} {
		if got := AddrPortOf(c.a); got.String() != c.want {
			t.Errorf("AddrPortOf(%v) = %v, want %v", c.a, got, c.want)
		}
	}
}

type stringAddr string

func (stringAddr) Network() string  { return "sim" }
func (a stringAddr) String() string { return string(a) }

func TestIsTransient(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&UnreachableError{Reason: machine.PortUnreachable}, true},
		{&net.OpError{Err: &UnreachableError{}}, true},
		{nil, false},
		{net.ErrClosed, false},
		{os.ErrDeadlineExceeded, false},
		{errors.New("other"), false},
	} {
		if got := IsTransient(c.err); got != c.want {
			t.Errorf("IsTransient(%v) = %v", c.err, got)
		}
	}
}

func TestUnreachableErrorText(t *testing.T) {
	e := &UnreachableError{Remote: netip.MustParseAddrPort("192.0.2.1:9"), From: netip.MustParseAddr("192.0.2.254"), Reason: machine.HostUnreachable}
	if got, want := e.Error(), "netio: datagram to 192.0.2.1:9 reported undelivered by 192.0.2.254: host unreachable"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if machine.Reason(99).String() != "unknown" {
		t.Error("an unknown reason has no name")
	}
}
