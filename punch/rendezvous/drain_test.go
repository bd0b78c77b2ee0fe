package rendezvous

import (
	"reflect"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// crowded is a world of n clients that have signed on, without proof because
// that is slow.
func crowded(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t, ServerConfig{AllowUnproven: true, MaxClientsPerAddress: -1, IdleTimeout: -1})
	for range n {
		var key [ident.KeySize]byte
		_, _ = w.rand.Read(key[:])
		key[31] &= 0x7f // a key in its shortest form
		peer, err := ident.PeerIDFromBytes(key[:])
		if err != nil {
			t.Fatal(err)
		}
		w.connect(addrA).raw(string((&frame{Type: typeHello, Version: protocolVersion, Peer: peer}).encode()))
	}
	if w.server.Stats().Clients != n {
		t.Fatalf("%d clients signed on, want %d", w.server.Stats().Clients, n)
	}
	w.now = w.now.Add(pairQuiet)
	return w
}

// farewells drains w and returns when each client was sent away.
func (w *world) farewells(within time.Duration) []time.Duration {
	w.t.Helper()
	began := w.now
	var at []time.Duration
	w.server.Drain(w.now, within)
	for !w.server.NextTimeout().IsZero() {
		w.now = w.server.NextTimeout()
		w.server.HandleTimeout(w.now)
		machine.Drain(w.server, func(tr machine.Transmit) {
			if tr.Op == machine.Close {
				at = append(at, w.now.Sub(began))
				w.peers[tr.Stream].closed = ParseClose(tr.Data)
			}
		}, func(ServerEvent) {})
	}
	for _, p := range w.peers {
		if p.code() != CodeShutdown || p.closed.Reason == "" {
			w.t.Fatalf("a client was closed with %v", p.closed)
		}
	}
	return at
}

func TestDrainSpreads(t *testing.T) {
	const n = 10_000
	for _, test := range []struct {
		name   string
		within time.Duration
		over   time.Duration
	}{
		{"time enough: 500 a second", time.Minute, 20 * time.Second},
		{"less: faster", 4 * time.Second, 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := crowded(t, n)
			at := w.farewells(test.within)
			if len(at) != n {
				t.Fatalf("%d clients were sent away, want %d", len(at), n)
			}
			// A hundredth of the time sends a hundredth of the clients away, give
			// or take what chance does to a hundred.
			var parts [100]int
			for _, d := range at {
				if d >= test.over {
					t.Fatalf("one was sent away after %v, want all within %v", d, test.over)
				}
				parts[d*100/test.over]++
			}
			for i, got := range parts {
				if got < 50 || got > 150 {
					t.Errorf("part %d of 100 has %d clients, want about 100", i, got)
				}
			}
			w.empty()
		})
	}
}

// Few clients are not made to wait for many.
func TestDrainOfFew(t *testing.T) {
	at := crowded(t, 3).farewells(time.Minute)
	if len(at) != 3 || at[2] > 6*time.Millisecond {
		t.Errorf("sent away after %v, want 6 ms at most", at)
	}
}

func TestDrainRefusesSignOns(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	half := w.connect(addrA)
	a := w.signOn(addrB, identity(t, 1))
	a.join("r", "a") // keeps a for two seconds
	w.server.Drain(w.now, time.Minute)
	w.run()
	late := w.connect(addrC)
	if half.code() != CodeShutdown || late.code() != CodeShutdown || a.code() != 0 {
		t.Errorf("closed with %v, %v and %v, want the first two", half.code(), late.code(), a.code())
	}
	w.server.Drain(w.now, time.Nanosecond) // does nothing: the first one counts
	w.advance(2*time.Second - 1)
	if a.code() != 0 {
		t.Fatalf("closed with %v while it was busy", a.code())
	}
	w.advance(1)
	if a.code() != CodeShutdown {
		t.Errorf("two seconds later closed with %v", a.code())
	}
	w.empty()
}

// Who signs on just before the drain can still join and be paired.
func TestDrainSparesTheNew(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a := w.signOn(addrA, identity(t, 1))
	w.server.Drain(w.now, time.Minute)
	w.advance(2*time.Second - 1)
	if a.code() != 0 {
		t.Errorf("closed with %v", a.code())
	}
	w.advance(1)
	if a.code() != CodeShutdown {
		t.Errorf("after two seconds closed with %v", a.code())
	}
}

// Two that are about to meet meet, and trickle on; once they are quiet they go.
func TestDrainLetsPairsFinish(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	quiet := w.signOn(addrC, identity(t, 3))
	w.advance(pairQuiet)
	idA, idB := a.client.cfg.Identity.ID(), b.client.cfg.Identity.ID()
	a.join("r", "a")
	b.do(func(c *ClientMachine) error { return c.Join("r", nil) })
	a.take()
	b.take()
	w.server.Drain(w.now, time.Minute)
	w.advance(time.Second)
	if quiet.code() != CodeShutdown {
		t.Errorf("who does nothing is closed with %v after a second", quiet.code())
	}
	b.do(func(c *ClientMachine) error { return c.Update("r", []byte("b")) })
	if got, want := a.take(), []Event{Paired{"r", idB, true, []byte("b")}}; !reflect.DeepEqual(got, want) {
		t.Fatalf("a got %+v, want %+v", got, want)
	}
	if got, want := b.take(), []Event{Paired{"r", idA, true, []byte("a")}}; !reflect.DeepEqual(got, want) {
		t.Fatalf("b got %+v, want %+v", got, want)
	}
	for range 5 { // one side alone keeps both
		w.advance(1900 * time.Millisecond)
		a.send(b, "more")
		if got := b.take(); len(got) != 1 {
			t.Fatalf("b got %+v", got)
		}
	}
	w.advance(2*time.Second - 1)
	if a.code() != 0 || b.code() != 0 {
		t.Fatalf("closed with %v and %v before they were quiet", a.code(), b.code())
	}
	w.advance(1)
	if a.code() != CodeShutdown || b.code() != CodeShutdown {
		t.Errorf("closed with %v and %v once they are quiet", a.code(), b.code())
	}
	w.empty()
}

// Who never stops is sent away in the end; who leaves by itself is forgotten.
func TestDrainEnds(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	gone := w.signOn(addrC, identity(t, 3))
	gone.join("alone", "x")
	a.join("r", "a")
	b.join("r", "b")
	w.server.Drain(w.now, 10*time.Second)
	gone.client.Close()
	w.run()
	for range 9 {
		w.advance(time.Second)
		a.send(b, "still here")
	}
	if a.code() != 0 || b.code() != 0 {
		t.Errorf("closed with %v and %v before the end", a.code(), b.code())
	}
	w.advance(time.Second)
	if a.code() != CodeShutdown || b.code() != CodeShutdown {
		t.Errorf("closed with %v and %v at the end", a.code(), b.code())
	}
	w.empty()
}

// A Shutdown cuts a Drain short, and a Drain without time is one.
func TestShutdownDuringDrain(t *testing.T) {
	w := crowded(t, 100)
	w.server.Drain(w.now, time.Minute)
	w.server.Shutdown(w.now)
	w.drain()
	w.empty()

	w = crowded(t, 100)
	w.server.Drain(w.now, 0)
	w.drain()
	w.empty()
}
