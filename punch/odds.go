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

// BlocksChance is how likely a mapping of ours meets one of the peer's where each has a
// random port of its side's and expects a random one of the other side's:
// 1-exp(-n*m/(r*s)).
func BlocksChance(ours, theirs, ourPorts, theirPorts int) float64 {
	if ours <= 0 || theirs <= 0 {
		return 0
	}
	return -math.Expm1(-(float64(ours) / float64(max(ourPorts, 1))) * (float64(theirs) / float64(max(theirPorts, 1))))
}

// BirthdayCourse is how a birthday lane goes on: from the same moment on one side opens
// mappings and the other tries ports, each at a rate. Whichever of two that meet comes first
// opens its own NAT for the other, so it does not matter which does.
type BirthdayCourse struct {
	Mappings int     // that are opened
	Open     int     // how many stay open at once, the oldest making room; 0: all
	Probes   int     // that are sent, each to another port
	Ports    int     // that there are
	Rate     int     // of each, in a second
	Trust    float64 // that Ports is right and the peer is at work, 0 to 1
}

// after is how many have left after a time.
func (c BirthdayCourse) after(d time.Duration) int {
	n := max(d.Seconds(), 0) * float64(max(c.Rate, 1))
	return int(min(n, float64(max(c.Probes, c.Mappings, 0))))
}

// Chance is how likely the lane has met after a time, beside the round trip, where Ports
// is right.
func (c BirthdayCourse) Chance(d time.Duration) float64 { return c.met(c.after(d)) }

// Total is how likely it meets at all where Ports is right.
func (c BirthdayCourse) Total() float64 { return c.met(max(c.Probes, c.Mappings, 0)) }

// met is the chance after so many steps. A mapping is missed by a number of probes to
// different ports with 1-probes/ports; one that has closed, only by those before.
func (c BirthdayCourse) met(steps int) float64 {
	if c.Ports <= 0 {
		return 0
	}
	sent, opened := min(steps, max(c.Probes, 0)), min(steps, max(c.Mappings, 0))
	closed := 0
	if c.Open > 0 {
		closed = max(0, opened-c.Open)
	}
	if opened > 0 && sent >= c.Ports {
		return 1
	}
	miss := float64(opened-closed) * math.Log1p(-float64(sent)/float64(max(c.Ports, sent+1)))
	for i := 1; i <= closed; i++ {
		if seen := min(sent, i+c.Open); seen < c.Ports {
			miss += math.Log1p(-float64(seen) / float64(c.Ports))
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

// Duration is how long the lane takes, beside the round trip.
func (c BirthdayCourse) Duration() time.Duration {
	return lasting(max(c.Probes, c.Mappings, 0), c.Rate)
}

// Next is how likely the lane meets within the next d, given that it has not in the time
// before: what Budget.Least asks. Each second without success speaks against Trust, as all
// would have been well by now if the profile were right.
func (c BirthdayCourse) Next(elapsed, d time.Duration) float64 {
	now, then := c.Chance(elapsed), c.Chance(elapsed+d)
	trust := min(max(fraction(c.Trust), 0), 1)
	still := 1 - trust*now // neither met so far, nor wrong
	if still <= 0 {
		return 0
	}
	return min(max(trust*(then-now)/still, 0), 1)
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
