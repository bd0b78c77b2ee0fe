package stats

import (
	"fmt"
	"strings"
)

// Decision is what may be concluded. It marshals as text; the zero value is none.
type Decision uint8

// The decisions.
const (
	_                 Decision = iota
	DecisionInvalid            // the arms have not the shares of sessions that they ought to: nothing may be concluded
	DecisionStop               // an arm does harm: it succeeds less often than the control, or spoils a guard
	DecisionBetter             // an arm succeeds more often than the control, and no guard is known to be spoilt
	DecisionTooFew             // fewer than MinPerArm sessions in an arm or in the control
	DecisionUndecided          // no difference is shown; it may be small
)

var decisions = []string{"", "invalid", "stop", "better", "not_enough_data", "undecided"}

// String returns the decision in a word, such as "better"; "" for none.
func (d Decision) String() string { return word(decisions, d) }

// MarshalText returns what String does, or an error if d is none of the constants.
func (d Decision) MarshalText() ([]byte, error) { return marshal("decision", decisions, d) }

// UnmarshalText reads what MarshalText wrote.
func (d *Decision) UnmarshalText(text []byte) error {
	return unmarshal("decision", decisions, text, d)
}

// ArmResult is what was counted of an arm.
type ArmResult struct {
	Arm string // its name
	// Rate is what the arms are compared by, of all sessions that are eligible: both peers
	// came to checking paths, and nobody cancelled. [Outcome.DirectRate] of the arm's group is
	// such a one.
	Rate Rate
	// Guards are the guards' shares by their names, such as [Outcome.FailureRate]; N may be
	// other than Rate's. Those that are not there are not judged.
	Guards map[string]Rate
}

// Verdict is what the results of an experiment mean. It may be asked for at any time and as
// often as one likes, and acted on at once. If no arm differs from the control, the chance
// that any verdict ever calls one better or worse is 5 % at most, for all arms together;
// that any guard is ever called spoilt, 5 % at most again. Both rest on shares of MinPerArm
// observations and more being nearly normal: by simulation they hold for rates of 5 to 99.5 %
// and arms of unequal size (go test ./stats -run Peeking -v). In JSON its fields are experiment, decision, reason,
// sample_ratio, control, control_rate and arms, with names of lower case.
type Verdict struct {
	Experiment string   // its name
	Decision   Decision // the gravest of the arms', in the order of the constants
	Reason     string   // in a sentence
	Ratio      RatioCheck
	Control    string       // the name of the arm that the others are compared with
	Rate       Rate         // of the control
	Arms       []ArmVerdict // of the others, in their order
}

// ArmVerdict is what the results mean for one arm.
type ArmVerdict struct {
	Arm      string         // its name
	Decision Decision       // never DecisionInvalid
	Reason   string         // in a clause
	Success  Difference     // of what the arms are compared by
	Guards   []GuardVerdict // those there were results of, in their order
}

// GuardVerdict is how a guard fares in an arm.
type GuardVerdict struct {
	Guard   string     // its name
	Harmed  bool       // the whole interval is on the bad side
	Compare Difference // of the guard's share
}

const verdictAlpha = 0.05

// Judge says what results mean. Arms that are not among them have none yet; one that is
// switched off and has too few decides nothing. If weights have changed, give what was counted
// since, which tells only without a [Sticky]: with one, earlier pairs keep their arms, so that
// the sample ratio is that of neither weights, and a new Salt has to begin anew. The error is a *ConfigError: the experiment is not
// valid, or results are not its own, or have more successes than observations.
func (x *Experiment) Judge(results []ArmResult) (Verdict, error) {
	if err := x.Validate(); err != nil {
		return Verdict{}, err
	}
	sorted, err := x.sort(results)
	if err != nil {
		return Verdict{}, err
	}
	counts := make([]uint64, len(sorted))
	for i, r := range sorted {
		counts[i] = r.Rate.N
	}
	v := Verdict{Experiment: x.Name, Control: x.Arms[0].Name, Rate: sorted[0].Rate, Ratio: x.checkRatio(counts)}
	for _, r := range sorted[1:] {
		v.Arms = append(v.Arms, x.judgeArm(r, sorted[0]))
	}
	v.Decision = DecisionUndecided
	waits := false // for arms that are given sessions
	for _, arm := range x.Arms[1:] {
		waits = waits || arm.weight() > 0
	}
	for i, arm := range v.Arms {
		if arm.Decision == DecisionTooFew && waits && x.Arms[i+1].weight() == 0 && sorted[0].Rate.N >= MinPerArm {
			continue // it is switched off, and will have no more
		}
		v.Decision = min(v.Decision, arm.Decision)
	}
	if v.Ratio.Mismatch {
		v.Decision, v.Reason = DecisionInvalid, x.mismatch(counts, v.Ratio.P)
		return v, nil
	}
	var reasons []string
	for _, arm := range v.Arms {
		if arm.Decision == v.Decision && v.Decision != DecisionUndecided {
			reasons = append(reasons, arm.Reason)
		}
	}
	v.Reason = strings.Join(reasons, "; ")
	if v.Decision == DecisionUndecided {
		v.Reason = "no difference is shown so far"
	}
	return v, nil
}

// sort brings results into the order of the arms.
func (x *Experiment) sort(results []ArmResult) ([]ArmResult, error) {
	sorted := make([]ArmResult, len(x.Arms))
	for i, arm := range x.Arms {
		sorted[i].Arm = arm.Name
	}
	there := make([]bool, len(x.Arms))
	for i, r := range results {
		field := fmt.Sprintf("results[%d]", i)
		at := x.index(r.Arm)
		switch {
		case at < 0:
			return nil, badConfig(field+".Arm", "%q is no arm of %s; ask ArmOf of the group", cut(r.Arm), x.Name)
		case there[at]:
			return nil, badConfig(field+".Arm", "%q is there twice; add the two up", r.Arm)
		case r.Rate.Successes > r.Rate.N:
			return nil, badConfig(field+".Rate", "%d of %d have succeeded; count successes in N too", r.Rate.Successes, r.Rate.N)
		case r.Rate.N > maxSessions:
			return nil, badConfig(field+".Rate", "%d sessions are more than there can be; give at most %d", r.Rate.N, uint64(maxSessions))
		}
		known := 0
		for _, guard := range x.Guards {
			if rate, ok := r.Guards[guard.Name]; ok {
				known++
				if rate.Successes > rate.N {
					return nil, badConfig(field+".Guards", "%s: %d of %d; count them in N too", guard.Name, rate.Successes, rate.N)
				}
			}
		}
		if known < len(r.Guards) {
			return nil, badConfig(field+".Guards", "there are others than the experiment's; name them there before there are results")
		}
		there[at], sorted[at] = true, r
	}
	return sorted, nil
}

func (x *Experiment) judgeArm(r, control ArmResult) ArmVerdict {
	arms := len(x.Arms) - 1
	v := ArmVerdict{Arm: r.Arm, Success: compare(r.Rate, control.Rate, x.effect(), verdictAlpha, arms)}
	var spoilt []string
	for _, guard := range x.Guards {
		ours, ok := r.Guards[guard.Name]
		theirs, also := control.Guards[guard.Name]
		if !ok || !also {
			continue
		}
		g := GuardVerdict{Guard: guard.Name, Compare: compare(ours, theirs, x.effect(), verdictAlpha, arms*len(x.Guards))}
		if guard.Good {
			g.Harmed = g.Compare.Interval.High < 0
		} else {
			g.Harmed = g.Compare.Interval.Low > 0
		}
		if g.Harmed {
			spoilt = append(spoilt, fmt.Sprintf("%s is %.1f %% instead of %.1f %%", guard.Name, 100*ours.Share(), 100*theirs.Share()))
		}
		v.Guards = append(v.Guards, g)
	}
	switch {
	case len(spoilt) > 0:
		v.Decision, v.Reason = DecisionStop, "with "+r.Arm+", "+strings.Join(spoilt, ", ")
	case v.Success.Interval.High < 0:
		v.Decision, v.Reason = DecisionStop, r.Arm+" succeeds less often than "+control.Arm
	case !enough(r.Rate, control.Rate):
		few := r
		if control.Rate.N < r.Rate.N {
			few = control
		}
		v.Decision, v.Reason = DecisionTooFew, fmt.Sprintf("%s has %d sessions of the %d that are needed", few.Arm, few.Rate.N, MinPerArm)
	case v.Success.Interval.Low > 0:
		v.Decision, v.Reason = DecisionBetter, r.Arm+" succeeds more often than "+control.Arm
	default:
		v.Decision, v.Reason = DecisionUndecided, "no difference is shown so far"
	}
	return v
}

// mismatch says what is wrong with the sizes of the arms.
func (x *Experiment) mismatch(counts []uint64, p float64) string {
	var parts []string
	var total, all float64
	for i, arm := range x.Arms {
		if w := arm.weight(); w > 0 {
			total, all = total+float64(w), all+float64(counts[i])
		}
	}
	for i, arm := range x.Arms {
		if arm.weight() > 0 {
			parts = append(parts, fmt.Sprintf("%s has %d sessions where %.0f are due", arm.Name, counts[i], all*float64(arm.weight())/total))
		}
	}
	return fmt.Sprintf("%s (p %s): find out what becomes of the others before comparing any", strings.Join(parts, ", "), probability(p))
}
