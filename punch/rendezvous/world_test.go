package rendezvous

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// world runs one server machine and any number of streams to it in virtual
// time. Messages take no time: what a call causes has happened when it returns.
type world struct {
	t      testing.TB
	now    time.Time
	server *ServerMachine
	rand   *rand.ChaCha8
	peers  map[machine.StreamID]*peer
	last   machine.StreamID
	events []ServerEvent
	wrote  int // bytes written by the server
}

// peer is the far end of one stream: a client machine, or what a test writes
// by hand.
type peer struct {
	w      *world
	stream machine.StreamID
	client *ClientMachine // nil: by hand
	events []Event        // of client
	frames []frame        // by hand: what came
	closed *CloseError    // how the server closed the stream
}

func testSeed(n byte) [32]byte { return [32]byte{n, 'r', 'v'} }

func newWorld(t testing.TB, cfg ServerConfig) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1_700_000_000, 0), rand: rand.NewChaCha8(testSeed(1)), peers: make(map[machine.StreamID]*peer)}
	if cfg.Secrets == nil {
		cfg.Secrets = w.rand
	}
	var err error
	if w.server, err = NewServerMachine(cfg); err != nil {
		t.Fatal(err)
	}
	legal(t, &w.server.illegal)
	return w
}

// legal has the test fail for steps of state that there are not.
func legal(t testing.TB, illegal *int) {
	t.Cleanup(func() {
		if *illegal != 0 {
			t.Errorf("%d steps of state that there are not", *illegal)
		}
	})
}

// drain carries out what server and clients want until nobody wants anything.
func (w *world) drain() {
	machine.Drain(w.server, func(t machine.Transmit) {
		p := w.peers[t.Stream]
		switch t.Op {
		case machine.Write:
			w.wrote += len(t.Data)
			if len(t.Data) > maxFrame {
				w.t.Errorf("the server wrote a frame of %d bytes", len(t.Data))
			}
			if p.closed != nil {
				w.t.Errorf("the server wrote to a stream that it had closed")
			}
			if p.client != nil {
				p.client.HandleNotice(w.now, machine.Notice{Kind: machine.Received, Data: t.Data})
				return
			}
			var f frame
			if err := json.Unmarshal(t.Data, &f); err != nil {
				w.t.Errorf("the server wrote %q: %v", t.Data, err)
			}
			p.frames = append(p.frames, f)
		case machine.Close:
			p.closed = ParseClose(t.Data)
			if p.client != nil {
				p.client.HandleNotice(w.now, machine.Notice{Kind: machine.Closed, Err: p.closed})
			}
		default:
			w.t.Errorf("the server wants %v", t.Op)
		}
	}, func(e ServerEvent) { w.events = append(w.events, e) })
}

// run is drain with the clients' answers.
func (w *world) run() {
	for again := true; again; {
		again = false
		w.drain()
		for i := machine.StreamID(1); i <= w.last; i++ { // in a fixed order
			p := w.peers[machine.AcceptedBase+i]
			if p == nil || p.client == nil {
				continue
			}
			machine.Drain(p.client, func(t machine.Transmit) {
				again = true
				if t.Op == machine.Write {
					w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Received, Stream: p.stream, Data: t.Data})
				} else {
					w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Closed, Stream: p.stream})
				}
			}, func(e Event) { p.events = append(p.events, e) })
		}
	}
}

// connect opens a stream without a client behind it.
func (w *world) connect(from string) *peer {
	w.last++
	p := &peer{w: w, stream: machine.AcceptedBase + w.last}
	w.peers[p.stream] = p
	w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Accepted, Stream: p.stream, Remote: netip.MustParseAddrPort(from)})
	w.drain()
	return p
}

// dial opens a stream with a client machine behind it.
func (w *world) dial(from string, cfg ClientConfig, host string) *peer {
	w.t.Helper()
	cfg.Rand = rand.New(rand.NewChaCha8(testSeed(2)))
	m, err := NewClientMachine(cfg, host)
	if err != nil {
		w.t.Fatal(err)
	}
	legal(w.t, &m.illegal)
	w.last++
	p := &peer{w: w, stream: machine.AcceptedBase + w.last, client: m}
	w.peers[p.stream] = p
	m.HandleNotice(w.now, machine.Notice{Kind: machine.Connected})
	w.server.HandleNotice(w.now, machine.Notice{Kind: machine.Accepted, Stream: p.stream, Remote: netip.MustParseAddrPort(from)})
	w.run()
	return p
}

// signOn is dial for a client that gets its welcome, which it takes away.
func (w *world) signOn(from string, id *ident.Identity) *peer {
	w.t.Helper()
	p := w.dial(from, ClientConfig{Identity: id}, "test")
	if len(p.events) != 1 {
		w.t.Fatalf("signing on from %s: events %+v", from, p.events)
	}
	if _, ok := p.events[0].(Welcome); !ok {
		w.t.Fatalf("signing on from %s: %+v", from, p.events[0])
	}
	p.events = nil
	return p
}

// identity makes the n-th identity of the tests, n below 100.
func identity(t testing.TB, n byte) *ident.Identity {
	t.Helper()
	if id, ok := identities.Load(n); ok {
		return id.(*ident.Identity)
	}
	id, err := ident.NewIdentity(rand.NewChaCha8(testSeed(100 + n)))
	if err != nil {
		t.Fatal(err)
	}
	identities.Store(n, id)
	return id
}

var identities sync.Map // of byte to *ident.Identity: the fuzzer has no time to make them anew

// advance lets time pass, with every timeout at its time.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for {
		next := w.server.NextTimeout()
		for _, p := range w.peers {
			if p.client != nil {
				next = machine.Earliest(next, p.client.NextTimeout())
			}
		}
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(w.now) {
			w.now = next
		}
		w.server.HandleTimeout(w.now)
		for _, p := range w.peers {
			if p.client != nil {
				p.client.HandleTimeout(w.now)
			}
		}
		w.run()
	}
	w.now = end
}

// raw sends one message as it is, without letting clients answer.
func (p *peer) raw(message string) {
	p.w.server.HandleNotice(p.w.now, machine.Notice{Kind: machine.Received, Stream: p.stream, Data: []byte(message)})
	p.w.drain()
}

// put sends one frame and lets everybody answer.
func (p *peer) put(f frame) {
	p.raw(string(f.encode()))
	p.w.run()
}

// do calls the client machine and lets everybody answer.
func (p *peer) do(fn func(c *ClientMachine) error) {
	p.w.t.Helper()
	if err := fn(p.client); err != nil {
		p.w.t.Fatal(err)
	}
	p.w.run()
}

func (p *peer) join(room, message string) {
	p.w.t.Helper()
	p.do(func(c *ClientMachine) error { return c.Join(room, []byte(message)) })
}

func (p *peer) send(to *peer, message string) {
	p.w.t.Helper()
	p.do(func(c *ClientMachine) error { return c.Send(to.client.cfg.Identity.ID(), []byte(message)) })
}

// take returns the events so far and forgets them.
func (p *peer) take() []Event {
	e := p.events
	p.events = nil
	return e
}

// code is how the server closed the stream; 0: it has not.
func (p *peer) code() Code {
	if p.closed == nil {
		return 0
	}
	return p.closed.Code
}

// refusal is the code of the last event or frame, if that is an error.
func (p *peer) refusal() Code {
	if n := len(p.events); n > 0 {
		if e, ok := p.events[n-1].(*Error); ok {
			return e.Code
		}
	}
	if n := len(p.frames); n > 0 && p.frames[n-1].Type == typeError {
		return p.frames[n-1].Code
	}
	return 0
}

// hello signs a hand-driven stream on, with a right proof if id is given.
func (p *peer) hello(name ident.PeerID, id *ident.Identity) {
	p.w.t.Helper()
	f := frame{Type: typeHello, Version: protocolVersion, Peer: name, Host: "test"}
	if id != nil {
		var err error
		if f.Proof, err = makeProof(id, p.frames[0].Key, p.frames[0].Nonce, "test"); err != nil {
			p.w.t.Fatal(err)
		}
	}
	p.put(f)
}

// check compares what the machine counts with what is there.
func (w *world) check() {
	w.t.Helper()
	s := w.server
	if got, want := s.halfOpen.Len()+s.signedOn.Len(), len(s.clients); got != want {
		w.t.Errorf("%d clients are listed, %d known", got, want)
	}
	if len(s.peers) != s.signedOn.Len() {
		w.t.Errorf("%d peers, %d signed on", len(s.peers), s.signedOn.Len())
	}
	clients, memberships := 0, 0
	for _, src := range s.sources {
		clients += src.clients
		memberships += src.rooms
	}
	asked, joined, bytes := 0, 0, 0
	for _, c := range s.clients {
		asked += len(c.rooms)
		if len(c.rooms) == 0 && len(c.paired) > 0 {
			w.t.Errorf("a client in no room is paired with %d", len(c.paired))
		}
	}
	for _, r := range s.rooms.byName {
		joined += len(r.members)
		for _, m := range r.members {
			bytes += len(m.data)
			if len(m.paired) >= len(r.members) {
				w.t.Errorf("a member is paired with %d of %d", len(m.paired), len(r.members))
			}
		}
		if len(r.members) == 0 || len(r.members) > s.cfg.RoomSize {
			w.t.Errorf("a room of %d members", len(r.members))
		}
	}
	if clients != len(s.clients) || memberships != asked || bytes != s.rooms.bytes {
		w.t.Errorf("clients %d of %d, memberships %d, asked for %d, bytes %d of %d",
			clients, len(s.clients), memberships, asked, bytes, s.rooms.bytes)
	}
	if b, ok := s.bus.(*MemoryBus); ok {
		if asked != joined {
			w.t.Errorf("memberships: asked for %d, joined %d", asked, joined)
		}
		if got, want := len(b.peers), len(s.peers); got != want {
			w.t.Errorf("%d subscriptions, want %d", got, want)
		}
	}
}

// empty checks that nothing is left once everybody has gone.
func (w *world) empty() {
	w.t.Helper()
	w.check()
	if len(w.server.clients)+len(w.server.sources)+len(w.server.rooms.byName)+w.server.rooms.bytes != 0 {
		w.t.Errorf("left: %d clients, %d sources, %d rooms, %d bytes",
			len(w.server.clients), len(w.server.sources), len(w.server.rooms.byName), w.server.rooms.bytes)
	}
	if next := w.server.NextTimeout(); !next.IsZero() {
		w.t.Errorf("a deadline is left")
	}
}
