package rendezvous

import (
	"reflect"
	"testing"

	"github.com/bradawl/bradawl/internal/machine"
)

// hub joins several nodes: what a bus between processes does, without the
// processes. A message arrives at once, but the other node takes it in later.
type hub struct {
	ports []*port
}

type port struct {
	hub    *hub
	topics map[Topic]bool
	queue  []published
}

func (h *hub) port() *port {
	p := &port{hub: h, topics: map[Topic]bool{}}
	h.ports = append(h.ports, p)
	return p
}

func (p *port) Subscribe(t Topic)   { p.topics[t] = true }
func (p *port) Unsubscribe(t Topic) { delete(p.topics, t) }
func (p *port) Wake(func())         {}

func (p *port) Publish(t Topic, m BusMessage) bool {
	heard := false
	for _, other := range p.hub.ports {
		if other.topics[t] {
			other.queue = append(other.queue, published{t, m})
			heard = true
		}
	}
	return heard
}

func (p *port) Poll() (Topic, BusMessage, bool) {
	if len(p.queue) == 0 {
		return Topic{}, BusMessage{}, false
	}
	first := p.queue[0]
	p.queue = p.queue[1:]
	return first.topic, first.message, true
}

// Two nodes on one bus are one service: that is what the seam is for.
func TestTwoNodes(t *testing.T) {
	h := new(hub)
	one, two := newWorld(t, ServerConfig{Bus: h.port()}), newWorld(t, ServerConfig{Bus: h.port()})
	settle := func() {
		for range 5 {
			for _, w := range []*world{one, two} {
				w.server.HandleTimeout(w.now) // as Wake makes the shell do
				w.run()
			}
		}
	}
	a, b := one.signOn(addrA, identity(t, 1)), two.signOn(addrB, identity(t, 2))
	idA, idB := a.client.cfg.Identity.ID(), b.client.cfg.Identity.ID()

	a.join("r", "a")
	b.join("r", "b")
	settle()
	if got, want := a.take(), []Event{Joined{"r"}, Paired{"r", idB, true, []byte("b")}}; !reflect.DeepEqual(got, want) {
		t.Errorf("a got %+v, want %+v", got, want)
	}
	if got, want := b.take(), []Event{Joined{"r"}, Paired{"r", idA, true, []byte("a")}}; !reflect.DeepEqual(got, want) {
		t.Errorf("b got %+v, want %+v", got, want)
	}
	c := two.signOn(addrC, identity(t, 3))
	c.join("r", "c")
	settle()
	if c.refusal() != CodeRoomFull {
		t.Errorf("the third got %+v", c.events)
	}
	b.send(a, "hi")
	settle()
	if got, want := a.take(), []Event{Message{idB, true, []byte("hi")}}; !reflect.DeepEqual(got, want) {
		t.Errorf("a got %+v, want %+v", got, want)
	}
	// The home's own member leaves; the room goes on.
	a.client.Close()
	one.run()
	settle()
	if got, want := b.take(), []Event{PeerLeft{"r", idA}}; !reflect.DeepEqual(got, want) {
		t.Errorf("b got %+v, want %+v", got, want)
	}
	// A newer sign-on wins, at whichever node.
	b2 := one.signOn(addrB, identity(t, 2))
	settle()
	if b.code() != CodeReplaced || b2.code() != 0 {
		t.Errorf("closed with %v and %v", b.code(), b2.code())
	}
	b2.join("r", "b2")
	settle()
	one.check()
	two.check()
	if one.server.Rooms()+two.server.Rooms() != 1 {
		t.Errorf("the room has %d homes", one.server.Rooms()+two.server.Rooms())
	}
}

// What was meant for an earlier sign-on of a peer does not reach the present one.
func TestStaleSession(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a := w.signOn(addrA, identity(t, 1))
	a.join("r", "a")
	a.take()
	id := a.client.cfg.Identity.ID()
	session := w.server.peers[id].member().Session
	for _, kind := range []BusKind{BusJoined, BusRefused, BusPaired, BusLeft, BusSend, BusError} {
		w.server.bus.Publish(Topic{Peer: id}, BusMessage{Kind: kind, To: session + 1, From: BusMember{Peer: id, Session: session, Proven: true}, Room: "r", Data: []byte("x")})
	}
	w.server.HandleTimeout(w.now)
	w.run()
	// Only the message is answered: its sender learns that it was not delivered.
	if got := a.take(); len(got) != 1 || got[0].(*Error).Code != CodeNoPeer {
		t.Errorf("it got %+v", got)
	}
	w.check()
}

func TestMemoryBus(t *testing.T) {
	b := NewMemoryBus()
	x := Topic{Room: "x"}
	if b.Publish(x, BusMessage{}) {
		t.Error("a topic without subscriber was heard")
	}
	b.Subscribe(x)
	for i := range 3 {
		if !b.Publish(x, BusMessage{To: uint64(i)}) {
			t.Error("a topic with subscriber was not heard")
		}
	}
	b.Unsubscribe(x)
	for i := range 3 {
		if topic, m, ok := b.Poll(); !ok || topic != x || m.To != uint64(i) {
			t.Errorf("message %d: %v %+v %v", i, topic, m, ok)
		}
	}
	if _, _, ok := b.Poll(); ok || b.Publish(x, BusMessage{}) {
		t.Error("something is left")
	}
}

var _ machine.Machine[ServerEvent] = (*ServerMachine)(nil)
var _ machine.Machine[Event] = (*ClientMachine)(nil)
var _ machine.Noticer = (*ServerMachine)(nil)
var _ machine.Noticer = (*ClientMachine)(nil)
