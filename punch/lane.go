package punch

import (
	"time"

	"github.com/bradawl/bradawl/internal/words"
)

// LaneKind is a way of getting through. The zero value is none. It marshals as text.
type LaneKind uint8

// The ways, the cheapest first. What each of them is, laneKinds says.
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

	numLaneKinds
)

// laneKinds is what there is to know of each kind: who adds one fills in its row, plans it
// (PlanMapped) and, if it guesses, runs it (begin). A new one comes last: the numbers go over
// the wire (lane_tell.go).
var laneKinds = [numLaneKinds]laneRow{
	LaneNone:         {word: "none"},
	LanePlain:        {word: "plain"},
	LaneOnePacket:    {word: "one_packet"},
	LaneMapped:       {word: "mapped"},
	LanePredicted:    {word: "predicted", guesses: guessesNext},
	LaneCrossing:     {word: "crossing", guesses: guessesNext},
	LaneBirthday:     {word: "birthday", guesses: guessesMany},
	LaneBlocks:       {word: "blocks", guesses: guessesMany},
	LaneTCP:          {word: "tcp_simultaneous_open", tcp: true},
	LaneTCPPredicted: {word: "tcp_predicted", guesses: guessesNext, tcp: true},
}

type laneRow struct {
	word    string
	guesses guesses
	tcp     bool
}

var laneWords = words.By[LaneKind](laneKinds[:], func(r laneRow) string { return r.word })

// guesses is how a lane finds ports that nobody has seen.
type guesses uint8

const (
	guessesNone guesses = iota // it needs none
	guessesNext                // it foretells them
	guessesMany                // it tries many
)

// LaneKinds returns all kinds but LaneNone, in the order of the constants.
func LaneKinds() []LaneKind {
	var all []LaneKind
	for k := LaneNone + 1; k < numLaneKinds; k++ {
		all = append(all, k)
	}
	return all
}

// known is the kind, or LaneNone where it is none of the constants.
func (k LaneKind) known() LaneKind {
	if k < numLaneKinds {
		return k
	}
	return LaneNone
}

// Guesses reports whether the lane has to find ports that nobody has seen. Those that do are
// run by [Lanes]; the others are what plain checks of addresses do anyway.
func (k LaneKind) Guesses() bool { return laneKinds[k.known()].guesses != guessesNone }

// Sprays reports whether the lane finds them by trying many, so that no two of its kind should
// run behind one NAT at once.
func (k LaneKind) Sprays() bool { return laneKinds[k.known()].guesses == guessesMany }

// OverTCP reports whether the lane is one of TCP. The others are of UDP.
func (k LaneKind) OverTCP() bool { return laneKinds[k.known()].tcp }

// String returns the kind in a word, such as "birthday": the same in plans, in statistics and
// for a [Memory].
func (k LaneKind) String() string { return laneWords.String(k) }

// MarshalText returns what String does, or an error if k is none of the constants.
func (k LaneKind) MarshalText() ([]byte, error) { return laneWords.Marshal(k) }

// UnmarshalText reads what MarshalText wrote. The error names the words that there are.
func (k *LaneKind) UnmarshalText(text []byte) error { return laneWords.Unmarshal(text, k) }

// laneKindOf is the kind of a word; LaneNone: it is the word of none.
func laneKindOf(word string) (k LaneKind) {
	_ = k.UnmarshalText([]byte(word))
	return k
}

// Side says whose outside ports a lane has to guess, or what something is about. It marshals
// as text.
type Side uint8

// The sides.
const (
	Neither Side = iota
	Ours
	Theirs
	Both
)

var sides = words.Of[Side]("neither", "ours", "theirs", "both")

// String returns the side in a word.
func (s Side) String() string { return sides.String(s) }

// MarshalText returns what String does, or an error if s is none of the constants.
func (s Side) MarshalText() ([]byte, error) { return sides.Marshal(s) }

// UnmarshalText reads what MarshalText wrote. The error names the words that there are.
func (s *Side) UnmarshalText(text []byte) error { return sides.Unmarshal(text, s) }

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

	// Obstacle is why the lane is not run, for programs; Ruled says it in words that follow
	// "because". ObstacleNone and "": it is run.
	Obstacle Obstacle
	Ruled    string
}
