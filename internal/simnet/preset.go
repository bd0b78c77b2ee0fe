package simnet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Preset is a named kind of connection to the internet.
type Preset struct {
	Name  string
	About string // one line for people
	Open  bool   // no NAT and no firewall
	NAT   NATConfig
}

var presets = index(
	Preset{Name: "open", About: "a public address, nothing in between", Open: true},
	Preset{Name: "firewall", About: "a public address behind a firewall that lets answers in", NAT: NATConfig{
		Firewall: true, Filtering: AddressAndPortDependent,
	}},
	Preset{Name: "full-cone", About: "one outside port, open to all", NAT: NATConfig{
		Ports: PortPolicy{Kind: Random}, Hairpin: true,
	}},
	Preset{Name: "restricted-cone", About: "one outside port, open to addresses that were sent to", NAT: NATConfig{
		Filtering: AddressDependent, Ports: PortPolicy{Kind: Random}, Hairpin: true,
	}},
	Preset{Name: "port-restricted-cone", About: "one outside port, open to endpoints that were sent to", NAT: NATConfig{
		Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Preserve},
	}},
	Preset{Name: "symmetric-random", About: "a random outside port for each remote endpoint", NAT: NATConfig{
		Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Random},
	}},
	Preset{Name: "symmetric-sequential", About: "the next outside port for each remote endpoint", NAT: NATConfig{
		Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Sequential, Delta: 1},
	}},
	Preset{Name: "symmetric-address", About: "a random outside port for each remote address", NAT: NATConfig{
		Mapping: AddressDependent, Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Random},
	}},
	Preset{Name: "udp-blocked", About: "a firewall that drops all UDP", NAT: NATConfig{
		Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Preserve}, BlockUDP: true,
	}},
)

func index(all ...Preset) map[string]Preset {
	m := make(map[string]Preset, len(all))
	for _, p := range all {
		m[p.Name] = p
	}
	return m
}

// PresetNames lists the names that PresetByName knows, sorted.
func PresetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// PresetByName finds a preset; the error for an unknown name lists the known ones.
func PresetByName(name string) (Preset, error) {
	p, ok := presets[name]
	if !ok {
		return Preset{}, fmt.Errorf("unknown NAT preset %q: choose one of %s", name, strings.Join(PresetNames(), ", "))
	}
	return p, nil
}

// Site is a host on the internet by way of a preset.
type Site struct {
	*Host
	NAT *NAT // nil where nothing is in between
}

// AddSite puts a host named name on the internet behind what the preset named says.
// access is the link to the internet, both ways; the network inside costs nothing.
func (w *World) AddSite(name, preset string, access Link) (*Site, error) {
	p, err := PresetByName(preset)
	if err != nil {
		return nil, err
	}
	return w.AddSiteOf(name, p, access)
}

// AddSiteOf is AddSite for a preset of one's own.
func (w *World) AddSiteOf(name string, p Preset, access Link) (*Site, error) {
	if p.Open {
		return &Site{Host: w.AddHost(name, w.internet, access)}, nil
	}
	inside, outside := w.siteAddrs(p.NAT.Firewall)
	nat, err := w.AddNAT(name+"'s NAT", w.internet, p.NAT, access, outside...)
	if err != nil {
		return nil, err
	}
	return &Site{Host: w.AddHost(name, nat.Inside(), Link{}, inside), NAT: nat}, nil
}

// siteAddrs gives out the address of a site's host and, for a firewall, the public
// prefix that it lies in: of 198.51.100.0/24 of the documentation ranges, then of
// 198.19.0.0/16. Private addresses of different sites differ as long as they last.
func (w *World) siteAddrs(firewall bool) (inside netip.Addr, outside []netip.Prefix) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.counts.site
	w.counts.site++
	if !firewall {
		return netip.AddrFrom4([4]byte{192, 168, byte(n), 2}), nil
	}
	inside = netip.AddrFrom4([4]byte{198, 51, 100, byte(4*n + 2)})
	if n >= 64 {
		inside = netip.AddrFrom4([4]byte{198, 19, byte(n >> 6), byte(4*n + 2)})
	}
	return inside, []netip.Prefix{netip.PrefixFrom(inside, 30).Masked()}
}
