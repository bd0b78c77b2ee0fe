package turnclient

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/words"
)

// AllocationID names one allocation of a [Machine].
type AllocationID uint32

// EventKind is the sort of an Event.
type EventKind uint8

// The kinds of events. Those of a [Machine] all come by PollEvent; an [Allocation]
// hands its own to its caller, except EventData, EventCredentials and EventConnData.
const (
	EventState       EventKind = iota // From became State; Err says why, where that is a failure
	EventAllocated                    // there is an address: Relayed, Mapped, Lifetime, Server, Features; Lost, where there was one before; Err: why one of two families is missing
	EventMoved                        // the allocation moved to another socket of ours and is the same otherwise; Local
	EventServer                       // Server was of no use, or sent what it should not, or an answer that may be forged says so (ErrIntegrity): Err is a *ServerError
	EventPermission                   // Peer's IP is permitted (Err nil), or is not any more: *PeerError
	EventChannel                      // Channel stands for Peer, or does not (Channel 0): Err is nil where it lapsed unused, else why; data goes without
	EventUnreachable                  // the server got an ICMP error for a datagram to Peer: Err is an *ICMPError
	EventDropped                      // Lost.Datagrams that waited for Peer were dropped: Err says why
	EventReleased                     // the allocation was closed and, as far as Err is nil, deleted at the server; its last event
	EventData                         // Data came from Peer
	EventCredentials                  // the server wants credentials for Realm: answer by Machine.SetCredentials
	EventConnected                    // Conn, to Peer or, if Incoming, from it, stands (RFC 6062)
	EventConnEnded                    // Conn has ended, or could not be had: Err is a *PeerError, nil where the other side closed it
	EventConnData                     // Data came on Conn
)

var eventNames = words.Of[EventKind](
	"state", "allocated", "moved", "server", "permission", "channel", "unreachable", "dropped", "released", "data", "credentials",
	"connected", "connection-ended", "connection-data",
)

// String returns the kind's name.
func (k EventKind) String() string { return eventNames.String(k) }

// Event is something that happened to an allocation. Which fields are set depends on
// Kind.
type Event struct {
	Kind       EventKind
	At         time.Time
	Allocation AllocationID
	From       State // EventState: the one before
	State      State
	Server     Endpoint         // that it is about, or stands on
	Relayed    []netip.AddrPort // EventAllocated: one for each family
	Mapped     netip.AddrPort   // EventAllocated: where the server sees us
	Lifetime   time.Duration    // EventAllocated: granted
	Features   Features         // EventAllocated: of the server
	Local      netip.AddrPort   // EventMoved: the new socket's
	// Reservation is a token for the next port (EventAllocated, Options.Reserve).
	Reservation []byte
	Peer        netip.AddrPort // EventPermission: the port is 0
	Channel     uint16         // EventChannel: its number
	Conn        ConnID
	Incoming    bool   // a peer made the connection
	Data        []byte // EventData, EventConnData: the receiver's
	Realm       string // EventCredentials: the server's
	Again       bool   // EventCredentials: those in use were rejected
	Lost        Loss   // EventAllocated, EventDropped: what is gone
	Err         error
	Missed      int // events that were dropped before this one, because nobody took them (Allocation.Events)

	on     linkKey          // EventAllocated, EventMoved: what it stands on
	df     bool             // EventAllocated: Send indications carry DONT-FRAGMENT
	stream machine.StreamID // EventConnected
}

// String tells of the event in one line, without At: nothing secret, and of data the length alone.
func (e Event) String() string {
	text := e.Kind.String()
	if e.Allocation != 0 {
		text = fmt.Sprintf("allocation %d, %s", e.Allocation, text)
	}
	switch e.Kind {
	case EventState:
		text += fmt.Sprintf(" %v -> %v", e.From, e.State)
	case EventAllocated:
		text += fmt.Sprintf(" %v at %v for %v, seen as %v", e.Relayed, e.Server, e.Lifetime, e.Mapped)
	case EventMoved:
		text += fmt.Sprintf(" to %v", e.Local)
	case EventServer:
		text += fmt.Sprintf(" %v", e.Server)
	case EventPermission:
		text += fmt.Sprintf(" for %v", e.Peer.Addr())
	case EventChannel:
		text += fmt.Sprintf(" %#x for %v", e.Channel, e.Peer)
	case EventUnreachable:
		text += fmt.Sprintf(" %v", e.Peer)
	case EventDropped:
		text += fmt.Sprintf(" %d datagrams for %v", e.Lost.Datagrams, e.Peer)
	case EventData:
		text += fmt.Sprintf(" of %v, %d bytes", e.Peer, len(e.Data))
	case EventCredentials:
		text += fmt.Sprintf(" for realm %q of %v", e.Realm, e.Server)
	case EventConnected:
		text += fmt.Sprintf(" %d %s %v", e.Conn, map[bool]string{true: "from", false: "to"}[e.Incoming], e.Peer)
	case EventConnEnded:
		text += fmt.Sprintf(" %d with %v", e.Conn, e.Peer)
	case EventConnData:
		text += fmt.Sprintf(" on %d, %d bytes", e.Conn, len(e.Data))
	}
	if e.Kind == EventAllocated && e.Lost.Err != nil {
		text += fmt.Sprintf(", in place of %v, lost: %s", e.Lost.Relayed, bare(e.Lost.Err))
	}
	if e.Err != nil {
		text += ": " + bare(e.Err)
	}
	if e.Missed > 0 {
		text += fmt.Sprintf("; %d before it were missed", e.Missed)
	}
	return text
}

// bare is an error's text without the name of this package.
func bare(err error) string { return strings.TrimPrefix(err.Error(), "turnclient: ") }

// Loss says what was lost with an allocation that had to be made anew, or with a peer.
type Loss struct {
	Relayed     []netip.AddrPort // the addresses that stood before; peers must be told the new ones
	Silence     time.Duration    // since something was last heard from the server
	Permissions int              // that stood; they are asked for again
	Channels    int              // that stood; they are bound again when they are used
	Connections int              // to and from peers, that stood; the server closes them
	Datagrams   int              // that waited to be sent and were dropped
	Err         error            // how it was lost
}
