package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Values worked out by the formula with 40 digits.
func TestWilson(t *testing.T) {
	for _, test := range []struct {
		successes, n uint64
		low, high    float64
	}{
		{0, 0, 0, 1},
		{0, 10, 0, 0.27753279964268574},
		{10, 10, 0.7224672003573143, 1},
		{5, 10, 0.23658959361548731, 0.7634104063845126},
		{81, 263, 0.25528946, 0.36620846},
		{12, 10, 0.7224672003573143, 1},
	} {
		got := Rate{test.successes, test.n}.Interval()
		if math.Abs(got.Low-test.low) > 1e-4 || math.Abs(got.High-test.high) > 1e-4 {
			t.Errorf("%d of %d: %+v, want %v to %v", test.successes, test.n, got, test.low, test.high)
		}
	}
}

// The interval holds the truth about as often as it says, where the textbook's does not:
// for few observations of a share near 1.
func TestWilsonCoverage(t *testing.T) {
	for _, test := range []struct {
		n     uint64
		share float64
	}{{20, 0.97}, {20, 0.5}, {30, 0.03}, {200, 0.9}} {
		r := rand.New(rand.NewPCG(9, test.n))
		held := 0
		const runs = 20_000
		for range runs {
			successes := uint64(0)
			for range test.n {
				if r.Float64() < test.share {
					successes++
				}
			}
			if i := (Rate{successes, test.n}).Interval(); i.Low <= test.share && test.share <= i.High {
				held++
			}
		}
		if got := float64(held) / runs; got < 0.93 {
			t.Errorf("n = %d, share %v: held %.3f of the time", test.n, test.share, got)
		}
	}
}

func TestRate(t *testing.T) {
	if got, want := (Rate{95, 100}).String(), "95.0 % (88.8 to 97.8 %, n = 100)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if r := (Rate{}); r.String() != "-" || r.Share() != 0 || !r.Few() {
		t.Errorf("of nothing: %v, %v, %v", r, r.Share(), r.Few())
	}
	if (Rate{0, FewBelow}).Few() {
		t.Error("30 are few")
	}
}
