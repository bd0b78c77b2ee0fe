package turnclient

import (
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/words"
)

// State is where an allocation stands.
type State uint8

// The states of an allocation. See [State.Next] for what follows what.
const (
	Idle              State = iota // made, nothing sent yet
	Allocating                     // a server is being asked for an address, at first or after a loss
	Allocated                      // there is an address; no peer is permitted
	PermissionPending              // permissions have been asked for, none stands yet
	Permitted                      // at least one peer is permitted
	Congested                      // like Permitted, but the path to the server is slow or lossy: control traffic is reduced
	Disconnecting                  // the server does not answer; the allocation may still stand
	Failed                         // there is no allocation; the next attempt, if any, waits
	Closed                         // for good
)

var stateNames = words.Of[State](
	"idle", "allocating", "allocated", "permission-pending", "permitted", "congested", "disconnecting", "failed", "closed",
)

// String returns the state's name.
func (s State) String() string { return stateNames.String(s) }

// Usable reports whether there is an allocation that is believed to stand.
func (s State) Usable() bool { return s >= Allocated && s <= Congested }

// transitions is the table of what follows what. Each of them happens: a test sees to it.
var transitions = machine.Steps[State]{
	Idle:              {Allocating},
	Allocating:        {Allocated, Failed, Closed},
	Allocated:         {PermissionPending, Permitted, Congested, Disconnecting, Allocating, Closed},
	PermissionPending: {Allocated, Permitted, Congested, Disconnecting, Allocating, Closed},
	Permitted:         {Allocated, PermissionPending, Congested, Disconnecting, Allocating, Closed},
	Congested:         {Allocated, PermissionPending, Permitted, Disconnecting, Allocating, Closed},
	Disconnecting:     {Allocated, Allocating, Closed},
	Failed:            {Allocating, Closed},
	Closed:            nil,
}

// Next returns the states that may follow s, which makes the whole table readable. None
// follows Closed. The caller owns the slice.
func (s State) Next() []State { return transitions.After(s) }

// setState makes a transition and tells of it. err says why, where that is a failure.
func (a *allocation) setState(now time.Time, to State, err error) {
	from := a.state
	if transitions.Step(&a.state, to, &a.m.illegal) {
		a.tell(now, Event{Kind: EventState, From: from, State: to, Err: err})
	}
}

// settle chooses among the states of an allocation that stands.
func (a *allocation) settle(now time.Time) {
	if !a.state.Usable() {
		return
	}
	to := Allocated
	switch standing, pending := a.countPermits(); {
	case a.link.congestion.level > 0:
		to = Congested
	case standing > 0:
		to = Permitted
	case pending > 0:
		to = PermissionPending
	}
	a.setState(now, to, nil)
}
