package bradawl

import (
	"context"
	"time"
)

// A Signaler gets messages to peers before there is a path to them: a rendezvous
// (package punch/rendezvous has one), or whatever a program has. It is not trusted:
// messages are sealed to the peer's key, and repeated until they are answered. Whoever
// runs it learns who talks to whom and when, and can keep messages back.
//
// If it has a method
//
//	Check() error
//
// New asks that first, and fails with a *ConfigError where it returns an error: for what is
// wrong with the Signaler itself, as a URL that is none, and will be next time.
type Signaler interface {
	// SignOn makes the session reachable under id's PeerID. It is called again after the
	// connection was lost. ctx ends when the host's network is another before there is an answer,
	// else with the session. The Signals are closed by the session.
	SignOn(ctx context.Context, id *Identity) (Signals, error)
}

// Signals is one connection of a Signaler. Its methods are called from several
// goroutines, and return when ctx ends.
//
// If it has a method
//
//	Servers() (stun []string, turn []string, username, password string, expires time.Time)
//
// the session uses the STUN and TURN servers that this names, too, and asks again before
// expires; a zero time means for ever. They are URIs: stun:HOST[:PORT] and stuns: (RFC
// 7064), turn:HOST[:PORT][?transport=udp|tcp] and turns: (RFC 7065).
//
// If it has a method
//
//	NetworkChanged()
//
// that is called when the host's network may be another, so that it need not find out by
// silence that the connection has ended with the one before.
type Signals = interface {
	// Send sends a message of at most 48,000 bytes to a peer. That it returns nil does not
	// mean that the peer has it.
	Send(ctx context.Context, to PeerID, message []byte) error
	// Receive waits for a message. After an error the connection is of no more use, unless
	// the error, or one that it wraps, has a method
	//
	//	Undeliverable() (peer PeerID, ok bool)
	//
	// that returns true: then a message was sent to a peer that is not signed on, and the
	// connection goes on. Where it has a method
	//
	//	Replaced() bool
	//
	// that returns true, somebody else has signed on under the same identity: the session says
	// so (ErrReplaced), and signs on again only after a while.
	Receive(ctx context.Context) (from PeerID, message []byte, err error)
	// Close ends the connection and unblocks the other methods.
	Close() error
}

// checker is the optional method of a Signaler.
type checker interface{ Check() error }

// serverLister is the optional method of Signals.
type serverLister interface {
	Servers() (stun []string, turn []string, username, password string, expires time.Time)
}

// replacement is an error of Signals.Receive: another sign-on took this one's place.
type replacement interface {
	error
	Replaced() bool
}

// networkFollower is the optional method of Signals.
type networkFollower interface{ NetworkChanged() }
