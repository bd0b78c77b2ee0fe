package stats

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strings"
)

// Limits of an experiment.
const (
	// MaxArms is the most arms.
	MaxArms = 16
	// MaxWeight is the greatest weight of an arm.
	MaxWeight = 1_000_000
	// MaxGuards is the most guards.
	MaxGuards = 8
)

// Experiment compares ways of doing something. Each pair of peers is in one of its arms,
// which both ends work out alike from their names, so that they need not ask anybody. It
// is a plain value, to be the same at all peers and at who judges; JSON has its fields in
// lower case.
type Experiment struct {
	// Name is a word of a-z, 0-9, '_' and '-'. Together with that of an arm it must fit into
	// Event.Group: at most MaxWord-1 characters. It must be given; experiments of different
	// names are independent of each other.
	Name string `json:"name"`

	// Salt makes another draw of the same pairs, as for a repetition. Default "".
	Salt string `json:"salt,omitzero"`

	// Arms are two to MaxArms; the first one is the control.
	Arms []Arm `json:"arms"`

	// Effect is the difference of shares, of the order of magnitude, that is looked for: the
	// standard deviation of the normal distribution by which [Experiment.Judge] weighs
	// possible differences. What is claimed holds with any; it finds differences like this
	// one soonest. To be settled before there are results. Default 0.05, five points; from
	// 0.001 to 0.5.
	Effect float64 `json:"effect,omitzero"`

	// Guards are shares that no arm may spoil. Default none, at most MaxGuards.
	Guards []Guard `json:"guards,omitempty"`
}

// Arm is one of the ways.
type Arm struct {
	// Name is a word of a-z, 0-9 and '_', another one in each arm.
	Name string `json:"name"`
	// Weight is how many pairs get this arm in proportion to the other weights. Default 1, at
	// most MaxWeight; negative: none that has not got it already by a [Sticky].
	Weight int `json:"weight,omitzero"`
}

// Guard is a share that is watched for harm: how many sessions were relayed, how many took
// longer than what the 95th percentile used to be, how many were lost within a minute.
type Guard struct {
	// Name is a word of a-z, 0-9, '_' and '-', another one in each guard.
	Name string `json:"name"`
	// Good is for shares that should be high. Default false: they should be low.
	Good bool `json:"good,omitzero"`
}

// Validate returns a *ConfigError for the first thing that is wrong with the experiment,
// nil if nothing is.
func (x *Experiment) Validate() error {
	switch {
	case x.Name == "" || !isWord(x.Name):
		return badConfig("Experiment.Name", "%q is no word for counting; give 1 to %d characters of a-z 0-9 _ -", cut(x.Name), MaxWord-2)
	case len(x.Arms) < 2 || len(x.Arms) > MaxArms:
		return badConfig("Experiment.Arms", "there are %d; give 2 to %d, the first one the control", len(x.Arms), MaxArms)
	case x.Effect != 0 && !(x.Effect >= 0.001 && x.Effect <= 0.5):
		return badConfig("Experiment.Effect", "%v is out of range; give 0 (0.05) or 0.001 to 0.5", x.Effect)
	case len(x.Guards) > MaxGuards:
		return badConfig("Experiment.Guards", "there are %d; give at most %d", len(x.Guards), MaxGuards)
	}
	total := 0
	for i, arm := range x.Arms {
		field := func(name string) string { return fmt.Sprintf("Experiment.Arms[%d].%s", i, name) }
		switch {
		case arm.Name == "" || !isWord(arm.Name) || strings.Contains(arm.Name, "-"):
			return badConfig(field("Name"), "%q is none; give characters of a-z 0-9 _", cut(arm.Name))
		case len(x.Group(arm.Name)) > MaxWord:
			return badConfig(field("Name"), "%q is too long a group; shorten the arm's or the experiment's name to %d characters in all", x.Group(arm.Name), MaxWord-1)
		case x.index(arm.Name) < i:
			return badConfig(field("Name"), "%q is that of two arms; give each its own", arm.Name)
		case arm.Weight > MaxWeight:
			return badConfig(field("Weight"), "%d is too much; give at most %d", arm.Weight, MaxWeight)
		}
		total += arm.weight()
	}
	if total == 0 {
		return badConfig("Experiment.Arms", "all weights are negative; leave one of them 0 (1) at least")
	}
	for i, guard := range x.Guards {
		field := fmt.Sprintf("Experiment.Guards[%d].Name", i)
		switch {
		case guard.Name == "" || !isWord(guard.Name):
			return badConfig(field, "%q is no word for counting; give 1 to %d characters of a-z 0-9 _ -", cut(guard.Name), MaxWord)
		case x.guard(guard.Name) < i:
			return badConfig(field, "%q is that of two guards; give each its own", guard.Name)
		}
	}
	return nil
}

func (a Arm) weight() int {
	if a.Weight == 0 {
		return 1
	}
	return max(0, a.Weight)
}

// index is the number of an arm, -1 if there is none of this name.
func (x *Experiment) index(arm string) int {
	for i := range x.Arms {
		if x.Arms[i].Name == arm {
			return i
		}
	}
	return -1
}

func (x *Experiment) guard(name string) int {
	for i := range x.Guards {
		if x.Guards[i].Name == name {
			return i
		}
	}
	return -1
}

func (x *Experiment) effect() float64 {
	if x.Effect == 0 {
		return 0.05
	}
	return x.Effect
}

// Group is the word for Event.Group that stands for an arm: the experiment's name, "-",
// the arm's.
func (x *Experiment) Group(arm string) string { return x.Name + "-" + arm }

// Groups are those of all arms, in their order. Give them to [Config].Groups of a recorder,
// so that no stranger's words take their room.
func (x *Experiment) Groups() []string {
	groups := make([]string, len(x.Arms))
	for i, arm := range x.Arms {
		groups[i] = x.Group(arm.Name)
	}
	return groups
}

// ArmOf is the arm that a group stands for; ok is false if it is none of this experiment.
func (x *Experiment) ArmOf(group string) (arm string, ok bool) {
	arm, ok = strings.CutPrefix(group, x.Name+"-")
	if !ok || x.index(arm) < 0 {
		return "", false
	}
	return arm, true
}

// Arm returns the arm of the pair of peers a and b, in whichever order. Names are any two
// texts that both ends write alike, such as what PeerID.String returns. The same pair gets
// the same arm in every version of this package, until the experiment's name, its salt, or
// number, order or weights of its arms change. [Assigner] also says which sessions count.
//
// The error is a *ConfigError: the experiment is not valid, a name is empty, or both are
// the same.
func (x *Experiment) Arm(a, b string) (string, error) {
	if err := x.Validate(); err != nil {
		return "", err
	}
	if err := checkPair(a, b); err != nil {
		return "", err
	}
	return x.draw(x.pair(a, b)), nil
}

func checkPair(self, peer string) error {
	switch {
	case self == "":
		return badConfig("Self", "is empty; name the peer that assigns, such as by PeerID.String")
	case peer == "":
		return badConfig("peer", "is empty; name the peer, such as by PeerID.String")
	case self == peer:
		return badConfig("peer", "%q is both ends of the pair; name two peers", cut(peer))
	}
	return nil
}

// pair is what an experiment knows a pair by. Its parts are independent of each other.
type pair struct {
	arm  uint64   // decides on the arm
	seen uint64   // for remembering
	key  [16]byte // for telling others
}

// pair hashes what makes the arm: all in a form that no other experiment or pair has.
func (x *Experiment) pair(a, b string) pair {
	h := sha256.New()
	var length [8]byte
	for _, part := range [...]string{"bradawl experiment v1", x.Name, x.Salt, min(a, b), max(a, b)} {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	sum := h.Sum(nil)
	return pair{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:]), [16]byte(sum[16:])}
}

// stickyKey tells a store which pair it is, and nobody who the peers are.
func (x *Experiment) stickyKey(p pair) string { return x.Name + ":" + hex.EncodeToString(p.key[:]) }

// draw cuts the range of hashes into pieces as long as the weights.
func (x *Experiment) draw(p pair) string {
	total := 0
	for _, arm := range x.Arms {
		total += arm.weight()
	}
	at, _ := bits.Mul64(p.arm, uint64(total)) // 0 to total-1
	for _, arm := range x.Arms {
		if w := uint64(arm.weight()); at < w {
			return arm.Name
		} else {
			at -= w
		}
	}
	return x.Arms[0].Name
}
