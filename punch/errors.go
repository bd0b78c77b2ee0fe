package punch

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Sentinels for errors.Is. A failed attempt is a *[UDPError], which matches one of
// them or neither.
var (
	// ErrSilence: nothing whatsoever came from the peer.
	ErrSilence = errors.New("nothing came from the peer")
	// ErrSecret: somebody's probes came, but made with another secret.
	ErrSecret = errors.New("probes came that were made with another secret")
)

// ConfigError says which field of a configuration cannot be used, and why.
type ConfigError struct {
	Field  string // as in the struct
	Value  any    // what it holds; nil for secrets
	Reason string // what is wrong and what would be right
}

// Error implements error.
func (e *ConfigError) Error() string {
	if e.Value == nil {
		return fmt.Sprintf("punch: config %s: %s", e.Field, e.Reason)
	}
	return fmt.Sprintf("punch: config %s = %v: %s", e.Field, e.Value, e.Reason)
}

// UDPError is an attempt over UDP that found no path.
type UDPError struct {
	Elapsed time.Duration
	Tried   []Tried // one for each address, in the order in which they were learned
	Forged  int     // probes or answers whose integrity did not match the secret
	Cause   error   // what ended it; nil: its own time-out
}

// Tried is what came of probing one address of the peer.
type Tried struct {
	Remote  netip.AddrPort
	Learned bool  // from a probe of the peer (peer-reflexive), not from the caller
	Probes  int   // sent there
	Heard   bool  // a probe of the peer came from there
	Err     error // what ICMP said, last; nil: nothing
}

// Error says what was tried, what was seen, and what to look at.
func (e *UDPError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "punch: no direct UDP path within %v", e.Elapsed.Round(time.Millisecond))
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	for _, t := range e.Tried {
		fmt.Fprintf(&b, "; %s: %d probes", t.Remote, t.Probes)
		if t.Heard {
			b.WriteString(", heard but not answered")
		}
		if t.Err != nil {
			fmt.Fprintf(&b, ", %v", t.Err)
		}
	}
	switch {
	case e.Forged > 0 && errors.Is(e, ErrSecret):
		fmt.Fprintf(&b, "; %v: both peers must use the same one", ErrSecret)
	case errors.Is(e, ErrSilence):
		fmt.Fprintf(&b, "; %v: is it punching now, and are these its addresses? A NAT that maps by destination needs more than this", ErrSilence)
	}
	return b.String()
}

// Is matches ErrSecret and ErrSilence.
func (e *UDPError) Is(target error) bool {
	heard := false
	for _, t := range e.Tried {
		heard = heard || t.Heard
	}
	switch target {
	case ErrSecret:
		return !heard && e.Forged > 0
	case ErrSilence:
		return !heard && e.Forged == 0
	}
	return false
}

// Unwrap gives the cause and the ICMP errors of the addresses tried.
func (e *UDPError) Unwrap() []error {
	var all []error
	if e.Cause != nil {
		all = append(all, e.Cause)
	}
	for _, t := range e.Tried {
		if t.Err != nil {
			all = append(all, t.Err)
		}
	}
	return all
}
