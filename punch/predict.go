package punch

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// sequence is what is known of a NAT whose next ports can be foretold.
type sequence struct {
	Last  uint16        // the outside port that was given out last, as far as is known
	Delta int           // the step to the next; not 0, and within 16 bits
	Rate  float64       // mappings a second that others make behind the same NAT
	Age   time.Duration // from Last to the first mapping that is foretold

	// Kept is how likely a mapping gets the port foretold if no others come in between, 0 to
	// 1; 0: 1.
	Kept float64
}

// maxCrowd bounds how many mappings of others are reckoned with.
const maxCrowd = 1 << 14

// sequenceOf is the sequence of a NAT with the profile after a port; false: there is none.
// A NAT that preserves ports is a sequence too, by 1, if new sockets are bound to the ports
// that follow last, each for one mapping.
func sequenceOf(p natprobe.Profile, last uint16, age time.Duration) (sequence, bool) {
	s := sequence{Last: last, Age: min(max(age, 0), time.Hour), Kept: 1}
	switch p.Ports.Model {
	case natprobe.PortsPreserving:
		s.Delta, s.Kept = 1, keptBy(p)
	case natprobe.PortsSequential:
		if p.Ports.Delta == 0 || p.Ports.Delta < math.MinInt16 || p.Ports.Delta > math.MaxInt16 {
			return sequence{}, false
		}
		s.Delta, s.Rate = p.Ports.Delta, min(max(fraction(p.Ports.Rate), 0), math.MaxUint16)
	default:
		return sequence{}, false
	}
	return s, true
}

// keptBy is the share of ports that a NAT keeps which is known to keep them.
func keptBy(p natprobe.Profile) float64 {
	if c := fraction(p.Ports.Confidence); c > 0 {
		return min(max(c, 0.5), 0.99)
	}
	return 0.9
}

// Port is the one that lies k steps after Last.
func (s sequence) Port(k int) uint16 {
	low, high := PortRange{}.bounds() // where NATs begin anew at the other end
	n := high - low + 1
	return uint16(low + (((int(s.Last)-low+s.Delta*k)%n)+n)%n)
}

// steps is how many steps lead from one port to another; false: the sequence does not.
func (s sequence) steps(from, to uint16) (int, bool) {
	low, high := PortRange{}.bounds()
	n := high - low + 1
	way := int(to) - int(from)
	if s.Delta < 0 {
		way = -way
	}
	if way < 0 {
		way += n
	}
	d := s.Delta
	if d < 0 {
		d = -d
	}
	return way / max(d, 1), way >= 0 && way%max(d, 1) == 0
}

// Next appends to dst the ports that our own n-th mapping after Last gets, counted from 1,
// the likeliest first, at most max of them: others make a number of mappings meanwhile
// that is Poisson distributed. spread is the time from the first mapping to the n-th.
func (s sequence) Next(dst []uint16, n int, spread time.Duration, max int) []uint16 {
	mean := s.crowd(s.Age + spread)
	up := int(mean)
	down := up - 1
	pUp := poissonAt(up, mean)
	pDown := pUp * float64(up) / math.Max(mean, 1e-9)
	for ; max > 0; max-- {
		// The distribution has one peak: it falls to both sides.
		k := up
		if down >= 0 && pDown > pUp {
			k = down
			pDown *= float64(down) / mean
			down--
		} else {
			up++
			pUp *= mean / float64(up)
		}
		dst = append(dst, s.Port(n+k))
	}
	return dst
}

// crowd is how many mappings others make in a time, on average.
func (s sequence) crowd(d time.Duration) float64 {
	return min(max(fraction(s.Rate), 0)*max(d, 0).Seconds(), maxCrowd)
}

// poissonAt is the chance of k where mean are expected.
func poissonAt(k int, mean float64) float64 {
	if mean <= 0 {
		if k == 0 {
			return 1
		}
		return 0
	}
	gamma, _ := math.Lgamma(float64(k) + 1)
	return math.Exp(float64(k)*math.Log(mean) - mean - gamma)
}

// Sandwich appends to dst the ports that our own mappings got which were made between two
// of a STUN server's, at most max, the likeliest first. before and after are the ports
// that the server saw, own is how many mappings were made in between at even distances. So
// many others as fit were made at any time. Where the two ports are no whole number of
// steps apart, or too few, the sequence is not what the profile says, and the ports are
// those that follow before.
func (s sequence) Sandwich(dst []uint16, before, after uint16, own, max int) []uint16 {
	if own <= 0 || max <= 0 || s.Delta == 0 {
		return dst
	}
	s.Last = before
	total, ok := s.steps(before, after)
	others := total - 1 - own
	if !ok || others < 0 || others > maxCrowd {
		for k := 1; k <= min(max, own+2); k++ {
			dst = append(dst, s.Port(k))
		}
		return dst
	}
	if others == 0 {
		for k := 1; k <= min(own, max); k++ {
			dst = append(dst, s.Port(k))
		}
		return dst
	}
	// Our i-th mapping lies behind i-1 of ours and those others that came in its part of the
	// time; the likeliest places are i plus that share of the others, and it falls to both
	// sides. With one of ours that is from the middle outwards.
	if own == 1 {
		mid := 1 + others/2
		for i := range min(total-1, max) {
			k := mid - i/2
			if i%2 == 1 {
				k = mid + (i+1)/2
			}
			dst = append(dst, s.Port(k))
		}
		return dst
	}
	weight := make([]float64, total) // by place
	for i := 1; i <= own; i++ {
		share := float64(i) / float64(own+1)
		for k := range others + 1 {
			weight[i+k] += binomialAt(k, others, share)
		}
	}
	places := make([]int, total-1)
	for k := range places {
		places[k] = k + 1
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(weight[b], weight[a]) })
	for _, k := range places[:min(len(places), max)] {
		dst = append(dst, s.Port(k))
	}
	return dst
}

// binomialAt is the chance of k out of n, each with p between 0 and 1.
func binomialAt(k, n int, p float64) float64 {
	a, _ := math.Lgamma(float64(n) + 1)
	b, _ := math.Lgamma(float64(k) + 1)
	c, _ := math.Lgamma(float64(n-k) + 1)
	return math.Exp(a - b - c + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}
