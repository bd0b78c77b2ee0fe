package rendezvous

import (
	"fmt"
	"net/netip"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/words"
)

// ServerEventKind says what a ServerEvent reports.
type ServerEventKind uint8

// What a server reports.
const (
	ServerSignedOn ServerEventKind = iota // a client signed on as Peer
	ServerLeft                            // a client has gone by itself; Peer is zero if it had not signed on
	ServerDropped                         // the server closed a connection, for Code and Reason
	ServerPaired                          // Peer was handed another member's message in Room
	ServerCutOff                          // the bus has lost the other nodes, for Reason; every client is dropped
	ServerRejoined                        // the bus has found them again
)

var serverEvents = words.Of[ServerEventKind]("signed on", "left", "dropped", "paired", "cut off from the other nodes", "joined to the other nodes again")

// String returns the kind's name.
func (k ServerEventKind) String() string { return serverEvents.String(k) }

// ServerEvent is something that happened at a server, for its log. It never
// holds a client's message.
type ServerEvent struct {
	Kind   ServerEventKind
	Remote netip.AddrPort // the client's address
	Peer   ident.PeerID   // zero until the client has signed on
	Proven bool           // Peer has proved that it holds the key
	Room   string         // ServerPaired
	Code   Code           // ServerLeft, ServerDropped, ServerCutOff
	Reason string         // ServerLeft, ServerDropped, ServerCutOff
}

// String returns one line for a log.
func (e ServerEvent) String() string {
	switch e.Kind {
	case ServerCutOff:
		return fmt.Sprintf("%s: %s", e.Kind, quoted(e.Reason))
	case ServerRejoined:
		return e.Kind.String()
	}
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
