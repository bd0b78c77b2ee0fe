package bradawl_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/turnclient"
)

// hub is a signalling in memory.
type hub struct {
	mu    sync.Mutex
	boxes map[bradawl.PeerID]*hubSignals
	down  bool
}

func newHub() *hub { return &hub{boxes: make(map[bradawl.PeerID]*hubSignals)} }

type hubSignals struct {
	h    *hub
	id   bradawl.PeerID
	box  chan letter
	done chan struct{}
	once sync.Once
}

type letter struct {
	from    bradawl.PeerID
	message []byte
}

type offline struct{ peer bradawl.PeerID }

func (e offline) Error() string                         { return "not signed on" }
func (e offline) Undeliverable() (bradawl.PeerID, bool) { return e.peer, true }

func (h *hub) SignOn(ctx context.Context, id *bradawl.Identity) (bradawl.Signals, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return nil, errors.New("the hub is down")
	}
	s := &hubSignals{h: h, id: id.ID(), box: make(chan letter, 100), done: make(chan struct{})}
	h.boxes[s.id] = s
	return s, nil
}

func (s *hubSignals) Send(ctx context.Context, to bradawl.PeerID, message []byte) error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	o := s.h.boxes[to]
	if o == nil {
		return offline{to}
	}
	select {
	case o.box <- letter{s.id, message}:
	default:
	}
	return nil
}

func (s *hubSignals) Receive(ctx context.Context) (bradawl.PeerID, []byte, error) {
	select {
	case l := <-s.box:
		return l.from, l.message, nil
	case <-s.done:
		return bradawl.PeerID{}, nil, net.ErrClosed
	case <-ctx.Done():
		return bradawl.PeerID{}, nil, ctx.Err()
	}
}

func (s *hubSignals) Close() error {
	s.once.Do(func() {
		close(s.done)
		s.h.mu.Lock()
		defer s.h.mu.Unlock()
		if s.h.boxes[s.id] == s {
			delete(s.h.boxes, s.id)
		}
	})
	return nil
}

func onLoopback(h *hub) bradawl.Config {
	return bradawl.Config{
		Signaler: h, Loopback: true, WatchInterval: -1,
		Addrs: func() ([]ice.HostAddr, error) {
			return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}, nil
		},
	}
}

func open(t *testing.T, cfg bradawl.Config) *bradawl.Session {
	t.Helper()
	s, err := bradawl.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSessionsOnLoopback(t *testing.T) {
	h := newHub()
	a, b := open(t, onLoopback(h)), open(t, onLoopback(h))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !a.SignedOn() || !b.SignedOn() {
		if _, err := a.Next(ctx); err != nil {
			t.Fatal(err)
		}
		if b.SignedOn() {
			continue
		}
		if _, err := b.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := a.Dial(ctx, b.ID())
	if err != nil {
		t.Fatal(err)
	}
	back, err := b.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if conn.Peer() != b.ID() || back.Peer() != a.ID() || !conn.Dialled() || back.Dialled() {
		t.Error("the two ends do not know each other")
	}
	buf := make([]byte, 2000)
	for range 100 {
		for _, c := range []struct{ from, to *bradawl.Conn }{{conn, back}, {back, conn}} {
			if _, err := c.from.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := c.to.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := c.to.Read(buf)
			if err != nil || string(buf[:n]) != "hello" {
				t.Fatalf("%q, %v", buf[:n], err)
			}
		}
	}
	t.Log(conn.Path())
	if _, err := conn.Write(make([]byte, bradawl.MaxDatagram+1)); !errors.Is(err, bradawl.ErrTooLong) {
		t.Errorf("a datagram that is too long: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := back.Read(buf); err != io.EOF {
		t.Errorf("after the peer's Close: %v", err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	h := newHub()
	s := open(t, onLoopback(h))
	if _, err := s.Dial(t.Context(), s.ID()); !errors.Is(err, bradawl.ErrSelf) {
		t.Errorf("itself: %v", err)
	}
	if _, err := s.Dial(t.Context(), bradawl.PeerID{}); !errors.Is(err, bradawl.ErrNobody) {
		t.Errorf("nobody: %v", err)
	}
	stranger, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := s.Dial(ctx, stranger.ID()); !errors.Is(err, bradawl.ErrOffline) {
		t.Errorf("who is not there: %v", err)
	}
	for _, c := range []struct {
		field string
		cfg   bradawl.Config
	}{
		{"Signaler", bradawl.Config{}},
		{"Signaler", bradawl.Config{Signaler: (*rendezvous.Signaler)(nil)}},
		{"Signaler", bradawl.Config{Signaler: &rendezvous.Signaler{URL: "rendezvous.example"}}},
		{"Identity", bradawl.Config{Signaler: h, Identity: &bradawl.Identity{}}},
		{"STUN[1]", bradawl.Config{Signaler: h, STUN: []string{"stun.example", "stun.example:http"}}},
		{"TURN[0]", bradawl.Config{Signaler: h, TURN: []bradawl.TURNServer{{URI: "turn.example"}}}},
		{"STUN", bradawl.Config{Signaler: h, STUN: make([]string, 33)}},
		{"TURN", bradawl.Config{Signaler: h, TURN: make([]bradawl.TURNServer, 33)}},
		{"Networks", bradawl.Config{Signaler: h, Networks: []string{"udp"}}},
		{"Timeout", bradawl.Config{Signaler: h, Timeout: time.Millisecond}},
		{"Budget.Rate", bradawl.Config{Signaler: h, Budget: punch.Budget{Rate: 20_000}}},
		{"Keepalive", bradawl.Config{Signaler: h, Keepalive: time.Millisecond}},
		{"Keepalive", bradawl.Config{Signaler: h, Keepalive: -1}},
		{"TURNClient.Servers", bradawl.Config{Signaler: h, TURNClient: turnclient.Config{Servers: []string{"turn:turn.example"}}}},
		{"TURNClient.Credentials", bradawl.Config{Signaler: h, TURNClient: turnclient.Config{Credentials: turnclient.Credentials{Username: "u"}}}},
		{"TURNClient.Keepalive", bradawl.Config{Signaler: h, TURNClient: turnclient.Config{Keepalive: time.Millisecond}}},
		{"TURNClient.Lifetime", bradawl.Config{Signaler: h, TURNClient: turnclient.Config{Lifetime: -1}}},
		{"TURN[0]", bradawl.Config{Signaler: h, TURN: []bradawl.TURNServer{{URI: "turns:turn.example?transport=udp"}}}},
	} {
		var wrong *bradawl.ConfigError
		if _, err := bradawl.New(t.Context(), c.cfg); !errors.As(err, &wrong) || wrong.Field != c.field {
			t.Errorf("%s: %v", c.field, err)
		}
	}
	cfg := onLoopback(h)
	cfg.TURNClient.Keepalive = -1 // none
	s, err = bradawl.New(t.Context(), cfg)
	check(t, err)
	check(t, s.Close())
}
