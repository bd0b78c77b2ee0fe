package portmap

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/bradawl/bradawl/internal/netio"
)

// systemGateways finds this host's routers: by its routes where the system tells them.
func systemGateways() ([]Gateway, error) {
	links, err := netio.SystemLinks()
	if err != nil {
		return nil, fmt.Errorf("portmap: %w", err)
	}
	hosts, err := netio.HostAddrs(nil)
	if err != nil {
		return nil, fmt.Errorf("portmap: %w", err)
	}
	return gatewaysOf(links, hosts, routers6()), nil
}

// gatewaysOf joins what is known: for each interface with a router, the address towards
// it.
func gatewaysOf(links []netio.LinkInfo, hosts []netio.HostAddr, routers6 map[string]netip.Addr) (all []Gateway) {
	for _, l := range links {
		var own4, near4 netip.Addr // the first, and the first in the router's own network
		router := l.Gateway.Unmap()
		for _, h := range hosts {
			if h.Interface != l.Name {
				continue
			}
			if h.Addr.Is6() {
				if r, ok := routers6[l.Name]; ok && !h.Addr.IsPrivate() {
					all = append(all, Gateway{Addr: r, Local: h.Addr})
				}
				continue
			}
			if !own4.IsValid() {
				own4 = h.Addr
			}
			i := slices.IndexFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Contains(h.Addr) })
			if i < 0 || near4.IsValid() {
				continue
			}
			p := l.Prefixes[i]
			if guesses && !router.IsValid() && h.Addr.IsPrivate() && p.Bits() < 31 && p.Masked().Addr().Next() != h.Addr {
				router = p.Masked().Addr().Next()
			}
			if p.Contains(router) {
				near4 = h.Addr
			}
		}
		if !near4.IsValid() {
			near4 = own4
		}
		if router.Is4() && near4.IsValid() {
			all = append(all, Gateway{Addr: router, Local: near4})
		}
	}
	return all
}
