package fingerprint

import (
	"math"
	"slices"
)

// Scaler puts vectors on one scale, so that a step in one dimension weighs as
// much as a step in another: lifetimes by their logarithm, since 30 s and 60 s
// differ as 300 s and 600 s do; then each dimension less its mean, divided by its
// standard deviation, both over the known values.
//
// The standard deviation and not the median of deviations: in an ordinal dimension
// more than half of all values are often equal, and then the latter is zero. What
// outliers could do to it is bounded where the dimension is, by its narrow range; hops
// and lifetimes count no farther from the quartiles than three times the distance of
// these.
type Scaler struct {
	mean, sd [NumDims]float64 // sd 0: the dimension has no more than one value
}

// FitScaler measures the scale of vs.
func FitScaler(vs []Vector) Scaler {
	var s Scaler
	known := make([]float64, 0, len(vs))
	for d := range Dim(NumDims) {
		known = known[:0]
		for _, v := range vs {
			if x, ok := v.Get(d); ok {
				known = append(known, warp(d, x))
			}
		}
		slices.Sort(known) // so that the order of vs does not show, not even by rounding
		fence(d, known)
		// Welford's method: no cancellation, and exactly 0 where all values are equal.
		n, mean, m2 := 0.0, 0.0, 0.0
		for _, y := range known {
			n++
			delta := y - mean
			mean += delta / n
			m2 += delta * (y - mean)
		}
		if n > 0 {
			s.mean[d], s.sd[d] = mean, math.Sqrt(m2/n)
		}
	}
	return s
}

// fence moves what of the sorted values is far out nearer, in dimensions of a wide
// range.
func fence(d Dim, sorted []float64) {
	step := 0.0 // a difference that two kinds of NAT may well have
	switch d {
	case TTLDelta:
		step = 4
	case MappingLifetime:
		step = math.Ln2
	default:
		return
	}
	low, high := middle(sorted, .5)
	reach := 3 * max(high-low, step)
	for i, y := range sorted {
		sorted[i] = min(max(y, low-reach), high+reach)
	}
}

// middle returns the least and the greatest of the sorted values that are left when
// half of the rest is cut off at either end, so that share of them remains.
func middle(sorted []float64, share float64) (low, high float64) {
	last := len(sorted) - 1
	if last < 0 {
		return 0, 0
	}
	cut := int((1 - share) / 2 * float64(last))
	return sorted[cut], sorted[last-cut]
}

// median returns the middle one of the sorted values, the lower of two, so that it is
// one that occurs: half a step of an ordinal scale would mean nothing.
func median(sorted []float64) float64 {
	low, _ := middle(sorted, 0)
	return low
}

// Scale returns the scaled value of x in dimension d: how many standard deviations
// it lies above the mean. It is 0 for a dimension without spread.
func (s Scaler) Scale(d Dim, x float64) float64 {
	if d >= NumDims || s.sd[d] == 0 {
		return 0
	}
	return (warp(d, x) - s.mean[d]) / s.sd[d]
}

// Distance is the scaled Euclidean distance of two vectors over the dimensions
// that both know, enlarged by what the others would add were they alike on
// average: the root of 5/n times the sum of n squares. It is +Inf when they have
// none in common.
func (s Scaler) Distance(v, w Vector) float64 {
	p, q := s.point(v), s.point(w)
	return distance(&p, &q)
}

// point is a scaled vector.
type point struct {
	x     [NumDims]float64 // 0 where masked
	known mask
}

func (s Scaler) point(v Vector) point {
	p := point{known: v.known}
	for d := range Dim(NumDims) {
		if v.known.has(d) {
			p.x[d] = s.Scale(d, v.x[d])
		}
	}
	return p
}

// distance2 is the square of the distance over what both points know.
func distance2(p, q *point) float64 {
	both := p.known & q.known
	switch both {
	case allDims: // without a loop, as most are
		a, b, c, d, e := p.x[0]-q.x[0], p.x[1]-q.x[1], p.x[2]-q.x[2], p.x[3]-q.x[3], p.x[4]-q.x[4]
		return a*a + b*b + c*c + d*d + e*e
	case 0:
		return math.Inf(1)
	}
	sum := 0.0
	for d := range Dim(NumDims) {
		if both.has(d) {
			sum += square(p.x[d] - q.x[d])
		}
	}
	return sum * NumDims / float64(both.count())
}

func square(x float64) float64 { return x * x }

func warp(d Dim, x float64) float64 {
	if d == MappingLifetime {
		return math.Log1p(x)
	}
	return x
}

func distance(p, q *point) float64 { return math.Sqrt(distance2(p, q)) }

// distanceLessWorst is the distance over what both points know but for the one
// dimension in which they differ most; +Inf when that leaves fewer than enough.
func distanceLessWorst(p, q *point, enough int) float64 {
	both := p.known & q.known
	left := both.count() - 1
	if left < max(enough, 1) {
		return math.Inf(1)
	}
	worst, at := -1.0, Dim(0)
	for d := range Dim(NumDims) {
		if s := square(p.x[d] - q.x[d]); both.has(d) && s > worst {
			worst, at = s, d
		}
	}
	sum := 0.0 // afresh, for all less the worst would cancel
	for d := range Dim(NumDims) {
		if both.has(d) && d != at {
			sum += square(p.x[d] - q.x[d])
		}
	}
	return math.Sqrt(sum * NumDims / float64(left))
}

// only returns p with all dimensions but those of m masked.
func (p point) only(m mask) point {
	p.known &= m
	return p
}
