package decay

import (
	"math"
	"time"
)

const (
	// PerHour is what is left of an outcome's weight after an hour.
	PerHour = 0.92
	// Window is the age from which on an outcome counts nothing.
	Window = 24 * time.Hour
	// Neutral is the quality of what nothing is known of.
	Neutral = 0.5
)

// prior is the weight of the outcome that a quality starts from, half a success and
// half a failure, and returns to as outcomes fade.
const prior = 1.0

// Weight returns what an outcome of some age counts: 0.92 to the power of its hours;
// 1 where the age is negative, because a clock was set; 0 from Window on.
func Weight(age time.Duration) float64 {
	switch {
	case age <= 0:
		return 1
	case age >= Window:
		return 0
	}
	return math.Pow(PerHour, age.Hours())
}

// Quality returns how likely success is after outcomes of these summed weights: the share
// of successes, drawn towards Neutral as if there were one outcome more, half of each
// kind. So one success says less than ten, and an old one less than a fresh one. known
// is false where there are no outcomes.
func Quality(succeeded, failed float64) (value float64, known bool) {
	sum := succeeded + failed
	if !(sum > 0) {
		return Neutral, false
	}
	return (prior*Neutral + succeeded) / (prior + sum), true
}
