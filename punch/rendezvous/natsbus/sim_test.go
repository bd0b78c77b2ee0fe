package natsbus

import (
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

var seeds = flag.Int("seeds", 0, "how many seeds the simulations run; 0: a few")

// cloud is NATS and the nodes around it in virtual time: a store that puts what
// it gets into one order, and lines to it that have a delay, lose nothing while
// they are up, and everything that is on them when they break.
type cloud struct {
	t        testing.TB
	rand     *rand.Rand
	now      time.Time
	events   timers
	store    map[string]stored
	revision uint64
	signOns  map[string]uint64 // by message ID
	signed   uint64
	nodes    []*simNode
	members  []*member
	severed  map[[2]int]bool // pairs of nodes that hear nothing of each other, though both are at NATS
	ghosts   []ghost
}

// ghost is a connection that has ended without a word: NATS takes it for alive.
type ghost struct {
	listens nodeID
	subs    map[ident.PeerID]bool
	until   time.Time
}

type stored struct {
	revision uint64
	data     []byte
	ends     time.Time
}

// simNode is a real server machine on a real node.
type simNode struct {
	*node
	c        *cloud
	number   int
	server   *rendezvous.ServerMachine
	clients  map[machine.StreamID]*member
	last     machine.StreamID
	linked   bool
	crossing int                   // counts the times that the line broke: what was on it is lost
	ready    time.Time             // what is sent next arrives no sooner than this
	back     time.Time             // the same for the other direction
	subs     map[ident.PeerID]bool // as NATS knows them
	listens  nodeID
	listen   bool
	dead     bool
	asleep   bool // its wake-up is under way
	downs    int
}

// The methods of Bus, with the world's time.
type simBus struct{ *simNode }

func (b simBus) Subscribe(p ident.PeerID)   { b.node.subscribe(p) }
func (b simBus) Unsubscribe(p ident.PeerID) { b.node.unsubscribe(p) }
func (b simBus) Release(room string)        { b.node.release(room) }
func (b simBus) Wake(func())                {}
func (b simBus) Publish(t rendezvous.Topic, m rendezvous.BusMessage) {
	b.node.publish(b.c.now, t, m)
}
func (b simBus) Poll() (rendezvous.Topic, rendezvous.BusMessage, bool) {
	t, m, ok := b.node.poll(b.c.now)
	if ok && m.Kind == rendezvous.BusDown {
		b.downs++
	}
	return t, m, ok
}

func newCloud(t testing.TB, seed uint64, nodes int) *cloud {
	c := &cloud{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_700_000_000, 0),
		store: map[string]stored{}, signOns: map[string]uint64{}, severed: map[[2]int]bool{},
	}
	for range nodes {
		c.addNode()
	}
	return c
}

func (c *cloud) addNode() *simNode {
	n := &simNode{c: c, number: len(c.nodes), linked: true, subs: map[ident.PeerID]bool{}, clients: map[machine.StreamID]*member{}}
	n.node = newNode(Config{Patience: 2 * time.Second, QueueMessages: 1000, QueueBytes: 1 << 20}.settings(), c.rand)
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], c.rand.Uint64())
	var err error
	n.server, err = rendezvous.NewServerMachine(rendezvous.ServerConfig{Bus: simBus{n}, Secrets: rand.NewChaCha8(seed), MessageRate: -1})
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes = append(c.nodes, n)
	n.pump()
	return n
}

func (c *cloud) after(d time.Duration, do func()) {
	c.events.set(c.now.Add(d), func(time.Time) { do() })
}

func (c *cloud) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rand.Int64N(int64(most-least)+1))
}

// run lets time pass.
func (c *cloud) run(d time.Duration) {
	end := c.now.Add(d)
	for {
		first := c.events.next()
		for _, n := range c.nodes {
			if !n.dead {
				first = machine.Earliest(first, n.node.nextTimeout(), n.server.NextTimeout())
			}
		}
		if first.IsZero() || first.After(end) {
			c.now = end
			return
		}
		if first.After(c.now) {
			c.now = first
		}
		c.events.run(c.now)
		for _, n := range c.nodes {
			if n.dead {
				continue
			}
			n.node.handleTimeout(c.now)
			if t := n.server.NextTimeout(); !t.IsZero() && !t.After(c.now) {
				n.server.HandleTimeout(c.now)
			}
			n.pump()
		}
		c.check()
		if c.t.Failed() {
			return
		}
	}
}

// check holds what must hold at every moment: no two nodes believe themselves the
// home of one room, by the lease that each has.
func (c *cloud) check() {
	homes := map[string]int{}
	for _, n := range c.nodes {
		if n.dead || n.state != stateUp || !n.deadline.After(c.now) {
			continue
		}
		for room := range n.holds {
			if other, two := homes[room]; two {
				c.t.Fatalf("room %s has two homes, nodes %d and %d", room, other, n.number)
			}
			homes[room] = n.number
		}
	}
}

// pump carries out what a node and its server want.
func (n *simNode) pump() {
	c := n.c
	if n.dead {
		return
	}
	machine.Drain(n.server, func(t machine.Transmit) {
		m := n.clients[t.Stream]
		if m == nil {
			return
		}
		if t.Op == machine.Write {
			c.after(0, func() { m.receive(n, t.Stream, t.Data) })
		} else {
			delete(n.clients, t.Stream)
			c.after(0, func() { m.lost(n, t.Stream, rendezvous.ParseClose(t.Data)) })
		}
	}, func(rendezvous.ServerEvent) {})
	for e, ok := n.node.pollEffect(); ok; e, ok = n.node.pollEffect() {
		n.do(e)
	}
	if n.arrived.Len() > 0 && !n.asleep {
		n.asleep = true
		c.after(c.between(0, time.Millisecond), func() {
			n.asleep = false
			if !n.dead {
				n.server.HandleTimeout(c.now)
				n.pump()
			}
		})
	}
}

// send has do happen at NATS, in the order of sending, unless the line breaks.
func (n *simNode) send(do func()) {
	if !n.linked {
		return
	}
	crossing := n.crossing
	n.ready = later(n.ready, n.c.now.Add(n.c.between(100*time.Microsecond, 3*time.Millisecond)))
	n.c.events.set(n.ready, func(time.Time) {
		if n.crossing == crossing && !n.dead {
			do()
		}
	})
}

// bring has do happen at the node, likewise.
func (n *simNode) bring(do func()) {
	if !n.linked || n.dead {
		return
	}
	crossing := n.crossing
	n.back = later(n.back, n.c.now.Add(n.c.between(100*time.Microsecond, 3*time.Millisecond)))
	n.c.events.set(n.back, func(time.Time) {
		if n.crossing == crossing && !n.dead {
			do()
			n.pump()
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// haunt has NATS notice a lost line at once, or after minutes.
func (n *simNode) haunt() {
	if n.c.rand.IntN(2) == 0 {
		n.c.ghosts = append(n.c.ghosts, ghost{n.listens, maps.Clone(n.subs), n.c.now.Add(5 * time.Minute)})
	}
}

// hears reports whether a ghost is among those that e is for.
func (g ghost) hears(e effect, now time.Time) bool {
	return g.until.After(now) && (e.op == opAskNode && g.listens == e.node || e.op == opAskPeer && g.subs[e.peer])
}

// breakLine cuts a node's line to NATS; the connection is there again later.
func (n *simNode) breakLine(d time.Duration) {
	n.haunt()
	n.linked = false
	n.crossing++
	n.c.after(d, func() {
		n.linked = true
		n.subs = map[ident.PeerID]bool{} // NATS is told anew
		for p := range n.peers {
			n.subs[p] = true
		}
	})
}

// kill ends a node without a word; its clients notice.
func (n *simNode) kill() {
	n.haunt()
	n.dead = true
	for _, stream := range slices.Sorted(maps.Keys(n.clients)) { // in one order, for chance's sake
		m := n.clients[stream]
		n.c.after(n.c.between(0, time.Second), func() { m.lost(n, stream, nil) })
	}
}

func (n *simNode) do(e effect) {
	c := n.c
	answer := func(r reply) { n.bring(func() { n.node.settle(c.now, e.id, r) }) }
	switch e.op {
	case opJoin:
		var enter func()
		enter = func() {
			switch {
			case n.dead:
			case !n.linked:
				c.after(100*time.Millisecond, enter)
			default:
				var id nodeID
				binary.BigEndian.PutUint64(id[:], c.rand.Uint64())
				n.listens, n.listen = id, true
				n.node.entered(c.now, id)
				n.pump()
			}
		}
		c.after(c.between(0, 5*time.Millisecond), enter)
	case opPart:
		n.listen = false
	case opSubscribe:
		n.send(func() { n.subs[e.peer] = true })
	case opUnsubscribe:
		n.send(func() { delete(n.subs, e.peer) })
	case opGet:
		n.send(func() {
			v, ok := c.stored(e.key)
			if !ok {
				answer(reply{status: replyNone})
				return
			}
			answer(reply{status: replyOK, revision: v.revision, data: v.data})
		})
	case opPut:
		put := func() {
			if v, _ := c.stored(e.key); v.revision != e.expect {
				answer(reply{status: replyConflict})
				return
			}
			c.revision++
			c.store[e.key] = stored{c.revision, e.data, c.now.Add(e.ttl)}
			answer(reply{status: replyOK, revision: c.revision})
		}
		if !n.linked && c.rand.IntN(2) == 0 { // a client library keeps it until it has connected anew
			c.after(c.between(0, 10*time.Second), func() {
				if n.linked && !n.dead {
					put()
				}
			})
			return
		}
		n.send(put)
	case opSignOn:
		n.send(func() {
			id := messageID(e.node, e.number)
			if c.signOns[id] == 0 {
				c.signed++
				c.signOns[id] = c.signed
				for _, to := range c.nodes {
					c.signOn(to, to.listens, c.signed, e.data)
				}
			}
			answer(reply{status: replyOK, revision: c.signOns[id]})
		})
	case opAskNode, opAskPeer:
		n.send(func() {
			taken := slices.ContainsFunc(c.ghosts, func(g ghost) bool { return g.hears(e, c.now) })
			for _, to := range c.nodes {
				hears := to.linked && !to.dead && !c.severed[[2]int{n.number, to.number}] &&
					(e.op == opAskNode && to.listen && to.listens == e.node || e.op == opAskPeer && to.subs[e.peer])
				if hears {
					taken = true
					to.bring(func() { to.node.takeBatch(c.now, e.data, fmt.Sprintf("%d %d", n.number, e.id)) })
				}
			}
			if !taken {
				answer(reply{status: replyNobody})
			}
		})
	case opAnswer:
		var number int
		var id uint64
		if _, err := fmt.Sscan(e.reply, &number, &id); err != nil {
			c.t.Fatal(err)
		}
		to := c.nodes[number]
		n.send(func() {
			if !c.severed[[2]int{n.number, number}] {
				to.bring(func() { to.node.settle(c.now, id, reply{status: replyOK, data: e.data}) })
			}
		})
	}
}

// signOn hands a sign-on to a node; a consumer asks again for what it has missed.
func (c *cloud) signOn(to *simNode, id nodeID, revision uint64, data []byte) {
	switch {
	case to.dead || to.listens != id:
	case !to.linked:
		c.after(50*time.Millisecond, func() { c.signOn(to, id, revision, data) })
	default:
		crossing := to.crossing
		to.back = later(to.back, c.now.Add(c.between(100*time.Microsecond, 3*time.Millisecond)))
		c.events.set(to.back, func(time.Time) {
			if to.crossing != crossing {
				c.signOn(to, id, revision, data)
				return
			}
			if !to.dead {
				to.node.takeSignOn(id, revision, data)
				to.pump()
			}
		})
	}
}

func (c *cloud) stored(key string) (stored, bool) {
	v, ok := c.store[key]
	if ok && !v.ends.After(c.now) {
		delete(c.store, key)
		return stored{}, false
	}
	return v, ok
}
