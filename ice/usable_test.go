package ice

import (
	"net/netip"
	"strings"
	"testing"
)

func TestUnusable(t *testing.T) {
	for _, c := range []struct{ addr, why string }{
		{"192.0.2.1:5000", ""},
		{"192.0.2.1:1024", ""},
		{"192.0.2.1:443", ""},
		{"192.0.2.1:80", ""},
		{"[2001:db8::1]:443", ""},
		{"10.0.0.1:5000", ""},
		{"100.64.0.1:5000", ""},
		{"169.254.1.2:5000", ""},
		{"[fe80::1]:5000", ""},
		{"[fd00::1]:5000", ""},
		{"240.0.0.1:5000", ""},
		{"198.18.0.1:5000", ""},
		{"[64:ff9b::c000:201]:5000", ""}, // 192.0.2.1
		{"[64:ff9b::c000:201]:443", ""},

		{"192.0.2.1:0", "no address with port"},
		{"0.0.0.0:5000", "one host"},
		{"0.0.0.1:5000", "one host"},
		{"[::]:5000", "one host"},
		{"[::%eth0]:5000", "one host"},
		{"224.0.0.251:5000", "one host"},
		{"[ff02::fb]:5000", "one host"},
		{"255.255.255.255:5000", "one host"},
		{"127.0.0.1:5000", "loopback"},
		{"[::1]:5000", "loopback"},
		{"[::ffff:192.0.2.1]:5000", "mapped"},
		{"[::ffff:127.0.0.1]:5000", "mapped"},
		{"[::ffff:169.254.169.254]:5000", "mapped"},
		{"[::ffff:192.0.2.1%1]:5000", "mapped"},

		{"169.254.169.254:80", "metadata"},
		{"169.254.169.254:5000", "metadata"},
		{"169.254.169.253:5000", "metadata"},
		{"169.254.170.2:5000", "metadata"},
		{"169.254.42.42:5000", "metadata"},
		{"169.254.0.23:5000", "metadata"},
		{"100.100.100.200:5000", "metadata"},
		{"168.63.129.16:32526", "metadata"},
		{"192.0.0.192:5000", "metadata"},
		{"[fd00:ec2::254]:5000", "metadata"},
		{"[fd00:ec2::254%eth0]:5000", "metadata"},
		{"[fd00:ec2::23]:5000", "metadata"},
		{"[fd20:ce::254]:5000", "metadata"},
		{"[fd00:42::42]:5000", "metadata"},
		{"[fe80::a9fe:a9fe]:5000", "metadata"},
		{"[fe80::a9fe:a9fe%eth0]:5000", "metadata"},
		{"[64:ff9b::a9fe:a9fe]:5000", "metadata"},
		{"[64:ff9b::7f00:1]:5000", "loopback"},
		{"[64:ff9b::7f00:1%eth0]:5000", "loopback"},
		{"[64:ff9b::e000:1]:5000", "one host"},
		{"[::7f00:1]:5000", "no host has any more"},
		{"[fec0::1]:5000", "no host has any more"},
		{"[feff::1]:5000", "no host has any more"},
		{"[2002:7f00:1::1]:5000", "no host has any more"},
		{"[100::1]:5000", "discarded"},

		{"192.0.2.1:1", "below 1024"},
		{"192.0.2.1:22", "below 1024"},
		{"192.0.2.1:53", "below 1024"},
		{"192.0.2.1:1023", "below 1024"},
		{"10.0.0.1:80", "below 1024"},
		{"10.0.0.1:443", "below 1024"},
		{"100.64.0.1:443", "below 1024"},
		{"169.254.1.2:80", "below 1024"},
		{"[fd00::1]:443", "below 1024"},
		{"[fe80::1]:443", "below 1024"},
		{"[64:ff9b::a00:1]:443", "below 1024"}, // 10.0.0.1
	} {
		got := unusable(netip.MustParseAddrPort(c.addr), false)
		if (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s: %q, want %q", c.addr, got, c.why)
		}
	}
	for addr, why := range map[string]string{
		"127.0.0.1:5000": "", "[::1]:5000": "", "127.0.0.1:443": "below 1024", "[::1]:22": "below 1024",
		"[::ffff:127.0.0.1]:5000": "mapped", "0.0.0.0:5000": "one host", "[64:ff9b::7f00:1]:5000": "loopback",
	} {
		if got := unusable(netip.MustParseAddrPort(addr), true); (got == "") != (why == "") || !strings.Contains(got, why) {
			t.Errorf("%s, loopback allowed: %q, want %q", addr, got, why)
		}
	}
	for _, a := range []netip.AddrPort{{}, namePort(5000)} {
		if unusable(a, true) == "" {
			t.Errorf("%v is usable", a)
		}
	}
}
