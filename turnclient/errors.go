package turnclient

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

// What went wrong, for errors.Is.
var (
	// ErrNoAnswer: the server did not answer in time.
	ErrNoAnswer = errors.New("no answer")
	// ErrNotTURN: something came that is neither STUN nor ChannelData, or was cut short.
	ErrNotTURN = errors.New("the server sends what is neither STUN nor ChannelData")
	// ErrNotAsked: data came of a peer that is not permitted, or on a channel that is not
	// bound. It was dropped.
	ErrNotAsked = errors.New("the server sends what was not asked for")
	// ErrIntegrity: answers came, but none was signed with the password. Somebody
	// forges them, or the server does not sign what it should: see UnsignedError.
	ErrIntegrity = errors.New("answers came, but none with a valid signature")
	// ErrBidDown: the server's security features were tampered with on the way (RFC
	// 8489 section 9.2.1).
	ErrBidDown = errors.New("security features announced by the server are missing from its answer")
	// ErrCredentials: the server wants other credentials, or any.
	ErrCredentials = errors.New("the server did not accept the credentials")
	// ErrCertificate: the server's certificate is not for its name, or not trusted.
	// Nothing was sent to it. The error holds a *tls.CertificateVerificationError.
	ErrCertificate = errors.New("the certificate was not accepted")
	// ErrHeld: the server is not asked for now, because of what it said before.
	ErrHeld = errors.New("the server is not to be asked yet")
	// ErrQueueFull: too much waits already for a permission, for a new allocation, or for
	// a connection to the server that takes it slowly, or too many connections are being
	// made.
	ErrQueueFull error = queueFull{}
	// ErrNotPermitted: the server refused to relay to the peer.
	ErrNotPermitted = errors.New("the server does not relay to this peer")
	// ErrConnectionExists: there is a connection to the peer already, or one is being
	// made; a TCP allocation can have one to each peer (RFC 6062 section 5.2).
	ErrConnectionExists = errors.New("there is a connection to this peer already")
	// ErrLost: there is no allocation for now.
	ErrLost = errors.New("the allocation is lost")
	// ErrClosed: the client or the allocation was closed. It matches net.ErrClosed.
	ErrClosed error = closedError{}
)

// errNoCode is a refusal without a reason, such as pion/turn gives for a peer.
var errNoCode = errors.New("it was refused without an error code")

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value (never a secret) and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "turnclient: " + e.Field + ": " + e.Reason }

// ServerError says why a server was of no use for one request.
type ServerError struct {
	Server Endpoint // who was asked
	Op     string   // what was asked: "allocate", "refresh", "permission", "channel", "connect", "bind"; "data": nothing
	Code   int      // STUN error code that the server sent; 0: it sent none
	Reason string   // the server's own words, which prove nothing; "": none
	// RetryAfter is when it may be asked again; zero: at once, if at all.
	RetryAfter time.Time
	Err        error // ErrNoAnswer and the like; nil where Code says it all
}

// Error names the server, the transport, what was asked, the code and a remedy.
func (e *ServerError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "turnclient: %s at %v", e.Op, e.Server)
	if e.Code != 0 {
		fmt.Fprintf(&b, ": refused with %d", e.Code)
		if name := codes[e.Code].name; name != "" {
			fmt.Fprintf(&b, " (%s)", name)
		}
		if e.Reason != "" && !strings.EqualFold(e.Reason, codes[e.Code].name) {
			fmt.Fprintf(&b, " %q", e.Reason)
		}
	}
	if e.Err != nil {
		b.WriteString(": " + strings.TrimPrefix(e.Err.Error(), "turnclient: "))
	}
	if r := e.remedy(); r != "" {
		fmt.Fprintf(&b, "; %s", r)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *ServerError) Unwrap() error { return e.Err }

func (e *ServerError) remedy() string {
	if r := codes[e.Code].remedy; r != "" {
		return r
	}
	switch { // RFC 8489 section 6.3.4
	case e.Code/100 == 5:
		return "the server failed; try again later, or use another"
	case e.Code != 0:
		return "this code is not known here; ask the server's operator what it means"
	}
	var unsigned *UnsignedError
	var proxy *ProxyError
	switch {
	case errors.As(e.Err, &proxy):
		return "" // it has its own
	case errors.Is(e.Err, ErrNotTURN):
		return "check that a TURN server is at this address and port, and the transport"
	case errors.Is(e.Err, ErrNotAsked):
		return "a little may be on its way when a permission ends; if there is more, tell its operator"
	case errors.Is(e.Err, ErrNoAnswer) && e.Server.Transport == UDP:
		return "check the address; UDP may be blocked here, so add the server with ?transport=tcp or as turns:"
	case errors.Is(e.Err, ErrNoAnswer):
		return "check the address and port"
	case errors.As(e.Err, &unsigned) && unsigned.Code != wire.CodeBadRequest && codes[unsigned.Code].remedy != "":
		return "it may be forged; if it is not: " + codes[unsigned.Code].remedy
	case errors.Is(e.Err, ErrIntegrity):
		return "check the password; if it is right, somebody on the way forges answers"
	case errors.Is(e.Err, ErrCertificate):
		return "name the host that the certificate is for, or trust its issuer by Config.TLS"
	case errors.Is(e.Err, ErrBidDown):
		return "somebody on the way tampers with answers: use turns:"
	}
	return ""
}

// codes are the names of error codes, and what to do about them.
var codes = map[int]struct{ name, remedy string }{
	wire.CodeTryAlternate:         {"Try Alternate", "the server names another one that cannot be used; ask its operator"},
	wire.CodeBadRequest:           {"Bad Request", "the server does not understand the request; try another server"},
	wire.CodeUnauthenticated:      {"Unauthenticated", "check username and password; short-lived ones may have expired"},
	wire.CodeForbidden:            {"Forbidden", "the server's policy refuses this; ask its operator"},
	wire.CodeMobilityForbidden:    {"Mobility Forbidden", "switch Mobility off for this server"},
	wire.CodeUnknownAttribute:     {"Unknown Attribute", "the server lacks a feature that was asked for; switch it off"},
	wire.CodeAllocationMismatch:   {"Allocation Mismatch", "the server knows no such allocation, or another one from this port"},
	wire.CodeStaleNonce:           {"Stale Nonce", "the server rejects its own nonces; several servers may share its address"},
	wire.CodeFamilyNotSupported:   {"Address Family not Supported", "ask for the other address family"},
	wire.CodeWrongCredentials:     {"Wrong Credentials", "the allocation belongs to another user"},
	wire.CodeUnsupportedTransport: {"Unsupported Transport Protocol", "the server does not relay this transport"},
	wire.CodePeerFamilyMismatch:   {"Peer Address Family Mismatch", "ask for a relayed address of the peer's family"},
	wire.CodeConnectionExists:     {"Connection Already Exists", "close the connection to that peer first"},
	wire.CodeConnectionFailed:     {"Connection Timeout or Failure", "the relay could not connect to the peer; wait 10 s before the next try"},
	wire.CodeAllocationQuota:      {"Allocation Quota Reached", "this user has too many allocations; close one, or wait a minute"},
	wire.CodeServerError:          {"Server Error", "try again later"},
	wire.CodeInsufficientCapacity: {"Insufficient Capacity", "the server is full; wait a minute or use another"},
}

// UnsignedError is ErrIntegrity where an answer gave a reason. It proves nothing, but is
// likely: some servers do not sign their refusals.
type UnsignedError struct {
	Code int // STUN error code
}

// Error names the code.
func (e *UnsignedError) Error() string {
	return fmt.Sprintf("%v (one said %s)", ErrIntegrity, strings.TrimSpace(fmt.Sprint(e.Code, " ", codes[e.Code].name)))
}

// Is matches ErrIntegrity.
func (e *UnsignedError) Is(target error) bool { return target == ErrIntegrity }

// AllocateError says that no server gave an allocation.
type AllocateError struct {
	Attempts []error // a *ServerError for each attempt, in the order in which they ended
	Cause    error   // what ended the wait, if not the attempts; else nil
}

// Error names every attempt.
func (e *AllocateError) Error() string {
	var b strings.Builder
	b.WriteString("turnclient: no server gave an allocation")
	if e.Cause != nil {
		fmt.Fprintf(&b, " (%v)", e.Cause)
	}
	for i, err := range e.Attempts {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(strings.TrimPrefix(err.Error(), "turnclient: "))
	}
	return b.String()
}

// Unwrap returns the attempts' errors and the cause.
func (e *AllocateError) Unwrap() []error {
	if e.Cause == nil {
		return e.Attempts
	}
	return append([]error{e.Cause}, e.Attempts...)
}

// PeerError says why nothing can be sent to one peer. Others are not affected.
type PeerError struct {
	Peer netip.AddrPort // port 0: all of the IP's
	Err  error          // ErrNotPermitted, ErrQueueFull, a *ServerError, or what is wrong with the address
}

// Error names the peer and the reason.
func (e *PeerError) Error() string {
	peer := e.Peer.String()
	if e.Peer.Port() == 0 {
		peer = e.Peer.Addr().String()
	}
	return fmt.Sprintf("turnclient: peer %s: %s", peer, strings.TrimPrefix(e.Err.Error(), "turnclient: "))
}

// Unwrap returns Err.
func (e *PeerError) Unwrap() error { return e.Err }

// Is matches ErrConnectionExists where the server says so, and ErrNotPermitted where
// another refusal of the server is the cause.
func (e *PeerError) Is(target error) bool {
	var s *ServerError
	if !errors.As(e.Err, &s) {
		return false
	}
	switch s.Code {
	case wire.CodeConnectionFailed:
		return false
	case wire.CodeConnectionExists:
		return target == ErrConnectionExists
	}
	return target == ErrNotPermitted && refused(s)
}

// ICMPError says that a datagram that the relay sent for us did not arrive (RFC 8656
// section 11.6). It is a hint: nothing authenticates it.
type ICMPError struct {
	Peer       netip.AddrPort // the port may be 0: unknown
	Type, Code byte           // of ICMP or ICMPv6, by Peer's family
	MTU        int            // of the next hop, where the datagram was too big; else 0
}

// Error names the peer and what ICMP said.
func (e *ICMPError) Error() string {
	if e.MTU != 0 {
		return fmt.Sprintf("turnclient: datagram to %v was too big on the way, the next hop takes %d bytes", e.Peer, e.MTU)
	}
	return fmt.Sprintf("turnclient: datagram to %v was reported undelivered (ICMP type %d, code %d)", e.Peer, e.Type, e.Code)
}
