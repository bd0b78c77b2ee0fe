package natsbus

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/plog"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// Bus is a [rendezvous.Bus] over NATS, for one server. Its methods are safe for
// concurrent use; those of rendezvous.Bus are the server's to call.
type Bus struct {
	cfg   Config // with defaults
	names subjects
	log   logging.LeveledLogger
	in    chan *nats.Msg // what NATS has, of all subscriptions

	mu    sync.Mutex
	n     *node
	wake  func()
	woken bool // since Poll returned false

	kick    chan struct{} // capacity 1: there are effects, or a new first timer
	joined  chan *membership
	ready   chan struct{} // closed when the node is up for the first time
	closing chan struct{}
	once    sync.Once
	done    chan struct{} // closed when every goroutine has ended
}

var _ rendezvous.Bus = (*Bus)(nil)

// arrivalsAhead is how many messages NATS may bring before the loop has looked at
// the first. The loop does not wait for the server, so it is a moment's worth; if
// they are ever more, the node is cut off.
const arrivalsAhead = 1 << 16

// closeGrace is how long Close waits for what other nodes have not taken yet.
const closeGrace = 2 * time.Second

// New joins the nodes that use the same NATS and the same prefix, and returns when
// others can find this one. It makes the two streams if there are none. The
// caller must Close what it returns, after the server that uses it.
//
// The error is a *ConfigError, or an *OpError with what NATS says; while NATS
// cannot be reached, or its cluster is not complete yet, New tries until ctx ends.
func New(ctx context.Context, cfg Config) (*Bus, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	const least = maxHeader + maxBatch + maxMessage
	if most := cfg.Conn.MaxPayload(); most > 0 && most < least {
		return nil, badConfig("Conn", most, "bytes are the most that this NATS takes in a message; set its max_payload to 256 KB or more")
	}
	b := &Bus{
		cfg:     cfg,
		names:   subjects{prefix: cfg.Prefix, inbox: cfg.Conn.NewInbox()},
		log:     plog.OrDiscard(cfg.LoggerFactory).NewLogger("natsbus"),
		in:      make(chan *nats.Msg, arrivalsAhead),
		n:       newNode(cfg.settings(), rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		kick:    make(chan struct{}, 1),
		joined:  make(chan *membership),
		ready:   make(chan struct{}),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	replies, err := cfg.Conn.ChanSubscribe(b.names.inbox+".*", b.in)
	if err != nil {
		return nil, &OpError{Op: "join", Err: err}
	}
	// The first time by hand, so that there is an error to return.
	m, err := b.join(ctx, func(err error) bool { return !cfg.Conn.IsClosed() && (!b.connected() || passing(err)) })
	if err != nil {
		_ = replies.Unsubscribe()
		return nil, err
	}
	b.mu.Lock()      // sign-ons come already
	b.n.pollEffect() // the node's wish to join
	b.n.entered(time.Now(), m.id)
	b.mu.Unlock()
	go b.run(replies, m)
	select {
	case <-b.ready:
		return b, nil
	case <-ctx.Done():
		_ = b.Close()
		return nil, &OpError{Op: "join", Err: context.Cause(ctx)}
	}
}

// Subscribe implements [rendezvous.Bus].
func (b *Bus) Subscribe(peer ident.PeerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n.subscribe(peer)
}

// Unsubscribe implements [rendezvous.Bus].
func (b *Bus) Unsubscribe(peer ident.PeerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n.unsubscribe(peer)
}

// Publish implements [rendezvous.Bus].
func (b *Bus) Publish(t rendezvous.Topic, m rendezvous.BusMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n.publish(time.Now(), t, m)
}

// Release implements [rendezvous.Bus].
func (b *Bus) Release(room string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n.release(room)
}

// Poll implements [rendezvous.Bus].
func (b *Bus) Poll() (rendezvous.Topic, rendezvous.BusMessage, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, m, ok := b.n.poll(time.Now())
	if !ok {
		b.woken = false
		if b.n.out.Len() > 0 {
			b.look()
		}
	}
	return t, m, ok
}

// Wake implements [rendezvous.Bus].
func (b *Bus) Wake(wake func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake = wake
	b.look()
}

// look lets the loop look for what is to be done.
func (b *Bus) look() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Stats are figures of a bus.
type Stats struct {
	Up      bool   // the node is one of the others; false: it is cut off, or closed
	Rooms   int    // whose home it is
	Peers   int    // that its server subscribes
	Arrived int    // messages that wait for the server
	Waiting int    // messages that wait for other nodes
	Foreign uint64 // messages that came and were of no form that this bus knows
}

// Stats returns the bus's figures.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{
		Up: b.n.state == stateUp, Rooms: len(b.n.holds), Peers: len(b.n.peers),
		Arrived: b.n.arrived.Len(), Waiting: b.n.waiting, Foreign: b.n.foreign,
	}
}

// Close leaves the other nodes, and returns when every goroutine has ended: when
// what waited for other nodes is with them, or after 2 s; without NATS it may take
// the 10 s that a time-out of its client library has. The rooms that this node
// is the home of end, and others can take their names at once. Close the server
// before: it would have its clients wait. The error is always nil.
func (b *Bus) Close() error {
	b.once.Do(func() { close(b.closing) })
	<-b.done
	return nil
}

// signOn takes in one message of the stream of sign-ons, on the goroutine of its
// consumer.
func (b *Bus) signOn(id nodeID, m jetstream.Msg) {
	info, err := m.Metadata()
	if err != nil {
		return // no message of a consumer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n.takeSignOn(id, info.Sequence.Stream, m.Data())
	b.look()
}
