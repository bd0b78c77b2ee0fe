package rendezvous

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// hub joins several nodes as a bus between processes does: whatever one of them
// does takes effect elsewhere later, in an order that chance decides as far as Bus
// leaves it open. It never learns that nobody subscribes a peer.
//
// What is under way is in lanes. A step takes the first item of one lane, or lets
// one node take in what has arrived for it.
type hub struct {
	t     *testing.T
	rand  *rand.Rand
	nodes []*node
	lanes map[string]*machine.Queue[func() (done bool)]
	names []string // of the lanes, so that chance does not hang on the map's order
	homes map[string]*node
}

// node is one server of a hub and its bus.
type node struct {
	*world
	hub     *hub
	number  int
	peers   map[ident.PeerID]bool
	holds   map[string]bool // rooms that it is the home of
	arrived machine.Queue[published]
	waits   map[string]int // messages in arrived for each room
}

func newHub(t *testing.T, seed uint64, nodes int, cfg ServerConfig) *hub {
	t.Helper()
	h := &hub{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), homes: map[string]*node{},
		lanes: map[string]*machine.Queue[func() bool]{},
	}
	for i := range nodes {
		n := &node{hub: h, number: i, peers: map[ident.PeerID]bool{}, holds: map[string]bool{}, waits: map[string]int{}}
		cfg.Bus, cfg.Secrets = n, rand.NewChaCha8(testSeed(byte(i)))
		n.world = newWorld(t, cfg)
		h.nodes = append(h.nodes, n)
	}
	return h
}

// later puts do at the end of a lane. It stays there until it reports true.
func (h *hub) later(lane string, do func() (done bool)) {
	q := h.lanes[lane]
	if q == nil {
		q = new(machine.Queue[func() bool])
		h.lanes[lane] = q
		h.names = append(h.names, lane)
	}
	q.Push(do)
}

// step lets something happen that chance picks; false when nothing is left.
func (h *hub) step() bool {
	var can []func()
	for _, n := range h.nodes {
		if n.arrived.Len() > 0 {
			can = append(can, func() {
				n.server.HandleTimeout(n.now) // as Wake makes the shell do
				n.run()
			})
		}
	}
	for _, name := range h.names {
		if q := h.lanes[name]; q.Len() > 0 {
			can = append(can, func() {
				// An item that is not done goes on as the first: there is no other way to
				// look at it.
				if do, _ := q.Pop(); !do() {
					rest := new(machine.Queue[func() bool])
					rest.Push(do)
					for next, ok := q.Pop(); ok; next, ok = q.Pop() {
						rest.Push(next)
					}
					h.lanes[name] = rest
				}
			})
		}
	}
	if len(can) == 0 {
		return false
	}
	can[h.rand.IntN(len(can))]()
	homes := map[string]int{}
	for _, n := range h.nodes {
		for room := range n.holds {
			if homes[room]++; homes[room] > 1 {
				h.t.Fatalf("room %s has two homes: the test's bus is wrong", room)
			}
		}
	}
	return true
}

// settle lets everything happen that is under way.
func (h *hub) settle() {
	h.t.Helper()
	for range 1_000_000 {
		if !h.step() {
			return
		}
	}
	h.t.Fatal("the nodes do not come to rest")
}

func (n *node) Wake(func()) {}

func (n *node) Subscribe(peer ident.PeerID) {
	if n.peers[peer] {
		n.t.Error("subscribed twice")
	}
	n.peers[peer] = true
}

func (n *node) Unsubscribe(peer ident.PeerID) {
	if !n.peers[peer] {
		n.t.Error("unsubscribed without having subscribed")
	}
	delete(n.peers, peer)
}

func (n *node) Publish(t Topic, m BusMessage) {
	h := n.hub
	switch {
	case t.Room != "":
		h.later(fmt.Sprintf("%d to %s", n.number, t.Room), n.route(published{t, m}))
	case m.Kind == BusSignOn: // by way of one place, which puts them in order
		h.later(fmt.Sprintf("sign-ons of %d", n.number), func() bool {
			for _, to := range h.nodes {
				h.later(fmt.Sprintf("sign-ons for %d", to.number), to.take(published{t, m}))
			}
			return true
		})
	default:
		for _, to := range h.nodes {
			h.later(fmt.Sprintf("%d to %d", n.number, to.number), to.take(published{t, m}))
		}
	}
}

// take gives p to n if n subscribes its peer by then.
func (n *node) take(p published) func() bool {
	return func() bool {
		if n.peers[p.topic.Peer] {
			n.arrived.Push(p)
		}
		return true
	}
}

// route asks who the home is, or makes n it; then asks the home to take p, which
// it refuses when it has just released the room. Then all begins anew.
func (n *node) route(p published) func() bool {
	var home *node
	chosen := false
	return func() bool {
		room := p.topic.Room
		if home == nil {
			if home = n.hub.homes[room]; home == nil {
				home, chosen = n, true
				n.hub.homes[room] = n
			}
			return false
		}
		if chosen {
			n.holds[room] = true
		}
		if !home.holds[room] {
			home = nil
			return false
		}
		home.waits[room]++
		home.arrived.Push(p)
		return true
	}
}

func (n *node) Release(room string) {
	if !n.holds[room] {
		n.t.Errorf("released %s without being its home", room)
	}
	if n.waits[room] > 0 {
		return // it is the home anew at once
	}
	delete(n.holds, room)
	n.hub.later(fmt.Sprintf("releases of %d", n.number), func() bool {
		delete(n.hub.homes, room)
		return true
	})
}

func (n *node) Poll() (Topic, BusMessage, bool) {
	p, ok := n.arrived.Pop()
	if p.topic.Room != "" {
		n.waits[p.topic.Room]--
	}
	return p.topic, p.message, ok
}

// check compares, once all is settled, what the nodes believe of each other.
func (h *hub) check() {
	h.t.Helper()
	type membership struct {
		room   string
		member BusMember
	}
	asked, joined := map[membership]*client{}, map[membership]*roomMember{}
	peers := map[ident.PeerID]int{}
	for _, n := range h.nodes {
		n.check()
		for _, c := range n.server.clients {
			if c.state == stateSignedOn {
				peers[c.peer]++
			}
			for _, room := range c.rooms {
				asked[membership{room, c.member()}] = c
			}
		}
		if len(n.holds) != len(n.server.rooms.byName) {
			h.t.Errorf("node %d is the home of %d rooms and has %d", n.number, len(n.holds), len(n.server.rooms.byName))
		}
		for name, r := range n.server.rooms.byName {
			if h.homes[name] != n {
				h.t.Errorf("node %d has room %s, which is not at home there", n.number, name)
			}
			for _, m := range r.members {
				joined[membership{name, m.BusMember}] = m
			}
			for _, m := range r.members { // whoever can be paired is
				for _, other := range r.members {
					if m != other && m.given && other.given && !slices.Contains(m.paired, other.Session) {
						h.t.Errorf("two members of room %s are not paired", name)
					}
				}
			}
		}
	}
	for who, times := range peers {
		if times > 1 {
			h.t.Errorf("%s is signed on %d times", who.Short(), times)
		}
	}
	if len(asked) != len(joined) {
		h.t.Errorf("%d memberships asked for, %d joined", len(asked), len(joined))
	}
	for m, c := range asked {
		if joined[m] == nil {
			h.t.Errorf("a client believes that it is in room %s", m.room)
			continue
		}
		for _, session := range joined[m].paired {
			if !slices.ContainsFunc(c.paired, func(p pairing) bool { return p.room == m.room && p.session == session }) {
				h.t.Errorf("a client in room %s was not told of a pairing", m.room)
			}
		}
	}
}
