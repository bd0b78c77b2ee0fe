package stats

import (
	"flag"
	"math"
	"math/rand/v2"
	"testing"
)

var peekSeed = flag.Uint64("peek-seed", 1, "seed of simulated experiments")

// draws is a binomial distribution: how likely each number of the rarer outcome is, or less.
type draws struct {
	below []float64
	n     uint64
	rare  bool // it is success
}

func binomial(n int, p float64) draws {
	d := draws{n: uint64(n), rare: p < 0.5}
	if !d.rare {
		p = 1 - p
	}
	sum, this := 0.0, math.Pow(1-p, float64(n))
	for k := range n + 1 {
		sum += this
		d.below = append(d.below, sum)
		this *= float64(n-k) / float64(k+1) * p / (1 - p)
	}
	d.below[n] = 1
	return d
}

func (d *draws) draw(r *rand.Rand) uint64 {
	u := r.Float64()
	for k, p := range d.below {
		if u < p {
			if d.rare {
				return uint64(k)
			}
			return d.n - uint64(k)
		}
	}
	return d.n
}

// peeks is what came of many experiments at which somebody looked all the time.
type peeks struct {
	differs float64 // share in which zero was ever outside the interval
	by3000  float64 // the same up to 3,000 observations an arm
	missed  float64 // share in which the truth was ever outside the interval
	naive   float64 // share in which the textbook's 95 % interval ever left out zero
}

// peek runs experiments of two arms, each looked at after every so many observations of
// the one and the other, until the greater arm has 10,000. No sequential argument holds
// for looks that are not taken, so all of them are, and with what Judge uses.
func peek(t *testing.T, control, arm float64, every, everyArm int) peeks {
	t.Helper()
	const runs, most = 4000, 10_000
	var (
		r                      = rand.New(rand.NewPCG(*peekSeed, 2))
		draw, drawArm          = binomial(every, control), binomial(everyArm, arm)
		differs, early, missed int
		naive                  int
	)
	for range runs {
		var c, a Rate
		var differed, differedEarly, miss, textbook bool
		for max(c.N, a.N) < most {
			c.Successes, c.N = c.Successes+draw.draw(r), c.N+uint64(every)
			a.Successes, a.N = a.Successes+drawArm.draw(r), a.N+uint64(everyArm)
			if !enough(a, c) {
				continue
			}
			d := compare(a, c, 0.05, 0.05, 1)
			if d.Interval.Low > 0 || d.Interval.High < 0 {
				differed = true
				differedEarly = differedEarly || a.N <= 3000
			}
			textbook = textbook || d.Value*d.Value > z95*z95*(variance(a)+variance(c))
			if truth := arm - control; truth < d.Interval.Low || truth > d.Interval.High {
				miss = true
			}
		}
		differs, early, missed = differs+count(differed), early+count(differedEarly), missed+count(miss)
		naive += count(textbook)
	}
	return peeks{float64(differs) / runs, float64(early) / runs, float64(missed) / runs, float64(naive) / runs}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Who looks after every 20 observations an arm from 100 to 10,000 is misled in no more than
// one of 20 experiments, at rates near 0 and 1 and with arms of unequal size too.
func TestPeeking(t *testing.T) {
	for _, test := range []struct {
		name         string
		control, arm float64
		every, other int
		power        float64 // by 3,000 an arm
	}{
		{"null at 70 %", 0.70, 0.70, 20, 20, 0},
		{"70 to 75 %", 0.70, 0.75, 20, 20, 0.90},
		{"null at 5 %", 0.05, 0.05, 20, 20, 0},
		{"5 to 7 %", 0.05, 0.07, 20, 20, 0.5},
		{"null at 97 %", 0.97, 0.97, 20, 20, 0},
		{"97 to 95 %", 0.97, 0.95, 20, 20, 0.5},
		{"null at 97 %, 5 to 1", 0.97, 0.97, 20, 4, 0},
		{"null at 5 %, 5 to 1", 0.05, 0.05, 20, 4, 0},
		{"null at 99.5 %, 10 to 1", 0.995, 0.995, 20, 2, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := peek(t, test.control, test.arm, test.every, test.other)
			t.Logf("%s: a difference in %.2f %%, by 3,000 an arm in %.2f %%; the truth left out in %.2f %%", test.name, 100*got.differs, 100*got.by3000, 100*got.missed)
			if test.control == test.arm && got.differs > 0.05 {
				t.Errorf("%.2f %% false positives; -peek-seed %d", 100*got.differs, *peekSeed)
			}
			if got.missed > 0.05 {
				t.Errorf("the intervals have left out the truth in %.2f %%; -peek-seed %d", 100*got.missed, *peekSeed)
			}
			if got.by3000 < test.power {
				t.Errorf("seen by 3,000 an arm in %.2f %%; -peek-seed %d", 100*got.by3000, *peekSeed)
			}
			if test.control == 0.7 && test.arm == 0.7 {
				t.Logf("the textbook's interval, looked at as often, is misled in %.2f %%", 100*got.naive)
				if got.naive < 0.3 {
					t.Errorf("the textbook's interval is misled in %.2f %% only: these looks are no trial; -peek-seed %d", 100*got.naive, *peekSeed)
				}
			}
		})
	}
}

// The p-value and the interval say the same, whatever the counts.
func TestCompareAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		n := [2]uint64{r.Uint64N(1 << r.IntN(30)), r.Uint64N(1 << r.IntN(30))}
		a, c := Rate{r.Uint64N(n[0] + 1), n[0]}, Rate{r.Uint64N(n[1] + 1), n[1]}
		if r.IntN(2) == 0 { // rates that are near each other
			a.Successes = min(n[0], uint64(c.Share()*float64(n[0])))
		}
		family := 1 + r.IntN(20)
		d := compare(a, c, 0.001+r.Float64()/2, 0.05, family)
		significant := d.Interval.Low > 0 || d.Interval.High < 0
		switch i := d.Interval; {
		case !(i.Low <= d.Value && d.Value <= i.High && i.Low >= -1 && i.High <= 1 && d.P >= 0 && d.P <= 1):
			t.Fatalf("%+v", d)
		case significant != (d.P < 0.05) && math.Abs(d.P-0.05) > 1e-9:
			t.Fatalf("the interval and p disagree: %+v, of %d", d, family)
		case !enough(a, c) && (significant || d.P != 1):
			t.Fatalf("%+v of too few", d)
		}
	}
}

// Worked out with 30 digits from the likelihood ratio itself.
func TestCompareValues(t *testing.T) {
	for _, test := range []struct {
		arm, control Rate
		effect       float64
		family       int
		want         Difference
	}{
		{Rate{1560, 2000}, Rate{1400, 2000}, 0.05, 1, Difference{Value: 0.08, Interval: Interval{0.0378574338395327, 0.122142566160467}, P: 6.54745776721181e-7}},
		{Rate{950, 1000}, Rate{9400, 10000}, 0.02, 3, Difference{Value: 0.01, Interval: Interval{-0.0153309344677466, 0.0353309344677466}, P: 1}},
		{Rate{0, 100}, Rate{0, 100}, 0.05, 1, Difference{Interval: Interval{-0.0590184087727130, 0.0590184087727130}, P: 1}},
		{Rate{99, 99}, Rate{0, 1000}, 0.05, 1, Difference{Value: 1, Interval: Interval{-1, 1}, P: 1}},
		{Rate{}, Rate{70, 100}, 0.05, 1, Difference{Interval: Interval{-1, 1}, P: 1}},
	} {
		got, want := compare(test.arm, test.control, test.effect, 0.05, test.family), test.want
		near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(1e-3, math.Abs(b)) }
		if !near(got.Value, want.Value) || !near(got.Interval.Low, want.Interval.Low) || !near(got.Interval.High, want.Interval.High) || !near(got.P, want.P) {
			t.Errorf("%v against %v: %+v, want %+v", test.arm, test.control, got, want)
		}
	}
}
