package netio

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBlockingDontFragment(t *testing.T) {
	for _, c := range []struct {
		remote             string
		level, option, set int
	}{
		{"127.0.0.1:9", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{"[::1]:9", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
	} {
		b := dialBlocking(t, netip.AddrPort{}, netip.MustParseAddrPort(c.remote))
		if v, err := unix.GetsockoptInt(b.fd, c.level, c.option); err != nil || v != c.set {
			t.Errorf("to %s: path MTU discovery is %d, %v; want %d", c.remote, v, err, c.set)
		}
	}
}
