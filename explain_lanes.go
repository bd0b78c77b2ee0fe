package bradawl

import (
	"fmt"
	"slices"

	"github.com/bradawl/bradawl/punch"
)

// LaneReport is what became of a lane.
type LaneReport struct {
	punch.Lane
	Attempt int    // counted from 1; 0: it was not run
	Outcome string // "running", "opened" or why it ended
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

// String tells of the lane in one line.
func (r LaneReport) String() string {
	if r.Attempt == 0 {
		return fmt.Sprintf("%v: %s", r.Kind, r.Outcome)
	}
	return fmt.Sprintf("%v: attempt %d, chance %.0f %%, %d packets, %d sockets: %s", r.Kind, r.Attempt, 100*r.Probability, r.Sent, r.Opened, r.Outcome)
}
