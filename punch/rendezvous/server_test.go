package rendezvous

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

func TestDeadlines(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	mute := w.connect(addrA)
	idle := w.connect(addrB)
	idle.hello(identity(t, 1).ID(), identity(t, 1))
	live := w.signOn(addrC, identity(t, 2)) // its machine pings

	w.advance(5*time.Second - 1)
	if mute.code() != 0 {
		t.Fatalf("closed with %v before its time", mute.code())
	}
	w.advance(1)
	if mute.code() != CodeHelloTimeout {
		t.Errorf("after 5 s without a hello: %v, want %v", mute.code(), CodeHelloTimeout)
	}
	w.advance(85*time.Second - 1)
	if idle.code() != 0 {
		t.Errorf("closed with %v before its time", idle.code())
	}
	w.advance(1)
	if idle.code() != CodeIdle {
		t.Errorf("after 90 s: %v, want %v", idle.code(), CodeIdle)
	}
	w.advance(time.Hour)
	if live.code() != 0 {
		t.Errorf("a client that pings was closed with %v", live.code())
	}
	w.check()
}

// Who signed on first but spoke last is not in the way of who is overdue.
func TestIdleInTheOrderOfSpeaking(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	first, second := w.connect(addrA), w.connect(addrB)
	first.hello(identity(t, 1).ID(), identity(t, 1))
	second.hello(identity(t, 2).ID(), identity(t, 2))
	w.advance(60 * time.Second)
	first.raw(`{"type":"ping"}`)
	w.advance(30 * time.Second)
	if first.code() != 0 || second.code() != CodeIdle {
		t.Errorf("after 90 s they are closed with %v and %v", first.code(), second.code())
	}
	w.advance(60 * time.Second)
	if first.code() != CodeIdle {
		t.Errorf("90 s after its ping the first is closed with %v", first.code())
	}
}

func TestLimitsSwitchedOff(t *testing.T) {
	w := newWorld(t, ServerConfig{HelloTimeout: -1, IdleTimeout: -1, MessageRate: -1, MaxClientsPerAddress: -1, MaxHalfOpen: -1})
	mute := w.connect(addrA)
	p := w.connect(addrA)
	p.hello(identity(t, 1).ID(), identity(t, 1))
	for range 1000 {
		p.raw(`{"type":"ping"}`)
		w.connect(addrA)
	}
	w.advance(24 * time.Hour)
	if mute.code() != 0 || p.code() != 0 {
		t.Errorf("closed with %v and %v", mute.code(), p.code())
	}
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t, ServerConfig{MessageRate: 10, MessageBurst: 20})
	p := w.connect(addrA)
	p.hello(identity(t, 1).ID(), identity(t, 1)) // the first of the burst
	for range 19 {
		p.raw(`{"type":"ping"}`)
	}
	for range 100 { // at the rate, for ten seconds
		w.advance(100 * time.Millisecond)
		p.raw(`{"type":"ping"}`)
	}
	if p.code() != 0 {
		t.Fatalf("closed with %v within the limit", p.code())
	}
	p.raw(`{"type":"ping"}`)
	if p.code() != CodeRateLimited {
		t.Errorf("one more: closed with %v, want %v", p.code(), CodeRateLimited)
	}
	w.empty()
}

// Without a limit for idle clients that for the hello still holds, and ends with
// the hello.
func TestIdleLimitAloneSwitchedOff(t *testing.T) {
	w := newWorld(t, ServerConfig{IdleTimeout: -1})
	mute := w.connect(addrA)
	p := w.connect(addrB)
	p.hello(identity(t, 1).ID(), identity(t, 1))
	w.advance(24 * time.Hour)
	if mute.code() != CodeHelloTimeout || p.code() != 0 {
		t.Errorf("closed with %v and %v", mute.code(), p.code())
	}
}

// Strangers cannot make a client fall behind; those it is paired with can reach
// it all the same.
func TestStrangersAreLimited(t *testing.T) {
	w := newWorld(t, ServerConfig{MessageRate: 1, MessageBurst: 10})
	victim, friend := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	victim.join("r", "v")
	friend.join("r", "f")
	victim.take()
	busy := 0
	for i := range byte(10) {
		s := w.signOn(fmt.Sprintf("203.0.113.%d:9", i), identity(t, 10+i))
		for range 5 {
			s.send(victim, "spam")
			if s.refusal() == CodePeerBusy {
				busy++
			}
		}
	}
	if got := len(victim.take()); got != 10 || busy != 40 {
		t.Errorf("%d messages came through and %d were refused, want 10 and 40", got, busy)
	}
	friend.send(victim, "hi")
	if got := len(victim.take()); got != 1 {
		t.Errorf("the paired peer's message did not come through")
	}
}

func TestClientsPerAddress(t *testing.T) {
	for _, test := range []struct {
		name             string
		same             []string // fill the limit of 3
		refused, another string
	}{
		{"IPv4", []string{"192.0.2.1:1", "192.0.2.1:2", "[::ffff:192.0.2.1]:3"}, "192.0.2.1:4", "192.0.2.2:1"},
		{"IPv6", []string{"[2001:db8::1]:1", "[2001:db8::ffff:2]:1", "[2001:db8:0:0:9::]:1"}, "[2001:db8::5]:1", "[2001:db8:0:1::1]:1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, ServerConfig{MaxClientsPerAddress: 3})
			var in []*peer
			for _, a := range test.same {
				in = append(in, w.connect(a))
			}
			if p := w.connect(test.refused); p.code() != CodeTooManyClients {
				t.Errorf("one too many: closed with %v", p.code())
			}
			if p := w.connect(test.another); p.code() != 0 {
				t.Errorf("another address: closed with %v", p.code())
			}
			// A connection that ends makes room.
			w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Closed, Stream: in[0].stream})
			if p := w.connect(test.refused); p.code() != 0 {
				t.Errorf("after one has gone: closed with %v", p.code())
			}
			w.check()
		})
	}
}

func TestClientsInTotal(t *testing.T) {
	w := newWorld(t, ServerConfig{MaxClients: 2})
	a := w.signOn(addrA, identity(t, 1))
	mute := w.connect(addrB)
	// Who has not signed on yields to who may.
	b := w.signOn(addrC, identity(t, 2))
	if mute.code() != CodeTooManyClients || a.code() != 0 {
		t.Errorf("closed with %v and %v", mute.code(), a.code())
	}
	if p := w.connect(addrC); p.code() != CodeTooManyClients || b.code() != 0 {
		t.Errorf("closed with %v and %v", p.code(), b.code())
	}
	w.check()
}

// 10,000 connections that never say a word, ever new ones, do not keep an
// honest client out.
func TestHalfOpenFlood(t *testing.T) {
	w := newWorld(t, ServerConfig{MaxClients: 5000, MaxHalfOpen: 1000})
	a := w.signOn(addrA, identity(t, 1))
	a.join("r", "a")
	for i := range 10_000 {
		w.connect(fmt.Sprintf("198.18.%d.%d:1", i>>8, i&255))
		if got := w.server.halfOpen.Len(); got > 1000 {
			t.Fatalf("%d connections half open", got)
		}
	}
	b := w.signOn(addrB, identity(t, 2)) // at once: no time has passed
	b.join("r", "b")
	if got := b.take(); len(got) != 2 {
		t.Errorf("the honest client got %+v", got)
	}
	w.check()
	w.advance(5 * time.Second)
	if w.server.halfOpen.Len() != 0 || len(w.server.clients) != 2 {
		t.Errorf("after 5 s %d are half open, %d clients", w.server.halfOpen.Len(), len(w.server.clients))
	}
}

func TestRoomLimits(t *testing.T) {
	t.Run("of a client", func(t *testing.T) {
		w := newWorld(t, ServerConfig{MaxRoomsPerClient: 2})
		a := w.signOn(addrA, identity(t, 1))
		a.join("1", "")
		a.join("2", "")
		a.join("2", "") // again is no more
		a.join("3", "")
		if a.refusal() != CodeTooManyRooms {
			t.Errorf("got %+v", a.events)
		}
		a.do(func(c *ClientMachine) error { return c.Leave("1") })
		a.join("3", "")
		if a.refusal() != 0 {
			t.Errorf("after leaving one: %+v", a.events)
		}
		w.check()
	})
	t.Run("of an address", func(t *testing.T) {
		w := newWorld(t, ServerConfig{MaxRoomsPerAddress: 2})
		a, b := w.signOn("192.0.2.1:1", identity(t, 1)), w.signOn("192.0.2.1:2", identity(t, 2))
		a.join("1", "")
		b.join("2", "")
		b.join("3", "")
		if b.refusal() != CodeTooManyRooms {
			t.Errorf("got %+v", b.events)
		}
		w.check()
	})
	t.Run("in total", func(t *testing.T) {
		w := newWorld(t, ServerConfig{MaxRooms: 1})
		a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
		a.join("1", "")
		b.join("2", "")
		if b.refusal() != CodeTooManyRooms {
			t.Errorf("got %+v", b.events)
		}
		b.join("1", "")
		if b.refusal() != 0 {
			t.Errorf("joining one that is there: %+v", b.events)
		}
		w.check()
	})
	t.Run("waiting bytes", func(t *testing.T) {
		w := newWorld(t, ServerConfig{MaxWaiting: 10})
		a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
		a.join("1", "12345678")
		b.join("2", "123")
		if b.refusal() != CodeServerFull {
			t.Errorf("got %+v", b.events)
		}
		a.do(func(c *ClientMachine) error { return c.Update("1", []byte("12345678901")) })
		if a.refusal() != CodeServerFull {
			t.Errorf("an update beyond the limit: %+v", a.events)
		}
		a.do(func(c *ClientMachine) error { return c.Update("1", []byte("1")) })
		b.join("2", "123")
		if b.refusal() != 0 {
			t.Errorf("once there is room: %+v", b.events)
		}
		w.check()
	})
}

func TestShutdown(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	half := w.connect(addrA)
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	a.join("r", "a")
	b.join("r", "b")
	a.take()
	w.server.Shutdown(w.now)
	w.run()
	late := w.connect(addrC)
	for i, p := range []*peer{half, a, b, late} {
		if p.code() != CodeShutdown {
			t.Errorf("stream %d was closed with %v, want %v", i, p.code(), CodeShutdown)
		}
	}
	if got := a.take(); len(got) != 1 || !errors.As(got[0].(Closed).Err, new(*CloseError)) {
		t.Errorf("a got %+v", got)
	}
	w.empty()
}

func TestSlowReader(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a := w.signOn(addrA, identity(t, 1))
	w.server.SlowReader(w.now, a.stream)
	w.server.SlowReader(w.now, a.stream) // it has gone by then
	w.run()
	if a.code() != CodeSlowReader {
		t.Errorf("closed with %v", a.code())
	}
	w.empty()
}

// What the runner reports as a flood, and requests for servers without end.
func TestFloods(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a := w.signOn(addrA, identity(t, 1))
	w.server.Flood(w.now, a.stream)
	w.server.Flood(w.now, a.stream) // it has gone by then
	w.run()
	if a.code() != CodeRateLimited {
		t.Errorf("closed with %v", a.code())
	}
	p := w.connect(addrB)
	p.hello(identity(t, 2).ID(), identity(t, 2))
	for range 100 {
		p.put(frame{Type: typeServers})
	}
	if p.code() != CodeRateLimited {
		t.Errorf("after 100 requests at once closed with %v", p.code())
	}
	w.empty()
}

func TestServerEvents(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	a.join("r", "a")
	b.join("r", "b")
	a.client.Close()
	w.run()
	b.raw("garbage")
	var kinds []ServerEventKind
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
		if e.String() == "" || e.Peer.IsZero() {
			t.Errorf("event %+v", e)
		}
	}
	want := []ServerEventKind{ServerSignedOn, ServerSignedOn, ServerPaired, ServerPaired, ServerLeft, ServerDropped}
	if fmt.Sprint(kinds) != fmt.Sprint(want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
}

func TestServerConfig(t *testing.T) {
	_, err := NewServerMachine(ServerConfig{RoomSize: 1})
	if ce := (*ConfigError)(nil); !errors.As(err, &ce) || ce.Field != "RoomSize" {
		t.Errorf("a room of one: %v", err)
	}
}
