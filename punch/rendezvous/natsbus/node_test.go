package natsbus

import (
	"fmt"
	"testing"
	"time"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// eachSeed runs a test in many worlds.
func eachSeed(t *testing.T, few, nodes int, test func(c *cloud)) {
	if *seeds > 0 {
		few = *seeds
	}
	for seed := range few {
		c := newCloud(t, uint64(seed), nodes)
		c.run(100 * time.Millisecond) // all are up
		test(c)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// pairs adds two members for each room.
func (c *cloud) pairs(rooms int) {
	for i := range rooms {
		c.addMember(byte(2*i+1), fmt.Sprintf("room.%d", i))
		c.addMember(byte(2*i+2), fmt.Sprintf("room.%d", i))
	}
}

// met checks that all members have met, and that nodes and members agree.
func (c *cloud) met() {
	c.t.Helper()
	for i, m := range c.members {
		other := c.members[i^1]
		if m.paired != other.id.ID() {
			c.t.Errorf("member %d in %s is paired with %q, not with member %d; refused %v", i, m.room, m.paired.Short(), i^1, m.refused)
		}
	}
}

// empty checks that nothing is left when all members have gone.
func (c *cloud) empty() {
	c.t.Helper()
	for _, m := range c.members {
		m.away = true
		if m.machine != nil {
			m.machine.Close()
			m.pump()
		}
	}
	c.run(30 * time.Second)
	for _, n := range c.nodes {
		if n.dead {
			continue
		}
		if len(n.holds) != 0 || len(n.lanes) != 0 || len(n.away) != 0 || len(n.relies) != 0 || n.waiting != 0 || n.waitingBytes != 0 ||
			n.arrivedBytes != 0 || len(n.peers) != 0 || len(n.subs) != 0 || n.server.Stats().Rooms != 0 {
			c.t.Errorf("node %d keeps %d rooms (its server %d), %d lanes, %d rooms away, %d ties, %d messages of %d bytes, %d bytes arrived, %d peers",
				n.number, len(n.holds), n.server.Stats().Rooms, len(n.lanes), len(n.away), len(n.relies), n.waiting, n.waitingBytes, n.arrivedBytes, len(n.peers))
		}
	}
	for key, v := range c.store {
		if r, _ := decodeRecord(v.data); r.form == formHome && v.ends.After(c.now) && c.alive(r.home) {
			c.t.Errorf("the store says that a living node is the home of %s", key)
		}
	}
}

func (c *cloud) alive(id nodeID) bool {
	for _, n := range c.nodes {
		if !n.dead && n.id == id {
			return true
		}
	}
	return false
}

// Without trouble every two meet once, whatever the order of things, and nobody is
// refused or sent away.
func TestMeet(t *testing.T) {
	eachSeed(t, 40, 3, func(c *cloud) {
		c.pairs(8)
		c.run(5 * time.Second)
		c.met()
		for _, m := range c.members {
			if m.pairs != 1 || len(m.refused) > 0 {
				t.Errorf("a member was paired %d times and refused %v", m.pairs, m.refused)
			}
		}
		c.empty()
	})
}

// A line that breaks for less than the patience costs time and nothing else.
func TestFlap(t *testing.T) {
	eachSeed(t, 40, 3, func(c *cloud) {
		for i := range 6 {
			c.nodes[i%3].breakLine(c.between(time.Millisecond, 900*time.Millisecond))
			c.pairsMore(2)
			c.run(c.between(time.Second, 3*time.Second))
		}
		c.run(10 * time.Second)
		c.met()
		for _, m := range c.members {
			if m.pairs != 1 || len(m.refused) > 0 {
				t.Errorf("a member was paired %d times and refused %v", m.pairs, m.refused)
			}
		}
		for _, n := range c.nodes {
			if n.downs > 0 {
				t.Errorf("node %d was cut off", n.number)
			}
		}
		c.empty()
	})
}

func (c *cloud) pairsMore(rooms int) {
	for range rooms {
		i := len(c.members)
		c.addMember(byte(i+1), fmt.Sprintf("room.%d", i/2))
		c.addMember(byte(i+2), fmt.Sprintf("room.%d", i/2))
	}
}

// Nodes are cut off, hear nothing of each other, die and come: in the end everybody
// has met, without a client that asks twice for the sake of it.
func TestHeal(t *testing.T) {
	cuts := 0
	eachSeed(t, 60, 3, func(c *cloud) {
		for range 12 {
			switch n := c.nodes[c.rand.IntN(len(c.nodes))]; c.rand.IntN(5) {
			case 0:
				n.breakLine(c.between(time.Second, 8*time.Second))
			case 1:
				n.breakLine(c.between(time.Millisecond, 2*time.Second))
			case 2:
				pair := [2]int{n.number, c.rand.IntN(len(c.nodes))}
				c.severed[pair] = true
				c.after(c.between(0, 5*time.Second), func() { delete(c.severed, pair) })
			case 3:
				if alive := c.living(); alive > 1 && !n.dead {
					n.kill()
					c.addNode()
				}
			case 4:
				c.pairsMore(2)
			}
			c.run(c.between(0, 3*time.Second))
		}
		c.run(60 * time.Second)
		c.met()
		for _, n := range c.nodes {
			cuts += n.downs
		}
		c.empty()
	})
	if cuts == 0 {
		t.Error("no node was ever cut off: the test shows nothing")
	}
}

func (c *cloud) living() (n int) {
	for _, node := range c.nodes {
		if !node.dead {
			n++
		}
	}
	return n
}

// A peer that signs on at two nodes is signed on once in the end.
func TestSignOnsAtOnce(t *testing.T) {
	eachSeed(t, 40, 3, func(c *cloud) {
		sessions := 0
		for range 5 {
			a := c.addMember(1, "r")
			b := c.addMember(1, "r")
			a.once, b.once = true, true
			c.run(c.between(0, 20*time.Millisecond))
		}
		c.run(5 * time.Second)
		for _, n := range c.nodes {
			sessions += n.server.Stats().Clients
		}
		if sessions != 1 {
			t.Errorf("the peer is signed on %d times", sessions)
		}
	})
}

// A process that was asleep finds out before it does anything as the home.
func TestAsleep(t *testing.T) {
	c := newCloud(t, 1, 1)
	c.run(100 * time.Millisecond)
	n := c.nodes[0]
	n.publish(c.now, rendezvous.Topic{Room: "r"}, rendezvous.BusMessage{Kind: rendezvous.BusJoin, Room: "r", From: rendezvous.BusMember{Peer: identity(t, 1).ID(), Session: 1}})
	c.now = c.now.Add(time.Hour)
	if topic, m, ok := n.poll(c.now); !ok || topic != (rendezvous.Topic{}) || m.Kind != rendezvous.BusDown {
		t.Errorf("got %+v %+v %v", topic, m, ok)
	}
	if len(n.holds) != 0 || n.open {
		t.Error("it is the home of something")
	}
}
