package portmap

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/bradawl/bradawl/internal/netio"
)

func TestRoutes6(t *testing.T) {
	const table = `20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000800 00000001 00000000 00450003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 00000001 00000000 00450003     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
short
`
	got := parseRoutes6(table)
	if len(got) != 2 || got["eth0"] != netip.MustParseAddr("fe80::1%eth0") || got["eth1"] != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("%v", got)
	}
	if _, err := systemGateways(); err != nil { // whatever this machine has
		t.Error(err)
	}
}

func TestGatewaysOf(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	links := []netio.LinkInfo{
		{Name: "eth0", Prefixes: []netip.Prefix{prefix("10.0.0.0/8"), prefix("192.168.1.0/24"), prefix("2001:db8::/64")}, Gateway: addr("192.168.1.1")},
		{Name: "up", Prefixes: []netip.Prefix{prefix("192.168.2.2/32")}, Gateway: addr("192.168.2.1")},
		{Name: "none", Prefixes: []netip.Prefix{prefix("172.16.0.0/12")}},
	}
	hosts := []netio.HostAddr{
		{Addr: addr("10.1.1.1"), Interface: "eth0"}, {Addr: addr("192.168.1.2"), Interface: "eth0"}, {Addr: addr("2001:db8::2"), Interface: "eth0"},
		{Addr: addr("fd00::2"), Interface: "eth0"}, {Addr: addr("192.168.2.2"), Interface: "up"}, {Addr: addr("172.16.1.1"), Interface: "none"},
	}
	got := gatewaysOf(links, hosts, map[string]netip.Addr{"eth0": addr("fe80::1%eth0")})
	want := []Gateway{
		{addr("fe80::1%eth0"), addr("2001:db8::2")}, {addr("192.168.1.1"), addr("192.168.1.2")}, {addr("192.168.2.1"), addr("192.168.2.2")},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
