package ice

import (
	"net/netip"

	"github.com/bradawl/bradawl/internal/ipcheck"
)

// unusable says why no check may be sent to an address that a peer named; "" if one may.
// What the peer says is no proof that the peer is there: by naming somebody else's
// address it would make us knock at that door (RFC 8445 section 19.5.1). loopback allows
// loopback addresses, for tests and demos.
//
// Refused is what is no address of one host, IPv4-mapped (to be unmapped before it comes
// here), where clouds keep the secrets of their machines, withdrawn, or a service: a port
// below 1024, other than 80 and 443 of public hosts, where peers are that only get out so.
// Private, shared and link-local addresses are fine, for peers are there. So are ranges
// for documentation, benchmarks and future use: nobody is there to be hurt.
//
// Nothing is ever sent to a candidate that is active (RFC 6544), whose port is 9: do not
// ask for such.
func unusable(a netip.AddrPort, loopback bool) string {
	ip := a.Addr().WithZone("") // or no prefix contains it
	if ip.Is4In6() {
		return "is IPv4-mapped; a candidate names the IPv4 address itself"
	}
	if why := ipcheck.Unusable(a, loopback); why != "" {
		return why
	}
	if inner, ok := embedded(ip); ok {
		ip = inner
		if why := ipcheck.Unusable(netip.AddrPortFrom(ip, a.Port()), false); why != "" {
			return why + ", behind a translator's prefix"
		}
	}
	for _, f := range forbidden {
		if f.prefix.Contains(ip) && !ip.IsLoopback() { // ::1 is within ::/96
			return f.why
		}
	}
	if p := a.Port(); p < 1024 && (p != 80 && p != 443 || !ipcheck.Public(ip)) {
		return "has a port of system services, below 1024; only 80 and 443 of public hosts are allowed"
	}
	return ""
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// embedded returns the IPv4 address that a NAT64 translates ip into (RFC 6052 section 2.1).
func embedded(ip netip.Addr) (netip.Addr, bool) {
	if !nat64.Contains(ip) {
		return netip.Addr{}, false
	}
	b := ip.As16()
	return netip.AddrFrom4([4]byte(b[12:])), true
}

const (
	metadata  = "is where a cloud keeps the secrets of a machine (metadata service)"
	withdrawn = "is of a range that no host has any more"
)

// forbidden are the ranges that no peer is in, though someone else may be.
var forbidden = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("169.254.169.0/24"), metadata},    // almost all clouds
	{netip.MustParsePrefix("169.254.170.0/24"), metadata},    // AWS containers
	{netip.MustParsePrefix("169.254.42.42/32"), metadata},    // Scaleway
	{netip.MustParsePrefix("169.254.0.23/32"), metadata},     // Tencent
	{netip.MustParsePrefix("100.100.100.200/32"), metadata},  // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},    // Azure
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},      // Oracle
	{netip.MustParsePrefix("fd00:ec2::/32"), metadata},       // AWS
	{netip.MustParsePrefix("fd20:ce::254/128"), metadata},    // Google
	{netip.MustParsePrefix("fd00:42::42/128"), metadata},     // Scaleway
	{netip.MustParsePrefix("fe80::a9fe:a9fe/128"), metadata}, // OpenStack
	{netip.MustParsePrefix("::/96"), withdrawn},              // IPv4-compatible (RFC 8445 section 5.1.1.1)
	{netip.MustParsePrefix("fec0::/10"), withdrawn},          // site-local (RFC 8445 section 5.1.1.1)
	{netip.MustParsePrefix("2002::/16"), withdrawn},          // 6to4 (RFC 7526), which holds any IPv4 address
	{netip.MustParsePrefix("100::/64"), "is of the range whose packets are discarded (RFC 6666)"},
}
