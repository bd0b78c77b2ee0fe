package rendezvous

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/bradawl/bradawl/internal/machine"
)

// Each of these tests ends without a goroutine left, or synctest fails it.

func TestEndToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{Name: "rendezvous.test"})
		a, b := sv.dial(ClientConfig{Identity: identity(t, 1)}), sv.dial(ClientConfig{})
		if a.ID() != identity(t, 1).ID() || a.PublicAddr().String() != "198.51.100.1:40001" {
			t.Errorf("a is %v at %v", a.ID(), a.PublicAddr())
		}
		if err := a.Join(ctx, "room", nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Join(ctx, "room", []byte("from b")); err != nil {
			t.Fatal(err)
		}
		if err := a.Update(ctx, "room", []byte("from a")); err != nil {
			t.Fatal(err)
		}
		if p := recv[Paired](t, a); p.Peer != b.ID() || string(p.Message) != "from b" || !p.Proven {
			t.Errorf("a was paired: %+v", p)
		}
		if p := recv[Paired](t, b); p.Peer != a.ID() || string(p.Message) != "from a" {
			t.Errorf("b was paired: %+v", p)
		}
		large := strings.Repeat("x", MaxMessage)
		if err := b.Send(ctx, a.ID(), []byte(large)); err != nil {
			t.Fatal(err)
		}
		if m := recv[Message](t, a); m.From != b.ID() || string(m.Message) != large {
			t.Errorf("a received %d bytes from %v", len(m.Message), m.From)
		}
		if got := sv.server.Stats(); got != (Stats{Clients: 2, Rooms: 1}) {
			t.Errorf("stats %+v", got)
		}
		// A full room, a peer that is not there, a name that is none.
		c := sv.dial(ClientConfig{})
		var refused *Error
		if err := c.Join(ctx, "room", nil); !errors.As(err, &refused) || refused.Code != CodeRoomFull || !strings.Contains(err.Error(), testURL) {
			t.Errorf("joining a full room: %v", err)
		}
		if err := c.Send(ctx, identity(t, 9).ID(), []byte("x")); err != nil {
			t.Error(err)
		}
		if e := recv[*Error](t, c); e.Code != CodeNoPeer || e.Peer != identity(t, 9).ID() {
			t.Errorf("sending to nobody: %+v", e)
		}
		var wrong *ConfigError
		if err := c.Join(ctx, "no such room!", nil); !errors.As(err, &wrong) {
			t.Errorf("joining %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		// An hour of silence: pings keep the connection.
		time.Sleep(time.Hour)
		if err := b.Leave(ctx, "room"); err != nil {
			t.Error(err)
		}
		if l := recv[PeerLeft](t, a); l.Room != "room" || l.Peer != b.ID() {
			t.Errorf("a was told %+v", l)
		}
		a.Close()
		a.Close()
		if _, err := a.Next(ctx); err != ErrClosed {
			t.Errorf("Next after Close: %v", err)
		}
		if err := a.Join(ctx, "r", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Join after Close: %v", err)
		}
		// The server goes first.
		sv.close()
		var ce *CloseError
		if _, err := b.Next(ctx); !errors.As(err, &ce) || ce.Code != CodeShutdown {
			t.Errorf("Next after the server's end: %v", err)
		}
		b.Close()
	})
}

func TestDialErrors(t *testing.T) {
	// answer is what a listener does with each connection.
	type answer func(conn net.Conn)
	silent := func(net.Conn) {}
	text := func(s string) answer {
		return func(conn net.Conn) {
			buf := make([]byte, 4096)
			conn.Read(buf)
			conn.Write([]byte(s))
			conn.Close()
		}
	}
	for _, test := range []struct {
		name   string
		url    string
		answer answer // nil: nobody listens
		check  func(err error) bool
	}{
		{"scheme", "ftp://x/", nil, isConfig},
		{"no scheme", "x:80", nil, isConfig},
		{"no host", "ws:///x", nil, isConfig},
		{"no URL", "ws://%zz", nil, isConfig},
		{"nothing", "", nil, isConfig},
		{"no port", "ws://x:65536/", nil, isConfig},
		{"port 0", "ws://x:0/", nil, isConfig},
		{"a fragment", "ws://x/#y", nil, isConfig},
		{"unreachable", testURL, nil, func(err error) bool {
			return !errors.As(err, new(*NotRendezvousError)) && strings.Contains(err.Error(), "refused; see that a rendezvous runs there")
		}},
		{"a password", "ws://u:sesame@" + strings.TrimPrefix(testURL, "ws://"), nil, func(err error) bool {
			return strings.Contains(err.Error(), "://u:") && !strings.Contains(err.Error(), "sesame")
		}},
		{"not HTTP", testURL, text("SSH-2.0-x\r\n"), isNotRendezvous},
		{"hangs up", testURL, func(conn net.Conn) { conn.Close() }, isNotRendezvous},
		{"not found", testURL, text("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), isNotRendezvous},
		{"a plain page", testURL, text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), isNotRendezvous},
		{"an endless page", testURL, text("HTTP/1.1 200 OK\r\n\r\nhi"), isNotRendezvous},
		{"moved", testURL, text("HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"), isNotRendezvous},
		{"overloaded", testURL, text("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), func(err error) bool {
			return errors.Is(err, ErrUnavailable)
		}},
		{"silent", testURL, silent, func(err error) bool {
			var timeout *TimeoutError
			return errors.As(err, &timeout) && timeout.After == 15*time.Second
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newMemory()
				served := make(chan struct{})
				go func() {
					defer close(served)
					for {
						conn, err := network.Accept()
						if err != nil {
							return
						}
						defer conn.Close()
						test.answer(conn)
					}
				}()
				if test.answer == nil {
					network.Close()
				}
				c, err := Dial(context.Background(), test.url, ClientConfig{DialContext: network.DialContext})
				if err == nil || c != nil {
					t.Fatalf("it worked: %v", c)
				}
				if !test.check(err) {
					t.Errorf("the error is %v", err)
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("the error has several lines: %q", err)
				}
				network.Close()
				<-served
			})
		})
	}
}

func isConfig(err error) bool        { return errors.As(err, new(*ConfigError)) }
func isNotRendezvous(err error) bool { return errors.As(err, new(*NotRendezvousError)) }

func TestDialHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemory() // nobody accepts
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := Dial(ctx, testURL, ClientConfig{DialContext: network.DialContext})
		if !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// A server that opens the WebSocket and then says nothing holds Dial up no
// longer than its context.
func TestDialMuteServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemory()
		released := make(chan struct{})
		web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
			if err != nil {
				t.Error(err)
				return
			}
			<-released
			ws.CloseNow()
		})}
		served := make(chan error, 1)
		go func() { served <- web.Serve(network) }()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := Dial(ctx, testURL, ClientConfig{DialContext: network.DialContext})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		start = time.Now()
		_, err = Dial(context.Background(), testURL, ClientConfig{DialContext: network.DialContext})
		var timeout *TimeoutError
		if !errors.As(err, &timeout) || timeout.After != handshakeTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		close(released)
		web.Close()
		<-served
	})
}

func TestDialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{Name: "another.test"})
		var ce *CloseError
		if _, err := Dial(context.Background(), testURL, sv.config()); !errors.As(err, &ce) || ce.Code != CodeBadProof {
			t.Errorf("a server of another name: %v", err)
		}
		if _, err := Dial(context.Background(), "ws://rendezvous.test/", sv.config()); !isNotRendezvous(err) {
			t.Errorf("the wrong path: %v", err)
		}
		if _, err := Dial(context.Background(), testURL, ClientConfig{QueueEvents: -1}); !isConfig(err) {
			t.Errorf("a queue without bound: %v", err)
		}
		sv.server.Close()
		if _, err := Dial(context.Background(), testURL, sv.config()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a closed server: %v", err)
		}
		sv.close()
	})
}

func TestJoinHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{})
		c := sv.dial(ClientConfig{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := c.Join(ctx, "r", nil); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Join: %v", err)
		}
		if _, err := c.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Next: %v", err)
		}
		// Whatever came of it, the room can be joined again.
		if err := c.Join(context.Background(), "r", nil); err != nil {
			t.Errorf("the next Join: %v", err)
		}
		c.Close()
		sv.close()
	})
}

// A Join whose answer never comes ends with its context and gives the room up.
func TestJoinWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{})
		c := sv.dial(ClientConfig{})
		// The server's loop is busy meanwhile.
		go sv.server.loop.Do(func(time.Time) { time.Sleep(time.Minute) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Join(ctx, "r", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Join: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if got := sv.server.Stats(); got.Rooms != 0 {
			t.Errorf("%d rooms are left", got.Rooms)
		}
		c.Close()
		sv.close()
	})
}

// An application that does not call Next is dropped by the server, and told so
// when it does.
func TestApplicationThatDoesNotReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{QueueFrames: 5, MessageRate: -1})
		a, b := sv.dial(ClientConfig{QueueEvents: 3}), sv.dial(ClientConfig{})
		for range 100 {
			if err := b.Send(ctx, a.ID(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		n := 0
		for {
			_, err := a.Next(ctx)
			if err != nil {
				var ce *CloseError
				if !errors.As(err, &ce) || ce.Code != CodeSlowReader {
					t.Errorf("Next: %v", err)
				}
				break
			}
			n++
		}
		if n < 3 || n > 12 {
			t.Errorf("%d events were kept", n)
		}
		if e := recv[*Error](t, b); e.Code != CodeNoPeer {
			t.Errorf("the sender got %+v", e)
		}
		a.Close()
		b.Close()
		sv.close()
	})
}

// An application that is slow to call Next keeps its connection: the silence of a
// server that nobody listens to is not the server's.
func TestApplicationThatReceivesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{})
		b := sv.dial(ClientConfig{})
		send := func(a *Client, n int) {
			for range n {
				if err := b.Send(ctx, a.ID(), []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
		}
		a := sv.dial(ClientConfig{QueueEvents: 3})
		send(a, 5)
		time.Sleep(10 * time.Minute)
		for range 5 {
			recv[Message](t, a)
		}
		send(a, 1)
		recv[Message](t, a)
		a.Close()

		// Once it listens again, the server must show that it lives.
		a = sv.dial(ClientConfig{QueueEvents: 3, PingInterval: time.Minute})
		send(a, 3)
		time.Sleep(30 * time.Second)
		stalled := make(chan struct{})
		go sv.server.loop.Do(func(time.Time) { <-stalled })
		for range 3 {
			recv[Message](t, a)
		}
		late, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		var timeout *TimeoutError
		if _, err := a.Next(late); !errors.As(err, &timeout) || timeout.Op != "answer" {
			t.Errorf("Next from a server that is stuck: %v", err)
		}
		close(stalled)
		a.Close()
		b.Close()
		sv.close()
	})
}

// What ends a context is what its calls return.
func TestCausesOfContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{})
		c := sv.dial(ClientConfig{})
		cause := errors.New("the user has gone")
		ctx, cancel := context.WithCancelCause(context.Background())
		stalled := make(chan struct{})
		go sv.server.loop.Do(func(time.Time) { <-stalled })
		synctest.Wait()
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if err := c.Join(ctx, "r", nil); !errors.Is(err, cause) {
			t.Errorf("Join: %v", err)
		}
		if _, err := c.Next(ctx); !errors.Is(err, cause) {
			t.Errorf("Next: %v", err)
		}
		if _, err := Dial(ctx, testURL, sv.config()); !errors.Is(err, cause) {
			t.Errorf("Dial: %v", err)
		}
		var err error
		for range 100 { // until no more fits into the queue
			if err = c.Send(ctx, c.ID(), make([]byte, MaxMessage)); err != nil {
				break
			}
		}
		if !errors.Is(err, cause) {
			t.Errorf("Send: %v", err)
		}
		close(stalled)
		if err := sv.server.Shutdown(ctx); !errors.Is(err, cause) {
			t.Errorf("Shutdown: %v", err)
		}
		c.Close()
		sv.close()
	})
}

// Calls wait while the server takes nothing in, and end with their context.
func TestSendWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{})
		c := sv.dial(ClientConfig{})
		go sv.server.loop.Do(func(time.Time) { time.Sleep(20 * time.Second) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		sent := 0
		for err == nil {
			err = c.Send(ctx, c.ID(), make([]byte, MaxMessage))
			sent++
		}
		if !errors.Is(err, context.DeadlineExceeded) || sent < 5 || sent > 15 {
			t.Errorf("after %d messages: %v", sent, err)
		}
		c.Close()
		sv.close()
	})
}

func TestHostOfProof(t *testing.T) {
	for raw, want := range map[string]string{
		"ws://Example.org":          "example.org",
		"ws://example.org:80/x":     "example.org",
		"ws://example.org:":         "example.org",
		"ws://example.org:8080":     "example.org:8080",
		"wss://example.org:443":     "example.org",
		"wss://example.org:80":      "example.org:80",
		"https://[2001:db8::443]":   "[2001:db8::443]",
		"http://[2001:DB8::1]:80/":  "[2001:db8::1]",
		"ws://u:p@example.org:1/?q": "example.org:1",
	} {
		if _, host, err := parseURL(raw); err != nil || host != want {
			t.Errorf("%s: host %q, %v; want %q", raw, host, err, want)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, err := range []error{
		badConfig("URL", strings.Repeat("x", 5000), "shorter"),
		&OpError{Op: "dial", URL: testURL, Err: &NotRendezvousError{Status: http.StatusNotFound}},
		&NotRendezvousError{Err: errMachine}, &NotRendezvousError{Status: 101, Err: errMachine},
		&CloseError{Code: CodeIdle, Reason: "r"}, &Error{Code: CodeRoomFull, Reason: "r"},
		&ProtocolError{Reason: "r"}, &TimeoutError{Op: "welcome", After: time.Second},
	} {
		if s := err.Error(); s == "" || len(s) > 300 || strings.Contains(s, "\n") {
			t.Errorf("%T says %q", err, s)
		}
	}
}

var errMachine = errors.New(machine.Close.String())
