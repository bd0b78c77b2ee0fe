package rendezvous

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// hubSeeds is how many orders of events each test over a hub goes through.
func hubSeeds() int {
	if raceEnabled {
		return 30
	}
	return 200
}

// eachSeed runs a test over many hubs.
func eachSeed(t *testing.T, nodes int, cfg ServerConfig, test func(h *hub)) {
	for seed := range hubSeeds() {
		h := newHub(t, uint64(seed), nodes, cfg)
		test(h)
		h.settle()
		h.check()
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// Two nodes on one bus are one service: that is what the seam is for.
func TestTwoNodes(t *testing.T) {
	eachSeed(t, 2, ServerConfig{}, func(h *hub) {
		one, two := h.nodes[0], h.nodes[1]
		a, b := one.signOn(addrA, identity(t, 1)), two.signOn(addrB, identity(t, 2))
		idA, idB := a.client.cfg.Identity.ID(), b.client.cfg.Identity.ID()

		// Both at once, and no node knows of the other: yet there is one home.
		a.join("r", "a")
		b.join("r", "b")
		h.settle()
		if got, want := a.take(), []Event{Joined{"r"}, Paired{"r", idB, true, []byte("b")}}; !reflect.DeepEqual(got, want) {
			t.Errorf("a got %+v, want %+v", got, want)
		}
		if got, want := b.take(), []Event{Joined{"r"}, Paired{"r", idA, true, []byte("a")}}; !reflect.DeepEqual(got, want) {
			t.Errorf("b got %+v, want %+v", got, want)
		}
		c := two.signOn(addrC, identity(t, 3))
		c.join("r", "c")
		h.settle()
		if c.refusal() != CodeRoomFull {
			t.Errorf("the third got %+v", c.events)
		}
		b.send(a, "hi")
		h.settle()
		if got, want := a.take(), []Event{Message{idB, true, []byte("hi")}}; !reflect.DeepEqual(got, want) {
			t.Errorf("a got %+v, want %+v", got, want)
		}
		// The home's own member leaves; the room goes on.
		a.client.Close()
		one.run()
		h.settle()
		if got, want := b.take(), []Event{PeerLeft{"r", idA}}; !reflect.DeepEqual(got, want) {
			t.Errorf("b got %+v, want %+v", got, want)
		}
		// The last one leaves and another comes: the room finds a home again.
		b.do(func(m *ClientMachine) error { return m.Leave("r") })
		c.take()
		c.join("r", "c")
		h.settle()
		d := one.signOn(addrA, identity(t, 4))
		d.join("r", "d")
		h.settle()
		if got := append(c.take(), d.take()...); len(got) != 4 { // two Joined, two Paired
			t.Errorf("in the room's second life: %+v", got)
		}
		if homes := one.server.Stats().Rooms + two.server.Stats().Rooms; homes != 1 {
			t.Errorf("the room has %d homes", homes)
		}
	})
}

// Of the sign-ons of one peer at several nodes one stays: the newest that is
// proven; without any proof the first.
func TestSignOnsAtTwoNodes(t *testing.T) {
	id := identity(t, 1)
	for _, test := range []struct {
		name                  string
		first, second         *ident.Identity
		wantFirst, wantSecond Code
	}{
		{"both proven: the newer wins", id, id, CodeReplaced, 0},
		{"a proof beats a squatter", nil, id, CodeReplaced, 0},
		{"a squatter displaces nobody", id, nil, 0, CodeDuplicate},
		{"two without proof: the first stays", nil, nil, 0, CodeDuplicate},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachSeed(t, 2, ServerConfig{AllowUnproven: true}, func(h *hub) {
				first, second := h.nodes[0].connect(addrA), h.nodes[1].connect(addrB)
				first.hello(id.ID(), test.first)
				h.settle()
				second.hello(id.ID(), test.second)
				h.settle()
				if first.code() != test.wantFirst || second.code() != test.wantSecond {
					t.Errorf("closed with %v and %v, want %v and %v", first.code(), second.code(), test.wantFirst, test.wantSecond)
				}
			})
		})
		t.Run(test.name+", at once", func(t *testing.T) {
			stayed := map[*ident.Identity]int{}
			eachSeed(t, 2, ServerConfig{AllowUnproven: true}, func(h *hub) {
				first, second := h.nodes[0].connect(addrA), h.nodes[1].connect(addrB)
				first.hello(id.ID(), test.first)
				second.hello(id.ID(), test.second)
				h.settle()
				switch {
				case (first.code() == 0) == (second.code() == 0):
					t.Errorf("closed with %v and %v", first.code(), second.code())
				case first.code() == 0:
					stayed[test.first]++
				default:
					stayed[test.second]++
				}
			})
			if (test.first != nil || test.second != nil) && stayed[id] != hubSeeds() {
				t.Errorf("who stayed had a proof in %d of %d cases", stayed[id], hubSeeds())
			}
		})
	}
}

// A peer that comes back at another node, before its old one has said anywhere
// that it was displaced, takes its own place in its room.
func TestReturnAtAnotherNode(t *testing.T) {
	eachSeed(t, 3, ServerConfig{}, func(h *hub) {
		a, b := h.nodes[0].signOn(addrA, identity(t, 1)), h.nodes[1].signOn(addrB, identity(t, 2))
		a.join("r", "a")
		b.join("r", "b")
		h.settle()
		a.take()
		b2 := h.nodes[2].signOn(addrB, identity(t, 2))
		b2.join("r", "b2")
		h.settle()
		if b.code() != CodeReplaced || b2.code() != 0 {
			t.Errorf("closed with %v and %v", b.code(), b2.code())
		}
		idA, idB := a.client.cfg.Identity.ID(), b.client.cfg.Identity.ID()
		if got, want := a.take(), []Event{PeerLeft{"r", idB}, Paired{"r", idB, true, []byte("b2")}}; !reflect.DeepEqual(got, want) {
			t.Errorf("a got %+v, want %+v", got, want)
		}
		if got, want := b2.take(), []Event{Joined{"r"}, Paired{"r", idA, true, []byte("a")}}; !reflect.DeepEqual(got, want) {
			t.Errorf("b got %+v, want %+v", got, want)
		}
	})
}

// Whatever clients of three nodes do, and in whatever order it takes effect, all
// nodes agree in the end, and every join has been answered.
func TestNodesAgree(t *testing.T) {
	rooms := []string{"r", "s"}
	eachSeed(t, 3, ServerConfig{AllowUnproven: true, RoomSize: 3, MessageRate: -1}, func(h *hub) {
		var clients []*peer
		joins := map[*peer]map[string]int{} // not answered yet
		tookIn := map[*peer]int{}           // events looked at
		look := func() {
			for _, p := range clients {
				for ; tookIn[p] < len(p.events); tookIn[p]++ {
					switch e := p.events[tookIn[p]].(type) {
					case Joined:
						delete(joins[p], e.Room)
					case *Error:
						delete(joins[p], e.Room)
					}
				}
			}
		}
		for range 60 {
			for range h.rand.IntN(8) {
				h.step()
			}
			look()
			i, room := h.rand.IntN(len(clients)+1), rooms[h.rand.IntN(len(rooms))]
			if i == len(clients) || clients[i].code() != 0 || clients[i].client.phase != phaseReady {
				n := h.nodes[h.rand.IntN(len(h.nodes))]
				p := n.signOn(fmt.Sprintf("192.0.2.%d:1", len(clients)), identity(t, byte(h.rand.IntN(4))))
				clients, joins[p] = append(clients, p), map[string]int{}
				continue
			}
			p := clients[i]
			switch h.rand.IntN(8) {
			case 0, 1, 2:
				if joins[p][room] == 0 {
					joins[p][room]++
					p.join(room, "x")
				}
			case 3:
				p.do(func(m *ClientMachine) error { return m.Update(room, []byte("y")) })
			case 4:
				if joins[p][room] == 0 {
					p.do(func(m *ClientMachine) error { return m.Leave(room) })
				}
			case 5:
				p.send(clients[h.rand.IntN(len(clients))], "hi")
			case 6: // as if it could not wait
				for _, enter := range []func(room string, message []byte) error{p.client.Join, p.client.Join, p.client.Update} {
					if p.client.phase == phaseReady { // it may be displaced on the way
						p.do(func(*ClientMachine) error { return enter(room, []byte("x")) })
					}
				}
			case 7:
				p.client.Close()
				p.w.run()
			}
		}
		h.settle()
		look()
		for _, p := range clients {
			if p.client.phase == phaseReady && len(joins[p]) > 0 {
				t.Errorf("joins without an answer: %v", joins[p])
			}
		}
		h.check()
		for _, p := range clients {
			p.client.Close()
			p.w.run()
		}
		h.settle()
		for _, n := range h.nodes {
			n.empty()
		}
		if len(h.homes) != 0 {
			t.Errorf("%d rooms have a home", len(h.homes))
		}
	})
}

// What was meant for an earlier sign-on of a peer does not reach the present one.
func TestStaleSession(t *testing.T) {
	w := newWorld(t, ServerConfig{AllowUnproven: true})
	id := identity(t, 1).ID()
	a := w.connect(addrA)
	a.hello(id, nil)
	a.put(frame{Type: typeJoin, Room: "r", Data: []byte("a")})
	a.frames = nil
	session := w.server.peers[id].member().Session
	for _, kind := range []BusKind{BusJoined, BusRefused, BusPaired, BusLeft, BusSend, BusError, BusSignOn, BusTaken} {
		w.server.bus.Publish(Topic{Peer: id}, BusMessage{Kind: kind, To: session + 1, From: BusMember{Peer: id, Session: session}, Room: "r", Data: []byte("x")})
	}
	w.server.HandleTimeout(w.now)
	w.run()
	// Only the message is answered: its sender learns that it was not delivered.
	if len(a.frames) != 1 || a.frames[0].Code != CodeNoPeer || a.code() != 0 {
		t.Errorf("it got %+v, closed with %v", a.frames, a.code())
	}
	w.check()
}

// An admission that comes when the client has left is not passed on to it.
func TestLateAdmission(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a := w.signOn(addrA, identity(t, 1))
	a.join("r", "a")
	a.do(func(c *ClientMachine) error { return c.Leave("r") })
	a.take()
	c := w.server.peers[identity(t, 1).ID()]
	w.server.bus.Publish(Topic{Peer: c.peer}, BusMessage{Kind: BusJoined, To: c.member().Session, Room: "r"})
	w.server.HandleTimeout(w.now)
	w.run()
	if got := a.take(); len(got) != 0 {
		t.Errorf("it was told %+v", got)
	}
	w.check()
}

// When a room's home has died, the new one knows no members. Who joins again is
// one, and who does not know yet is told.
func TestNewHomeKnowsNobody(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a := w.signOn(addrA, identity(t, 1))
	a.join("r", "a")
	a.take()
	clear(w.server.rooms.byName)
	w.server.rooms.bytes = 0
	a.do(func(c *ClientMachine) error { return c.Update("r", []byte("a2")) })
	if a.refusal() != CodeNotInRoom {
		t.Errorf("an update got %+v", a.events)
	}
	a.take()
	a.join("r", "a3")
	if got, want := a.take(), []Event{Joined{"r"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("joining again got %+v", got)
	}
	a.client.Close()
	w.run()
	w.empty()
}

func TestMemoryBus(t *testing.T) {
	b := NewMemoryBus()
	here, there := Topic{Peer: identity(t, 1).ID()}, Topic{Peer: identity(t, 2).ID()}
	room := Topic{Room: "x"}
	b.Subscribe(here.Peer)
	for i, p := range []published{
		{here, BusMessage{Kind: BusJoined}},
		{there, BusMessage{Kind: BusJoined}}, // nobody will miss it
		{there, BusMessage{Kind: BusSend}},
		{room, BusMessage{Kind: BusJoin}},
		{here, BusMessage{Kind: BusSend}},
	} {
		p.message.To = uint64(i)
		b.Publish(p.topic, p.message)
	}
	b.Unsubscribe(here.Peer)
	b.Publish(here, BusMessage{Kind: BusSend, To: 5})
	b.Release("x")
	for _, want := range []struct {
		topic       Topic
		to          uint64
		undelivered bool
	}{{here, 0, false}, {there, 2, true}, {room, 3, false}, {here, 4, false}, {here, 5, true}} {
		if topic, m, ok := b.Poll(); !ok || topic != want.topic || m.To != want.to || m.Undelivered != want.undelivered {
			t.Errorf("message %d: %v %+v %v", want.to, topic, m, ok)
		}
	}
	if _, m, ok := b.Poll(); ok {
		t.Errorf("%+v is left", m)
	}
}

var _ machine.Machine[ServerEvent] = (*ServerMachine)(nil)
var _ machine.Machine[Event] = (*ClientMachine)(nil)
var _ machine.Noticer = (*ServerMachine)(nil)
var _ machine.Noticer = (*ClientMachine)(nil)
