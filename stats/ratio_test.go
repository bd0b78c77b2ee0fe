package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

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
		{"off", []uint64{2750, 7250, 0}, true},
		{"off the other way", []uint64{2250, 7750, 0}, true},
		{"one arm is lost", []uint64{0, 400, 0}, true},
		{"few", []uint64{0, 30, 0}, false},
		{"an arm that is off is no matter", []uint64{2500, 7500, 9000}, false},
		{"as many as may be", []uint64{maxSessions / 3, maxSessions, 0}, false},
		{"a great many", []uint64{250_000_000_000, 750_000_000_000, 0}, false},
		{"a great many, off", []uint64{250_010_000_000, 749_990_000_000, 0}, true},
	} {
		got := x.checkRatio(test.counts)
		if got.Mismatch != test.mismatch || (got.P < 0.001) != test.mismatch || !(got.P >= 0 && got.P <= 1) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

// What makes the test a martingale: the ratio is 1 on the average over what may come next.
func TestRatioMartingale(t *testing.T) {
	x := Experiment{Name: "x", Arms: []Arm{{"a", 1}, {"b", 2}, {"c", 5}}}
	// Those far off what is due: their ratio is not cut to 1.
	for _, at := range [][]uint64{{90, 10, 10}, {10, 10, 150}, {500, 2, 100}} {
		mean := 0.0
		for i, arm := range x.Arms {
			next := slices.Clone(at)
			next[i]++
			mean += float64(arm.Weight) / 8 / x.checkRatio(next).P
		}
		if now := 1 / x.checkRatio(at).P; now == 1 || math.Abs(mean/now-1) > 1e-9 {
			t.Errorf("%v: the ratio is %v, and %v on the average after the next session", at, now, mean)
		}
	}
}

// A look after each few sessions flags no more healthy experiments than is said, and finds
// that an arm loses sessions.
func TestRatioPeeking(t *testing.T) {
	x := Experiment{Name: "x", Arms: []Arm{{"a", 0}, {"b", 0}}}
	half := binomial(40, 0.5)
	r := rand.New(rand.NewPCG(*peekSeed, 3))
	// flagged is how many sessions there were when the experiment was, 0 if it never was, for
	// one whose arm b loses one session in so many, none if 0.
	flagged := func(loses, looks int) int {
		counts := []uint64{0, 0}
		for i := range looks {
			n := half.draw(r)
			counts[0] += n
			counts[1] += 40 - n
			for range 40 - n {
				if loses > 0 && r.IntN(loses) == 0 {
					counts[1]--
				}
			}
			if x.checkRatio(counts).Mismatch {
				return 40 * (i + 1)
			}
		}
		return 0
	}
	const runs = 4000
	alarms := 0
	for range runs {
		if flagged(0, 200) > 0 {
			alarms++
		}
	}
	t.Logf("200 looks at up to 8,000 sessions: false alarm in %.2f %% of %d experiments", 100*float64(alarms)/runs, runs)
	if alarms > runs*2/1000 {
		t.Errorf("%d false alarms in %d healthy experiments; -peek-seed %d", alarms, runs, *peekSeed)
	}
	var found []int
	for range 200 {
		if n := flagged(10, 500); n > 0 {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	if len(found) < 195 {
		t.Fatalf("%d of 200 experiments that lose a tenth of an arm are flagged; -peek-seed %d", len(found), *peekSeed)
	}
	t.Logf("a tenth of one arm is lost: %d of 200 are flagged, half of them within %d sessions", len(found), found[len(found)/2])
}
