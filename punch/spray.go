package punch

import (
	"iter"
	"math/bits"

	"github.com/bradawl/bradawl/natprobe"
)

// Ports that NATs give out: below, services live (RFC 4787 REQ 3a).
const (
	firstPort = 1024
	lastPort  = 65535
	// AllPorts is how many ports a NAT has to choose from where nothing more is known.
	AllPorts = lastPort - firstPort + 1
)

// PortRange is where the outside ports of a NAT lie. The zero value is all of them.
type PortRange struct {
	// Low and High are the least and the greatest, as estimated; 0 or crossed: 1024 and 65535.
	Low, High uint16
	// Even says that only even ones matter, as the NAT keeps parity and the side behind it
	// binds its sockets to even ports.
	Even bool
}

// RangeOf is the range that a NAT with the profile takes the next port from.
func RangeOf(p natprobe.Profile) PortRange {
	r := PortRange{Even: p.Ports.Parity == natprobe.Yes}
	if m := p.Ports.Model; m == natprobe.PortsBlock || m == natprobe.PortsRandom {
		r.Low, r.High = p.Ports.Low, p.Ports.High
		if low, high := r.bounds(); m == natprobe.PortsRandom && high-low+1 > AllPorts*3/4 {
			r.Low, r.High = 0, 0 // an estimate that is so close to all is all
		}
	}
	return r
}

// bounds are the least and the greatest port, such that 1024 <= low <= high <= 65535.
func (r PortRange) bounds() (low, high int) {
	low, high = max(int(r.Low), firstPort), int(r.High)
	if r.Low == 0 && r.High == 0 || low > high {
		return firstPort, lastPort
	}
	return low, high
}

// Size is how many ports there are, at least 1.
func (r PortRange) Size() int {
	low, high := r.bounds()
	if !r.Even {
		return high - low + 1
	}
	return max(1, high/2-(low+1)/2+1)
}

// spray gives out the ports of a range, each once: first those in the middle of the range
// in a random order, then what lies around them from the inside out, up to an eighth of
// the range beyond its ends, for these are estimates. All ports have no such margin. The
// value is an iterator; a copy of it goes on by itself. It allocates nothing.
type spray struct {
	step      int // 2: even ones only
	base      int // of the core
	n         int // ports of the core
	next      uint32
	bits      int
	key       [2]uint32
	left      int // the next ports outside of the core, downwards and upwards
	right     int
	low, high int // where these end
}

// newSpray starts with a range and a seed, of which the order depends.
func newSpray(r PortRange, seed uint64) spray {
	low, high := r.bounds()
	s := spray{step: 1, low: low, high: high, key: [2]uint32{uint32(seed), uint32(seed >> 32)}}
	from, to := low, high
	if low != firstPort || high != lastPort {
		margin := (high - low + 1) / 8
		from, to = low+margin, high-margin
		s.low, s.high = max(firstPort, low-margin), min(lastPort, high+margin)
	}
	if r.Even {
		s.step = 2
		from += from & 1
		to -= to & 1
		if from > to { // one odd port: its neighbour below, for above the last there is none
			from = to
		}
	}
	s.base, s.n = from, (to-from)/s.step+1
	s.bits = bits.Len(uint(s.n - 1))
	s.left, s.right = from-s.step, to+s.step
	return s
}

// Next returns the next port; false: there are no more.
func (s *spray) Next() (uint16, bool) {
	for s.next < 1<<s.bits {
		i := int(s.mix(s.next))
		s.next++
		if i < s.n {
			return uint16(s.base + i*s.step), true
		}
	}
	down, up := s.left >= s.low, s.right <= s.high
	switch {
	case down && (!up || s.base-s.left <= s.right-s.base-(s.n-1)*s.step):
		s.left -= s.step
		return uint16(s.left + s.step), true
	case up:
		s.right += s.step
		return uint16(s.right - s.step), true
	}
	return 0, false
}

// All is the rest of the ports.
func (s spray) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for {
			port, ok := s.Next()
			if !ok || !yield(port) {
				return
			}
		}
	}
}

// mix is a permutation of the numbers of s.bits bits: each of its steps can be undone.
func (s *spray) mix(x uint32) uint32 {
	mask := uint32(1)<<s.bits - 1
	half := (s.bits + 1) / 2
	for _, k := range [...]uint32{s.key[0], s.key[1], s.key[0]>>16 ^ s.key[1]<<3, s.key[1]>>16 ^ s.key[0]<<5} {
		x = (x + k) & mask
		x = x * (k<<1 | 0x9E3779B1) & mask // odd
		x ^= x >> half
	}
	return x
}
