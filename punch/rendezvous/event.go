package rendezvous

import (
	"net/netip"

	"github.com/bradawl/bradawl/internal/ident"
)

// Event is what a client reports: a [Welcome], [Servers], [Joined], [Paired],
// [Message], [PeerLeft], [*Error] or [Closed].
type Event interface {
	event()
}

// Welcome says that the client has signed on. Dial takes it; Next never
// returns one.
type Welcome struct {
	Address netip.AddrPort // the client's own address, as the server sees it; zero if the server does not tell
	Proven  bool           // the server has checked the client's proof

	// ICEServers are the STUN and TURN servers that the rendezvous offers, if
	// any. The receiver owns them.
	ICEServers []ICEServer
}

// Servers takes the place of the Welcome's ICEServers: it comes before half of
// the credentials' life is over, give or take. Client.ICEServers has what it
// says; Next never returns one.
type Servers struct {
	ICEServers []ICEServer // the receiver owns them
}

// Joined says that the client is a member of Room. Client.Join takes it; Next
// never returns one.
type Joined struct {
	Room string
}

// Paired hands over what another member of Room left there. The other member
// was handed this client's message in the same moment.
type Paired struct {
	Room    string
	Peer    ident.PeerID
	Proven  bool   // the server has checked that the peer holds its key; do not rely on the server alone
	Message []byte // the receiver owns it
}

// Message is an opaque message from a peer.
type Message struct {
	From    ident.PeerID // who sent it
	Proven  bool         // the server has checked that the peer holds its key; do not rely on the server alone
	Message []byte       // the receiver owns it
}

// PeerLeft says that a peer which the client was paired with has left Room, or
// lost its connection to the rendezvous. What the two have set up between
// them by then is not affected.
type PeerLeft struct {
	Room string
	Peer ident.PeerID
}

// Closed is the last event of a [ClientMachine]. Next returns its Err instead.
type Closed struct {
	Err error // ErrClosed after Close; *CloseError, *ProtocolError, *TimeoutError or the network's error
}

func (Welcome) event()  {}
func (Servers) event()  {}
func (Joined) event()   {}
func (Paired) event()   {}
func (Message) event()  {}
func (PeerLeft) event() {}
func (*Error) event()   {}
func (Closed) event()   {}
