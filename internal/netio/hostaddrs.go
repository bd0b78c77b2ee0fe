package netio

import (
	"fmt"
	"net"
	"net/netip"
)

// HostAddr is one address of this host.
type HostAddr struct {
	Addr      netip.Addr // never IPv4-mapped, no zone
	Interface string     // name of the interface; empty: unknown
}

// AddrLister returns the host's addresses, usable or not. [SystemAddrs] is the
// usual one; an app that knows better (on Android 11 and later the system
// refuses to enumerate interfaces to Go) brings its own.
type AddrLister func() ([]HostAddr, error)

// HostAddrs returns the addresses that a peer could reach this host at: those
// of list (nil: [SystemAddrs]) that are unicast, in list's order and without
// repetition. Left out are loopback, unspecified and multicast addresses,
// IPv6 link-local ones, which mean nothing without this host's zone, and the
// deprecated site-local range (RFC 8445 section 5.1.1.1).
func HostAddrs(list AddrLister) ([]HostAddr, error) {
	if list == nil {
		list = SystemAddrs
	}
	all, err := list()
	if err != nil {
		return nil, fmt.Errorf("netio: list the host's addresses: %w", err)
	}
	var usable []HostAddr
	seen := make(map[netip.Addr]bool, len(all))
	for _, h := range all {
		h.Addr = h.Addr.Unmap().WithZone("")
		if !isUsable(h.Addr) || seen[h.Addr] {
			continue
		}
		seen[h.Addr] = true
		usable = append(usable, h)
	}
	return usable, nil
}

var (
	siteLocal        = netip.MustParsePrefix("fec0::/10")
	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

func isUsable(a netip.Addr) bool {
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a == limitedBroadcast:
		return false
	case a.Is6() && (a.IsLinkLocalUnicast() || siteLocal.Contains(a)):
		return false
	}
	return true
}

// SystemAddrs lists the addresses of the interfaces that are up. Where the
// system refuses to enumerate them, it returns the source addresses of the
// default routes instead, which is what most hosts have anyway.
// Those have no Interface.
func SystemAddrs() ([]HostAddr, error) {
	return systemAddrs(net.Interfaces, (*net.Interface).Addrs, routeAddrs)
}

func systemAddrs(
	interfaces func() ([]net.Interface, error), addrsOf func(*net.Interface) ([]net.Addr, error), fallback func(cause error) ([]HostAddr, error),
) ([]HostAddr, error) {
	all, err := interfaces()
	if err != nil {
		return fallback(err)
	}
	var list []HostAddr
	var refused error
	for _, ifi := range all {
		if ifi.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := addrsOf(&ifi)
		if err != nil {
			refused = err // or it went away meanwhile
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if addr, ok := netip.AddrFromSlice(n.IP); ok {
					list = append(list, HostAddr{Addr: addr, Interface: ifi.Name})
				}
			}
		}
	}
	if list == nil && refused != nil {
		return fallback(refused)
	}
	return list, nil
}

// routeAddrs asks which source address the system would use towards an address
// far away. Connecting a UDP socket sends nothing.
func routeAddrs(cause error) ([]HostAddr, error) {
	var list []HostAddr
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		c, err := net.Dial("udp", far)
		if err != nil {
			continue // no route for this family
		}
		list = append(list, HostAddr{Addr: AddrPortOf(c.LocalAddr()).Addr()})
		_ = c.Close()
	}
	if list == nil {
		return nil, fmt.Errorf("no default route either: %w", cause)
	}
	return list, nil
}
