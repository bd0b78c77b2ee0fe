package stats

import "math"

// RatioCheck is whether the arms have as many sessions as their weights say. Where they have
// not, something takes sessions out of one arm, and what is left compares nothing: an arm
// that crashes clients looks good. It may be looked at as often as one likes: a healthy
// experiment is flagged at any of all looks with a chance of 0.001 at most
// (go test ./stats -run Ratio -v).
type RatioCheck struct {
	P        float64 `json:"p_value"`  // always valid: where nothing is wrong, it falls below p at any of all looks with chance p at most
	Mismatch bool    `json:"mismatch"` // P is below 0.001
}

const (
	ratioAlpha = 0.001
	// maxSessions is how many an arm may have: to about 2^44 the test's logarithms are exact enough.
	maxSessions = 1 << 40
)

// ratioWeights are how many sessions' weight the idea has that the shares are as they ought to
// be: little finds soon that half of an arm is lost, much that a few of a hundred are. What is
// claimed holds with any, and with their mean.
var ratioWeights = [...]float64{10, 300, 10_000}

// checkRatio is the sequential test of a multinomial (Lindon and Malek 2020): the likelihood
// of n, averaged over Dirichlet distributions around the shares that the arms ought to have,
// divided by that with those shares. Where they have them, it is a martingale, so that by
// Ville's inequality it ever exceeds 1/alpha with probability alpha at most.
func (x *Experiment) checkRatio(n []uint64) RatioCheck {
	var all, total float64
	for i, arm := range x.Arms {
		if w := arm.weight(); w > 0 {
			all, total = all+float64(n[i]), total+float64(w)
		}
	}
	mean := 0.0
	for _, weight := range ratioWeights {
		log := -rising(weight, all)
		for i, arm := range x.Arms {
			if w := arm.weight(); w > 0 {
				share := float64(w) / total
				log += rising(weight*share, float64(n[i])) - float64(n[i])*math.Log(share)
			}
		}
		mean += math.Exp(log) / float64(len(ratioWeights))
	}
	p := min(1, 1/mean) // 0 where the mean is too great for a number
	return RatioCheck{P: p, Mismatch: p < ratioAlpha}
}

// rising is the logarithm of a (a+1) ... (a+n-1).
func rising(a, n float64) float64 {
	from, _ := math.Lgamma(a)
	to, _ := math.Lgamma(a + n)
	return to - from
}
