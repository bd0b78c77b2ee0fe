package rendezvous

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/internal/ident"
)

func TestSend(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	a, b := w.signOn(addrA, identity(t, 1)), w.signOn(addrB, identity(t, 2))
	a.send(b, "hello")
	idA := a.client.cfg.Identity.ID()
	if got, want := b.take(), []Event{Message{idA, true, []byte("hello")}}; !reflect.DeepEqual(got, want) {
		t.Errorf("b got %+v, want %+v", got, want)
	}
	absent := identity(t, 9).ID()
	a.do(func(c *ClientMachine) error { return c.Send(absent, []byte("anyone?")) })
	if a.refusal() != CodeNoPeer || a.events[0].(*Error).Peer != absent {
		t.Errorf("sending to nobody gave %+v", a.events)
	}
}

// The sender that a peer is told is the one that signed on, whatever the
// frame says.
func TestSenderCannotBeForged(t *testing.T) {
	w := newWorld(t, ServerConfig{})
	b := w.signOn(addrB, identity(t, 2))
	p := w.connect(addrA)
	p.hello(identity(t, 1).ID(), identity(t, 1))
	p.raw(`{"type":"send","peer":"` + b.client.cfg.Identity.ID().String() + `","from":"x","proven":true,"data":"aGk="}`)
	w.run()
	if got := b.take(); len(got) != 1 || got[0].(Message).From != identity(t, 1).ID() {
		t.Errorf("b got %+v", got)
	}
}

func TestWelcomeTellsTheAddress(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:4711":          "192.0.2.7:4711",
		"[::ffff:192.0.2.7]:4711": "192.0.2.7:4711",
		"[2001:db8::1]:80":        "[2001:db8::1]:80",
	} {
		w := newWorld(t, ServerConfig{})
		p := w.dial(from, ClientConfig{}, "test")
		if got := p.events[0].(Welcome); got.Address.String() != want || !got.Proven {
			t.Errorf("welcome to %s: %+v", from, got)
		}
	}
}

func TestUnproven(t *testing.T) {
	id1, id2 := identity(t, 1), identity(t, 2)
	t.Run("refused by default", func(t *testing.T) {
		w := newWorld(t, ServerConfig{})
		p := w.connect(addrA)
		p.hello(id1.ID(), nil)
		if p.code() != CodeProofRequired {
			t.Errorf("closed with %v, want %v", p.code(), CodeProofRequired)
		}
		w.empty()
	})
	t.Run("rooms alone", func(t *testing.T) {
		w := newWorld(t, ServerConfig{AllowUnproven: true})
		p := w.connect(addrA)
		p.hello(id1.ID(), nil)
		if f := p.frames[len(p.frames)-1]; f.Type != typeWelcome || f.Proven {
			t.Fatalf("answered %+v, want an unproven welcome", f)
		}
		a := w.signOn(addrB, id2)
		p.put(frame{Type: typeSend, Peer: id2.ID(), Data: []byte("x")})
		if p.refusal() != CodeProofRequired || len(a.take()) != 0 {
			t.Errorf("a stranger without proof wrote to a peer: %+v", p.frames)
		}
		a.do(func(c *ClientMachine) error { return c.Send(id1.ID(), []byte("secret")) })
		if a.refusal() != CodeNoPeer {
			t.Errorf("a message reached an unproven ID outside a room: %+v", a.events)
		}
		a.take()
		// In a room they may talk, and it shows who is not proven.
		a.join("r", "a")
		p.put(frame{Type: typeJoin, Room: "r", Data: []byte("p")})
		p.put(frame{Type: typeSend, Peer: id2.ID(), Data: []byte("hi")})
		want := []Event{Joined{"r"}, Paired{"r", id1.ID(), false, []byte("p")}, Message{id1.ID(), false, []byte("hi")}}
		if got := a.take(); !reflect.DeepEqual(got, want) {
			t.Errorf("a got %+v, want %+v", got, want)
		}
		a.do(func(c *ClientMachine) error { return c.Send(id1.ID(), []byte("hi too")) })
		if f := p.frames[len(p.frames)-1]; f.Type != typeMessage || string(f.Data) != "hi too" || !f.Proven {
			t.Errorf("the unproven member got %+v", f)
		}
		// What the room allowed ends with it.
		p.put(frame{Type: typeLeave, Room: "r"})
		p.put(frame{Type: typeSend, Peer: id2.ID(), Data: []byte("still?")})
		if p.refusal() != CodeProofRequired {
			t.Errorf("after leaving: %+v", p.frames[len(p.frames)-1])
		}
		w.check()
	})
}

func TestDuplicateSignOn(t *testing.T) {
	id := identity(t, 1)
	for _, test := range []struct {
		name                  string
		first, second         *ident.Identity
		wantFirst, wantSecond Code
	}{
		{"both proven: the newer wins", id, id, CodeReplaced, 0},
		{"a proof beats a squatter", nil, id, CodeReplaced, 0},
		{"without proof nobody is displaced", id, nil, 0, CodeDuplicate},
		{"two without proof: the first stays", nil, nil, 0, CodeDuplicate},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, ServerConfig{AllowUnproven: true})
			first, second := w.connect(addrA), w.connect(addrB)
			first.hello(id.ID(), test.first)
			second.hello(id.ID(), test.second)
			if first.code() != test.wantFirst || second.code() != test.wantSecond {
				t.Errorf("closed with %v and %v, want %v and %v", first.code(), second.code(), test.wantFirst, test.wantSecond)
			}
			if w.server.Stats().Clients != 1 {
				t.Errorf("%d clients are signed on", w.server.Stats().Clients)
			}
			w.check()
		})
	}
}

// 10,000 attempts to take over a peer's ID without its key: each fails, and
// the peer stays.
func TestForgedProofs(t *testing.T) {
	w := newWorld(t, ServerConfig{MaxClientsPerAddress: -1, AllowUnproven: true})
	victim, thief := identity(t, 1), identity(t, 2)
	v := w.signOn(addrA, victim)
	old := w.connect(addrB)
	server, stale := old.frames[0].Key, old.frames[0].Nonce // another connection's challenge
	replayed, err := makeProof(victim, server, stale, "test")
	if err != nil {
		t.Fatal(err)
	}
	attempts := 10_000
	if testing.Short() || raceEnabled {
		attempts = 1000 // a proof takes 60 us, and ten times that under the race detector
	}
	for i := range attempts {
		p := w.connect(addrB)
		ch := p.frames[0]
		f := frame{Type: typeHello, Version: protocolVersion, Peer: victim.ID(), Host: "test"}
		want := CodeBadProof
		switch i % 5 {
		case 0: // with one's own key
			f.Proof, _ = makeProof(thief, ch.Key, ch.Nonce, f.Host)
		case 1: // a right proof of the victim's, for another challenge
			f.Proof = replayed
		case 2: // guessed
			f.Proof = make([]byte, i%70)
			_, _ = w.rand.Read(f.Proof)
		case 3: // a right proof with one bit wrong
			f.Proof, _ = makeProof(victim, ch.Key, ch.Nonce, f.Host)
			f.Proof[i/5%len(f.Proof)] ^= 1 << (i % 8)
		case 4: // none
			want = CodeDuplicate
		}
		p.put(f)
		if p.code() != want {
			t.Fatalf("attempt %d: closed with %v, want %v", i, p.code(), want)
		}
		delete(w.peers, p.stream)
	}
	if v.code() != 0 || len(v.take()) != 0 {
		t.Errorf("the victim was closed with %v", v.code())
	}
	w.check()
}

// A rendezvous that passes another one's challenge to its own client gets a
// proof that the other refuses.
func TestProofIsForOneServer(t *testing.T) {
	w := newWorld(t, ServerConfig{Name: "Honest.example"})
	if p := w.dial(addrA, ClientConfig{}, "honest.example"); p.code() != 0 {
		t.Errorf("under the right name: closed with %v", p.code())
	}
	if p := w.dial(addrA, ClientConfig{}, "evil.example"); p.code() != CodeBadProof {
		t.Errorf("a proof for another server: closed with %v, want %v", p.code(), CodeBadProof)
	}
	// Renaming it breaks the proof.
	p := w.connect(addrB)
	id := identity(t, 1)
	proof, err := makeProof(id, p.frames[0].Key, p.frames[0].Nonce, "evil.example")
	if err != nil {
		t.Fatal(err)
	}
	p.put(frame{Type: typeHello, Version: protocolVersion, Peer: id.ID(), Host: "honest.example", Proof: proof})
	if p.code() != CodeBadProof {
		t.Errorf("a renamed proof: closed with %v, want %v", p.code(), CodeBadProof)
	}
}

func TestBadFrames(t *testing.T) {
	id := identity(t, 1)
	other := identity(t, 2).ID().String()
	big := string((&frame{Type: typeUpdate, Room: "r", Data: make([]byte, MaxMessage+1)}).encode())
	for _, test := range []struct {
		name, message string
		want          Code
	}{
		{"empty", "", CodeBadFrame},
		{"no JSON", "hello", CodeBadFrame},
		{"no object", "[]", CodeBadFrame},
		{"null", "null", CodeBadFrame},
		{"no type", `{"room":"r"}`, CodeBadFrame},
		{"two objects", `{"type":"ping"}{"type":"ping"}`, CodeBadFrame},
		{"cut", `{"type":"ping"`, CodeBadFrame},
		{"wrong field type", `{"type":5}`, CodeBadFrame},
		{"no base64", `{"type":"update","room":"r","data":"*"}`, CodeBadFrame},
		{"no peer ID", `{"type":"send","peer":"abc","data":""}`, CodeBadFrame},
		{"send to nobody", `{"type":"send","data":""}`, CodeBadFrame},
		{"send nothing", `{"type":"send","peer":"` + other + `"}`, CodeBadFrame},
		{"too large", `{"type":"ping","reason":"` + string(make([]byte, maxFrame)) + `"}`, CodeTooLarge},
		{"message too large", big, CodeTooLarge},
		{"second hello", `{"type":"hello","version":1}`, CodeUnexpected},
	} {
		w := newWorld(t, ServerConfig{})
		p := w.connect(addrA)
		p.hello(id.ID(), id)
		p.raw(test.message)
		if p.code() != test.want {
			t.Errorf("%s: closed with %v, want %v", test.name, p.code(), test.want)
		}
		w.empty()
	}

	w := newWorld(t, ServerConfig{})
	p := w.connect(addrA)
	p.hello(id.ID(), id)
	for message, want := range map[string]Code{
		`{"type":"dance"}`:                         CodeUnknownType,
		`{"type":"update","room":"r","data":""}`:   CodeNotInRoom,
		`{"type":"leave","room":"no such / room"}`: CodeNotInRoom,
		`{"type":"ping","future":{"x":[1]}}`:       0,
	} {
		p.raw(message)
		if p.refusal() != want || p.code() != 0 {
			t.Errorf("%s: refused with %v, closed with %v", message, p.refusal(), p.code())
		}
	}
}

func TestHandshakeFrames(t *testing.T) {
	id := identity(t, 1)
	for _, test := range []struct {
		name, message string
		want          Code
	}{
		{"join first", `{"type":"join","room":"r"}`, CodeUnexpected},
		{"garbage", "\xff\x00", CodeBadFrame},
		{"nobody", `{"type":"hello","version":1}`, CodeBadFrame},
		{"version 2", `{"type":"hello","version":2,"peer":"` + id.ID().String() + `"}`, CodeVersion},
		{"no version", `{"type":"hello","peer":"` + id.ID().String() + `"}`, CodeVersion},
		{"no proof", `{"type":"hello","version":1,"peer":"` + id.ID().String() + `"}`, CodeProofRequired},
		{"too large", `{"type":"hello","version":1,"host":"` + strings.Repeat("x", maxHello) + `"}`, CodeTooLarge},
		{"servers first", `{"type":"servers"}`, CodeUnexpected},
		{"empty proof", `{"type":"hello","version":1,"peer":"` + id.ID().String() + `","proof":""}`, CodeBadProof},
	} {
		w := newWorld(t, ServerConfig{})
		p := w.connect(addrA)
		p.raw(test.message)
		if p.code() != test.want {
			t.Errorf("%s: closed with %v, want %v", test.name, p.code(), test.want)
		}
		w.empty()
	}
}
