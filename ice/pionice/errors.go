package pionice

import (
	"errors"
	"fmt"
)

// ErrNoAgent is returned for an agent that is nil.
var ErrNoAgent = errors.New("pionice: the agent is nil; give what pion's NewAgent returned")

// ConvertError says why a candidate cannot be converted. Flaws that have nothing to do with
// pion are the *ice.CandidateError of ice.Candidate.Check instead.
type ConvertError struct {
	Candidate string // what it is, as text; empty if it is nil
	Reason    string // what is in the way, and the remedy
}

// Error names the candidate and the reason.
func (e *ConvertError) Error() string {
	if e.Candidate == "" {
		return "pionice: candidate: " + e.Reason
	}
	return fmt.Sprintf("pionice: candidate %q: %s", e.Candidate, e.Reason)
}

// HandlerError says that an agent has a handler already, which would be evicted.
type HandlerError struct {
	Name string // of pion's setter, such as "OnCandidate"
}

// Error names the handler and the remedy.
func (e *HandlerError) Error() string {
	return fmt.Sprintf("pionice: the agent has an %s handler already, and pion has no way to keep it beside the recorder's: give it to Observe in Handlers, or call Observe first", e.Name)
}
