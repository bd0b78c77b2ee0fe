package bradawl

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/words"
)

// EventKind is the sort of an Event.
type EventKind uint8

// The kinds of events.
const (
	EventDialing    EventKind = iota // an offer leaves for Peer, or one of Peer's came
	EventConnected                   // data can be sent, by Path; Reason says whether that stood already
	EventUpgraded                    // the first direct path carries data in place of a relay
	EventMoved                       // another Path carries data: Reason says why
	EventDoubt                       // Path does not answer; data goes on all others as well
	EventLost                        // no path works any more; the session looks for one
	EventRecovered                   // one does again
	EventClosed                      // the connection is over: Err says why, nil after a Close of ours
	EventRefused                     // a message of Peer was not taken: Err says why
	EventSignalUp                    // the session is signed on
	EventSignalDown                  // the signalling is gone; the session signs on again by itself
	EventNAT                         // the NAT is known; Session.NAT tells
	EventNetwork                     // the host's addresses have changed
	EventServer                      // a STUN or TURN server was of no use: Err says why; it is tried again
	EventMapped                      // a router has mapped a port for us: Reason says which
	EventUntreated                   // Config.TreatPeer had no answer about Peer: Err says why
)

var eventNames = words.Of[EventKind](
	"dialing", "connected", "upgraded", "moved", "doubt", "lost", "recovered", "closed", "refused",
	"signal-up", "signal-down", "nat", "network", "server", "mapped", "untreated",
)

// String returns the kind's name. What is none of the constants reads as such as
// "EventKind(200)".
func (k EventKind) String() string { return eventNames.String(k) }

// Event is something that happened to a session. Which fields are set depends on Kind.
type Event struct {
	Kind EventKind
	At   time.Time
	Peer PeerID
	// Conn numbers the session's connections. What happens to paths that several of them share
	// is told once, under the number of the oldest.
	Conn   uint32
	Path   Path          // in use
	After  time.Duration // since the dial, or since the peer's offer
	Reason string        // in a few words, for people
	Err    error
	Missed int // events that were dropped before this one, because nobody took them
}

// String tells of the event in one line, without At.
func (e Event) String() string {
	text := e.Kind.String()
	if !e.Peer.IsZero() {
		text += " " + e.Peer.Short()
	}
	if e.Path.IsValid() {
		text += ", " + e.Path.String()
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// PathKind says what a path leads through.
type PathKind string

// The kinds of paths.
const (
	PathNone   PathKind = ""
	PathDirect PathKind = "direct"
	PathRelay  PathKind = "relay"
)

// Path is how datagrams get to the peer.
type Path struct {
	Kind   PathKind
	Local  netip.AddrPort // ours as the peer sees it
	Remote netip.AddrPort // the peer's
	// LocalType and RemoteType are the candidates' types: "host", "srflx", "prflx" or
	// "relay". Protocol is "udp" or "tcp".
	LocalType, RemoteType string
	Protocol              string
	RTT                   time.Duration // median of the last round trips; 0: not measured yet
	Loss                  float64       // of the last pings, 0 to 1
}

// IsValid reports whether p is a path at all.
func (p Path) IsValid() bool { return p.Kind != PathNone }

// String describes the path in a few words.
func (p Path) String() string {
	if !p.IsValid() {
		return "no path"
	}
	return string(p.Kind) + " " + p.Protocol + " " + p.LocalType + " " + p.Local.String() + " -> " + p.RemoteType + " " + p.Remote.String()
}

// pathOf is a pair as a path.
func pathOf(p ice.Pair) Path {
	out := Path{
		Kind: PathDirect, Local: p.Local.Addr, Remote: p.Remote.Addr, LocalType: p.Local.Type.String(), RemoteType: p.Remote.Type.String(),
		Protocol: p.Local.Transport.String(), RTT: p.RTT,
	}
	if p.Local.Type == ice.Relay || p.Remote.Type == ice.Relay {
		out.Kind = PathRelay
	}
	return out
}
