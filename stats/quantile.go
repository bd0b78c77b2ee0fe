package stats

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// What a Sketch tells apart: shorter latencies count as the shortest, longer ones as the
// longest.
const (
	SketchMin = 100 * time.Microsecond
	SketchMax = time.Hour
)

// sketchAlpha is how far off a quantile is at most, as a share of it: 1 % less rounding.
const sketchAlpha = 0.0099

// Bin i holds what is over SketchMin times sketchGamma to the power i-1, up to that times
// sketchGamma. Any value of a bin is within sketchAlpha of binValue.
const sketchGamma = (1 + sketchAlpha) / (1 - sketchAlpha)

// sketchBounds is the greatest latency of each bin, in nanoseconds.
var sketchBounds = func() []int64 {
	var bounds []int64
	for i := 0; ; i++ {
		bounds = append(bounds, int64(math.Round(float64(SketchMin)*math.Pow(sketchGamma, float64(i)))))
		if bounds[i] >= int64(SketchMax) {
			return bounds
		}
	}
}()

// sketchSteps finds a bin without a logarithm: by the highest seven bits of a latency, the
// bin of the least latency that has these bits. The next bin begins before the next bits do,
// for bins are twice as wide, so it is that bin or the one after.
var sketchSteps = func() (steps [64 << 6]uint16) {
	for i := range steps {
		length, top := i>>6, int64(i&63|64)
		least := top << max(0, length-7)
		bin, _ := slices.BinarySearch(sketchBounds, least)
		steps[i] = uint16(bin)
	}
	return steps
}()

// sketchBins is how many bins there are.
var sketchBins = len(sketchBounds)

// Sketch keeps latencies so that any quantile can be told within 1 % of its value, from
// SketchMin to SketchMax, in a few hundred bytes (3.5 KB at most), whatever their number.
// Sketches of several places add up to that of all, exactly. It is a DDSketch (Masson, Rim
// and Lee, 2019) over a fixed range. The zero value is empty; methods are not safe for
// concurrent use. A bin that holds 2^32-1 latencies takes no more.
type Sketch struct {
	first int      // the bin of counts[0]
	bins  []uint32 // how many latencies each bin has; no longer than it must be
	n     uint64   // the sum of bins
}

// binOf returns the number of a latency's bin.
func binOf(d time.Duration) int {
	if d <= SketchMin {
		return 0
	}
	ns := int64(min(d, SketchMax))
	length := bits.Len64(uint64(ns))
	bin := int(sketchSteps[length<<6|int(ns>>(length-7)&63)])
	if ns > sketchBounds[bin] {
		bin++
	}
	return bin
}

// binValue is the latency that stands for a bin: within sketchAlpha of all of its.
func binValue(bin int) time.Duration {
	return time.Duration(float64(sketchBounds[bin]) * 2 / (1 + sketchGamma))
}

// Add counts a latency.
func (s *Sketch) Add(d time.Duration) { s.addBin(binOf(d), 1) }

// Count returns how many latencies were added.
func (s *Sketch) Count() uint64 { return s.n }

// addBin counts n latencies in a bin.
func (s *Sketch) addBin(bin int, n uint32) {
	s.reach(bin, bin+1)
	at := &s.bins[bin-s.first]
	n = min(n, math.MaxUint32-*at)
	*at += n
	s.n += uint64(n)
}

// reach makes room for the bins from first to before end.
func (s *Sketch) reach(first, end int) {
	const slack = 8 // bins made at once on either side, where the next latencies will be
	switch {
	case first >= s.first && end <= s.first+len(s.bins):
		return
	case len(s.bins) == 0:
		s.first = max(0, first-slack)
		s.bins = resize(s.bins, min(sketchBins, end+slack)-s.first)
	case first < s.first:
		more := s.first - max(0, first-slack)
		was := len(s.bins)
		s.bins = resize(s.bins, was+more)
		copy(s.bins[more:], s.bins[:was])
		clear(s.bins[:more])
		s.first -= more
	}
	if end > s.first+len(s.bins) {
		s.bins = resize(s.bins, min(sketchBins, end+slack)-s.first)
	}
}

// resize makes a slice n long; what is new of it is zero.
func resize(bins []uint32, n int) []uint32 {
	was := len(bins)
	bins = slices.Grow(bins, n-was)[:n]
	clear(bins[was:])
	return bins
}

// Merge adds what another sketch has.
func (s *Sketch) Merge(o *Sketch) {
	if o.n == 0 {
		return
	}
	s.reach(o.first, o.first+len(o.bins))
	into := s.bins[o.first-s.first:][:len(o.bins)]
	for i, n := range o.bins {
		n = min(n, math.MaxUint32-into[i])
		into[i] += n
		s.n += uint64(n)
	}
}

// subtract takes away what was merged before.
func (s *Sketch) subtract(o *Sketch) {
	for i, n := range o.bins {
		if at := o.first + i - s.first; n > 0 && at >= 0 && at < len(s.bins) {
			n = min(n, s.bins[at])
			s.bins[at] -= n
			s.n -= uint64(n)
		}
	}
}

// reset makes the sketch empty and keeps its memory.
func (s *Sketch) reset() { s.first, s.bins, s.n = 0, s.bins[:0], 0 }

// Quantile returns the latency that a share q of all do not exceed, 0 for the least and 1
// for the greatest, within 1 %: of n latencies the one whose rank is q (n-1), rounded
// down. 0 of an empty sketch.
func (s *Sketch) Quantile(q float64) time.Duration {
	if s.n == 0 {
		return 0
	}
	return s.ranked(rankOf(q, s.n))
}

// rankOf returns the rank of a quantile among n > 0 values.
func rankOf(q float64, n uint64) uint64 {
	if !(q > 0) { // NaN too
		return 0
	}
	return min(n-1, uint64(min(q, 1)*float64(n-1)))
}

// ranked returns the latency of a rank below n.
func (s *Sketch) ranked(rank uint64) time.Duration {
	last := 0
	for i, n := range s.bins {
		if n == 0 {
			continue
		}
		last = s.first + i
		if rank < uint64(n) {
			break
		}
		rank -= uint64(n)
	}
	return min(binValue(last), SketchMax)
}

// Bins calls yield for each bin that has latencies, in rising order, with the greatest
// latency of the bin and how many there are, until yield returns false: what a histogram
// in another form is made of.
func (s *Sketch) Bins(yield func(upTo time.Duration, n uint64) bool) {
	for i, n := range s.bins {
		if n > 0 && !yield(time.Duration(sketchBounds[s.first+i]), uint64(n)) {
			return
		}
	}
}
