package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Values of the usual tables (NIST's handbook, 1.3.6.7.4), and such as are exact.
func TestChiSquareTail(t *testing.T) {
	for _, test := range []struct {
		x    float64
		df   int
		want float64
		to   float64
	}{
		{3.841, 1, 0.05, 1e-4}, {10.828, 1, 0.001, 1e-5}, {5.991, 2, 0.05, 1e-4}, {13.816, 2, 0.001, 1e-5},
		{7.815, 3, 0.05, 1e-4}, {16.266, 3, 0.001, 1e-5}, {24.996, 15, 0.05, 1e-4}, {37.697, 15, 0.001, 1e-5},
		{124.342, 100, 0.05, 1e-4}, {149.449, 100, 0.001, 1e-5},
		{2, 2, 1 / math.E, 1e-15}, {0, 1, 1, 0}, {5, 0, 1, 0}, {1e5, 3, 0, 0},
	} {
		if got := chiSquareTail(test.x, test.df); !(math.Abs(got-test.want) <= test.to) {
			t.Errorf("%v exceeded with %d degrees of freedom: %v, want %v", test.x, test.df, got, test.want)
		}
	}
}

func TestCheckRatio(t *testing.T) {
	x := Experiment{Name: "x", Arms: []Arm{{"a", 0}, {"b", 3}, {"off", -1}}}
	for _, test := range []struct {
		name     string
		counts   []uint64
		mismatch bool
	}{
		{"nothing", []uint64{0, 0, 0}, false},
		{"as it should be", []uint64{2500, 7500, 0}, false},
		{"a little off", []uint64{2600, 7400, 0}, false},
		{"off", []uint64{2700, 7300, 0}, true},
		{"one arm is lost", []uint64{0, 400, 0}, true},
		{"few", []uint64{0, 300, 0}, false},
		{"an arm that is off is no matter", []uint64{2500, 7500, 9000}, false},
	} {
		got := x.checkRatio(test.counts)
		if got.Mismatch != test.mismatch || (got.P < 0.001) != test.mismatch {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

// The check is no sequential one, so that looking often raises more false alarms than one
// in 1,000: as many as this prints with -v.
func TestRatioPeeking(t *testing.T) {
	x := Experiment{Name: "x", Arms: []Arm{{"a", 0}, {"b", 0}}}
	half := binomial(40, 0.5)
	r := rand.New(rand.NewPCG(*peekSeed, 3))
	const runs = 4000
	alarms := 0
	for range runs {
		counts := []uint64{0, 0}
		for range 500 {
			n := half.draw(r)
			counts[0], counts[1] = counts[0]+n, counts[1]+40-n
			if x.checkRatio(counts).Mismatch {
				alarms++
				break
			}
		}
	}
	t.Logf("500 looks at up to 20,000 sessions: false alarm in %.2f %% of %d experiments", 100*float64(alarms)/runs, runs)
	if alarms > runs*3/100 {
		t.Errorf("%d false alarms in %d healthy experiments; -peek-seed %d", alarms, runs, *peekSeed)
	}
}
