package netio

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBlockingDontFragment(t *testing.T) {
	for _, c := range []struct {
		network, remote    string
		level, option, set int
	}{
		{"udp4", "127.0.0.1:0", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{"udp6", "[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
	} {
		t.Run(c.network, func(t *testing.T) { // on a machine without IPv6 one of them is left out
			b := dialBlocking(t, netip.AddrPort{}, open(t, c.network, c.remote).LocalAddrPort())
			if v, err := unix.GetsockoptInt(b.fd, c.level, c.option); err != nil || v != c.set {
				t.Errorf("path MTU discovery is %d, %v; want %d", v, err, c.set)
			}
		})
	}
}
