package bradawl

import (
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

// named is a preset by another name, for a table.
func named(p *simnet.Preset, name string) *simnet.Preset {
	other := *p
	other.Name = name
	return &other
}

// surveyed runs until both sides know their NATs, and what their routers map.
func (w *world) surveyed() {
	w.RunUntil(15*time.Second, func() bool {
		for _, p := range w.peers {
			if nat := p.report.Profile(); !nat.Mapped.IsValid() && nat.Type != natprobe.TypeUDPBlocked || p.router != nil && !p.isMapped() {
				return false
			}
		}
		return true
	})
}

// routedPairs have routers that map ports. Whatever else the NATs do, a mapped port is one
// that can be known: nothing has to be guessed.
func routedPairs(t *testing.T) []hardPair {
	pcp, pmp, upnp := simnet.GatewayConfig{PCP: true}, simnet.GatewayConfig{NATPMP: true}, simnet.GatewayConfig{UPnP: true}
	random, cone := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), namedPreset(t, "port-restricted-cone")
	block := hardNAT(simnet.PortPolicy{Kind: simnet.Block, Block: 512})
	by := func(p *simnet.Preset, router string) *simnet.Preset { return named(p, p.Name+", "+router) }
	pairs := []hardPair{
		{a: by(random, "PCP"), b: by(random, "UPnP"), with: routers(pcp, upnp)},
		{a: by(random, "NAT-PMP"), b: random, with: routers(pmp, simnet.GatewayConfig{})},
		{a: random, b: by(random, "PCP"), with: routers(simnet.GatewayConfig{}, pcp)},
		{a: random, b: by(random, "UPnP"), with: routers(simnet.GatewayConfig{}, upnp)},
		{a: by(random, "PCP"), b: sequence(1, 5), with: routers(pcp, simnet.GatewayConfig{})},
		{a: by(sequence(1, 5), "PCP"), b: random, with: routers(pcp, simnet.GatewayConfig{})},
		{a: by(random, "PCP"), b: cone, with: routers(pcp, simnet.GatewayConfig{})},
		{a: by(cone, "PCP"), b: random, with: routers(pcp, simnet.GatewayConfig{})},
		{a: random, b: by(cone, "UPnP"), with: routers(simnet.GatewayConfig{}, upnp)},
		{a: by(block, "PCP"), b: block, with: routers(pcp, simnet.GatewayConfig{})},
		{a: by(random, "PCP"), b: namedPreset(t, "cgnat-symmetric"), with: routers(pcp, simnet.GatewayConfig{})},
	}
	for i := range pairs {
		pairs[i].quiet = true
	}
	// What the home's router maps is the carrier's inside: nobody on the internet gets there.
	return append(pairs, hardPair{a: by(namedPreset(t, "cgnat"), "PCP in the home"), b: random, with: routers(pcp, simnet.GatewayConfig{})})
}

// nearPairs are behind one NAT, or behind carriers' beside their own.
func nearPairs(t *testing.T) []hardPair {
	carrier := func(change func(*simnet.NATConfig)) *simnet.Preset {
		c := namedPreset(t, "cgnat").NATs[1]
		change(&c)
		return &simnet.Preset{NATs: []simnet.NATConfig{c}}
	}
	cgnat, cone := namedPreset(t, "cgnat"), namedPreset(t, "port-restricted-cone")
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	same := func(name string) (a, b *simnet.Preset) {
		return &simnet.Preset{Name: name}, &simnet.Preset{Name: "the same"}
	}
	home := func(p *simnet.Preset) *simnet.Preset { return named(p, p.Name+" behind a CGNAT") }
	other := func(p *simnet.Preset) *simnet.Preset { return named(p, p.Name+" behind the same CGNAT") }
	oneCarrier := behindOne(carrier(func(*simnet.NATConfig) {}))
	hidden := func(o *worldOptions) { o.config = func(c *controlConfig) { c.policy = NoHost } }
	outside := func(p Path) bool { return ipcheck.Public(p.Remote.Addr()) }
	pair := func(a, b *simnet.Preset, with ...func(*worldOptions)) hardPair {
		return hardPair{a: a, b: b, with: func(o *worldOptions) {
			for _, fn := range with {
				fn(o)
			}
		}, path: outside}
	}
	var pairs []hardPair
	for _, name := range []string{"port-restricted-cone", "symmetric-random"} {
		a, b := same(name)
		pairs = append(pairs, pair(a, b, behindOne(namedPreset(t, name))))
		pairs[len(pairs)-1].path = func(p Path) bool { return p.Remote.Addr().IsPrivate() }
	}
	for _, name := range []string{"hairpin", "restricted-cone", "full-cone"} {
		a, b := same(name + ", no host addresses told")
		pairs = append(pairs, pair(a, b, behindOne(namedPreset(t, name)), hidden))
	}
	return append(pairs,
		pair(home(cone), other(cone), oneCarrier),
		pair(home(random), other(cone), oneCarrier),
		pair(cgnat, cgnat),
		pair(namedPreset(t, "cgnat-symmetric"), cgnat),
	)
}

// otherPairs get through by what is not UDP over IPv4.
func otherPairs(t *testing.T) (pairs []hardPair) {
	tcp := func(p Path) bool { return p.Protocol == "tcp" }
	blocked := namedPreset(t, "udp-blocked")
	for _, name := range []string{"open", "full-cone", "restricted-cone", "port-restricted-cone", "firewall", "cgnat", "udp-blocked"} {
		pairs = append(pairs, hardPair{a: blocked, b: namedPreset(t, name), with: withTCP, path: tcp})
	}
	pairs = append(pairs, hardPair{a: namedPreset(t, "port-restricted-cone"), b: blocked, with: withTCP, path: tcp})
	pairs = append(pairs, tcpPairs(t)...)
	random, pcp := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), simnet.GatewayConfig{PCP: true}
	for side, p := range [][2]*simnet.Preset{{named(blocked, "udp-blocked, PCP"), random}, {blocked, named(random, random.Name+", PCP")}} {
		pairs = append(pairs, hardPair{a: p[0], b: p[1], with: func(o *worldOptions) { o.tcp, o.routers[side] = true, pcp }, path: tcp})
	}
	wall := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	wall.IPv6 = true
	return append(pairs, hardPair{a: named(wall, "IPv6 firewall, IPv4 symmetric random"), b: named(wall, "the like"),
		with: func(o *worldOptions) { o.ipv6 = true }, path: func(p Path) bool { return p.Remote.Addr().Is6() }})
}

// allPairs are the rows of the table that theory has a way through for.
func allPairs(t *testing.T) []hardPair {
	return slices.Concat(hardPairs(t), routedPairs(t), nearPairs(t), otherPairs(t))
}
