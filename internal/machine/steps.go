package machine

import "slices"

// Steps is the table of a machine's states: what may follow each, by the number of the state.
// Nothing follows a state that the table does not have.
type Steps[S ~uint8] [][]S

// After returns what may follow s. The caller owns the slice.
func (t Steps[S]) After(s S) []S {
	if int(s) >= len(t) {
		return nil
	}
	return slices.Clone(t[s])
}

// Step moves a machine from the state *at to another, and reports whether it did, so that
// there is something to tell. To stay is no step. A step that the table does not have is a
// mistake of the machine's own: it is not made, and counted in *illegal, which tests look at.
func (t Steps[S]) Step(at *S, to S, illegal *int) bool {
	if *at == to {
		return false
	}
	if int(*at) >= len(t) || !slices.Contains(t[*at], to) {
		*illegal++
		return false
	}
	*at = to
	return true
}
