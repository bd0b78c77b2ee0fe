package natsbus

import (
	"math/rand/v2"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// node is the bus without its network: what a server publishes comes in by the
// methods of rendezvous.Bus, what NATS has by take*, settle and handleTimeout, and
// what is to be done comes out by pollEffect. It is not safe for concurrent use,
// and reads no clock.
type node struct {
	cfg  settings
	rand *rand.Rand

	id     nodeID
	state  nodeState
	reason string // why it was cut off last
	began  bool   // it has been up once
	told   bool   // what the server was told last: that it is up
	open   bool   // what the server publishes counts: it is up, and the server knows it

	// The lease: while it lasts nobody takes this node for dead.
	lease    uint64    // its revision; 0: none yet
	deadline time.Time // the node is cut off unless it is renewed by then
	highest  uint64    // revision seen

	peers  map[ident.PeerID]*subscription
	holds  map[string]*hold
	away   map[string]*away            // rooms that are not held here, with members who are
	relies map[nodeID]int              // other nodes, with the number of members shared with each
	homes  generations[string, nodeID] // of rooms that are not held here
	lanes  map[laneKey]*lane
	dirty  []*lane // what the server has published to since the last flush

	arrived      machine.Queue[published]
	arrivedBytes int
	waiting      int // items in all lanes
	waitingBytes int

	seen     generations[seenKey, uint64] // the last number taken
	number   uint64                       // of the last message published
	attempt  uint64                       // of the last claim to be a room's home
	lastID   uint64
	consumed uint64 // revision of the last sign-on that has come back

	calls  map[uint64]call
	timers timers
	out    machine.Queue[effect]

	foreign uint64 // what came and could not be read
}

// settings are what a node needs of a Config, with all defaults.
type settings struct {
	patience      time.Duration
	queueMessages int
	queueBytes    int
}

// lifetime is how long a lease lasts at NATS: the node has given up a while
// before, by its own clock.
func (s settings) lifetime() time.Duration {
	return max(2*time.Second, (s.patience*3/2 + time.Second - 1).Truncate(time.Second))
}

// timeout is how long a reply may take.
func (s settings) timeout() time.Duration { return min(s.patience/4, time.Second) }

// forPeer is how long a message for a peer is tried: its node may be away for as
// long without being cut off.
func (s settings) forPeer() time.Duration { return s.lifetime() }

// forRoom is how long a message for a room is tried: so long that a home that has
// died is found out, and another one found.
func (s settings) forRoom() time.Duration { return 2 * s.lifetime() }

type nodeState uint8

const (
	stateParted   nodeState = iota // the shell is joining
	stateEntering                  // the first lease is asked for
	stateUp
)

// call is a request under way.
type call struct {
	op   effectOp
	done func(now time.Time, r reply)
}

// subscription is a peer that is signed on here.
type subscription struct {
	session uint64 // of its newest sign-on here
}

type published struct {
	topic   rendezvous.Topic
	message rendezvous.BusMessage
}

// size is what a message counts for in the bounds of queues.
func size(m rendezvous.BusMessage) int { return len(m.Data) + 200 }

// seenKey is who sent, and what to.
type seenKey struct {
	from  nodeID
	topic rendezvous.Topic
}

// newNode returns a node that is about to join.
func newNode(cfg settings, rand *rand.Rand) *node {
	n := &node{cfg: cfg, rand: rand, peers: make(map[ident.PeerID]*subscription)}
	n.reset()
	n.out.Push(effect{op: opJoin})
	return n
}

// reset forgets everything but whom the server subscribes.
func (n *node) reset() {
	n.lease, n.highest, n.consumed = 0, 0, 0
	n.holds = make(map[string]*hold)
	n.away, n.relies = make(map[string]*away), make(map[nodeID]int)
	n.lanes = make(map[laneKey]*lane)
	n.calls = make(map[uint64]call)
	n.homes, n.seen = generations[string, nodeID]{}, generations[seenKey, uint64]{}
	n.dirty = nil
	n.arrived, n.arrivedBytes = machine.Queue[published]{}, 0
	n.waiting, n.waitingBytes = 0, 0
	n.timers.clear()
}

// entered says that the shell listens for the node under id, and has the store.
func (n *node) entered(now time.Time, id nodeID) {
	if n.state != stateParted {
		return
	}
	n.id, n.state = id, stateEntering
	n.deadline = now.Add(n.cfg.patience)
	n.watch(now)
	n.renew(now)
	n.turn(now)
	n.checkOthers(now)
}

// watch cuts the node off at the deadline of its lease.
func (n *node) watch(now time.Time) {
	if !n.deadline.After(now) {
		n.cut("NATS has not renewed this node's lease in time")
		return
	}
	n.timers.set(n.deadline, n.watch)
}

// renew renews the lease, over and over.
func (n *node) renew(now time.Time) {
	highest := n.highest
	put := effect{op: opPut, key: nodeKey(n.id), expect: n.lease, ttl: n.cfg.lifetime(), data: appendRecord(nil, record{form: formAlive})}
	n.request(now, put, func(later time.Time, r reply) {
		switch r.status {
		case replyOK:
			if r.revision <= highest {
				n.cut("NATS has lost what it had stored")
				return
			}
			n.lease, n.deadline = n.noted(r.revision), now.Add(n.cfg.patience)
			n.up()
			n.timers.set(now.Add(n.cfg.timeout()), n.renew)
		case replyConflict: // maybe by itself: an answer may have been lost
			n.recover(later)
		case replyLate:
			n.renew(later)
		default:
			n.timers.set(now.Add(n.cfg.timeout()), n.renew)
		}
	})
}

// recover looks which revision the lease has.
func (n *node) recover(now time.Time) {
	n.request(now, effect{op: opGet, key: nodeKey(n.id)}, func(later time.Time, r reply) {
		v, err := decodeRecord(r.data)
		switch {
		case r.status == replyNone && n.lease != 0:
			n.cut("this node's lease has ended at NATS")
		case r.status != replyOK:
			n.timers.set(now.Add(n.cfg.timeout()), n.renew)
		case err != nil || v.form != formAlive:
			n.cut("another node has taken this one for dead")
		case r.revision < n.lease: // read from a replica that is behind
			n.timers.set(now.Add(n.cfg.timeout()), n.renew)
		default:
			n.lease = n.noted(r.revision)
			n.renew(later)
		}
	})
}

// noted keeps the highest revision.
func (n *node) noted(revision uint64) uint64 {
	n.highest = max(n.highest, revision)
	return revision
}

// up opens the node to its server when the first lease is granted.
func (n *node) up() {
	if n.state != stateEntering {
		return
	}
	n.state = stateUp
	if n.began {
		n.arrive(rendezvous.Topic{}, rendezvous.BusMessage{Kind: rendezvous.BusUp})
		return
	}
	n.began, n.told, n.open = true, true, true // a server takes a bus to be up at first
}

// cut ends the node's life under its ID, and begins the next one.
func (n *node) cut(reason string) {
	if n.state == stateParted {
		return
	}
	if n.lease != 0 { // so that nobody need wait until it ends
		n.out.Push(effect{op: opPut, key: nodeKey(n.id), expect: n.lease, ttl: deadLifetime, data: appendRecord(nil, record{form: formDead})})
	}
	n.state, n.reason, n.open = stateParted, reason, false
	n.reset()
	if n.told {
		n.arrive(rendezvous.Topic{}, rendezvous.BusMessage{Kind: rendezvous.BusDown, Reason: reason})
	}
	n.out.Push(effect{op: opPart})
	n.out.Push(effect{op: opJoin})
}

// turn forgets what has been seen long ago.
func (n *node) turn(now time.Time) {
	n.seen.turn()
	n.timers.set(now.Add(2*n.cfg.forRoom()), n.turn)
}

// request wants e done; done is told what came of it, or replyLate in time. It is
// never called after the node was cut off.
func (n *node) request(now time.Time, e effect, done func(now time.Time, r reply)) {
	n.lastID++
	e.id = n.lastID
	n.calls[e.id] = call{e.op, done}
	n.out.Push(e)
	n.timers.set(now.Add(n.cfg.timeout()), func(now time.Time) { n.settle(now, e.id, reply{status: replyLate}) })
}

// settle takes in a reply. What comes too late, or twice, is passed over.
func (n *node) settle(now time.Time, id uint64, r reply) {
	if c, ok := n.calls[id]; ok {
		delete(n.calls, id)
		c.done(now, r)
	}
}

func (n *node) handleTimeout(now time.Time) { n.timers.run(now) }
func (n *node) nextTimeout() time.Time      { return n.timers.next() }
func (n *node) pollEffect() (effect, bool)  { return n.out.Pop() }

func (n *node) arrive(t rendezvous.Topic, m rendezvous.BusMessage) {
	if h := n.holds[t.Room]; h != nil {
		h.waits++
	}
	if m.Kind == rendezvous.BusRefused {
		n.left(m.Room, m.To)
	}
	n.arrived.Push(published{t, m})
	n.arrivedBytes += size(m)
}

// full reports whether the server has so much to take in that no more may come.
func (n *node) full() bool {
	return n.arrived.Len() >= n.cfg.queueMessages || n.arrivedBytes >= n.cfg.queueBytes
}

// poll is Bus.Poll. What was published in this step of the server's goes out when
// there is nothing left: together, where it is for the same peer.
func (n *node) poll(now time.Time) (rendezvous.Topic, rendezvous.BusMessage, bool) {
	if n.state == stateUp && !n.deadline.After(now) {
		n.watch(now) // the process may have been asleep
	}
	p, ok := n.arrived.Pop()
	if !ok {
		n.flush(now)
		// What can be done without NATS has been done.
		if p, ok = n.arrived.Pop(); !ok {
			return rendezvous.Topic{}, rendezvous.BusMessage{}, false
		}
	}
	n.arrivedBytes -= size(p.message)
	if h := n.holds[p.topic.Room]; h != nil {
		h.waits--
	}
	switch p.message.Kind {
	case rendezvous.BusDown:
		n.told = false
	case rendezvous.BusUp:
		n.told, n.open = true, true
	}
	return p.topic, p.message, true
}

func (n *node) subscribe(peer ident.PeerID) {
	n.peers[peer] = new(subscription)
	n.out.Push(effect{op: opSubscribe, peer: peer})
}

func (n *node) unsubscribe(peer ident.PeerID) {
	delete(n.peers, peer)
	n.out.Push(effect{op: opUnsubscribe, peer: peer})
}

// takeBatch takes in what another node, or this one, has asked.
func (n *node) takeBatch(now time.Time, data []byte, replyTo string) {
	b, err := decodeBatch(data)
	if err != nil || b.entries[0].message.Kind == rendezvous.BusSignOn {
		n.foreign++
		return
	}
	if n.state != stateUp {
		return
	}
	say := func(a answer) {
		if replyTo != "" {
			n.out.Push(effect{op: opAnswer, reply: replyTo, data: appendAnswer(nil, a)})
		}
	}
	key := seenKey{b.from, b.topic}
	last, known := n.seen.get(key)
	switch {
	case b.topic.Room == "" && n.peers[b.topic.Peer] == nil:
		return // another node may have the peer
	case b.topic.Room != "" && n.holds[b.topic.Room] == nil:
		n.checkStray(now, b.topic.Room)
		say(answerRefused)
		return
	case n.full(), !known && n.seen.len() >= maxSeen:
		say(answerBusy)
		return
	}
	for _, e := range b.entries {
		if e.number > last {
			if h := n.holds[b.topic.Room]; h != nil {
				n.came(h, b.from, e.message)
			}
			n.arrive(b.topic, e.message)
			last = e.number
		}
	}
	n.seen.put(key, last)
	say(answerTaken)
}

// maxSeen bounds what is kept of who has sent what.
const maxSeen = 1 << 17

// takeSignOn takes in a sign-on that came back from the one place that puts them
// in order. They come to every node.
func (n *node) takeSignOn(id nodeID, revision uint64, data []byte) {
	if n.state == stateParted || id != n.id {
		return
	}
	n.consumed = max(n.consumed, revision)
	b, err := decodeBatch(data)
	if err != nil || len(b.entries) != 1 || b.entries[0].message.Kind != rendezvous.BusSignOn {
		n.foreign++
		return
	}
	if n.state == stateUp && n.peers[b.topic.Peer] != nil {
		n.arrive(b.topic, b.entries[0].message)
	}
}
