package stats

import "math"

// RatioCheck is whether the arms have as many sessions as their weights say. Where they have
// not, something takes sessions out of one arm, and what is left compares nothing: an arm
// that crashes clients looks good. It is Pearson's chi-square test, which is not meant for
// looking often: of healthy experiments, about 2 % are flagged at one of 500 looks or another
// (go test ./stats -run RatioPeeking -v).
type RatioCheck struct {
	ChiSquare float64 `json:"chi_square"` // Pearson's statistic; 0 while there are too few sessions
	P         float64 `json:"p_value"`    // how likely chance does that or more; 1 while there are too few
	Mismatch  bool    `json:"mismatch"`   // P is below 0.001
}

const (
	ratioAlpha = 0.001
	// fewestExpected is how many sessions each arm ought to have had before the check is made:
	// earlier looks would only add false alarms.
	fewestExpected = MinPerArm
)

// checkRatio is the chi-square test of whether the arms have their shares of n.
func (x *Experiment) checkRatio(n []uint64) RatioCheck {
	var all, total, df float64
	for i, arm := range x.Arms {
		if w := arm.weight(); w > 0 {
			all, total, df = all+float64(n[i]), total+float64(w), df+1
		}
	}
	chi2 := 0.0
	for i, arm := range x.Arms {
		if w := arm.weight(); w > 0 {
			want := all * float64(w) / total
			if want < fewestExpected {
				return RatioCheck{P: 1}
			}
			chi2 += (float64(n[i]) - want) * (float64(n[i]) - want) / want
		}
	}
	p := chiSquareTail(chi2, int(df)-1)
	return RatioCheck{ChiSquare: chi2, P: p, Mismatch: p < ratioAlpha}
}

// chiSquareTail is how likely a chi-square of df degrees of freedom exceeds x: for every
// two degrees there is one more term (Abramowitz and Stegun 26.4.4 and 26.4.5).
func chiSquareTail(x float64, df int) float64 {
	if df <= 0 || x <= 0 {
		return 1
	}
	tail, a := math.Exp(-x/2), 1.0
	if df%2 == 1 {
		tail, a = math.Erfc(math.Sqrt(x/2)), 0.5
	}
	for ; a < float64(df)/2; a++ {
		log, _ := math.Lgamma(a + 1)
		tail += math.Exp(a*math.Log(x/2) - x/2 - log)
	}
	return min(1, tail)
}
