package stats

import "math"

// Difference is how an arm's share differs from that of the control, so that one may look
// as often as one likes and stop when one likes.
type Difference struct {
	Arm, Control Rate // the two shares

	// Value is the arm's share less the control's, 0 if either has no observations.
	Value float64
	// Interval is a confidence sequence: with the confidence that the verdict has as a whole,
	// the true difference is within all the intervals of all looks. -1 to 1 while either has
	// fewer than MinPerArm observations.
	Interval Interval
	// P is an always-valid p-value, corrected for how many comparisons the verdict makes: if
	// there is no difference, it falls below 0.05 at any of all looks in at most 5 % of
	// experiments. Below 0.05 just if Interval leaves out zero. 1 while there are too few.
	P float64
}

// MinPerArm is how many observations an arm needs: normal distributions tell nothing about
// fewer.
const MinPerArm = 100

// enough reports whether there are observations enough for a difference.
func enough(arm, control Rate) bool { return arm.N >= MinPerArm && control.N >= MinPerArm }

// compare is the mixture sequential probability ratio test (Robbins 1970; Johari, Pekelis
// and Walsh 2015): likelihoods of the observed difference are averaged over the normal
// distribution of mean 0 and standard deviation effect, and compared with that of no
// difference. That ratio is a martingale where there is none, so that by Ville's
// inequality it ever exceeds 1/alpha with probability alpha at most. Differences that
// would not be refused in this way are the interval. family is how many comparisons share
// alpha (Bonferroni).
func compare(arm, control Rate, effect, alpha float64, family int) Difference {
	d := Difference{Arm: arm, Control: control, Interval: Interval{-1, 1}, P: 1}
	if arm.N == 0 || control.N == 0 {
		return d
	}
	d.Value = arm.Share() - control.Share()
	if !enough(arm, control) {
		return d
	}
	var (
		v    = variance(arm) + variance(control)
		t    = effect * effect
		grow = math.Log1p(t / v)
		half = math.Sqrt(v * (v + t) / t * (2*math.Log(float64(family)/alpha) + grow))
	)
	d.Interval = Interval{max(-1, d.Value-half), min(1, d.Value+half)}
	d.P = min(1, float64(family)*math.Exp(grow/2-d.Value*d.Value*t/(2*v*(v+t))))
	return d
}

// variance is that of a share. Two successes and two failures are added, as Agresti and
// Coull do: else a share of 100 % would be taken for known, and rare failures would be
// found different far too often when the arms are of unequal size (TestPeeking has the
// figures).
func variance(r Rate) float64 {
	p := (float64(r.Successes) + 2) / (float64(r.N) + 4)
	return p * (1 - p) / float64(r.N)
}
