package ice

import (
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/words"
)

// State is where an agent stands.
type State uint8

// The states of an agent. See [State.Next] for what follows what.
const (
	Gathering    State = iota // candidates are being found; the peer's credentials are not known yet
	Checking                  // pairs are being checked, none works yet
	Connected                 // a pair works and carries data; the choice may still change
	Completed                 // a pair has been nominated and carries data
	Disconnected              // the peer does not answer on the pair that carries data; it may again
	Failed                    // no pair works; a check of the peer, or a restart, may still change that
	Closed                    // for good
)

var stateNames = words.Of[State]("gathering", "checking", "connected", "completed", "disconnected", "failed", "closed")

// String returns the state's name.
func (s State) String() string { return stateNames.String(s) }

// Usable reports whether data can be sent.
func (s State) Usable() bool { return s == Connected || s == Completed || s == Disconnected }

// transitions is the table of what may follow what.
var transitions = machine.Steps[State]{
	Gathering:    {Checking, Failed, Closed},
	Checking:     {Connected, Completed, Failed, Gathering, Closed},
	Connected:    {Completed, Disconnected, Failed, Checking, Gathering, Closed},
	Completed:    {Connected, Disconnected, Failed, Checking, Gathering, Closed},
	Disconnected: {Connected, Completed, Failed, Checking, Gathering, Closed},
	Failed:       {Checking, Connected, Completed, Gathering, Closed},
	Closed:       nil,
}

// Next returns the states that may follow s. The caller owns the slice.
func (s State) Next() []State { return transitions.After(s) }

// setState makes a transition and tells of it. reason says why.
func (a *agent) setState(now time.Time, to State, reason error) {
	from := a.state
	if transitions.Step(&a.state, to, &a.m.illegal) {
		a.tell(now, Event{Kind: EventState, From: from, Err: reason})
	}
}

// PairState is where the checks of a pair stand (RFC 8445 section 6.1.2.6).
type PairState uint8

// The states of a pair.
const (
	Frozen     PairState = iota // waits for another pair of its foundation
	Waiting                     // to be checked
	InProgress                  // a check is under way
	Succeeded                   // a check was answered
	PairFailed                  // none was in time, or not as it must be
)

var pairStateNames = words.Of[PairState]("frozen", "waiting", "in-progress", "succeeded", "failed")

// String returns the state's name.
func (s PairState) String() string { return pairStateNames.String(s) }
