package rendezvous

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/bradawl/bradawl/internal/ident"
)

// signaler returns one for the service.
func (sv *service) signaler() *Signaler { return &Signaler{URL: testURL, Client: sv.config()} }

func signOn(t *testing.T, s *Signaler, id *ident.Identity) Signals {
	t.Helper()
	on, err := s.SignOn(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return on
}

// bounded ends what would wait for ever, in virtual time.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// meeting runs a Meet, and returns a func that waits for its result.
func meeting(ctx context.Context, s interface {
	Meet(context.Context, string) (ident.PeerID, error)
}, room string) func() (ident.PeerID, error) {
	var peer ident.PeerID
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		peer, err = s.Meet(ctx, room)
	}()
	return func() (ident.PeerID, error) { <-done; return peer, err }
}

func TestSignalerMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{MessageBurst: 5, MessageRate: 1})
		defer sv.close()
		a, b := signOn(t, sv.signaler(), identity(t, 1)), signOn(t, sv.signaler(), identity(t, 2))
		defer b.Close()
		big := make([]byte, MaxMessage)
		if err := a.Send(ctx, identity(t, 2).ID(), big); err != nil {
			t.Fatal(err)
		}
		if from, message, err := b.Receive(ctx); err != nil || from != identity(t, 1).ID() || len(message) != len(big) {
			t.Errorf("received %d bytes of %v, %v", len(message), from, err)
		}
		var wrong *ConfigError
		if err := a.Send(ctx, identity(t, 2).ID(), append(big, 0)); !errors.As(err, &wrong) {
			t.Errorf("a message too long: %v", err)
		}
		if err := a.Send(ctx, ident.PeerID{}, nil); !errors.As(err, &wrong) {
			t.Errorf("a message to nobody: %v", err)
		}
		// Who is not there is named, and nothing is over.
		if err := a.Send(ctx, identity(t, 9).ID(), nil); err != nil {
			t.Fatal(err)
		}
		var refused *Error
		if _, _, err := a.Receive(ctx); !errors.As(err, &refused) {
			t.Fatalf("undeliverable: %v", err)
		}
		if peer, ok := refused.Undeliverable(); !ok || peer != identity(t, 9).ID() {
			t.Errorf("undeliverable: %v, %t", peer, ok)
		}
		// A peer that is busy is there: five messages of strangers at once are its limit.
		for i := range 3 {
			if i == 2 {
				time.Sleep(10 * time.Second)
			}
			for id := byte(3); id < 6; id++ {
				c := signOn(t, sv.signaler(), identity(t, id))
				if err := c.Send(ctx, identity(t, 1).ID(), []byte{id}); err != nil {
					t.Fatal(err)
				}
				short, cancel := context.WithTimeout(ctx, time.Millisecond)
				if _, _, err := c.Receive(short); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("sent to a busy peer: %v", err)
				}
				cancel()
				c.Close()
			}
		}
		for range 8 {
			if _, _, err := a.Receive(ctx); err != nil {
				t.Fatal(err)
			}
		}
		// The end of the context, the server's, and ours.
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, _, err := a.Receive(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), testURL) {
			t.Errorf("no message: %v", err)
		}
		a.Close()
		if _, _, err := a.Receive(ctx); !errors.Is(err, ErrClosed) {
			t.Errorf("received after Close: %v", err)
		}
		if err := a.Send(ctx, identity(t, 2).ID(), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("sent after Close: %v", err)
		}
		sv.server.Close()
		var ce *CloseError
		if _, _, err := b.Receive(ctx); !errors.As(err, &ce) || ce.Code != CodeShutdown || errors.As(err, &refused) {
			t.Errorf("received from a server that is gone: %v", err)
		}
	})
}

func TestSignOnErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		for _, s := range []*Signaler{{}, {URL: "ftp://x"}, {URL: testURL, Client: ClientConfig{QueueEvents: -1}}} {
			if on, err := s.SignOn(ctx, identity(t, 1)); on != nil || !isConfig(err) || !isConfig(s.Check()) {
				t.Errorf("%q: %v, %v, checked: %v", s.URL, on, err, s.Check())
			}
		}
		sv := newService(t, ServerConfig{})
		s := sv.signaler()
		if err := s.Check(); err != nil {
			t.Errorf("checked: %v", err)
		}
		if on, err := s.SignOn(ctx, nil); on != nil || !isConfig(err) {
			t.Errorf("nobody: %v, %v", on, err)
		}
		sv.close()
		if on, err := s.SignOn(ctx, identity(t, 1)); on != nil || err == nil || !strings.Contains(err.Error(), testURL) {
			t.Errorf("no server: %v, %v", on, err)
		}
	})
}

// The newer sign-on of an identity takes the place of the older one, as after a loss
// that the server has not noticed.
func TestSignOnAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{})
		defer sv.close()
		s := sv.signaler()
		s.Client.Rand = rand.New(rand.NewPCG(1, 2)) // each sign-on draws its own from it
		first := signOn(t, s, identity(t, 1))
		defer first.Close()
		second := signOn(t, s, identity(t, 1))
		defer second.Close()
		var ce *CloseError
		if _, _, err := first.Receive(ctx); !errors.As(err, &ce) || ce.Code != CodeReplaced {
			t.Errorf("the older one: %v", err)
		}
		b := signOn(t, sv.signaler(), identity(t, 2))
		defer b.Close()
		if err := b.Send(ctx, identity(t, 1).ID(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, message, err := second.Receive(ctx); err != nil || string(message) != "x" {
			t.Errorf("received %q, %v", message, err)
		}
		third := signOn(t, s, identity(t, 3))
		defer third.Close()
		time.Sleep(time.Hour) // both ping, at random times
	})
}

func TestServers(t *testing.T) {
	turn1, turn2 := ICEServer{Username: "a", Credential: "p", URIs: []string{"turn:1", "turns:1"}}, ICEServer{Username: "b", Credential: "q", URIs: []string{"turn:2"}}
	turn3 := ICEServer{Username: "a", Credential: "p", URIs: []string{"stun:3", "turn:3"}}
	turn1.Expires, turn2.Expires, turn3.Expires = time.Unix(300, 0), time.Unix(100, 0), time.Unix(200, 0)
	for _, test := range []struct {
		list       []ICEServer
		stun, turn string
		name, pass string
		expires    time.Time
	}{
		{},
		{list: []ICEServer{{URIs: []string{"stun:1", "stuns:2"}}}, stun: "stun:1 stuns:2"},
		{[]ICEServer{turn1, turn2, turn3}, "stun:3", "turn:1 turns:1 turn:3", "a", "p", time.Unix(200, 0)},
		{[]ICEServer{turn2, turn1, turn3}, "stun:3", "turn:2", "b", "q", time.Unix(100, 0)},
		{[]ICEServer{{URIs: []string{"turn:open"}}, turn1}, "", "turn:open", "", "", time.Time{}},
	} {
		c := new(Client)
		c.servers.Store(&test.list)
		stun, turn, name, pass, expires := (&signals{c}).Servers()
		if strings.Join(stun, " ") != test.stun || strings.Join(turn, " ") != test.turn || name != test.name || pass != test.pass || !expires.Equal(test.expires) {
			t.Errorf("%v: %q, %q as %q until %v", test.list, stun, turn, name, expires)
		}
	}
}

// What Servers says is renewed long before it expires.
func TestServersAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{ICEServers: []string{"turn:t.example"}, TURNSecret: "hush-hush", TURNLifetime: time.Hour})
		defer sv.close()
		on := signOn(t, sv.signaler(), identity(t, 1))
		defer on.Close()
		for range 50 {
			if _, turn, _, _, expires := on.(*signals).Servers(); len(turn) != 1 || time.Until(expires) < 20*time.Minute {
				t.Fatalf("%v until %v from now", turn, time.Until(expires))
			}
			time.Sleep(10 * time.Minute)
		}
	})
}

func TestMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := bounded(t)
		sv := newService(t, ServerConfig{})
		defer sv.close()
		a, b := sv.signaler(), sv.signaler()
		// Before anybody has signed on.
		first := meeting(ctx, a, "coffee")
		synctest.Wait()
		onA := signOn(t, a, identity(t, 1))
		defer onA.Close()
		onB := signOn(t, b, identity(t, 2))
		defer onB.Close()
		// One room has one Meet, another one its own.
		synctest.Wait()
		if _, err := a.Meet(ctx, "coffee"); !isConfig(err) {
			t.Errorf("two at once: %v", err)
		}
		if _, err := a.Meet(ctx, "no room!"); !isConfig(err) {
			t.Errorf("no room: %v", err)
		}
		tea := meeting(ctx, a, "tea")
		for _, room := range []string{"coffee", "tea"} {
			if peer, err := b.Meet(ctx, room); err != nil || peer != identity(t, 1).ID() {
				t.Errorf("b met %v in %s, %v", peer, room, err)
			}
		}
		for _, wait := range []func() (ident.PeerID, error){first, tea} {
			if peer, err := wait(); err != nil || peer != identity(t, 2).ID() {
				t.Errorf("a met %v, %v", peer, err)
			}
		}
		// The rooms are free again, for the same and for others.
		synctest.Wait()
		if st := sv.server.Stats(); st.Rooms != 0 {
			t.Errorf("%d rooms are left", st.Rooms)
		}
		again := meeting(ctx, a, "coffee")
		c := sv.dial(ClientConfig{Identity: identity(t, 3)})
		defer c.Close()
		if peer, err := c.Meet(ctx, "coffee"); err != nil || peer != identity(t, 1).ID() {
			t.Errorf("c met %v, %v", peer, err)
		}
		if peer, err := again(); err != nil || peer != identity(t, 3).ID() {
			t.Errorf("a met %v, %v", peer, err)
		}
		// A session that receives meanwhile is told of none of it.
		if err := onB.Send(ctx, identity(t, 1).ID(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if from, message, err := onA.Receive(ctx); err != nil || from != identity(t, 2).ID() || string(message) != "x" {
			t.Errorf("received %q of %v, %v", message, from, err)
		}
	})
}

func TestMeetHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{})
		defer sv.close()
		s := sv.signaler()
		short := func() context.Context {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		if _, err := s.Meet(short(), "r"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "SignOn") {
			t.Errorf("nobody has signed on: %v", err)
		}
		cut := &Signaler{URL: testURL, Client: ClientConfig{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no cable")
		}}}
		if _, err := cut.SignOn(short(), identity(t, 1)); err == nil {
			t.Error("signed on without a cable")
		}
		if _, err := cut.Meet(short(), "r"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no cable") {
			t.Errorf("the sign-on failed: %v", err)
		}
		on := signOn(t, s, identity(t, 1))
		if _, err := s.Meet(short(), "r"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `nobody else came to room "r"`) {
			t.Errorf("alone: %v", err)
		}
		synctest.Wait()
		if st := sv.server.Stats(); st.Rooms != 0 {
			t.Errorf("%d rooms are left", st.Rooms)
		}
		on.Close()
		if _, err := s.Meet(short(), "r"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrClosed) {
			t.Errorf("signed off: %v", err)
		}
		a, b, c := sv.dial(ClientConfig{}), sv.dial(ClientConfig{}), sv.dial(ClientConfig{})
		for _, c := range []*Client{a, b} {
			if err := c.Join(short(), "full", nil); err != nil {
				t.Fatal(err)
			}
		}
		var refused *Error
		if _, err := c.Meet(short(), "full"); !errors.As(err, &refused) || refused.Code != CodeRoomFull {
			t.Errorf("a full room: %v", err)
		}
		// Refused once, it may be tried again.
		a.Close()
		b.Close()
		synctest.Wait()
		d := sv.dial(ClientConfig{})
		wait := meeting(short(), d, "full")
		if peer, err := c.Meet(short(), "full"); err != nil || peer != d.ID() {
			t.Errorf("met %v, %v", peer, err)
		}
		if peer, err := wait(); err != nil || peer != c.ID() {
			t.Errorf("met %v, %v", peer, err)
		}
		c.Close()
		d.Close()
		if _, err := c.Meet(short(), "r"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A Meet outlives the connection that it began on.
func TestMeetAcrossSignOns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := bounded(t)
		sv := newService(t, ServerConfig{})
		defer sv.close()
		s := sv.signaler()
		first := signOn(t, s, identity(t, 1))
		wait := meeting(ctx, s, "r")
		synctest.Wait()
		first.(*signals).client.conn.ws.Close(websocket.StatusGoingAway, "") // the network's doing
		synctest.Wait()
		if _, _, err := first.Receive(ctx); err == nil {
			t.Error("the connection lives")
		}
		first.Close()
		second := signOn(t, s, identity(t, 1))
		defer second.Close()
		c := sv.dial(ClientConfig{})
		defer c.Close()
		if peer, err := c.Meet(ctx, "r"); err != nil || peer != identity(t, 1).ID() {
			t.Errorf("met %v, %v", peer, err)
		}
		if peer, err := wait(); err != nil || peer != c.ID() {
			t.Errorf("met %v, %v", peer, err)
		}
	})
}

// To meet before there is a session: the session's sign-on takes the place of the first
// one, and the peer can be reached all the while.
func TestMeetBeforeTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := bounded(t)
		sv := newService(t, ServerConfig{})
		defer sv.close()
		a, b := sv.signaler(), sv.signaler()
		early := signOn(t, a, identity(t, 1))
		wait := meeting(ctx, a, "r")
		onB := signOn(t, b, identity(t, 2))
		defer onB.Close()
		if peer, err := b.Meet(ctx, "r"); err != nil || peer != identity(t, 1).ID() {
			t.Errorf("b met %v, %v", peer, err)
		}
		if peer, err := wait(); err != nil || peer != identity(t, 2).ID() {
			t.Errorf("a met %v, %v", peer, err)
		}
		session := signOn(t, a, identity(t, 1))
		defer session.Close()
		early.Close()
		if err := onB.Send(ctx, identity(t, 1).ID(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if from, message, err := session.Receive(ctx); err != nil || from != identity(t, 2).ID() || string(message) != "x" {
			t.Errorf("received %q of %v, %v", message, from, err)
		}
	})
}
