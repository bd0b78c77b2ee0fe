package punch

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Sentinels for errors.Is. A failed attempt is a *[PathError], which matches one
// of them or neither.
var (
	// ErrSilent: nothing came that can be from the peer.
	ErrSilent = errors.New("nothing came from the peer")
	// ErrSecret: somebody's probes came, but made with another secret.
	ErrSecret = errors.New("probes came that were made with another secret")
)

// ConfigError says that what a caller gave cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value (never a secret) and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "punch: " + e.Field + ": " + e.Reason }

func badConfig(field string, value any, reason string) *ConfigError {
	return &ConfigError{Field: field, Reason: fmt.Sprintf("%v %s", value, reason)}
}

// PathError is an attempt that found no path.
type PathError struct {
	Proto   string        // "UDP" or "TCP"
	Elapsed time.Duration // since its start
	Tried   []Tried       // one for each address, in the order in which they were learned
	Met     bool          // the peer proved that it knows the secret, and still no path came of it
	Forged  int           // messages whose integrity did not match the secret
	Cause   error         // what ended it; nil: its own time-out
}

// Tried is what came of one address of the peer.
type Tried struct {
	Remote   netip.AddrPort // the address
	Learned  bool           // from a probe of the peer (peer-reflexive), not from the caller
	Tries    int            // probes sent there, or dials
	Heard    bool           // a probe of the peer came from there
	Answered bool           // a probe was answered from there, or a dial taken
	Err      error          // why the last one failed, as far as the system says; nil: it does not
}

// Error says what was tried, what was seen, and what to look at.
func (e *PathError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "punch: no direct %s path within %v", e.Proto, e.Elapsed.Round(time.Millisecond))
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	for _, t := range e.Tried {
		fmt.Fprintf(&b, "; %s: %d tries", t.Remote, t.Tries)
		if t.Heard {
			b.WriteString(", heard from")
		}
		if t.Answered {
			b.WriteString(", answered")
		}
		if t.Err != nil {
			fmt.Fprintf(&b, ", %s", plain(t.Err))
		}
	}
	switch {
	case errors.Is(e, ErrSecret):
		fmt.Fprintf(&b, "; %v: both peers must use the same one", ErrSecret)
	case errors.Is(e, ErrSilent):
		fmt.Fprintf(&b, "; %v: is it punching now, and are these its addresses? A NAT that maps by destination needs more than this", ErrSilent)
	}
	return b.String()
}

// plain is an error's text without the package that it is from, which says nothing to
// whoever reads of an address.
func plain(err error) string {
	text := err.Error()
	for _, of := range []string{"punch: ", "Peer: ", "netio: "} {
		text = strings.TrimPrefix(text, of)
	}
	return text
}

// Is matches ErrSecret and ErrSilent.
func (e *PathError) Is(target error) bool {
	switch target {
	case ErrSecret:
		return !e.Met && e.Forged > 0
	case ErrSilent:
		return !e.Met && e.Forged == 0
	}
	return false
}

// Unwrap gives the cause and the ICMP errors of the addresses tried.
func (e *PathError) Unwrap() []error {
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
