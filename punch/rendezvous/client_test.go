package rendezvous

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// lone is a client machine whose server is the test.
type lone struct {
	t   *testing.T
	m   *ClientMachine
	now time.Time
}

func newLone(t *testing.T, cfg ClientConfig) *lone {
	t.Helper()
	cfg.Identity = identity(t, 1)
	cfg.Rand = rand.New(rand.NewChaCha8(testSeed(3)))
	m, err := NewClientMachine(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	legal(t, &m.illegal)
	return &lone{t: t, m: m, now: time.Unix(1_700_000_000, 0)}
}

// drain returns what the machine wrote, how it closed, and its events.
func (l *lone) drain() (frames []frame, closed *CloseError, events []Event) {
	l.t.Helper()
	machine.Drain(l.m, func(t machine.Transmit) {
		if t.Op == machine.Close {
			closed = ParseClose(t.Data)
			return
		}
		f, err := decodeFrame(t.Data)
		if err != nil {
			l.t.Fatal(err)
		}
		frames = append(frames, f)
	}, func(e Event) { events = append(events, e) })
	return frames, closed, events
}

func (l *lone) receive(data []byte) {
	l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Received, Data: data})
}

func (l *lone) ready() {
	l.t.Helper()
	server := identity(l.t, 50)
	l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Connected})
	l.receive((&frame{Type: typeChallenge, Version: 1, Key: server.ID(), Nonce: make([]byte, nonceSize)}).encode())
	l.receive((&frame{Type: typeWelcome}).encode())
	frames, _, events := l.drain()
	if len(frames) != 1 || !checkProof(server, l.m.cfg.Identity.ID(), make([]byte, nonceSize), "test", frames[0].Proof) {
		l.t.Fatalf("the hello is %+v", frames)
	}
	if !reflect.DeepEqual(events, []Event{Welcome{}}) {
		l.t.Fatalf("events %+v", events)
	}
}

// While nobody reads from the server its silence means nothing; afterwards it has
// its full time again, and no more.
func TestSuspendedClient(t *testing.T) {
	l := newLone(t, ClientConfig{})
	l.ready()
	pass := func(d time.Duration) (pings int, closed *CloseError) {
		for end := l.now.Add(d); ; {
			frames, closed, _ := l.drain()
			pings += len(frames)
			next := l.m.NextTimeout()
			if next.IsZero() || next.After(end) {
				l.now = end
				return pings, closed
			}
			l.now = next
			l.m.HandleTimeout(l.now)
		}
	}
	l.m.Suspend()
	if pings, closed := pass(time.Hour); pings < 100 || closed != nil {
		t.Fatalf("in an hour: %d pings, closed with %v", pings, closed)
	}
	l.m.Resume(l.now)
	if _, closed := pass(90*time.Second - 1); closed != nil {
		t.Fatalf("closed with %v before its time", closed)
	}
	if _, closed := pass(1); closed == nil || closed.Code != CodeIdle {
		t.Errorf("closed with %v, want %v", closed, CodeIdle)
	}
	l.m.Resume(l.now) // too late, and harmless
	if !l.m.NextTimeout().IsZero() {
		t.Error("a closed client has a deadline")
	}
}

// A server has five seconds to say something once the network has changed, however often it
// changes meanwhile.
func TestClientOnAnotherNetwork(t *testing.T) {
	l := newLone(t, ClientConfig{})
	l.m.NetworkChanged(l.now) // too early, and harmless
	l.ready()
	step := func(d time.Duration) (pings int, closed *CloseError) {
		l.now = l.now.Add(d)
		l.m.HandleTimeout(l.now)
		frames, closed, _ := l.drain()
		return len(frames), closed
	}
	l.m.NetworkChanged(l.now)
	if pings, closed := step(4 * time.Second); pings != 1 || closed != nil {
		t.Fatalf("%d pings, closed with %v", pings, closed)
	}
	l.receive([]byte(`{"type":"pong"}`))
	if _, closed := step(20 * time.Second); closed != nil {
		t.Fatalf("closed with %v, though the server has answered", closed)
	}
	l.m.NetworkChanged(l.now)
	step(3 * time.Second)
	l.m.NetworkChanged(l.now)
	if _, closed := step(2*time.Second - 1); closed != nil {
		t.Fatalf("closed with %v before its time", closed)
	}
	if _, closed := step(1); closed == nil || closed.Code != CodeIdle {
		t.Fatalf("closed with %v, want %v", closed, CodeIdle)
	}
	l.m.NetworkChanged(l.now) // too late, and harmless
	if frames, _, _ := l.drain(); len(frames) != 0 {
		t.Errorf("a closed client wrote %+v", frames)
	}
}

func TestClientPings(t *testing.T) {
	l := newLone(t, ClientConfig{})
	l.ready()
	seen := map[time.Duration]bool{}
	for range 100 {
		next := l.m.NextTimeout()
		gap := next.Sub(l.now)
		if gap < 27*time.Second || gap > 33*time.Second {
			t.Fatalf("the next ping is in %v, want 30 s give or take 10 %%", gap)
		}
		seen[gap] = true
		l.now = next.Add(-1)
		l.m.HandleTimeout(l.now)
		if frames, _, _ := l.drain(); len(frames) != 0 {
			t.Fatalf("an early call wrote %+v", frames)
		}
		l.now = next
		l.m.HandleTimeout(l.now)
		if frames, _, _ := l.drain(); len(frames) != 1 || frames[0].Type != typePing {
			t.Fatalf("wrote %+v, want a ping", frames)
		}
		l.receive([]byte(`{"type":"pong"}`))
	}
	if len(seen) < 90 {
		t.Errorf("only %d of 100 intervals differ", len(seen))
	}
}

func TestClientGivesASilentServerUp(t *testing.T) {
	for _, test := range []struct {
		name  string
		cfg   ClientConfig
		setup func(l *lone)
		after time.Duration // 0: never
	}{
		{"no challenge", ClientConfig{}, func(l *lone) { l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Connected}) }, handshakeTimeout},
		{"no welcome", ClientConfig{}, func(l *lone) {
			l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Connected})
			l.receive((&frame{Type: typeChallenge, Version: 1, Key: identity(t, 50).ID(), Nonce: make([]byte, nonceSize)}).encode())
		}, handshakeTimeout},
		{"no pong", ClientConfig{}, (*lone).ready, 90 * time.Second},
		{"no pings wanted", ClientConfig{PingInterval: -1}, (*lone).ready, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLone(t, test.cfg)
			test.setup(l)
			began := l.now
			for next := l.m.NextTimeout(); !next.IsZero(); next = l.m.NextTimeout() {
				l.now = next
				l.m.HandleTimeout(l.now)
			}
			_, closed, events := l.drain()
			if test.after == 0 {
				if l.now != began || closed != nil {
					t.Errorf("it did something after %v", l.now.Sub(began))
				}
				return
			}
			var timeout *TimeoutError
			if len(events) != 1 || !errors.As(events[0].(Closed).Err, &timeout) || !timeout.Timeout() || timeout.After != test.after {
				t.Errorf("events %+v", events)
			}
			if got := l.now.Sub(began); got != test.after || closed == nil || closed.Code != CodeIdle {
				t.Errorf("closed with %v after %v, want %v", closed, got, test.after)
			}
		})
	}
}

func TestClientRefusesABrokenServer(t *testing.T) {
	key := identity(t, 50).ID()
	nonce := make([]byte, nonceSize)
	good := (&frame{Type: typeChallenge, Version: 1, Key: key, Nonce: nonce}).encode()
	for _, test := range []struct {
		name   string
		frames [][]byte
		want   Code
	}{
		{"garbage", [][]byte{[]byte("HTTP/1.1")}, CodeBadFrame},
		{"too large", [][]byte{make([]byte, maxFrame+1)}, CodeTooLarge},
		{"welcome first", [][]byte{[]byte(`{"type":"welcome"}`)}, CodeUnexpected},
		{"version 2", [][]byte{(&frame{Type: typeChallenge, Version: 2, Key: key, Nonce: nonce}).encode()}, CodeVersion},
		{"short nonce", [][]byte{(&frame{Type: typeChallenge, Version: 1, Key: key, Nonce: nonce[1:]}).encode()}, CodeBadFrame},
		{"no key", [][]byte{(&frame{Type: typeChallenge, Version: 1, Nonce: nonce}).encode()}, CodeBadFrame},
		{"a key of low order", [][]byte{[]byte(`{"type":"challenge","version":1,"key":"` + "aeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" + `","nonce":"AAAA"}`)}, CodeBadFrame},
		{"two challenges", [][]byte{good, good}, CodeUnexpected},
	} {
		l := newLone(t, ClientConfig{})
		l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Connected})
		for _, f := range test.frames {
			l.receive(f)
		}
		_, closed, events := l.drain()
		var broken *ProtocolError
		if closed == nil || closed.Code != test.want || len(events) != 1 || !errors.As(events[0].(Closed).Err, &broken) {
			t.Errorf("%s: closed with %v, events %+v", test.name, closed, events)
		}
		if !l.m.NextTimeout().IsZero() {
			t.Errorf("%s: a deadline is left", test.name)
		}
	}
}

func TestClientPassesOverWhatItDoesNotKnow(t *testing.T) {
	l := newLone(t, ClientConfig{})
	l.ready()
	l.receive([]byte(`{"type":"news","x":{"y":[1,2]},"room":"r"}`))
	l.receive([]byte(`{"type":"joined","room":"r","ice_servers":["stun:x"]}`))
	_, closed, events := l.drain()
	if closed != nil || !reflect.DeepEqual(events, []Event{Joined{"r"}}) {
		t.Errorf("closed %v, events %+v", closed, events)
	}
}

func TestClientCalls(t *testing.T) {
	l := newLone(t, ClientConfig{})
	if err := l.m.Join("r", nil); !errors.Is(err, errNotReady) {
		t.Errorf("joining before the welcome: %v", err)
	}
	l.ready()
	var ce *ConfigError
	for name, err := range map[string]error{
		"bad room":     l.m.Join("a room", nil),
		"long message": l.m.Update("r", make([]byte, MaxMessage+1)),
		"no peer":      l.m.Send(ident.PeerID{}, nil),
	} {
		if !errors.As(err, &ce) || ce.Reason == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if frames, _, _ := l.drain(); len(frames) != 0 {
		t.Errorf("refused calls wrote %+v", frames)
	}
	if err := l.m.Update("r", make([]byte, MaxMessage)); err != nil {
		t.Errorf("a message of %d bytes: %v", MaxMessage, err)
	}
	l.drain()
	l.m.Close()
	l.m.Close()
	_, closed, events := l.drain()
	if closed == nil || closed.Code != CodeNormal || !reflect.DeepEqual(events, []Event{Closed{ErrClosed}}) {
		t.Errorf("closing: %v, %+v", closed, events)
	}
	if err := l.m.Join("r", nil); err != ErrClosed {
		t.Errorf("joining after the close: %v", err)
	}
	l.receive([]byte(`{"type":"joined"}`)) // late
	if _, _, events := l.drain(); len(events) != 0 {
		t.Errorf("events after the last one: %+v", events)
	}
}

func TestClientTellsWhyTheServerClosed(t *testing.T) {
	why := &CloseError{Code: CodeShutdown, Reason: "x"}
	for _, err := range []error{why, nil} {
		l := newLone(t, ClientConfig{})
		l.ready()
		l.m.HandleNotice(l.now, machine.Notice{Kind: machine.Closed, Err: err})
		_, _, events := l.drain()
		if len(events) != 1 || events[0].(Closed).Err == nil || err != nil && events[0].(Closed).Err != err {
			t.Errorf("closed by %v: events %+v", err, events)
		}
		if got := l.m.Join("r", nil); got == nil || fmt.Sprint(got) != fmt.Sprint(events[0].(Closed).Err) {
			t.Errorf("a call afterwards returns %v", got)
		}
	}
}
