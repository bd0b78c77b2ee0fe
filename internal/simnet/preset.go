package simnet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Preset is a named kind of connection to the internet.
type Preset struct {
	Name  string
	About string // one line for people
	// NATs are what is in between, from the host outwards; none: a public address.
	NATs []NATConfig
	// IPv6 adds a public IPv6 address, behind a firewall that lets answers in.
	IPv6 bool
}

var (
	symmetric = NATConfig{
		Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Random},
	}
	portRestricted = NATConfig{Filtering: AddressAndPortDependent}
	carrier        = NATConfig{
		Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Block, Block: 2048}, Hairpin: true,
		Inside: netip.MustParsePrefix("100.64.0.0/10"),
	}
)

// but returns c with what change does to it.
func (c NATConfig) but(change func(*NATConfig)) NATConfig {
	change(&c)
	return c
}

func sequential(delta int) NATConfig {
	return symmetric.but(func(c *NATConfig) { c.Ports = PortPolicy{Kind: Sequential, Delta: delta} })
}

var presets = index(
	Preset{Name: "open", About: "a public address, nothing in between"},
	Preset{Name: "firewall", About: "a public address behind a firewall that lets answers in", NATs: []NATConfig{
		{Firewall: true, Filtering: AddressAndPortDependent},
	}},
	Preset{Name: "full-cone", About: "one outside port, open to all", NATs: []NATConfig{
		{Ports: PortPolicy{Kind: Random}, Hairpin: true},
	}},
	Preset{Name: "restricted-cone", About: "one outside port, open to addresses that were sent to", NATs: []NATConfig{
		{Filtering: AddressDependent, Ports: PortPolicy{Kind: Random}, Hairpin: true},
	}},
	Preset{Name: "port-restricted-cone", About: "one outside port, open to endpoints that were sent to", NATs: []NATConfig{
		portRestricted,
	}},
	Preset{Name: "hairpin", About: "a port-restricted cone whose hosts reach each other by outside addresses", NATs: []NATConfig{
		portRestricted.but(func(c *NATConfig) { c.Hairpin = true }),
	}},
	Preset{Name: "parity-cone", About: "a port-restricted cone that keeps parity and pairs of ports", NATs: []NATConfig{
		portRestricted.but(func(c *NATConfig) { c.Ports = PortPolicy{Kind: Random, Parity: true, Contiguous: true} }),
	}},
	Preset{Name: "symmetric-random", About: "a random outside port for each remote endpoint", NATs: []NATConfig{symmetric}},
	Preset{Name: "symmetric-sequential", About: "the next outside port for each remote endpoint", NATs: []NATConfig{sequential(1)}},
	Preset{Name: "symmetric-sequential-2", About: "the next outside port but one for each remote endpoint", NATs: []NATConfig{sequential(2)}},
	Preset{Name: "symmetric-sequential-3", About: "each third outside port, one for each remote endpoint", NATs: []NATConfig{sequential(3)}},
	Preset{Name: "symmetric-descending", About: "the outside port before the last for each remote endpoint", NATs: []NATConfig{sequential(-1)}},
	Preset{Name: "symmetric-address", About: "a random outside port for each remote address", NATs: []NATConfig{
		symmetric.but(func(c *NATConfig) { c.Mapping = AddressDependent }),
	}},
	Preset{Name: "symmetric-block", About: "a random one of the host's 512 outside ports for each remote endpoint", NATs: []NATConfig{
		symmetric.but(func(c *NATConfig) { c.Ports = PortPolicy{Kind: Block, Block: 512} }),
	}},
	Preset{Name: "symmetric-preserving", About: "the inside port for each remote endpoint, unless another host has it there", NATs: []NATConfig{
		symmetric.but(func(c *NATConfig) { c.Ports = PortPolicy{Overload: true} }),
	}},
	Preset{Name: "linux", About: "Linux masquerading as it comes: the inside port, unless an early packet or another host has it", NATs: []NATConfig{
		symmetric.but(func(c *NATConfig) {
			c.Ports = PortPolicy{Overload: true}
			c.Idle, c.IdleStream, c.InboundRefresh = 30*time.Second, 120*time.Second, true
			c.TCPIdle, c.TCPTransitory, c.TCPReset, c.TCPLoose = 5*24*time.Hour, 120*time.Second, -1, true
			c.StrayUDP, c.StraySYN, c.Poison = Unreachable, Reset, true
		}),
	}},
	Preset{Name: "tcp-hostile", About: "a port-restricted cone whose TCP is symmetric, resets stray SYNs and drops simultaneous ones", NATs: []NATConfig{
		portRestricted.but(func(c *NATConfig) {
			c.TCP = &Rules{AddressAndPortDependent, AddressAndPortDependent, PortPolicy{Kind: Random}}
			c.StraySYN, c.NoSimultaneousOpen = Reset, true
		}),
	}},
	Preset{Name: "cgnat", About: "a home's port-restricted cone behind a carrier's", NATs: []NATConfig{portRestricted, carrier}},
	Preset{Name: "cgnat-symmetric", About: "a home's port-restricted cone behind a carrier's symmetric NAT", NATs: []NATConfig{
		portRestricted, carrier.but(func(c *NATConfig) { c.Mapping = AddressAndPortDependent }),
	}},
	Preset{Name: "dual-stack", About: "a port-restricted cone, and IPv6 behind a firewall", NATs: []NATConfig{portRestricted}, IPv6: true},
	Preset{Name: "udp-blocked", About: "a port-restricted cone that drops all UDP", NATs: []NATConfig{
		portRestricted.but(func(c *NATConfig) { c.BlockUDP = true }),
	}},
	Preset{Name: "only-443", About: "a port-restricted cone that drops all but TCP to port 443", NATs: []NATConfig{
		portRestricted.but(func(c *NATConfig) { c.Only443 = true }),
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
