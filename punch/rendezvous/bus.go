package rendezvous

import "github.com/bradawl/bradawl/internal/ident"

// Bus carries what one client of a rendezvous has for another, and thereby
// joins several server nodes into one service. A server has two halves that
// know each other by the bus alone: the front, which holds the connections
// and subscribes the topics of the peers signed on there, and the rooms, of
// which each lives on one node, its home, which subscribes the room's topic.
//
// No method may block; all are called by the goroutine that owns the server's
// machine.
type Bus interface {
	// Subscribe asks for what is published to t from now on, by any node. It
	// is called at most once before Unsubscribe.
	Subscribe(t Topic)
	// Unsubscribe ends that. What was published before may still arrive.
	Unsubscribe(t Topic)
	// Publish sends m to the subscribers of t. It reports false when it knows
	// that there are none. m.Data must not be changed afterwards by anyone.
	Publish(t Topic, m BusMessage) bool
	// Poll returns the next message that has arrived for this node, in the
	// order in which each publisher published; false when there is none now.
	// A machine polls at the end of every step, so a message that comes back
	// to its own node at once takes effect in the same step.
	Poll() (Topic, BusMessage, bool)
	// Wake is called once, before the others. A bus over which messages
	// arrive at any time calls wake, from any goroutine, when Poll may have
	// become true; wake does not block.
	Wake(wake func())
}

// Topic is where messages are published to: a room or a peer. One of the two
// fields is set.
type Topic struct {
	Room string
	Peer ident.PeerID
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
	BusSignOn                      // the peer of the topic has signed on as From; older sign-ons end if that is proven
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
	To     uint64 // published to a peer: the session meant; 0: the present one
	From   BusMember
	Room   string
	Data   []byte
	Code   Code
	Reason string
}

// MemoryBus is the Bus of a server that is alone: a queue from the machine to
// itself. It is not safe for concurrent use and serves one machine.
type MemoryBus struct {
	topics map[Topic]struct{}
	queue  []published
	head   int
}

type published struct {
	topic   Topic
	message BusMessage
}

// NewMemoryBus returns an empty bus.
func NewMemoryBus() *MemoryBus {
	return &MemoryBus{topics: make(map[Topic]struct{})}
}

// Subscribe implements [Bus].
func (b *MemoryBus) Subscribe(t Topic) { b.topics[t] = struct{}{} }

// Unsubscribe implements [Bus].
func (b *MemoryBus) Unsubscribe(t Topic) { delete(b.topics, t) }

// Publish implements [Bus]. Its report is exact.
func (b *MemoryBus) Publish(t Topic, m BusMessage) bool {
	if _, ok := b.topics[t]; !ok {
		return false
	}
	b.queue = append(b.queue, published{t, m})
	return true
}

// Poll implements [Bus].
func (b *MemoryBus) Poll() (Topic, BusMessage, bool) {
	if b.head == len(b.queue) {
		return Topic{}, BusMessage{}, false
	}
	p := b.queue[b.head]
	b.queue[b.head] = published{}
	b.head++
	if b.head == len(b.queue) {
		b.queue, b.head = b.queue[:0], 0
	}
	return p.topic, p.message, true
}

// Wake implements [Bus]: nothing ever arrives from elsewhere.
func (b *MemoryBus) Wake(func()) {}
