package stats

import (
	"math"
	"slices"
	"time"
)

// What a Sketch tells apart: shorter latencies count as the shortest, longer ones as the
// longest.
const (
	SketchMin = 100 * time.Microsecond
	SketchMax = time.Hour
)

// sketchAlpha is how far off a quantile is at most, as a share of it.
const sketchAlpha = 0.01

// Bin i holds what is over SketchMin times sketchGamma to the power i-1, up to that times
// sketchGamma. Any value of a bin is within sketchAlpha of binValue.
const sketchGamma = (1 + sketchAlpha) / (1 - sketchAlpha)

var (
	perLogGamma = 1 / math.Log(sketchGamma)
	sketchBins  = bin(SketchMax) + 1
)

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

// bin returns the number of a latency's bin.
func bin(d time.Duration) int {
	if d <= SketchMin {
		return 0
	}
	d = min(d, SketchMax)
	return int(math.Ceil(math.Log(float64(d)/float64(SketchMin)) * perLogGamma))
}

// binValue is the latency that stands for a bin: within sketchAlpha of all of its.
func binValue(bin int) time.Duration {
	upper := float64(SketchMin) * math.Pow(sketchGamma, float64(bin))
	return time.Duration(upper * 2 / (1 + sketchGamma))
}

// Add counts a latency.
func (s *Sketch) Add(d time.Duration) { s.addBin(bin(d), 1) }

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
	for i, n := range o.bins {
		if n > 0 {
			at := &s.bins[o.first+i-s.first]
			n = min(n, math.MaxUint32-*at)
			*at += n
			s.n += uint64(n)
		}
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
	return s.ranked(uint64(min(max(q, 0), 1) * float64(s.n-1)))
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
		if n > 0 && !yield(time.Duration(float64(SketchMin)*math.Pow(sketchGamma, float64(s.first+i))), uint64(n)) {
			return
		}
	}
}
