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
// SketchMin to SketchMax, in tens to hundreds of bytes (3.5 KB at most), whatever their
// number. Sketches of several places add up to that of all, exactly. It is a DDSketch
// (Masson, Rim and Lee, 2019) over a fixed range. The zero value is empty; methods are not
// safe for concurrent use. A bin that holds 2^32-1 latencies takes no more.
type Sketch struct {
	n     uint64 // how many latencies there are
	data  []byte // the bins, as form says
	first uint16 // the bin of the first place in data, unless listed
	form  uint8  // listed, narrow or wide
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
	for bin, n := range s.each {
		last = bin
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
	for bin, n := range s.each {
		if !yield(time.Duration(sketchBounds[bin]), uint64(n)) {
			return
		}
	}
}
