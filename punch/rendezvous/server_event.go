package rendezvous

import (
	"fmt"
	"net/netip"

	"github.com/bradawl/bradawl/internal/ident"
)

// ServerEventKind says what a ServerEvent reports.
type ServerEventKind uint8

// What a server reports.
const (
	ServerSignedOn ServerEventKind = iota // a client signed on as Peer
	ServerLeft                            // a client has gone by itself; Peer is zero if it had not signed on
	ServerDropped                         // the server closed a connection, for Code and Reason
	ServerPaired                          // Peer was handed another member's message in Room
)

var serverEventNames = [...]string{"signed on", "left", "dropped", "paired"}

// String returns the kind's name.
func (k ServerEventKind) String() string {
	if int(k) < len(serverEventNames) {
		return serverEventNames[k]
	}
	return "unknown"
}

// ServerEvent is something that happened at a server, for its log. It never
// holds a client's message.
type ServerEvent struct {
	Kind   ServerEventKind
	Remote netip.AddrPort // the client's address
	Peer   ident.PeerID   // zero until the client has signed on
	Proven bool           // Peer has proved that it holds the key
	Room   string         // ServerPaired
	Code   Code           // ServerLeft, ServerDropped
	Reason string         // ServerLeft, ServerDropped
}

// String returns one line for a log.
func (e ServerEvent) String() string {
	who := e.Remote.String()
	if !e.Peer.IsZero() {
		who += " (" + e.Peer.Short() + ")"
	}
	switch e.Kind {
	case ServerLeft, ServerDropped:
		return fmt.Sprintf("%s %s: %s (%d, %s)", who, e.Kind, quoted(e.Reason), e.Code, e.Code)
	case ServerPaired:
		return fmt.Sprintf("%s %s in room %s", who, e.Kind, e.Room)
	}
	return who + " " + e.Kind.String()
}
