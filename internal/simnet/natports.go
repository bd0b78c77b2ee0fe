package simnet

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"
)

// allocator gives out outside ports by a PortPolicy. free asks whether a port of
// the outside address at hand can be taken.
type allocator struct {
	policy PortPolicy
	rand   *rand.Rand
	next   map[counterKey]*counter
	blocks map[netip.Addr]uint16 // inside address to the first port of its block
}

type counterKey struct {
	proto   Proto
	outside netip.Addr
}

type counter struct {
	port int
	at   time.Time
}

func newAllocator(p PortPolicy, r *rand.Rand) allocator {
	return allocator{policy: p, rand: r, next: make(map[counterKey]*counter), blocks: make(map[netip.Addr]uint16)}
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
		return a.random(p.Low, p.High, inside.Port(), free)
	case Sequential:
		return a.sequential(now, counterKey{proto, outside}, inside.Port(), free)
	case Block:
		low, ok := a.blocks[inside.Addr()]
		if !ok {
			blocks := (int(p.High) - int(p.Low) + 1) / p.Block
			low = p.Low + uint16(a.rand.IntN(blocks)*p.Block)
			a.blocks[inside.Addr()] = low
		}
		return a.random(low, low+uint16(p.Block-1), inside.Port(), free)
	}
	return a.random(p.Low, p.High, inside.Port(), free)
}

func (a *allocator) random(low, high, like uint16, free func(uint16) bool) (uint16, bool) {
	n := int(high) - int(low) + 1
	for range tries {
		port := low + uint16(a.rand.IntN(n))
		if a.fits(port, like) && free(port) {
			return port, true
		}
	}
	return 0, false
}

func (a *allocator) sequential(now time.Time, key counterKey, like uint16, free func(uint16) bool) (uint16, bool) {
	p := a.policy
	n := int(p.High) - int(p.Low) + 1
	c := a.next[key]
	if c == nil {
		c = &counter{port: a.rand.IntN(n), at: now}
		a.next[key] = c
	}
	c.step(p.Delta*poisson(a.rand, p.CrossTraffic*now.Sub(c.at).Seconds()), n)
	c.at = now
	for range n {
		c.step(p.Delta, n)
		if port := p.Low + uint16(c.port); a.fits(port, like) && free(port) {
			return port, true
		}
	}
	return 0, false
}

func (c *counter) step(by, n int) { c.port = ((c.port+by)%n + n) % n }

func (a *allocator) fits(port, like uint16) bool {
	return !a.policy.Parity || port%2 == like%2
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
