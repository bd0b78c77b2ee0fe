package bradawl

import (
	"fmt"
	"slices"

	"github.com/bradawl/bradawl/internal/words"
	"github.com/bradawl/bradawl/punch"
)

// LaneState is what became of a lane. It marshals as text.
type LaneState uint8

// The states. The zero value is that of a lane that was not run.
const (
	LaneRuledOut LaneState = iota // theory or the budget forbids it
	LaneRunning                   // it is under way
	LaneOpened                    // it opened a way, which then may have been used or not
	LaneEnded                     // in vain
)

var laneStates = words.Of[LaneState]("ruled_out", "running", "opened", "ended")

// String returns the state in a word, such as "opened". What is none of the constants reads as
// such as "LaneState(200)".
func (s LaneState) String() string { return laneStates.String(s) }

// MarshalText returns what String does, or an error if s is none of the constants.
func (s LaneState) MarshalText() ([]byte, error) { return laneStates.Marshal(s) }

// UnmarshalText reads what MarshalText wrote. The error names the words that there are.
func (s *LaneState) UnmarshalText(text []byte) error { return laneStates.Unmarshal(text, s) }

// LaneReport is what became of a lane.
type LaneReport struct {
	punch.Lane
	Attempt int // counted from 1; 0: it was not run
	State   LaneState
	Outcome string // the same for people, with why
	Sent    int    // packets
	Opened  int    // sockets
}

// laneReports are what was tried, and then what is not because it cannot work.
func (k *link) laneReports() []LaneReport {
	all := slices.Clone(k.lane.reports)
	for _, l := range k.lanes() {
		if l.Ruled != "" {
			all = append(all, LaneReport{Lane: l, Outcome: "ruled out: " + l.Ruled})
		}
	}
	return all
}

// report is that of a lane of the attempt under way, or of the last; nil: none is kept.
func (a *laneState) report(kind punch.LaneKind) *LaneReport {
	for i := range slices.Backward(a.reports) {
		if r := &a.reports[i]; r.Kind == kind && r.Attempt == a.tries {
			return r
		}
	}
	return nil
}

// String tells of the lane in one line.
func (r LaneReport) String() string {
	if r.Attempt == 0 {
		return fmt.Sprintf("%v: %s", r.Kind, r.Outcome)
	}
	return fmt.Sprintf("%v: attempt %d, chance %.0f %%, %d packets, %d sockets: %s", r.Kind, r.Attempt, 100*r.Probability, r.Sent, r.Opened, r.Outcome)
}
