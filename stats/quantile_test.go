package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Every bin's value is within 1 % of its latencies, and every latency in the bin whose
// bounds enclose it.
func TestBins(t *testing.T) {
	if sketchBins != len(sketchBounds) || binOf(SketchMax) != sketchBins-1 || binOf(math.MaxInt64) != sketchBins-1 || binOf(0) != 0 || binOf(-1) != 0 {
		t.Fatalf("%d bins; %v is in %d", sketchBins, SketchMax, binOf(SketchMax))
	}
	try := func(d time.Duration) {
		got := binOf(d)
		want, _ := slices.BinarySearch(sketchBounds, int64(d))
		if got != want {
			t.Fatalf("%d ns is in bin %d, want %d", d, got, want)
		}
		if off := float64(binValue(got)-d) / float64(d); math.Abs(off) > 0.01 {
			t.Fatalf("%v is told as %v, off by %v", d, binValue(got), off)
		}
	}
	for _, bound := range sketchBounds {
		for d := max(bound-2, int64(SketchMin)); d <= min(bound+2, int64(SketchMax)); d++ {
			try(time.Duration(d))
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 200_000 {
		try(time.Duration(float64(SketchMin) * math.Exp(r.Float64()*math.Log(float64(SketchMax/SketchMin)))))
	}
}

// Quantiles of several distributions are within 1 % of the sorted truth, at any rank.
func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"exponential": func() float64 { return 50e6 * r.ExpFloat64() },
		"log normal":  func() float64 { return 80e6 * math.Exp(r.NormFloat64()) },
		"constant":    func() float64 { return 42e6 },
		"two humps":   func() float64 { return []float64{3e6, 8e9}[r.IntN(2)] * (1 + r.Float64()) },
	} {
		var s Sketch
		all := make([]time.Duration, 20_001)
		for i := range all {
			all[i] = time.Duration(max(float64(SketchMin), draw()))
			s.Add(all[i])
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.001, 0.05, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
			got, want := s.Quantile(q), all[int(q*float64(len(all)-1))]
			if off := math.Abs(float64(got-want)) / float64(want); off > 0.01 {
				t.Errorf("%s: quantile %v is %v, want %v, off by %v", name, q, got, want, off)
			}
		}
		if s.Quantile(-1) != s.Quantile(0) || s.Quantile(2) != s.Quantile(1) || s.Quantile(math.NaN()) != s.Quantile(0) {
			t.Errorf("%s: quantiles beyond 0 and 1: %v, %v, %v", name, s.Quantile(-1), s.Quantile(2), s.Quantile(math.NaN()))
		}
	}
	if got := new(Sketch).Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// Parts add up to the whole, in any order, and what was added can be taken away.
func TestSketchMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var whole, sum Sketch
		parts := make([]Sketch, 1+r.IntN(5))
		for i := range parts {
			for range r.IntN(50) {
				d := time.Duration(r.Int64N(int64(2*SketchMax)) >> r.IntN(40))
				parts[i].Add(d)
				whole.Add(d)
			}
		}
		for i := range parts {
			sum.Merge(&parts[i])
		}
		if !equalBins(&sum, &whole) {
			t.Fatalf("%+v, want %+v", sum, whole)
		}
		last := &parts[len(parts)-1]
		sum.subtract(last)
		sum.Merge(last)
		if !equalBins(&sum, &whole) {
			t.Fatalf("after taking away and adding: %+v, want %+v", sum, whole)
		}
	}
}

func equalBins(a, b *Sketch) bool {
	list := func(s *Sketch) (all []uint64) {
		sum := uint64(0)
		for upTo, n := range s.Bins {
			all = append(all, uint64(upTo), n)
			sum += n
		}
		return append(all, sum, s.Count())
	}
	return slices.Equal(list(a), list(b))
}

// A bin that is full stays so, and the count with it.
func TestSketchFull(t *testing.T) {
	var a, b Sketch
	a.addBin(7, math.MaxUint32-1)
	a.addBin(7, 5)
	b.addBin(7, 9)
	a.Merge(&b)
	if a.Count() != math.MaxUint32 {
		t.Errorf("%d", a.Count())
	}
}
