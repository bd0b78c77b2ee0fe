package rendezvous

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// severed is a MemoryBus that can lose the other nodes.
type severed struct {
	*MemoryBus
	wake func()
	says []BusMessage
}

func (b *severed) Wake(wake func()) { b.wake = wake }

func (b *severed) Poll() (Topic, BusMessage, bool) {
	if len(b.says) > 0 {
		m := b.says[0]
		b.says = b.says[1:]
		return Topic{}, m, true
	}
	return b.MemoryBus.Poll()
}

// A node that is cut off keeps nobody and nothing, says why, and begins anew.
func TestCutOff(t *testing.T) {
	bus := &severed{MemoryBus: NewMemoryBus()}
	w := newWorld(t, ServerConfig{Bus: bus})
	says := func(m BusMessage) {
		bus.says = append(bus.says, m)
		w.server.HandleTimeout(w.now)
		w.run()
	}
	a, b, half := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2)), w.connect(addrC)
	a.join("r", "a")
	b.join("s", "b")
	says(BusMessage{Kind: BusDown, Reason: "the cable"})
	for name, p := range map[string]*peer{"a": a, "b": b, "half open": half} {
		if p.code() != CodeCutOff {
			t.Errorf("%s was closed with %v", name, p.code())
		}
	}
	if !w.server.Stats().CutOff || w.server.Stats().Rooms != 0 || w.server.rooms.bytes != 0 {
		t.Errorf("cut off: %v, with %d rooms of %d bytes", w.server.Stats().CutOff, w.server.Stats().Rooms, w.server.rooms.bytes)
	}
	if e := w.events[len(w.events)-1]; e.Kind != ServerCutOff || e.String() != `cut off from the other nodes: "the cable"` {
		t.Errorf("the last event is %v", e)
	}
	if late := w.connect(addrA); late.code() != CodeCutOff {
		t.Errorf("meanwhile a client was closed with %v", late.code())
	}
	says(BusMessage{Kind: BusUp})
	if e := w.events[len(w.events)-1]; w.server.Stats().CutOff || e.Kind != ServerRejoined {
		t.Errorf("cut off: %v, after %v", w.server.Stats().CutOff, e)
	}
	a, b = w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	a.join("r", "a")
	b.join("r", "b")
	if len(a.take()) != 2 || len(b.take()) != 2 { // Joined and Paired
		t.Error("afterwards two members of a room are not paired")
	}
	a.client.Close()
	b.client.Close()
	w.run()
	w.empty()
}

// A load balancer sees that a node is cut off.
func TestCutOffHealth(t *testing.T) {
	bus := &severed{MemoryBus: NewMemoryBus()}
	s, err := NewServer(ServerConfig{Bus: bus})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, step := range []struct {
		says   BusKind
		status int
		body   string
	}{
		{BusDown, 503, `{"status":"cut off","clients":0,"half_open":0,"rooms":0,"cut_off":true}` + "\n"},
		{BusUp, 200, `{"status":"ok","clients":0,"half_open":0,"rooms":0}` + "\n"},
	} {
		_ = s.loop.Do(func(time.Time) { bus.says = append(bus.says, BusMessage{Kind: step.says}) })
		bus.wake()
		got := httptest.NewRecorder()
		s.ServeHealth(got, nil)
		if got.Code != step.status || got.Body.String() != step.body {
			t.Errorf("health is %d %q", got.Code, got.Body)
		}
	}
}

// A Meet in a room whose node is lost joins it again.
func TestMeetWhenTheRoomIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := bounded(t)
		sv := newService(t, ServerConfig{})
		defer sv.close()
		a, b := sv.dial(ClientConfig{}), sv.dial(ClientConfig{})
		defer a.Close()
		defer b.Close()
		wait := meeting(ctx, a, "r")
		synctest.Wait()
		_ = sv.server.loop.Do(func(time.Time) { // its node is lost, and the bus has learnt of it
			sv.server.m.rooms.clear()
			sv.server.m.bus.Publish(Topic{Peer: a.ID()}, BusMessage{Kind: BusRefused, Room: "r", Code: CodeUnreachable, Reason: "gone"})
		})
		if peer, err := b.Meet(ctx, "r"); err != nil || peer != a.ID() {
			t.Errorf("met %v, %v", peer, err)
		}
		if peer, err := wait(); err != nil || peer != b.ID() {
			t.Errorf("met %v, %v", peer, err)
		}
	})
}
