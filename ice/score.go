package ice

import (
	"fmt"
	"math"
	"time"

	"github.com/bradawl/bradawl/internal/decay"
)

// Neutral is the value of a term that nothing is known of.
const Neutral = decay.Neutral

// Weights say how much each term counts beside the others. A field that is 0 has its
// default; a negative one switches its term off. Their sum is of no matter. The zero value
// is the default.
type Weights struct {
	Interface float64 // default 0.4
	RTT       float64 // default 0.25
	History   float64 // default 0.35
}

// shares returns the weights as parts of 1: all 0 where every term is off.
func (w Weights) shares() (s Weights) {
	s = Weights{weight(w.Interface, 0.4), weight(w.RTT, 0.25), weight(w.History, 0.35)}
	most := max(s.Interface, s.RTT, s.History)
	if most == 0 {
		return s
	}
	s = Weights{s.Interface / most, s.RTT / most, s.History / most} // the sum of great numbers might be infinite
	sum := s.Interface + s.RTT + s.History
	return Weights{s.Interface / sum, s.RTT / sum, s.History / sum}
}

func weight(w, byDefault float64) float64 {
	if w == 0 || math.IsNaN(w) {
		return byDefault
	}
	return min(max(w, 0), math.MaxFloat64)
}

// ScoreConfig says how candidates are scored. The zero value works. It is safe for
// concurrent use.
type ScoreConfig struct {
	// Weights of the terms. Default 0.4 for the interface, 0.25 for the round-trip time,
	// 0.35 for the history. NaN counts as 0 and so as the default, +Inf as the greatest
	// number there is.
	Weights Weights

	// LiteralRTT takes max(0.01, 100/(ms+1))/100 for the term of the round-trip time, of
	// the median in milliseconds. It is below 0.1 from 10 ms on, so that it hardly tells
	// one path through the internet from another. Default false: RTTSamples.Quality.
	LiteralRTT bool
}

// Reading is a number that may be unknown, as the zero value is.
type Reading struct {
	Value float64 // in the unit of what it is of
	Known bool    // Value says something
}

// Known returns a reading of a value.
func Known(value float64) Reading { return Reading{value, true} }

// unit returns the value, brought into 0 to 1, or what stands for an unknown one.
func (r Reading) unit(unknown float64) float64 {
	if !r.Known || math.IsNaN(r.Value) {
		return unknown
	}
	return clamp(r.Value, 0, 1)
}

func (r Reading) known() bool { return r.Known && !math.IsNaN(r.Value) }

func clamp(v, low, high float64) float64 { return min(max(v, low), high) }

// Inputs are what a score is made of. The zero value says that nothing is known.
type Inputs struct {
	Interface InterfaceInfo
	RTT       RTTSamples
	// History is what History.Quality says, 0 to 1: of the local network where the score
	// goes to the peer, of a remote address where it orders our own work.
	History Reading
}

// Term is one part of a score.
type Term struct {
	Weight       float64 // its part of the whole; the three add up to 1
	Value        float64 // 0 to 1
	Contribution float64 // Weight x Value
	Known        bool    // false: Value is Neutral
}

func term(weight, value float64, known bool) Term {
	return Term{Weight: weight, Value: value, Contribution: weight * value, Known: known}
}

// Explanation is a score and how it came about.
type Explanation struct {
	// Score is the sum of the contributions, 0 to 1, the highest the best; Neutral where
	// every term is switched off.
	Score                   float64
	Interface, RTT, History Term // what each contributed
	Inputs                  Inputs
	LiteralRTT              bool // as in ScoreConfig
}

// Score scores a candidate. Whatever the inputs are, the score is a number from 0 to 1:
// those out of range count as the nearest that is in it, NaN as unknown.
func (c ScoreConfig) Score(in Inputs) Explanation {
	share := c.Weights.shares()
	rtt := in.RTT.Quality()
	if c.LiteralRTT {
		rtt = in.RTT.literal()
	}
	e := Explanation{
		Interface:  term(share.Interface, in.Interface.Quality(), in.Interface.known()),
		RTT:        term(share.RTT, rtt, len(in.RTT) > 0),
		History:    term(share.History, in.History.unit(Neutral), in.History.known()),
		Inputs:     in,
		LiteralRTT: c.LiteralRTT,
	}
	if share == (Weights{}) {
		e.Score = Neutral
		return e
	}
	e.Score = clamp(e.Interface.Contribution+e.RTT.Contribution+e.History.Contribution, 0, 1)
	return e
}

// String explains the score in one line.
func (e Explanation) String() string {
	rtt, history := "unknown", "unknown"
	if len(e.Inputs.RTT) > 0 {
		rtt = fmt.Sprintf("median %v, deviation %v of %d", e.Inputs.RTT.Median().Round(10*time.Microsecond),
			e.Inputs.RTT.Deviation().Round(10*time.Microsecond), len(e.Inputs.RTT.last()))
		if e.LiteralRTT {
			rtt += ", literal"
		}
	}
	if e.History.Known {
		history = fmt.Sprintf("%.2f", e.Inputs.History.Value)
	}
	return fmt.Sprintf("%.3f = interface %v (%v) + rtt %v (%s) + history %v (%s)",
		e.Score, e.Interface, e.Inputs.Interface, e.RTT, rtt, e.History, history)
}

// String returns weight and value of the term.
func (t Term) String() string { return fmt.Sprintf("%.2f x %.3f", t.Weight, t.Value) }
