package stats

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// String tells the verdict to people: a line for it, and one for each arm but the control
// unless there is nothing to compare.
func (v Verdict) String() string {
	text := fmt.Sprintf("%s: %s: %s", v.Experiment, strings.ReplaceAll(v.Decision.String(), "_", " "), v.Reason)
	if v.Decision == DecisionInvalid {
		return text
	}
	for _, arm := range v.Arms {
		d := arm.Success
		if !enough(d.Arm, d.Control) {
			text += fmt.Sprintf("\n  %s %d of %d, %s %d of %d: too few to compare", arm.Arm, d.Arm.Successes, d.Arm.N, v.Control, d.Control.Successes, d.Control.N)
			continue
		}
		text += fmt.Sprintf("\n  %s %.1f %% of %d, %s %.1f %% of %d: %+.1f points (%+.1f to %+.1f), p %s",
			arm.Arm, 100*d.Arm.Share(), d.Arm.N, v.Control, 100*d.Control.Share(), d.Control.N,
			100*d.Value, 100*d.Interval.Low, 100*d.Interval.High, probability(d.P))
	}
	return text
}

// probability is what p is, or that it is too small for any word.
func probability(p float64) string {
	switch {
	case p < 1e-99:
		return "< 1e-99"
	case p < 0.001:
		return fmt.Sprintf("= %.0e", p)
	}
	return fmt.Sprintf("= %.3f", p)
}

// MarshalJSON writes the verdict as one JSON object, always the same for the same verdict:
// numbers that are not whole have six digits.
func (v Verdict) MarshalJSON() ([]byte, error) {
	arms := make([]armJSON, len(v.Arms))
	for i, a := range v.Arms {
		arms[i] = armJSON{a.Arm, a.Decision, a.Reason, differenceOf(a.Success), make([]guardJSON, len(a.Guards))}
		for j, g := range a.Guards {
			arms[i].Guards[j] = guardJSON{g.Guard, g.Harmed, differenceOf(g.Compare)}
		}
	}
	ratio := RatioCheck{rounded(v.Ratio.P), v.Ratio.Mismatch}
	return json.Marshal(verdictJSON{v.Experiment, v.Decision, v.Reason, ratio, v.Control, rateJSON(v.Rate), arms})
}

type verdictJSON struct {
	Experiment string     `json:"experiment"`
	Decision   Decision   `json:"decision"`
	Reason     string     `json:"reason"`
	Ratio      RatioCheck `json:"sample_ratio"`
	Control    string     `json:"control"`
	Rate       rateJSON   `json:"control_rate"`
	Arms       []armJSON  `json:"arms"`
}

type armJSON struct {
	Arm      string         `json:"arm"`
	Decision Decision       `json:"decision"`
	Reason   string         `json:"reason"`
	Success  differenceJSON `json:"success"`
	Guards   []guardJSON    `json:"guards,omitempty"`
}

type guardJSON struct {
	Guard   string         `json:"guard"`
	Harmed  bool           `json:"harmed"`
	Compare differenceJSON `json:"share"`
}

type rateJSON struct {
	Successes uint64 `json:"successes"`
	N         uint64 `json:"n"`
}

type differenceJSON struct {
	Arm        rateJSON `json:"arm"`
	Control    rateJSON `json:"control"`
	Difference float64  `json:"difference"`
	Low        float64  `json:"low"`
	High       float64  `json:"high"`
	P          float64  `json:"p_value"`
}

func differenceOf(d Difference) differenceJSON {
	return differenceJSON{rateJSON(d.Arm), rateJSON(d.Control), rounded(d.Value), rounded(d.Interval.Low), rounded(d.Interval.High), rounded(d.P)}
}

// rounded keeps six digits, which are the same on every processor.
func rounded(v float64) float64 {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	return v
}
