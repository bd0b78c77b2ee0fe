package punch

import (
	"time"
)

// LaneKind is a way of getting through. The zero value is none.
type LaneKind uint8

// The ways, the cheapest first.
const (
	LaneNone         LaneKind = iota
	LanePlain                 // both sides send to where STUN servers saw the other
	LaneOnePacket             // one side lets the other's first packet in, and learns from it where the other is
	LaneMapped                // one side's router has mapped a port on request
	LanePredicted             // the next outside port of one side is foretold
	LaneCrossing              // those of both sides are
	LaneBirthday              // one side opens many mappings, the other tries many ports
	LaneBlocks                // both do, as each has few ports
	LaneTCP                   // TCP simultaneous open between mappings that stay the same
	LaneTCPPredicted          // the same, where the next outside port of one side is foretold
)

var laneKinds = [...]string{"none", "plain", "one_packet", "mapped", "predicted", "crossing", "birthday", "blocks", "tcp", "tcp_predicted"}

// String returns the kind in a word, such as "birthday".
func (k LaneKind) String() string {
	if int(k) < len(laneKinds) {
		return laneKinds[k]
	}
	return laneKinds[LaneNone]
}

// MarshalText returns what String does.
func (k LaneKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Side says whose outside ports a lane has to guess.
type Side uint8

// The sides.
const (
	Neither Side = iota
	Ours
	Theirs
	Both
)

// String returns the side in a word.
func (s Side) String() string { return [...]string{"neither", "ours", "theirs", "both"}[s&3] }

// Lane is one way to get through between two NATs, with what it costs this side and what
// can be hoped for.
type Lane struct {
	Kind LaneKind
	Hard Side // whose ports are guessed

	// Probability is how likely the lane gets through within the budget where no packet is
	// lost and the profiles are right, 0 to 1.
	Probability float64

	Sockets int           // that this side has open at once, at most
	Probes  int           // that this side sends, at most, without repetitions on a path that works
	Entries int           // in this side's NAT, at most
	Time    time.Duration // that this takes at the budget's rate, beside the round trips

	// Ruled is why the lane is not run, in words that follow "because"; "": it is run.
	Ruled string
}
