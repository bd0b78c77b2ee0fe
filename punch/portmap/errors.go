package portmap

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// What can be wrong without a router saying so.
var (
	// ErrNoGateway says that this host's router is not known.
	ErrNoGateway = errors.New("no gateway is known for this address; set Config.Gateways, or there is no router")
	// ErrNoAnswer says that the router did not answer by a protocol: most do not speak it, or
	// have it switched off.
	ErrNoAnswer = errors.New("no answer")
	// ErrClosed says that the client, or the mapping, was closed.
	ErrClosed = errors.New("portmap: closed")
)

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "portmap: " + e.Field + ": " + e.Reason }

// RouterError is what a router answered instead of doing what it was asked.
type RouterError struct {
	Code int    // of the protocol's; 0: the answer was of no use
	Name string // the code's name in the protocol's document
	Text string // the router's own words, or what is wrong with its answer
	wait time.Duration
}

// Error tells the name, the code and the words.
func (e *RouterError) Error() string {
	switch {
	case e.Code == 0 && e.Text != "":
		return e.Text
	case e.Text == "" || e.Text == e.Name:
		return fmt.Sprintf("%s (%d)", e.Name, e.Code)
	}
	return fmt.Sprintf("%s (%d): %q", e.Name, e.Code, e.Text)
}

// MethodError says why one protocol of one router was of no use.
type MethodError struct {
	Gateway netip.Addr // the router
	Method  Method
	Err     error // a *RouterError, ErrNoAnswer, or what else went wrong
}

// Error names router, protocol and reason.
func (e *MethodError) Error() string { return fmt.Sprintf("%v of %v: %v", e.Method, e.Gateway, e.Err) }

// Unwrap returns Err.
func (e *MethodError) Unwrap() error { return e.Err }

// MapError says why there is no mapping.
type MapError struct {
	Protocol Protocol
	Internal netip.AddrPort // what was to be mapped
	Methods  []error        // a *MethodError for each protocol tried, or ErrNoGateway
	Cause    error          // the context's error, where that ended the wait; else nil
}

// Error lists what each protocol came to.
func (e *MapError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "portmap: no router maps %v port %d", e.Protocol, e.Internal.Port())
	if e.Cause != nil {
		fmt.Fprintf(&b, " (%v)", e.Cause)
	}
	for i, err := range e.Methods {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap returns the protocols' errors and the cause.
func (e *MapError) Unwrap() []error {
	if e.Cause == nil {
		return e.Methods
	}
	return append([]error{e.Cause}, e.Methods...)
}

// bad is the error for an answer that makes no sense.
func bad(format string, args ...any) *RouterError {
	return &RouterError{Text: fmt.Sprintf(format, args...)}
}
