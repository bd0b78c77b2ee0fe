package rendezvous

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/bradawl/bradawl/internal/machine"
)

const (
	addrA = "192.0.2.1:1000"
	addrB = "198.51.100.2:2000"
	addrC = "203.0.113.3:3000"
)

// Both sides are handed each other's message by the very step that takes in
// the second one.
func TestPairingInOneStep(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	a.join("room", "from a")
	if got := a.take(); !reflect.DeepEqual(got, []Event{Joined{"room"}}) {
		t.Fatalf("joining alone gave %+v", got)
	}
	if err := b.client.Join("room", []byte("from b")); err != nil {
		t.Fatal(err)
	}
	join, _ := b.client.PollTransmit()
	w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Received, Stream: b.stream, Data: join.Data})
	to := map[machine.StreamID]frame{}
	for tr, ok := w.server.PollTransmit(); ok; tr, ok = w.server.PollTransmit() {
		f, err := decodeFrame(tr.Data)
		if err != nil {
			t.Fatal(err)
		}
		if f.Type == typePaired {
			to[tr.Stream] = f
		}
	}
	for _, want := range []struct {
		at, from *peer
		message  string
	}{{a, b, "from b"}, {b, a, "from a"}} {
		got := to[want.at.stream]
		if got.Peer != want.from.client.cfg.Identity.ID() || string(got.Data) != want.message || got.Room != "room" || !got.Proven {
			t.Errorf("handed %+v, want %q", got, want.message)
		}
	}
	w.check()
}

func TestPairingWaitsForBothMessages(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	a.do(func(c *ClientMachine) error { return c.Join("r", nil) })
	b.join("r", "b1")
	b.do(func(c *ClientMachine) error { return c.Update("r", []byte("b2")) })
	if got := append(a.take(), b.take()...); len(got) != 2 {
		t.Fatalf("before a message was given: %+v, want two Joined", got)
	}
	// An empty message counts; the other side gets the newest.
	a.do(func(c *ClientMachine) error { return c.Update("r", nil) })
	idA, idB := a.client.cfg.Identity.ID(), b.client.cfg.Identity.ID()
	if got, want := a.take(), []Event{Paired{"r", idB, true, []byte("b2")}}; !reflect.DeepEqual(got, want) {
		t.Errorf("a got %+v, want %+v", got, want)
	}
	if got, want := b.take(), []Event{Paired{"r", idA, true, []byte{}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("b got %+v, want %+v", got, want)
	}
	// A later update pairs nobody twice.
	a.do(func(c *ClientMachine) error { return c.Update("r", []byte("a2")) })
	a.join("r", "a3")
	if got, want := a.take(), []Event{Joined{"r"}}; !reflect.DeepEqual(got, want) || len(b.take()) != 0 {
		t.Errorf("updating after the pairing: a got %+v", got)
	}
	w.check()
}

func TestFullRoomAndReturn(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b, c := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2)), w.signOn(addrC, identity(t, 3))
	a.join("r", "a")
	b.join("r", "b")
	c.join("r", "c")
	if got := c.refusal(); got != CodeRoomFull {
		t.Fatalf("the third got %+v, want %v", c.events, CodeRoomFull)
	}
	if e := c.take()[0].(*Error); e.Room != "r" {
		t.Errorf("the refusal names room %q", e.Room)
	}
	w.check()
	a.take()
	idB := b.client.cfg.Identity.ID()
	b.client.Close()
	w.run()
	if got, want := a.take(), []Event{PeerLeft{"r", idB}}; !reflect.DeepEqual(got, want) {
		t.Fatalf("when b left, a got %+v, want %+v", got, want)
	}
	a.do(func(m *ClientMachine) error { return m.Update("r", []byte("a again")) })
	c.join("r", "c")
	if got := c.take(); len(got) != 2 || string(got[1].(Paired).Message) != "a again" {
		t.Errorf("c got %+v", got)
	}
	a.take()
	c.do(func(m *ClientMachine) error { return m.Leave("r") })
	if got := a.take(); len(got) != 1 {
		t.Errorf("when c left the room, a got %+v", got)
	}
	a.client.Close()
	c.client.Close()
	w.run()
	w.empty()
}

// A member that comes back before the server has noticed that it was gone
// takes its own place.
func TestReturnOfAMember(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	a.join("r", "a")
	b.join("r", "b")
	a.take()
	b2 := w.signOn("198.51.100.2:2001", identity(t, 2))
	b2.join("r", "b2")
	if b.code() != CodeReplaced {
		t.Errorf("the old connection was closed with %v, want %v", b.code(), CodeReplaced)
	}
	idB := b.client.cfg.Identity.ID()
	if got, want := a.take(), []Event{PeerLeft{"r", idB}, Paired{"r", idB, true, []byte("b2")}}; !reflect.DeepEqual(got, want) {
		t.Errorf("a got %+v, want %+v", got, want)
	}
	w.check()
}

func TestRoomOfThree(t *testing.T) {
	w := newWorld(t, ServerConfig{RoomSize: 3})
	peers := []*peer{w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2)), w.signOn(addrC, identity(t, 3))}
	for i, p := range peers {
		p.join("r", fmt.Sprint(i))
	}
	for i, p := range peers {
		paired := 0
		for _, e := range p.take() {
			if _, ok := e.(Paired); ok {
				paired++
			}
		}
		if paired != 2 {
			t.Errorf("member %d was paired %d times, want 2", i, paired)
		}
	}
}

func TestRoomNames(t *testing.T) {
	long := make([]byte, MaxRoom+1)
	for i := range long {
		long[i] = 'x'
	}
	for _, name := range []string{"", "a b", "ä", "a/b", "a\n", string(long)} {
		if ValidRoom(name) {
			t.Errorf("%q counts as a room's name", name)
		}
		w := newWorld(t, ServerConfig{})
		p := w.connect(addrA)
		p.hello(identity(t, 1).ID(), identity(t, 1))
		p.put(frame{Type: typeJoin, Room: name})
		if p.refusal() != CodeBadRoom || p.code() != 0 {
			t.Errorf("joining %q: refused with %v, closed with %v", name, p.refusal(), p.code())
		}
		w.check()
	}
	for _, name := range []string{"a", "A.b_c-9", string(long[1:])} {
		if !ValidRoom(name) {
			t.Errorf("%q counts as no room's name", name)
		}
	}
}
