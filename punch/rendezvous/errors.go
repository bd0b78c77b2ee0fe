package rendezvous

import (
	"errors"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
)

var (
	// ErrClosed is what the methods of a Client return after its Close.
	ErrClosed = errors.New("rendezvous: the client is closed")

	// ErrUnavailable is why Dial fails at a server that shuts down, or at a
	// proxy before one that is not there: HTTP status 503.
	ErrUnavailable = errors.New("the server is shutting down or overloaded (HTTP status 503); try again later")
)

// ConfigError says that what a caller gave cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value (never a secret) and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "rendezvous: " + e.Field + ": " + e.Reason }

func badConfig(field string, value any, reason string) *ConfigError {
	return &ConfigError{Field: field, Reason: fmt.Sprintf("%v %s", quoted(value), reason)}
}

// quoted keeps hostile or endless text from filling a log.
func quoted(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	const most = 100
	if len(s) > most {
		s = s[:most-3] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// OpError is the error of an operation on a rendezvous.
type OpError struct {
	Op  string // "dial", "sign on", "join"
	URL string // the rendezvous, as it was given to Dial, without a password
	Err error  // what went wrong
}

// Error names the operation, the rendezvous and the cause.
func (e *OpError) Error() string {
	return fmt.Sprintf("rendezvous: %s %s: %v", e.Op, e.URL, e.Err)
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// NotRendezvousError says that something answered which is no rendezvous.
type NotRendezvousError struct {
	Status int   // the HTTP status it answered with; 0: it does not even speak HTTP
	Err    error // what was wrong; nil when the status says it all
}

// Error says what answered.
func (e *NotRendezvousError) Error() string {
	const remedy = "; check the URL's host, port and path"
	switch {
	case e.Status == 0:
		return fmt.Sprintf("no rendezvous answers there (%v)%s", e.Err, remedy)
	case e.Err != nil:
		return fmt.Sprintf("no rendezvous answers there (HTTP status %d: %v)%s", e.Status, e.Err, remedy)
	}
	return fmt.Sprintf("no rendezvous answers there (HTTP status %d)%s", e.Status, remedy)
}

// Unwrap returns what was wrong, nil if nothing beside the status.
func (e *NotRendezvousError) Unwrap() error { return e.Err }

// CloseError is what the other side said when it closed the connection.
type CloseError struct {
	Code   Code
	Reason string // one line of English
}

// Error gives code and reason.
func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the other side: %s (%d, %s)", e.Reason, e.Code, e.Code)
}

// Replaced reports whether another connection has signed on as the same peer, with proof: another
// program has the same identity.
func (e *CloseError) Replaced() bool { return e.Code == CodeReplaced }

// Error is a request that the server refused. It is an [Event] too, for a
// refusal that no call waits for.
type Error struct {
	Code   Code
	Reason string       // one line of English
	Room   string       // the room that the request was about, if any
	Peer   ident.PeerID // the peer that the request was about, if any
}

// Error gives the reason and the code.
func (e *Error) Error() string {
	return fmt.Sprintf("refused by the rendezvous: %s (%d, %s)", e.Reason, e.Code, e.Code)
}

// Undeliverable returns the peer that a message could not be handed to because it is
// not signed on; ok is false if the error is about something else.
func (e *Error) Undeliverable() (peer ident.PeerID, ok bool) {
	return e.Peer, e.Code == CodeNoPeer && !e.Peer.IsZero()
}

// ProtocolError says that the server sent what the protocol does not allow.
type ProtocolError struct {
	Reason string // what is wrong with it
}

// Error gives the reason.
func (e *ProtocolError) Error() string {
	return "the server breaks the rendezvous protocol: " + e.Reason
}

// TimeoutError says that the server was silent for too long.
type TimeoutError struct {
	Op    string        // what was waited for
	After time.Duration // for how long
}

// Error says what was waited for, and for how long.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("the server sent no %s within %v", e.Op, e.After)
}

// Timeout reports true, as of net.Error.
func (e *TimeoutError) Timeout() bool { return true }
