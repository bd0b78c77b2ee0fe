package ice

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// What can go wrong, for errors.Is.
var (
	// ErrClosed: the agent or its endpoint was closed.
	ErrClosed = errors.New("ice: closed")
	// ErrNoPair: no pair works yet, or any more; wait for Connected, or restart.
	ErrNoPair = errors.New("ice: there is no pair that works")
	// ErrSilent: nothing of the peer has come in.
	ErrSilent = errors.New("ice: nothing was heard of the peer")
	// ErrCredentials: checks or answers came in that do not match the credentials.
	ErrCredentials = errors.New("ice: what came in of the peer does not match the credentials that were exchanged")
	// ErrConsent: the peer did not renew its consent in time, or revoked it (RFC 7675).
	ErrConsent = errors.New("ice: the peer did not renew its consent to receive")
	// ErrTooLong: a datagram is longer than the path takes.
	ErrTooLong = errors.New("ice: datagram too long")
)

// ConfigError says what is wrong with a configuration or an argument.
type ConfigError struct {
	Field  string // the field or argument
	Reason string // what is wrong with it, and what would be right
}

// Error tells field and reason.
func (e *ConfigError) Error() string { return fmt.Sprintf("ice: %s: %s", e.Field, e.Reason) }

// Try is what became of one pair, in a FailedError.
type Try struct {
	Local, Remote Candidate // the pair's
	Sent          int       // checks
	Err           error     // ErrSilent, or what came back
}

// FailedError says why an agent failed. It matches ErrSilent or ErrCredentials where these
// say what happened, and the cause.
type FailedError struct {
	Elapsed time.Duration // since the peer's credentials were known, or a pair last worked
	Pairs   []Try         // what was tried, the best first
	Forged  int           // messages whose integrity did not match
	Heard   bool          // authentic checks or answers of the peer came in
	Cause   error         // what was wrong with the nominated pair, where that ended it; else nil
	// PassedOver is how many candidates of the peer were not checked, and WhyPassed the first
	// one's *RemoteError; nil: there was none. EventPassedOver told of each.
	PassedOver int
	WhyPassed  error
}

// Error tells what was tried and what was heard.
func (e *FailedError) Error() string {
	sent := 0
	for _, p := range e.Pairs {
		sent += p.Sent
	}
	text := fmt.Sprintf("ice: no path after %v: %d pairs, %d checks sent", e.Elapsed.Round(time.Millisecond), len(e.Pairs), sent)
	switch {
	case len(e.Pairs) == 0:
		text += "; " + unreachable(e.PassedOver, e.WhyPassed)
	case e.Forged > 0:
		text += fmt.Sprintf("; %d checks or answers came in that do not match the passwords: the two sides use different credentials", e.Forged)
	case e.Heard:
		text += "; checks of the peer came in, but none of ours was answered: something blocks one direction"
	default:
		text += "; nothing was heard of the peer: see that it runs, and try a relay"
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// unreachable says that there are no pairs, and why the peer's candidates did not do.
func unreachable(passed int, why error) string {
	text := "the peer has told no candidate that ours can reach"
	if passed > 0 {
		text += fmt.Sprintf(", and %d that were passed over, such as %s", passed, strings.TrimPrefix(why.Error(), "ice: "))
	}
	return text
}

// Unwrap returns the sentinels that hold, and the cause.
func (e *FailedError) Unwrap() []error {
	var errs []error
	switch {
	case e.Forged > 0:
		errs = append(errs, ErrCredentials)
	case !e.Heard:
		errs = append(errs, ErrSilent)
	}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

// RemoteError says why a candidate of the peer is not checked. It ends nothing: what the
// peer says must not end an attempt.
type RemoteError struct {
	Addr   netip.AddrPort
	Name   string // in place of an IP
	Reason string // what is wrong with it
	Err    error  // of looking it up, or nil
}

// Error tells the candidate and the reason.
func (e *RemoteError) Error() string {
	at := e.Addr.String()
	if e.Name != "" {
		at = e.Name
	}
	text := fmt.Sprintf("ice: candidate %s %s", at, e.Reason)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *RemoteError) Unwrap() error { return e.Err }
