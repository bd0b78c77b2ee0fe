package punch

import (
	"slices"

	"github.com/bradawl/bradawl/internal/words"
	"github.com/bradawl/bradawl/natprobe"
)

// Obstacle is what stands in the way of a lane, or between two sides. The zero value is
// nothing. It marshals as text.
type Obstacle uint8

// The obstacles.
const (
	ObstacleNone     Obstacle = iota
	ObstacleUnknown           // too little is known of a NAT
	ObstacleFamilies          // one side's address is IPv4 and the other's is IPv6
	ObstacleBlocked           // UDP does not get out
	ObstacleHairpin           // both sides are behind one NAT that does not turn packets back
	ObstaclePorts             // a NAT gives each destination another port, which is not to be found
	ObstacleFilter            // no NAT lets the other side's packet in
	ObstacleUnmapped          // no router has mapped a port
	ObstacleBudget            // the budget has no room for it, or gives it too little of a chance
	ObstacleNeedless          // a lane that costs less does it
)

var obstacles = words.Of[Obstacle](
	"none", "not_known", "families_differ", "udp_blocked", "no_hairpin", "ports", "filter", "not_mapped", "budget", "needless",
)

// String returns the obstacle in a word, such as "udp_blocked".
func (o Obstacle) String() string { return obstacles.String(o) }

// MarshalText returns what String does, or an error if o is none of the constants.
func (o Obstacle) MarshalText() ([]byte, error) { return obstacles.Marshal(o) }

// UnmarshalText reads what MarshalText wrote. The error names the words that there are.
func (o *Obstacle) UnmarshalText(text []byte) error { return obstacles.Unmarshal(text, o) }

// Between says what keeps two sides from reaching each other by plain checks, as far as their
// profiles tell, and on which side it is: ObstacleNone where these should do, otherwise
// ObstacleUnknown, ObstacleFamilies, ObstacleBlocked, ObstacleHairpin or ObstaclePorts. What
// can be done about it, Plan says.
func Between(local, remote natprobe.Profile) (Obstacle, Side) {
	p := newPlanner(local, remote, Budget{}.WithDefaults())
	on := func(is func(end) bool) Side {
		switch ours, theirs := is(p.a), is(p.b); {
		case ours && theirs:
			return Both
		case ours:
			return Ours
		case theirs:
			return Theirs
		}
		return Neither
	}
	blocked := on(func(e end) bool { return e.blocked })
	unknown := on(func(e end) bool { return e.keeps == natprobe.VerdictUnknown })
	changes := on(func(e end) bool { return e.keeps == natprobe.No })
	switch {
	case blocked != Neither:
		return ObstacleBlocked, blocked
	case p.apart != "":
		return ObstacleFamilies, Both
	case p.hairs == 0:
		return ObstacleHairpin, Both
	case unknown != Neither:
		return ObstacleUnknown, unknown
	case changes != Neither && p.one < enough:
		return ObstaclePorts, changes
	}
	return ObstacleNone, Neither
}

// Possible says whether there can be a direct path by one of the lanes: yes where one can be
// run. It is unknown where none can, but one could with a greater budget or by what is not
// known of a NAT yet; and of no lanes at all.
func Possible(lanes []Lane) natprobe.Verdict {
	open := func(l Lane) bool {
		return l.Ruled != "" && (l.Obstacle == ObstacleUnknown || l.Obstacle == ObstacleBudget)
	}
	switch {
	case slices.ContainsFunc(lanes, func(l Lane) bool { return l.Ruled == "" }):
		return natprobe.Yes
	case len(lanes) == 0, slices.ContainsFunc(lanes, open):
		return natprobe.VerdictUnknown
	}
	return natprobe.No
}

// Because says why none of the lanes of a [Plan] can be run, in words that follow "because",
// and what can be done about it. Both are "" where one can, and of no lanes at all.
func Because(lanes []Lane) (why, remedy string) {
	if len(lanes) == 0 || Possible(lanes) == natprobe.Yes {
		return "", ""
	}
	switch plain := laneOfKind(lanes, LanePlain); plain.Obstacle {
	case ObstacleFamilies:
		return plain.Ruled, "give both sides an address of one family"
	case ObstacleBlocked:
		tcp, next := laneOfKind(lanes, LaneTCP), laneOfKind(lanes, LaneTCPPredicted)
		if why = tcp.Ruled; next.Obstacle != ObstacleUnknown && next.Ruled != why {
			why += "; " + next.Ruled
		}
		return why, "let UDP out of the network that blocks it"
	}
	// The lane that was left to hope for: where both NATs are hard, that for two.
	last := laneOfKind(lanes, LaneBirthday)
	if last.Hard == Both {
		last = laneOfKind(lanes, LaneBlocks)
	}
	if last.Ruled == "" {
		return "", "" // no plan of this package's
	}
	return last.Ruled, "enable UPnP or PCP on either router"
}

// laneOfKind is the lane of a kind; one of LaneNone: there is none.
func laneOfKind(lanes []Lane, kind LaneKind) Lane {
	if i := slices.IndexFunc(lanes, func(l Lane) bool { return l.Kind == kind }); i >= 0 {
		return lanes[i]
	}
	return Lane{}
}
