package simnet

import (
	"fmt"
	"net/netip"
)

// Site is a host on a network by way of a preset.
type Site struct {
	*Host
	NATs      []*NAT // what is in between, from the host outwards
	NAT       *NAT   // the outermost of them, which the internet sees; nil where there is none
	Firewall6 *NAT   // what is in between for IPv6; nil where there is none
}

// LAN is the network that the site's host is on, for more hosts.
func (s *Site) LAN() *Network { return s.Iface().net }

// AddSite puts a host named name on the internet behind what the preset named says.
// access is the link to the internet, both ways; the networks inside cost nothing.
func (w *World) AddSite(name, preset string, access Link) (*Site, error) {
	return w.internet.AddSite(name, preset, access)
}

// AddSiteOf is AddSite for a preset of one's own.
func (w *World) AddSiteOf(name string, p Preset, access Link) (*Site, error) {
	return w.internet.AddSiteOf(name, p, access)
}

// AddSite is World.AddSite for a site within a network: a subscriber behind a shared
// carrier NAT.
func (n *Network) AddSite(name, preset string, access Link) (*Site, error) {
	p, err := PresetByName(preset)
	if err != nil {
		return nil, err
	}
	return n.AddSiteOf(name, p, access)
}

// AddSiteOf is AddSite for a preset of one's own.
func (n *Network) AddSiteOf(name string, p Preset, access Link) (*Site, error) {
	if p.IPv6 && len(p.NATs) == 0 {
		return nil, fmt.Errorf("simnet: preset %q: IPv6 needs a NAT for IPv4 beside its firewall", p.Name)
	}
	s := &Site{NATs: make([]*NAT, len(p.NATs))}
	lan, link := n, access
	for i := len(p.NATs) - 1; i >= 0; i-- {
		var outside []netip.Prefix
		if p.NATs[i].Firewall {
			outside = []netip.Prefix{n.w.publicPrefix()}
		}
		device := name + "'s NAT"
		if i > 0 {
			device = name + "'s carrier NAT"
		}
		nat, err := n.w.AddNAT(device, lan, p.NATs[i], link, outside...)
		if err != nil {
			return nil, err
		}
		s.NATs[i], lan, link = nat, nat.Inside(), Link{}
	}
	if len(s.NATs) > 0 {
		s.NAT = s.NATs[len(s.NATs)-1]
	}
	if p.IPv6 {
		wall := NATConfig{Firewall: true, Filtering: AddressAndPortDependent}
		var err error
		if s.Firewall6, err = n.w.JoinNAT(name+"'s IPv6 firewall", lan, n, wall, access, n.w.publicPrefix6()); err != nil {
			return nil, err
		}
	}
	s.Host = n.w.AddHost(name, lan, link)
	return s, nil
}

// What is given out on the internet are addresses of the documentation and benchmark
// ranges. 192.0.2.0/24 and 198.51.100.0/24 are left to those who name addresses.
var (
	publicPools = [...]string{"203.0.113.0/24", "198.18.0.0/16"} // hosts and NATs
	walled4     = netip.MustParsePrefix("198.19.0.0/28")         // the first network behind a firewall
	walled6     = netip.MustParsePrefix("2001:db8:1::/64")
)

// privatePrefix gives out networks for the inside of NATs. Those of different NATs
// differ as long as they last.
func (w *World) privatePrefix() netip.Prefix {
	w.counts.private++
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(w.counts.private - 1), 0}), 24)
}

// publicPrefix gives out networks for what is behind firewalls.
func (w *World) publicPrefix() netip.Prefix {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := walled4.Addr().As4()
	a[2], a[3] = byte(w.counts.walled4>>4), byte(w.counts.walled4<<4)
	w.counts.walled4++
	return netip.PrefixFrom(netip.AddrFrom4(a), walled4.Bits())
}

// publicPrefix6 is publicPrefix for IPv6.
func (w *World) publicPrefix6() netip.Prefix {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.walled6++
	a := walled6.Addr().As16()
	a[4], a[5] = byte(w.counts.walled6>>8), byte(w.counts.walled6)
	return netip.PrefixFrom(netip.AddrFrom16(a), walled6.Bits())
}
