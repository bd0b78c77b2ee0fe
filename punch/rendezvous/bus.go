package rendezvous

import (
	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// Bus carries what one client of a rendezvous has for another, and thereby
// joins several server nodes into one service. A server has two halves that
// know each other by the bus alone: the front, which holds the connections
// and subscribes the peers signed on there, and the rooms, of which each lives
// on one node, its home.
//
// No method may block, and none reports what became of a call: a bus between
// processes cannot know yet. What there is to tell comes by Poll. All methods
// are called by the goroutine that owns the server's machine.
//
// # The home of a room
//
// The bus chooses it. When a message is published to a room that has no home,
// the bus makes one node the home, best the publisher's, and the message
// arrives there. A node is the home from the Poll that returns it a message for
// the room until it calls Release, which a machine does in the step in which the
// room is left without members. No two nodes are the home of a room at the same
// time. What is published to a room that is being released is not lost: it makes
// a home anew, which may be the same node.
//
// # Sign-ons
//
// A BusSignOn arrives at every node that subscribes the peer by then, the
// publisher's included, and those to one peer arrive in the same order
// everywhere. By this order the nodes agree on which sign-on is the newest.
//
// # What arrives
//
// What a node publishes to a room arrives in the order in which it was
// published. So does what it publishes to a peer, but for BusSignOn. Nothing
// holds between two publishers: what a peer sends may come before the pairing
// with it. No message arrives twice at a node, and none is lost while no node
// dies or is cut off. With a node the rooms die that it is the home of. Their
// members elsewhere become members of the new home by joining again, which is
// harmless at any time. A bus that learns of it tells them by a BusRefused with
// CodeUnreachable; and it has those leave the rooms of other homes, by BusLeave,
// who were signed on at the node.
//
// # Cut off
//
// A bus that loses the other nodes for longer than it can make good says so by
// BusDown, before any other node can become the home of a room of this one. From
// then on this node is the home of no room, what was under way is lost, and what
// is published is lost as well until BusUp. The server sends its clients away with
// [CodeCutOff]: elsewhere they are served, and here they would wait for peers that
// cannot come. So a partition heals by their signing on and joining again.
//
// # A bus between processes
//
// The module punch/rendezvous/natsbus has one, by way of NATS. What takes time is
// done on goroutines of the bus, which call wake: a room's home is looked up and
// agreed on, and what is published waits in the bus till then and is sent again
// until it is answered. Whether a home lives is for leases to say: NATS may know of
// nobody who listens where one lives, and of somebody where one has died.
type Bus interface {
	// Subscribe asks for what is published to peer, by any node; whatever this
	// node publishes from now on counts. It is called at most once before
	// Unsubscribe.
	Subscribe(peer ident.PeerID)
	// Unsubscribe ends that. What was published before may still arrive.
	Unsubscribe(peer ident.PeerID)
	// Publish sends m to t: to every node that subscribes the peer, or to the
	// home of the room. A message to a peer that nobody subscribes is lost, except
	// that a bus which learns of it returns a BusSend to its publisher by Poll,
	// with Undelivered set. m.Data must not be changed afterwards by anyone.
	Publish(t Topic, m BusMessage)
	// Release says that this node is the room's home no longer.
	Release(room string)
	// Poll returns the next message that has arrived for this node; false when
	// there is none now. A machine polls at the end of every step, so a message
	// that comes back to its own node at once takes effect in the same step.
	Poll() (Topic, BusMessage, bool)
	// Wake is called once, before the others. A bus over which messages
	// arrive at any time calls wake, from any goroutine, when Poll may have
	// become true; wake does not block.
	Wake(wake func())
}

// Topic is where messages are published to: a room or a peer. One of the two
// fields is set, but for what the bus itself says.
type Topic struct {
	Room string       // its name
	Peer ident.PeerID // on whichever node it is signed on
}

// BusKind says what a BusMessage is about.
type BusKind uint8

// What a front publishes to a room: From asks.
const (
	BusJoin   BusKind = iota + 1 // to become a member of Room, with Data unless that is nil
	BusUpdate                    // to replace its message in Room by Data
	BusLeave                     // to leave Room
)

// What is published to a peer.
const (
	BusJoined  BusKind = iota + 16 // you are a member of Room now
	BusRefused                     // you are not a member of Room: Code, Reason
	BusPaired                      // you are paired in Room with From, whose message is Data
	BusLeft                        // From has left Room
	BusSend                        // From sends you Data
	BusError                       // what you asked about Room or From is refused: Code, Reason
	BusSignOn                      // the peer of the topic has signed on as From
	BusTaken                       // your sign-on gave no proof, and From has signed on before
)

// What the bus itself says, under the zero Topic.
const (
	BusDown BusKind = iota + 32 // this node is cut off from the others, for Reason
	BusUp                       // it is one of them again
)

// BusMember is one sign-on of a peer.
type BusMember struct {
	Peer    ident.PeerID
	Session uint64 // tells the sign-ons of one peer apart; random
	Proven  bool   // the peer has proved that it holds the key
}

// BusMessage is what a Bus carries. A bus between processes writes it in any
// form that keeps nil and empty Data apart.
type BusMessage struct {
	Kind   BusKind
	To     uint64    // published to a peer: the session meant; 0: the present one
	From   BusMember // who asks, or whom it is about
	Room   string    // that it is about, if any
	Data   []byte
	Code   Code
	Reason string // one line of English, beside Code

	// Undelivered is set by the bus alone: this node published the message, and
	// nobody subscribes its topic.
	Undelivered bool
}

// MemoryBus is the Bus of a server that is alone: a queue from the machine to
// itself, which is the home of every room. It is not safe for concurrent use and
// serves one machine.
type MemoryBus struct {
	peers map[ident.PeerID]struct{}
	queue machine.Queue[published]
}

type published struct {
	topic   Topic
	message BusMessage
}

// NewMemoryBus returns an empty bus.
func NewMemoryBus() *MemoryBus {
	return &MemoryBus{peers: make(map[ident.PeerID]struct{})}
}

// Subscribe implements [Bus].
func (b *MemoryBus) Subscribe(peer ident.PeerID) { b.peers[peer] = struct{}{} }

// Unsubscribe implements [Bus].
func (b *MemoryBus) Unsubscribe(peer ident.PeerID) { delete(b.peers, peer) }

// Publish implements [Bus].
func (b *MemoryBus) Publish(t Topic, m BusMessage) {
	if t.Room == "" {
		_, known := b.peers[t.Peer]
		m.Undelivered = !known
	}
	if !m.Undelivered || m.Kind == BusSend {
		b.queue.Push(published{t, m})
	}
}

// Release implements [Bus]: there is no other node that could be the home.
func (b *MemoryBus) Release(string) {}

// Poll implements [Bus].
func (b *MemoryBus) Poll() (Topic, BusMessage, bool) {
	p, ok := b.queue.Pop()
	return p.topic, p.message, ok
}

// Wake implements [Bus]: nothing ever arrives from elsewhere.
func (b *MemoryBus) Wake(func()) {}
