package netio

import (
	"net"
	"net/netip"
	"testing"
)

// One port listens and dials, as hole punching over TCP needs it.
func TestDialTCPFromAListenersPort(t *testing.T) {
	listen := func() (net.Listener, netip.AddrPort) {
		l, err := ListenTCP(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l, AddrPortOf(l.Addr())
	}
	_, ours := listen()
	there, theirs := listen()
	for _, from := range []netip.AddrPort{ours, netip.AddrPortFrom(ours.Addr(), 0), {}} {
		c, err := DialTCP(t.Context(), "tcp4", from, theirs.String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := there.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if at := AddrPortOf(got.RemoteAddr()); at.Addr() != ours.Addr() || from.Port() != 0 && at != from {
			t.Errorf("it came from %v, want %v", at, from)
		}
		_, _ = c.Close(), got.Close()
	}
}
