package natprobe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// Lifetime is how long a NAT keeps an idle UDP mapping, for three kinds of use: some NATs
// keep what was answered longer than what was not, and streams longer than both.
type Lifetime struct {
	Solitary Lifespan // after packets out that nothing came back for
	Answered Lifespan // after a request and its answer
	Stream   Lifespan // after traffic both ways over more than two seconds

	// RefreshOut and RefreshIn tell whether packets out and packets in prolong the life of a
	// mapping (RFC 4787 REQ 6 wants the first).
	RefreshOut, RefreshIn Verdict

	// Reason says why nothing, or not all, is known.
	Reason string
}

// Lifespan is a bracket: the mapping was found alive after Low of idleness and dead after
// High. High is 0 where it was never found dead; both are 0 where nothing is known.
type Lifespan struct {
	Low, High time.Duration
}

// Estimate is the likeliest lifespan: the geometric mean of the bracket, or Low where there
// is no end; 0: unknown.
func (l Lifespan) Estimate() time.Duration {
	if l.High == 0 {
		return l.Low
	}
	return time.Duration(math.Sqrt(float64(max(l.Low, l.High/2)) * float64(l.High)))
}

// String describes the lifespan in words.
func (l Lifespan) String() string {
	switch {
	case l == (Lifespan{}):
		return "unknown"
	case l.High == 0:
		return fmt.Sprintf("more than %v", l.Low.Round(time.Second))
	case l.Low == 0:
		return fmt.Sprintf("less than %v", l.High.Round(time.Second))
	}
	return fmt.Sprintf("about %v", l.Estimate().Round(time.Second))
}

// String describes the lifetimes in words.
func (l Lifetime) String() string {
	if l.Reason != "" && l.Answered == (Lifespan{}) {
		return "unknown: " + l.Reason
	}
	return fmt.Sprintf("%v after an answer, %v without one, %v for streams; packets out prolong it: %v, packets in: %v",
		l.Answered, l.Solitary, l.Stream, l.RefreshOut, l.RefreshIn)
}

type lifespanJSON struct {
	Estimate int64 `json:"estimate_ms"`
	Low      int64 `json:"low_ms"`
	High     int64 `json:"high_ms"`
}

type lifetimeJSON struct {
	Solitary   lifespanJSON `json:"solitary"`
	Answered   lifespanJSON `json:"answered"`
	Stream     lifespanJSON `json:"stream"`
	RefreshOut Verdict      `json:"refresh_out"`
	RefreshIn  Verdict      `json:"refresh_in"`
	Reason     string       `json:"reason"`
}

// MarshalJSON writes whole milliseconds.
func (l Lifetime) MarshalJSON() ([]byte, error) {
	span := func(s Lifespan) lifespanJSON {
		return lifespanJSON{s.Estimate().Milliseconds(), s.Low.Milliseconds(), s.High.Milliseconds()}
	}
	return json.Marshal(lifetimeJSON{span(l.Solitary), span(l.Answered), span(l.Stream), l.RefreshOut, l.RefreshIn, l.Reason})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Lifetime) UnmarshalJSON(text []byte) error {
	var j lifetimeJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	span := func(s lifespanJSON) Lifespan {
		return Lifespan{time.Duration(s.Low) * time.Millisecond, time.Duration(s.High) * time.Millisecond}
	}
	*l = Lifetime{span(j.Solitary), span(j.Answered), span(j.Stream), j.RefreshOut, j.RefreshIn, j.Reason}
	return nil
}

// use is what a mapping saw before it was left idle.
type use uint8

const (
	useSolitary use = iota
	useAnswered
	useStream
	useResent // answered, and half of the time later one more packet out
	uses
)

// The grid: mappings of each use are left idle for times that grow by a constant factor,
// all at the same time, so that the whole takes no longer than the longest. The middle of
// a bracket is then within 7 % of the truth.
const (
	gridFirst  = 5 * time.Second
	gridFactor = 1.15
	resentStep = 1.4 // so that one falls between 1.1 and 1.6 lifetimes
)

// grid lists the idle times of a use up to limit and one beyond.
func grid(u use, limit time.Duration) (times []time.Duration) {
	factor := gridFactor
	if u == useResent {
		factor, limit = resentStep, limit*3/2
	}
	for t := gridFirst; ; t = time.Duration(float64(t) * factor) {
		times = append(times, t)
		if t > limit {
			return times
		}
	}
}

// trial is one mapping that was left idle, and what was found.
type trial struct {
	use   use
	idle  time.Duration
	alive bool
}

// lifespanOf finds the bracket that the trials of a use fit best: a lost packet makes a
// live mapping look dead, so one that contradicts the rest does not count.
func lifespanOf(trials []trial, u use) Lifespan {
	var all []trial
	for _, t := range trials {
		if t.use == u {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b trial) int { return cmp.Compare(a.idle, b.idle) })
	best, bestErrors := 0, len(all)+1
	for cut := range len(all) + 1 { // alive before cut, dead from there on
		wrong := 0
		for i, t := range all {
			if t.alive != (i < cut) {
				wrong++
			}
		}
		if wrong <= bestErrors {
			best, bestErrors = cut, wrong
		}
	}
	var l Lifespan
	if best > 0 {
		l.Low = all[best-1].idle
	}
	if best < len(all) {
		l.High = all[best].idle
	}
	return l
}

// enoughDead is how many in a row must be found dead for a use to be decided.
const enoughDead = 3

// decided tells whether the bracket of a use will not change any more.
func decided(trials []trial, u use) bool {
	l := lifespanOf(trials, u)
	dead := 0
	for _, t := range trials {
		if t.use == u && !t.alive && l.High > 0 && t.idle >= l.High {
			dead++
		}
	}
	return dead >= enoughDead
}

// resent reads from the trials with one more packet out whether that prolonged the life l.
func resent(trials []trial, l Lifespan) Verdict {
	life := l.Estimate()
	if l.High == 0 || life == 0 {
		return VerdictUnknown
	}
	v := VerdictUnknown
	for _, t := range trials {
		if t.use != useResent || t.idle*10 < life*11 || t.idle*10 > life*16 {
			continue
		}
		if t.alive {
			return Yes
		}
		v = No
	}
	return v
}
