package turnclient

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// waits reports whether the race goes on for servers that have not answered yet, while
// others have failed.
func (a *allocation) waits() bool {
	return len(a.failed) > 0 && slices.ContainsFunc(a.attempts, func(t *attempt) bool { return !t.lost && !t.again && !t.moving })
}

// askAgain asks servers anew that have failed in this race: one that is restarted must not
// be found only once another, which cannot be reached from here, has had all its time.
func (a *allocation) askAgain(now time.Time) {
	if !a.waits() {
		return
	}
	for _, s := range a.failed {
		busy := slices.Contains(a.queue, s) || slices.ContainsFunc(a.attempts, func(t *attempt) bool { return !t.lost && t.link.srv == s })
		if !busy && s.held(now) == nil {
			a.queue = append(a.queue, s)
		}
	}
	if !a.stagger.IsSet() { // else their turn comes
		a.nextServer(now)
	}
}

// soFar says of each server why it was of no use, or how far asking it has got: what there
// is to tell when whoever waits does not want to any more.
func (m *Machine) soFar(now time.Time, id AllocationID) []error {
	a := m.allocs[id]
	if a == nil {
		return nil
	}
	all := slices.Clone(a.failures)
	add := func(s *server, err error) {
		all = append(all, &ServerError{Server: s.Endpoint, Op: "allocate", Err: err})
	}
	for _, t := range a.attempts {
		switch s := t.link.srv; {
		case t.again: // what it said before is more
		case t.request == nil:
			add(s, fmt.Errorf("%w: no connection within %v", ErrNoAnswer, now.Sub(s.tried).Round(time.Millisecond)))
		default:
			add(s, t.request.silence(now))
		}
	}
	for _, s := range a.queue {
		if !slices.Contains(a.failed, s) {
			add(s, errNotAsked)
		}
	}
	return all
}

var errNotAsked = errors.New("it was not asked yet")
