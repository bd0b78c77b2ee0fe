package natprobe

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrNoAnswer says that a server did not answer in time.
var ErrNoAnswer = errors.New("no answer")

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "natprobe: " + e.Field + ": " + e.Reason }

// ServerError says why one STUN server was of no use.
type ServerError struct {
	Server netip.AddrPort // who was asked
	Code   int            // STUN error code (RFC 8489 section 14.8) that the server sent; 0: it sent none
	Err    error          // ErrNoAnswer, or what else went wrong
}

// Error names the server and what went wrong.
func (e *ServerError) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("STUN server %v refused with code %d: %v", e.Server, e.Code, e.Err)
	}
	return fmt.Sprintf("STUN server %v: %v", e.Server, e.Err)
}

// Unwrap returns Err.
func (e *ServerError) Unwrap() error { return e.Err }

// NoAnswersError says that none of the servers asked told an address.
type NoAnswersError struct {
	Servers []error // a *ServerError for each server asked, in the order asked
	Cause   error   // the context's error, where that ended the wait; else nil
}

// Error names each server with what went wrong, and a remedy.
func (e *NoAnswersError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "natprobe: none of %d STUN servers told this socket's address", len(e.Servers))
	if e.Cause != nil {
		fmt.Fprintf(&b, " (%v)", e.Cause)
	}
	for i, err := range e.Servers {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(err.Error())
	}
	if errors.Is(errors.Join(e.Servers...), ErrNoAnswer) {
		b.WriteString("; check the servers' addresses, or UDP may be blocked here")
	}
	return b.String()
}

// Unwrap returns the servers' errors and the cause.
func (e *NoAnswersError) Unwrap() []error {
	if e.Cause == nil {
		return e.Servers
	}
	return append([]error{e.Cause}, e.Servers...)
}
