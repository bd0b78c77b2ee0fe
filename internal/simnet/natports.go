package simnet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"
)

// PortPolicy is how a NAT chooses the outside port of a new mapping.
type PortPolicy struct {
	Kind  PortKind
	Low   uint16 // least port given out; 0: 1024
	High  uint16 // greatest port given out; 0: 65535
	Delta int    // Sequential: the step, which may be negative; 0: 1
	Block int    // Block: ports in the block that one inside address gets; 0: 512

	// CrossTraffic is how many mappings a second other hosts behind the same
	// NAT make, on average. They take ports of Sequential and nothing else.
	CrossTraffic float64
	// Parity keeps an even port even and an odd one odd (RFC 4787 REQ 4).
	Parity bool
	// Contiguous gives inside port 2n+1 the port after the one that 2n has, where free.
	Contiguous bool
	// Overload lets mappings share an outside port as long as their remotes
	// differ, as Linux does. It needs AddressAndPortDependent mapping.
	Overload bool
}

// PortKind is the sort of a PortPolicy.
type PortKind uint8

// The sorts of port allocation.
const (
	Preserve   PortKind = iota // the inside port where free, else a random one
	Sequential                 // the last port given out plus Delta
	Random                     // any free port between Low and High
	Block                      // any free port of the inside address's block
)

// String returns the sort's name in lower case.
func (k PortKind) String() string {
	return [...]string{"preserve", "sequential", "random", "block"}[k]
}

func (p PortPolicy) withDefaults(mapping Behavior) (PortPolicy, error) {
	if p.Low == 0 {
		p.Low = 1024
	}
	if p.High == 0 {
		p.High = 65535
	}
	if p.Delta == 0 {
		p.Delta = 1
	}
	if p.Block == 0 {
		p.Block = 512
	}
	switch {
	case p.Low > p.High:
		return p, fmt.Errorf("simnet: NAT port range %d-%d is empty", p.Low, p.High)
	case p.Kind == Block && (p.Block < 0 || p.Block > p.size()):
		return p, fmt.Errorf("simnet: NAT block of %d ports does not fit into %d-%d", p.Block, p.Low, p.High)
	case p.Overload && mapping != AddressAndPortDependent:
		return p, fmt.Errorf("simnet: NAT ports can be overloaded only under address-and-port-dependent mapping, not %v", mapping)
	}
	return p, nil
}

// size is the number of ports in the range.
func (p *PortPolicy) size() int { return int(p.High) - int(p.Low) + 1 }

// fits tells whether port may stand for the inside port like.
func (p *PortPolicy) fits(port, like uint16) bool { return !p.Parity || port%2 == like%2 }

// allocator gives out outside ports by a PortPolicy. free asks whether a port of
// the outside address at hand can be taken.
type allocator struct {
	policy PortPolicy
	rand   *rand.Rand
	next   map[counterKey]*counter
	blocks map[pairing]int // which block an inside address has
	taken  map[block]bool
}

type counterKey struct {
	proto   Proto
	outside netip.Addr
}

type counter struct {
	port int
	at   time.Time
}

type pairing struct{ inside, outside netip.Addr }

type block struct {
	outside netip.Addr
	n       int
}

func newAllocator(p PortPolicy, r *rand.Rand) *allocator {
	return &allocator{policy: p, rand: r, next: make(map[counterKey]*counter), blocks: make(map[pairing]int), taken: make(map[block]bool)}
}

// tries bounds the search for a free random port; a NAT whose range is this full
// drops the packet, as real ones do.
const tries = 128

func (a *allocator) port(now time.Time, proto Proto, inside netip.AddrPort, outside netip.Addr, free func(uint16) bool) (uint16, bool) {
	p := a.policy
	switch p.Kind {
	case Preserve:
		if free(inside.Port()) {
			return inside.Port(), true
		}
	case Sequential:
		return a.sequential(now, counterKey{proto, outside}, inside.Port(), free)
	case Block:
		n, ok := a.block(inside.Addr(), outside)
		if !ok {
			return 0, false
		}
		low := p.Low + uint16(n*p.Block)
		return a.random(low, low+uint16(p.Block-1), inside.Port(), free)
	}
	return a.random(p.Low, p.High, inside.Port(), free)
}

func (a *allocator) random(low, high, like uint16, free func(uint16) bool) (uint16, bool) {
	n := int(high) - int(low) + 1
	for range tries {
		port := low + uint16(a.rand.IntN(n))
		if a.policy.fits(port, like) && free(port) {
			return port, true
		}
	}
	return 0, false
}

func (a *allocator) sequential(now time.Time, key counterKey, like uint16, free func(uint16) bool) (uint16, bool) {
	p := a.policy
	n := p.size()
	c := a.next[key]
	if c == nil {
		c = &counter{port: a.rand.IntN(n), at: now}
		a.next[key] = c
	}
	c.step(p.Delta*poisson(a.rand, p.CrossTraffic*now.Sub(c.at).Seconds()), n)
	c.at = now
	for range n {
		c.step(p.Delta, n)
		port := p.Low + uint16(c.port)
		if !p.fits(port, like) {
			// Its neighbour, for a step of two would never come to the other parity.
			if port ^= 1; port < p.Low || port > p.High {
				continue
			}
		}
		if free(port) {
			return port, true
		}
	}
	return 0, false
}

func (c *counter) step(by, n int) { c.port = ((c.port+by)%n + n) % n }

// block finds the block of an inside address: its own as long as the NAT runs, and
// none where all are given out.
func (a *allocator) block(inside, outside netip.Addr) (int, bool) {
	own := pairing{inside, outside}
	if n, ok := a.blocks[own]; ok {
		return n, true
	}
	all := a.policy.size() / a.policy.Block
	first := a.rand.IntN(all)
	for i := range all {
		b := block{outside, (first + i) % all}
		if !a.taken[b] {
			a.taken[b] = true
			a.blocks[own] = b.n
			return b.n, true
		}
	}
	return 0, false
}

// poisson draws how many events happen where mean are expected.
func poisson(r *rand.Rand, mean float64) int {
	if mean <= 0 {
		return 0
	}
	if mean > 50 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	limit, product := math.Exp(-mean), 1.0
	for n := 0; ; n++ {
		product *= r.Float64()
		if product <= limit {
			return n
		}
	}
}
