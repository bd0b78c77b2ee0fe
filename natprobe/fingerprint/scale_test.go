package fingerprint

import (
	"math"
	"math/rand/v2"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestScaler(t *testing.T) {
	vs := []Vector{vec(t, 10, 0, 30e3, 3, .5), vec(t, 14, 1, 300e3, 3, .5), vec(t, 12, masked, masked, 3), vec(t, 12)}
	s := FitScaler(vs)
	for d, want := range map[Dim][]float64{ // in units of the standard deviation
		TTLDelta:        {-math.Sqrt2, math.Sqrt2, 0, 0},
		PortPreserve:    {-1, 1},
		MappingLifetime: {-1, 1},
	} {
		for i, want := range want {
			x, _ := vs[i].Get(d)
			if z := s.Scale(d, x); !near(z, want) {
				t.Errorf("%v of vector %d is %g, want %g", d, i, z, want)
			}
		}
	}
	// All values equal: no spread, no distance, no division by zero.
	if z := s.Scale(FilteringBehavior, 1); z != 0 {
		t.Errorf("without spread: %g", z)
	}
	if s.Scale(99, 1) != 0 || (Scaler{}).Scale(TTLDelta, 4) != 0 {
		t.Error("a dimension that is none, or a scale that is none, has values")
	}
}

func TestLifetimesAreScaledByRatio(t *testing.T) {
	s := FitScaler([]Vector{vec(t, masked, masked, 10e3), vec(t, masked, masked, 1000e3)})
	scale := func(seconds float64) float64 { return s.Scale(MappingLifetime, seconds*1000) }
	if a, b := scale(60)-scale(30), scale(600)-scale(300); math.Abs(a-b) > 1e-4 || a <= 0 {
		t.Errorf("from 30 s to 60 s is %g, from 300 s to 600 s is %g; want the same", a, b)
	}
	if z := scale(0); math.IsInf(z, 0) || math.IsNaN(z) {
		t.Errorf("no lifetime at all is %g", z)
	}
}

func TestScalerKnowsNoOrder(t *testing.T) {
	vs, _ := tenClassSet(1, .02, .02)
	want := FitScaler(vs)
	for seed := range uint64(5) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(vs), func(i, j int) { vs[i], vs[j] = vs[j], vs[i] })
		if got := FitScaler(vs); got != want {
			t.Fatalf("seed %d: %v in another order, was %v", seed, got, want)
		}
	}
}

func TestMiddle(t *testing.T) {
	for _, tt := range []struct {
		sorted    []float64
		share     float64
		low, high float64
	}{
		{nil, .5, 0, 0}, {[]float64{7}, .5, 7, 7}, {[]float64{1, 2}, .5, 1, 2}, {[]float64{1, 2, 3, 4, 5}, .5, 2, 4},
		{[]float64{1, 2, 3, 4, 5}, 0, 3, 3}, {[]float64{1, 2, 3, 4}, 1, 1, 4},
	} {
		if low, high := middle(tt.sorted, tt.share); low != tt.low || high != tt.high {
			t.Errorf("%g of %v: %g to %g, want %g to %g", tt.share, tt.sorted, low, high, tt.low, tt.high)
		}
	}
	if m := median([]float64{1, 2, 3, 4}); m != 2 {
		t.Errorf("median of four: %g, want the lower", m)
	}
}

// A few values that are far out do not take the others' distances away.
func TestOutliersDoNotStretchTheScale(t *testing.T) {
	vs, _ := tenClassSet(1, 0, 0)
	before := FitScaler(vs)
	for i := range vs {
		if i%20 == 0 {
			vs[i] = vec(t, 255, 1, MaxLifetimeMS, 3, 1)
		}
	}
	after := FitScaler(vs)
	for d := range Dim(NumDims) {
		if ratio := after.sd[d] / before.sd[d]; ratio > 1.7 {
			t.Errorf("%v: one in twenty far out makes the scale %.2f times as wide", d, ratio)
		}
	}
}

func TestMaskedDistance(t *testing.T) {
	a, b := vec(t, 10, 0, 30e3, 1, 0), vec(t, 14, 1, 300e3, 3, 1)
	s := FitScaler([]Vector{a, b}) // so that they differ by 2 in each dimension
	without := func(v Vector, ds ...Dim) Vector {
		for _, d := range ds {
			v.Mask(d)
		}
		return v
	}
	full := math.Sqrt(5 * 4)
	for _, tt := range []struct {
		v, w Vector
		want float64
	}{
		{a, b, full},
		{a, a, 0},
		{without(a, 0), b, full}, // what is missing is as the others are on average
		{without(a, 0), without(b, 4), full},
		{without(a, 0, 1, 2, 3), b, full},
		{without(a, 0, 1), without(b, 2, 3, 4), math.Inf(1)},
		{Vector{}, Vector{}, math.Inf(1)},
	} {
		if d, e := s.Distance(tt.v, tt.w), s.Distance(tt.w, tt.v); d != e || !(d == tt.want || near(d, tt.want)) {
			t.Errorf("from %v to %v: %g, and back %g; want %g", tt.v, tt.w, d, e, tt.want)
		}
	}
}

func TestDistanceLessWorst(t *testing.T) {
	p := point{known: allDims}
	q := point{x: [NumDims]float64{3, 100, 0, 0, 4}, known: allDims}
	if d := distanceLessWorst(&p, &q, 4); !near(d, math.Sqrt(25*5./4)) {
		t.Errorf("all known: %g", d)
	}
	q.known = 0b01111 // 3, 100, 0, 0
	if d := distanceLessWorst(&p, &q, 3); !near(d, math.Sqrt(9*5./3)) {
		t.Errorf("four known: %g", d)
	}
	if d := distanceLessWorst(&p, &q, 4); !math.IsInf(d, 1) {
		t.Errorf("too few left: %g", d)
	}
	q = q.only(1)
	if d := distanceLessWorst(&p, &q, 0); !math.IsInf(d, 1) {
		t.Errorf("none left: %g", d)
	}
}
