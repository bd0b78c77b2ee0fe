package punch

import (
	"math"
	"time"
)

// BirthdayChance is how likely one of a number of mappings meets one of a number of probes
// to different ports, where the mappings have random ones out of so many:
// 1-(1-mappings/ports)^probes. One mapping at a time, each against one known port, is the
// case of 1: a sequence against random ports.
func BirthdayChance(mappings, probes, ports int) float64 {
	if mappings <= 0 || probes <= 0 {
		return 0
	}
	if ports <= mappings {
		return 1
	}
	return -math.Expm1(float64(probes) * math.Log1p(-float64(mappings)/float64(ports)))
}

// BirthdaySize is how many mappings and probes make a chance, 0 to 1, out of so many ports.
// As it is the product that matters, equal numbers of both leave the least state behind;
// where that is more mappings than may be, it takes more probes. What exceeds its cap is
// the cap. The least of either is 1.
func BirthdaySize(ports int, chance float64, maxMappings, maxProbes int) (mappings, probes int) {
	ports, maxMappings, maxProbes = max(ports, 1), max(maxMappings, 1), max(maxProbes, 1)
	chance = min(max(fraction(chance), 0), 0.999999)
	equal := max(1, int(math.Ceil(math.Sqrt(-float64(ports)*math.Log1p(-chance)))))
	equal = min(equal, ports)
	if equal <= maxMappings {
		return equal, min(equal, maxProbes)
	}
	if mappings = maxMappings; mappings >= ports {
		return mappings, 1
	}
	need := math.Ceil(math.Log1p(-chance) / math.Log1p(-float64(mappings)/float64(ports)))
	return mappings, max(1, int(min(need, float64(maxProbes))))
}

// blocksChance is how likely a mapping of ours meets one of the peer's where each has a
// random port of its side's and expects a random one of the other side's:
// 1-exp(-n*m/(r*s)).
func blocksChance(ours, theirs, ourPorts, theirPorts int) float64 {
	if ours <= 0 || theirs <= 0 {
		return 0
	}
	return -math.Expm1(-(float64(ours) / float64(max(ourPorts, 1))) * (float64(theirs) / float64(max(theirPorts, 1))))
}

// birthdayCourse is how a birthday lane goes on: step by step one side opens a mapping and
// the other tries a port. Whichever of two that meet comes first opens its own NAT for the
// other, so it does not matter which does.
type birthdayCourse struct {
	mappings int // that are opened
	open     int // how many stay open at once, the oldest making room; 0: all
	probes   int // that are sent, each to another port
	ports    int // that there are
}

// total is how likely it meets at all where ports is right.
func (c birthdayCourse) total() float64 { return c.met(max(c.probes, c.mappings, 0)) }

// met is the chance after so many steps. A mapping is missed by a number of probes to
// different ports with 1-probes/ports; one that has closed, only by those before.
func (c birthdayCourse) met(steps int) float64 {
	if c.ports <= 0 {
		return 0
	}
	sent, opened := min(steps, max(c.probes, 0)), min(steps, max(c.mappings, 0))
	closed := 0
	if c.open > 0 {
		closed = max(0, opened-c.open)
	}
	if opened > 0 && sent >= c.ports {
		return 1
	}
	miss := float64(opened-closed) * math.Log1p(-float64(sent)/float64(max(c.ports, sent+1)))
	for i := 1; i <= closed; i++ {
		if seen := min(sent, i+c.open); seen < c.ports {
			miss += math.Log1p(-float64(seen) / float64(c.ports))
		}
	}
	return -math.Expm1(miss)
}

// sized is BirthdaySize for a side that has no more than so many sockets open at once, and
// so many mappings in all: where that is too few, it closes the oldest and goes on, which
// still leaves less state than probes do.
func sized(ports int, chance float64, open, most int) int {
	n, _ := BirthdaySize(ports, chance, most, most)
	if n <= open {
		return n
	}
	// Of n*n pairs, (n-open)*(n-open)/2 are missed: the mapping had closed before.
	w, need := float64(open), -float64(ports)*math.Log1p(-chance)
	return min(most, int(math.Ceil(math.Sqrt(2*w*w+2*need)-w)))
}

// lasting is how long n packets take at a rate.
func lasting(n, rate int) time.Duration {
	return time.Duration(max(n, 0)) * time.Second / time.Duration(max(rate, 1))
}

// fraction is x, or 0 where it is no number.
func fraction(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return x
}
