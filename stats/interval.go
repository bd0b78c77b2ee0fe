package stats

import (
	"fmt"
	"math"
)

// Interval is what a share lies in, from Low to High, with 95 % confidence.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// z95 is how many standard deviations to either side hold 95 % of a normal distribution.
const z95 = 1.959963984540054

// FewBelow is how many observations a share needs to say something: tables mark those of
// fewer.
const FewBelow = 30

// Rate is a share of successes with its interval.
type Rate struct {
	Successes uint64 // how many
	N         uint64 // of how many
}

// Share is the share itself, 0 to 1; 0 of nothing.
func (r Rate) Share() float64 {
	if r.N == 0 {
		return 0
	}
	return float64(r.Successes) / float64(r.N)
}

// Interval is what the true share lies in, after E. B. Wilson (1927). It holds its
// confidence for few observations and for shares near 0 and 1 too, where the textbook's
// p +- z sqrt(p(1-p)/n) does not. Of nothing, 0 to 1; more successes than N count as N.
func (r Rate) Interval() Interval {
	n := r.N
	if n == 0 {
		return Interval{0, 1}
	}
	successes := min(r.Successes, n)
	var (
		count  = float64(n)
		p      = float64(successes) / count
		z2     = z95 * z95 / count
		middle = (p + z2/2) / (1 + z2)
		half   = z95 * math.Sqrt(p*(1-p)/count+z2/(4*count)) / (1 + z2)
		i      = Interval{max(0, middle-half), min(1, middle+half)}
	)
	// What the formula gives but for rounding.
	if successes == 0 {
		i.Low = 0
	}
	if successes == n {
		i.High = 1
	}
	return i
}

// Few reports whether there are fewer than FewBelow observations.
func (r Rate) Few() bool { return r.N < FewBelow }

// String tells the rate for people, such as "93.1 % (91.0 to 94.8 %, n = 700)"; "-" of
// nothing.
func (r Rate) String() string {
	if r.N == 0 {
		return "-"
	}
	i := r.Interval()
	return fmt.Sprintf("%.1f %% (%.1f to %.1f %%, n = %d)", 100*r.Share(), 100*i.Low, 100*i.High, r.N)
}
