package ice

import (
	"math"
	"net/netip"
	"slices"
)

// Preferences turns scores into local preferences (RFC 8445 section 5.1.2.1), one for
// each candidate. The RFC wants them unique among the candidates of one type, so there
// is one Preferences for each type and transport, which knows what it has given out.
// The zero value is ready. It is for one goroutine at a time.
//
// Values follow the scores in 1,024 levels of 64 values: what differs by less than a
// thousandth is no reason to prefer an address. Candidates of one level alternate between
// the families, IPv6 first, whatever the order in which they come, so that neither a
// broken IPv6 nor a host with many IPv6 addresses keeps the checks from IPv4 (RFC 8421
// section 4). The peer sees the level, and so what our score is to a thousandth (RFC 8421
// section 7).
type Preferences struct {
	// TCP makes the values 0 to 8191, in levels of 8: the other-pref of RFC 6544
	// section 4.2, to which its direction is added. Default false.
	TCP bool

	given []preference // by value
}

type preference struct {
	value, level int
}

const preferenceLevels = 1024

func (p *Preferences) perLevel() int {
	if p.TCP {
		return (math.MaxUint16 + 1) >> 3 / preferenceLevels
	}
	return (math.MaxUint16 + 1) / preferenceLevels
}

// Take gives out a value for a candidate with this score, 0 to 1, whose address has the
// family of addr. Where the values of its level are used up, it gives the value that
// disagrees with the fewest scores of those given out, and of these the nearest. ok is
// false when all values are out.
func (p *Preferences) Take(score float64, addr netip.Addr) (value uint16, ok bool) {
	level := int(math.Round(Reading{score, true}.unit(Neutral) * (preferenceLevels - 1)))
	want := p.slot(level, addr.Is6() && !addr.Is4In6())

	// Walk the gaps between the values given out, from the lowest, and count those that a
	// value in the gap would contradict: worse ones above it, better ones below it.
	wrong := 0
	for _, g := range p.given {
		if g.level < level {
			wrong++
		}
	}
	best, fewest, low := -1, 0, -1
	gap := func(high int) { // the values between low and high are free
		v := min(max(want, low+1), high-1)
		if v > low && (best < 0 || wrong < fewest || wrong == fewest && distance(v, want) < distance(best, want)) {
			best, fewest = v, wrong
		}
		low = high
	}
	for _, g := range p.given {
		gap(g.value)
		if g.level < level {
			wrong--
		} else if g.level > level {
			wrong++
		}
	}
	gap(preferenceLevels * p.perLevel())
	if best < 0 {
		return 0, false
	}
	p.insert(preference{best, level})
	return uint16(best), true
}

// slot returns the value that a level has for the next address of a family: the highest free
// one of every second, else the lowest free one of the level, else the lowest of it.
func (p *Preferences) slot(level int, v6 bool) int {
	bottom, top := level*p.perLevel(), (level+1)*p.perLevel()-1
	first := top
	if !v6 {
		first--
	}
	for v := first; v >= bottom; v -= 2 {
		if p.free(v) {
			return v
		}
	}
	for v := bottom; v <= top; v++ {
		if p.free(v) {
			return v
		}
	}
	return bottom
}

// TakeHighest gives out the highest value that is free, for a candidate that is expected
// to stay the only one: then it SHOULD be 65535 (RFC 8445 section 5.1.2.1), and with
// TCP 8191 (RFC 6544 section 4.2).
func (p *Preferences) TakeHighest() (value uint16, ok bool) {
	for v := preferenceLevels*p.perLevel() - 1; v >= 0; v-- {
		if p.free(v) {
			p.insert(preference{v, preferenceLevels - 1})
			return uint16(v), true
		}
	}
	return 0, false
}

// Release takes a value back, for a candidate that is gone. One that is not out is
// passed over.
func (p *Preferences) Release(value uint16) {
	if i, taken := p.find(int(value)); taken {
		p.given = slices.Delete(p.given, i, i+1)
	}
}

func (p *Preferences) free(value int) bool {
	_, taken := p.find(value)
	return !taken
}

func (p *Preferences) insert(g preference) {
	i, _ := p.find(g.value)
	p.given = slices.Insert(p.given, i, g)
}

func (p *Preferences) find(value int) (int, bool) {
	return slices.BinarySearchFunc(p.given, value, func(g preference, v int) int { return g.value - v })
}

func distance(a, b int) int { return max(a-b, b-a) }
