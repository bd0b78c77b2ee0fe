package ipcheck

import (
	"net/netip"
	"strings"
	"testing"
)

func TestUnusable(t *testing.T) {
	for _, c := range []struct{ addr, why string }{
		{"192.0.2.1:1", ""},
		{"10.0.0.1:5000", ""},
		{"169.254.1.2:5000", ""},
		{"[2001:db8::1]:5000", ""},
		{"[fe80::1]:5000", ""},
		{"[fe80::1%eth0]:5000", ""},
		{"192.0.2.1:0", "no address with port"},
		{"0.0.0.0:5000", "one host"},
		{"0.1.2.3:5000", "one host"},
		{"[::]:5000", "one host"},
		{"[::%eth0]:5000", "one host"},
		{"224.0.0.1:5000", "one host"},
		{"[ff02::1]:5000", "one host"},
		{"[ff02::1%eth0]:5000", "one host"},
		{"255.255.255.255:5000", "one host"},
		{"127.0.0.1:5000", "loopback"},
		{"127.255.0.1:5000", "loopback"},
		{"[::1]:5000", "loopback"},
		{"[::1%lo]:5000", "loopback"},
	} {
		a := netip.MustParseAddrPort(c.addr)
		if got := Unusable(a, false); (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s: %q, want %q", c.addr, got, c.why)
		}
		if c.why == "loopback" {
			c.why = ""
		}
		if got := Unusable(a, true); (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s, loopback allowed: %q, want %q", c.addr, got, c.why)
		}
	}
	if Unusable(netip.AddrPort{}, true) == "" {
		t.Error("the zero value may be sent to")
	}
}

func TestPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "192.0.2.1": true, "2001:db8::1": true, "100.63.255.255": true, "100.128.0.0": true,
		"10.1.2.3": false, "172.16.0.1": false, "192.168.0.1": false, "fd00::1": false, "100.64.0.0": false, "100.127.255.255": false,
		"169.254.1.1": false, "fe80::1": false, "127.0.0.1": false, "::1": false, "0.0.0.0": false, "224.0.0.1": false,
		"255.255.255.255": false, "fd00::1%eth0": false,
	} {
		if got := Public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Public(%s) = %t", addr, got)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("the zero value is public")
	}
}
