package bradawl

import (
	"testing"

	"github.com/bradawl/bradawl/internal/simnet"
)

// noUDP is a NAT that lets no UDP pass, and treats TCP by its rules.
func noUDP(p *simnet.Preset) *simnet.Preset {
	q := *p
	q.Name += ", UDP blocked"
	q.NATs = append([]simnet.NATConfig(nil), p.NATs...)
	q.NATs[0].BlockUDP = true
	return &q
}

// tcpPairs have one NAT that gives each connection of TCP another port, which can be foretold,
// and no UDP on one side or both.
func tcpPairs(t *testing.T) (pairs []hardPair) {
	tcp := func(p Path) bool { return p.Protocol == "tcp" }
	blocked := namedPreset(t, "udp-blocked")
	add := func(a, b *simnet.Preset) { pairs = append(pairs, hardPair{a: a, b: b, with: withTCP, path: tcp}) }
	for _, hard := range []*simnet.Preset{sequence(1, 0), sequence(1, 20), sequence(3, 5), sequence(-1, 0), namedPreset(t, "symmetric-preserving")} {
		add(blocked, hard)
		add(hard, blocked)
	}
	hard := noUDP(sequence(1, 5))
	add(hard, namedPreset(t, "port-restricted-cone"))
	add(namedPreset(t, "cgnat"), hard)
	add(hard, namedPreset(t, "open"))
	add(hard, blocked)
	return pairs
}
