package fingerprint

import (
	"errors"
	"fmt"
)

// Why a dimension is masked, for errors.Is on the errors of a [Result]. Besides
// them stand what the system said, os.ErrPermission where it grants no ping
// sockets, and the error of a context that ended early.
var (
	// ErrNotObserved says that nobody told this dimension, which cannot be seen
	// from outside of a NAT.
	ErrNotObserved = errors.New("cannot be had from outside; take it from a report made behind the NAT")
	// ErrNoAnswer says that no echo request was answered, so that there is no TTL.
	ErrNoAnswer = errors.New("no echo request was answered")
	// ErrNoControl says that no candidate of the address family answered at all, so
	// that silence may be this network's doing.
	ErrNoControl = errors.New("nobody answered at all, so ICMP may be blocked here; add a candidate that is known to answer")
	// ErrNoTTL says that the system does not tell the TTL of what it received.
	ErrNoTTL = errors.New("the system does not tell the received TTL")
)

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "fingerprint: " + e.Field + ": " + e.Reason }

// ValueError says that a value is none that a dimension can have.
type ValueError struct {
	Key    string  // the dimension's JSON key
	Value  float64 // as given; may be NaN or infinite
	Reason string  // what would be right
}

// Error names the dimension, the value and the reason.
func (e *ValueError) Error() string {
	return fmt.Sprintf("fingerprint: %s = %g: %s", e.Key, e.Value, e.Reason)
}
