package ipcheck

import "net/netip"

var (
	thisNetwork  = netip.MustParsePrefix("0.0.0.0/8")
	broadcast    = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	carrierGrade = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
)

// Unusable says why nothing may be sent to a; "" if something may. It refuses what is
// no address of one host, and loopback addresses unless loopback is true. a is
// unmapped; a zone makes no difference.
func Unusable(a netip.AddrPort, loopback bool) string {
	ip := a.Addr().WithZone("") // netip takes "::%eth0" for specified, and no prefix contains it
	switch {
	case !ip.IsValid() || a.Port() == 0:
		return "is no address with port"
	case ip.IsUnspecified(), thisNetwork.Contains(ip), ip.IsMulticast(), ip == broadcast:
		return "is no address of one host"
	case ip.IsLoopback() && !loopback:
		return "is a loopback address; set Loopback if the peer is on this machine"
	}
	return ""
}

// Public reports whether ip, which is unmapped, may be a host on the internet: it is in
// no private, shared (RFC 6598), link-local or loopback range.
func Public(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !carrierGrade.Contains(ip.WithZone(""))
}
