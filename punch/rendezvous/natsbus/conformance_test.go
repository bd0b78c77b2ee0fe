package natsbus

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// service is one or several buses, polled by one goroutine.
type service struct {
	t     testing.TB
	buses []rendezvous.Bus
	woken chan struct{}
	got   [][]published
}

func newServiceOf(t testing.TB, buses ...rendezvous.Bus) *service {
	s := &service{t: t, buses: buses, woken: make(chan struct{}, 1), got: make([][]published, len(buses))}
	for _, b := range buses {
		b.Wake(func() {
			select {
			case s.woken <- struct{}{}:
			default:
			}
		})
	}
	return s
}

// last is the number of the last node: the first one too, where there is one alone.
func (s *service) last() int { return len(s.buses) - 1 }

// pull takes what has come.
func (s *service) pull() {
	for i, b := range s.buses {
		for t, m, ok := b.Poll(); ok; t, m, ok = b.Poll() {
			s.got[i] = append(s.got[i], published{t, m})
		}
	}
}

// any waits for a message at any node.
func (s *service) any() (node int, p published) {
	s.t.Helper()
	ctx := within(s.t)
	for {
		s.pull()
		for i, q := range s.got {
			if len(q) > 0 {
				s.got[i] = q[1:]
				return i, q[0]
			}
		}
		select {
		case <-s.woken:
		case <-ctx.Done():
			s.t.Fatal("nothing comes")
		}
	}
}

// next waits for a message at one node.
func (s *service) next(node int) published {
	s.t.Helper()
	ctx := within(s.t)
	for {
		s.pull()
		if q := s.got[node]; len(q) > 0 {
			s.got[node] = q[1:]
			return q[0]
		}
		select {
		case <-s.woken:
		case <-ctx.Done():
			s.t.Fatalf("nothing comes to node %d; others have %v", node, s.got)
		}
	}
}

// rest checks that nothing is left.
func (s *service) rest() {
	s.t.Helper()
	s.pull()
	for i, q := range s.got {
		for _, p := range q {
			s.t.Errorf("node %d has %+v left", i, p)
		}
	}
}

// conformance is what every bus must do.
var conformance = []struct {
	name string
	test func(t *testing.T, s *service)
}{
	{"all of a message arrives", testWhole},
	{"messages to a peer arrive in order, once", testPeerOrder},
	{"messages to a room arrive in order, once", testRoomOrder},
	{"a room that is released loses nothing", testRelease},
	{"what nobody subscribes comes back", testUndelivered},
	{"sign-ons arrive in one order", testSignOns},
}

func TestMemoryBusConforms(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) { c.test(t, newServiceOf(t, rendezvous.NewMemoryBus())) })
	}
}

func TestBusConforms(t *testing.T) {
	nats := runNATS(t, natsOptions(t))
	for _, nodes := range []int{1, 3} {
		for _, c := range conformance {
			t.Run(fmt.Sprintf("%d nodes: %s", nodes, c.name), func(t *testing.T) {
				var buses []rendezvous.Bus
				for range nodes {
					b, err := New(within(t), Config{Conn: dialNATS(t, nats.ClientURL()), Patience: 20 * time.Second})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = b.Close() })
					buses = append(buses, b)
				}
				c.test(t, newServiceOf(t, buses...))
			})
		}
	}
}

func peerID(t testing.TB, n byte) ident.PeerID { return identity(t, n).ID() }

func testWhole(t *testing.T, s *service) {
	to := peerID(t, 1)
	s.buses[s.last()].Subscribe(to)
	s.pull()
	from := rendezvous.BusMember{Peer: peerID(t, 2), Session: 1 << 63, Proven: true}
	messages := []rendezvous.BusMessage{
		{Kind: rendezvous.BusPaired, To: 7, From: from, Room: "r", Data: nil},
		{Kind: rendezvous.BusPaired, To: 7, From: from, Room: "r", Data: []byte{}},
		{Kind: rendezvous.BusSend, From: from, Data: bytes.Repeat([]byte{0, 255}, rendezvous.MaxMessage/2)},
		{Kind: rendezvous.BusError, To: 1<<64 - 1, Code: rendezvous.CodeNoPeer, Reason: "it is not there"},
		{Kind: rendezvous.BusRefused, Room: "a.b-c_D9", Code: 65535},
		{Kind: rendezvous.BusJoined, Room: "r"},
		{Kind: rendezvous.BusLeft, From: rendezvous.BusMember{Peer: to}},
		{Kind: rendezvous.BusTaken, To: 1, From: from},
	}
	awaitPeer(t, s, to)
	for _, m := range messages {
		s.buses[0].Publish(rendezvous.Topic{Peer: to}, m)
	}
	for _, want := range messages {
		if got := s.next(s.last()); got.topic != (rendezvous.Topic{Peer: to}) || !reflect.DeepEqual(got.message, want) {
			t.Errorf("got %.200v at %v, want %.200v", fmt.Sprint(got.message), got.topic, fmt.Sprint(want))
		}
	}
	s.rest()
}

// awaitPeer sends to a peer until it is there: that it is takes its time to get
// about.
func awaitPeer(t testing.TB, s *service, to ident.PeerID) {
	for {
		s.buses[0].Publish(rendezvous.Topic{Peer: to}, rendezvous.BusMessage{Kind: rendezvous.BusSend, Data: []byte("?")})
		if _, p := s.any(); !p.message.Undelivered {
			return
		}
	}
}

func testPeerOrder(t *testing.T, s *service) {
	to := peerID(t, 1)
	s.buses[s.last()].Subscribe(to)
	awaitPeer(t, s, to)
	const many = 2000
	for i := range many {
		s.buses[0].Publish(rendezvous.Topic{Peer: to}, rendezvous.BusMessage{Kind: rendezvous.BusSend, To: uint64(i), Data: make([]byte, i%3000)})
		if i%50 == 0 {
			s.pull()
		}
	}
	for i := range many {
		if got := s.next(s.last()); got.message.To != uint64(i) || len(got.message.Data) != i%3000 {
			t.Fatalf("message %d is number %d", i, got.message.To)
		}
	}
	s.rest()
}

// roomful is numbered messages from every node to one room.
type roomful struct {
	s         *service
	from      []ident.PeerID // by node, as what follows
	sent, got []uint64
}

func newRoomful(s *service) *roomful {
	r := &roomful{s: s, sent: make([]uint64, len(s.buses)), got: make([]uint64, len(s.buses))}
	for n := range s.buses {
		r.from = append(r.from, peerID(s.t, byte(n+1)))
	}
	return r
}

// publish sends the next message of every node.
func (r *roomful) publish(kind rendezvous.BusKind) {
	for n, b := range r.s.buses {
		from := rendezvous.BusMember{Peer: r.from[n], Session: r.sent[n]}
		b.Publish(rendezvous.Topic{Room: "r"}, rendezvous.BusMessage{Kind: kind, Room: "r", From: from})
		r.sent[n]++
	}
}

// each takes all that was sent, and checks that what one node has sent comes in order, once.
func (r *roomful) each(at func(node int)) {
	r.s.t.Helper()
	for !slices.Equal(r.got, r.sent) {
		node, p := r.s.any()
		at(node)
		n := slices.Index(r.from, p.message.From.Peer)
		if n < 0 || p.message.From.Session != r.got[n] {
			r.s.t.Fatalf("of node %d came %+v after %v", n, p.message, r.got)
		}
		r.got[n]++
	}
	r.s.rest()
}

func testRoomOrder(t *testing.T, s *service) {
	all := newRoomful(s)
	for i := range 300 {
		all.publish(rendezvous.BusUpdate)
		if i%10 == 0 {
			s.pull()
		}
	}
	home := -1
	all.each(func(node int) {
		if home >= 0 && node != home {
			t.Fatalf("nodes %d and %d are the home", home, node)
		}
		home = node
	})
}

// Every message is the room's last: whoever is the home releases it at once.
func testRelease(t *testing.T, s *service) {
	all := newRoomful(s)
	for range 60 {
		all.publish(rendezvous.BusLeave)
	}
	all.each(func(node int) { s.buses[node].Release("r") })
}

func testUndelivered(t *testing.T, s *service) {
	nobody := rendezvous.Topic{Peer: peerID(t, 1)}
	m := rendezvous.BusMessage{Kind: rendezvous.BusSend, From: rendezvous.BusMember{Peer: peerID(t, 2), Session: 2}, Data: []byte{}}
	want := m
	want.Undelivered = true
	s.buses[0].Publish(nobody, m)
	s.buses[0].Publish(nobody, rendezvous.BusMessage{Kind: rendezvous.BusLeft}) // nobody will miss it
	if got := s.next(0); got.topic != nobody || !reflect.DeepEqual(got.message, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s.buses[s.last()].Subscribe(nobody.Peer)
	awaitPeer(t, s, nobody.Peer)
	s.buses[s.last()].Unsubscribe(nobody.Peer)
	s.pull()
	for { // that it is there no more takes its time, too
		s.buses[0].Publish(nobody, m)
		if _, p := s.any(); p.message.Undelivered {
			break
		}
	}
}

func testSignOns(t *testing.T, s *service) {
	const many = 40
	to := rendezvous.Topic{Peer: peerID(t, 1)}
	for n, b := range s.buses {
		b.Subscribe(to.Peer)
		for i := range many {
			b.Publish(to, rendezvous.BusMessage{Kind: rendezvous.BusSignOn, From: rendezvous.BusMember{Peer: to.Peer, Session: uint64(n*many + i + 1)}})
		}
	}
	var first []uint64
	for n := range s.buses {
		var order []uint64
		own := uint64(0)
		for range many * len(s.buses) {
			p := s.next(n)
			session := p.message.From.Session
			if p.topic != to || p.message.Kind != rendezvous.BusSignOn {
				t.Fatalf("got %+v", p)
			}
			order = append(order, session)
			if int(session-1)/many == n {
				if session <= own {
					t.Errorf("of node %d's own sign-ons %d comes after %d", n, session, own)
				}
				own = session
			}
		}
		if n == 0 {
			first = order
		} else if !slices.Equal(order, first) {
			t.Errorf("node %d has the order %v, node 0 %v", n, order, first)
		}
	}
	s.rest()
}
