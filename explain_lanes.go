package bradawl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bradawl/bradawl/natprobe"
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

// whyNoLane adds to what keeps two NATs apart what is done about it.
func (k *link) whyNoLane(text string, infeasible bool) (string, bool) {
	a := &k.lane
	best, open, mapped := punch.Lane{}, false, false
	all := k.lanes()
	for _, l := range all {
		open = open || l.Ruled == "" && l.Kind != punch.LaneTCP
		mapped = mapped || l.Ruled == "" && l.Kind == punch.LaneMapped
		if l.Ruled == "" && l.Kind >= punch.LanePredicted && l.Kind != punch.LaneTCP && l.Probability > best.Probability {
			best = l
		}
	}
	ours, theirs := k.c.profile, k.profile
	blocked := ours.Type == natprobe.TypeUDPBlocked || theirs.Type == natprobe.TypeUDPBlocked
	known := ours.TCP.Mapping != natprobe.MappingUnknown && theirs.TCP.Mapping != natprobe.MappingUnknown
	switch {
	case len(all) > 0 && blocked && known && !punch.Feasible(all):
		return punch.Infeasible(all), true
	case len(all) > 0 && !open && symmetric(k.c.profile) && symmetric(k.profile) && !infeasible:
		return strings.TrimSuffix(text, elsewhere) + remedy, true
	case best.Kind == punch.LaneNone && mapped:
		text = strings.TrimSuffix(strings.TrimSuffix(text, remedy), elsewhere)
		return strings.TrimSuffix(text, ": ") + "; the port that a router has mapped has not been reached yet", false
	case best.Kind == punch.LaneNone:
		return text, infeasible
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, remedy), ": ")
	switch {
	case a.spend.off && k.c.usual.off:
		text += "; attempts at the ports are switched off by Config.Budget"
	case a.spend.off:
		text += "; attempts at the ports are switched off by Config.TreatPeer"
	case a.refused:
		text += "; the peer takes no part in attempts at the ports"
	case a.run != nil:
		text += fmt.Sprintf("; the lane %v is tried just now, with a chance of %.0f %%", best.Kind, 100*best.Probability)
	case a.tries == 0:
		text += fmt.Sprintf("; the lane %v is to be tried, with a chance of %.0f %%", best.Kind, 100*best.Probability)
	default:
		text += fmt.Sprintf("; %d attempts were in vain, the best by the lane %v with a chance of %.0f %% each; more follow", a.tries, best.Kind, 100*best.Probability)
	}
	return text, false
}

// String tells of the lane in one line.
func (r LaneReport) String() string {
	if r.Attempt == 0 {
		return fmt.Sprintf("%v: %s", r.Kind, r.Outcome)
	}
	return fmt.Sprintf("%v: attempt %d, chance %.0f %%, %d packets, %d sockets: %s", r.Kind, r.Attempt, 100*r.Probability, r.Sent, r.Opened, r.Outcome)
}
