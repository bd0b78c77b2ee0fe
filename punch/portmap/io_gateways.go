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
	routers6 := routers6()
	var all []Gateway
	for _, l := range links {
		router := l.Gateway.Unmap()
		for _, h := range hosts {
			if h.Interface != l.Name {
				continue
			}
			i := slices.IndexFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Contains(h.Addr) })
			switch {
			case h.Addr.Is6():
				if r, ok := routers6[l.Name]; ok && !h.Addr.IsPrivate() {
					all = append(all, Gateway{Addr: r, Local: h.Addr})
				}
			case i < 0:
			case router.Is4() && l.Prefixes[i].Contains(router):
				all = append(all, Gateway{Addr: router, Local: h.Addr})
			case guesses && h.Addr.IsPrivate() && l.Prefixes[i].Bits() < 31:
				if first := l.Prefixes[i].Masked().Addr().Next(); first != h.Addr {
					all = append(all, Gateway{Addr: first, Local: h.Addr})
				}
			}
		}
	}
	return all, nil
}
