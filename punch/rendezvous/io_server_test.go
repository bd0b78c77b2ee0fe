package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// open opens a WebSocket that a test drives by hand.
func (sv *service) open() (*websocket.Conn, net.Conn) {
	sv.t.Helper()
	var raw net.Conn
	ws, _, err := websocket.Dial(context.Background(), testURL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, n, a string) (net.Conn, error) {
			var err error
			raw, err = sv.net.DialContext(ctx, n, a)
			return raw, err
		}}},
	})
	if err != nil {
		sv.t.Fatal(err)
	}
	return ws, raw
}

func TestServerClosesWithCodes(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name string
		send func(ws *websocket.Conn)
		want Code
	}{
		{"nothing", func(*websocket.Conn) {}, CodeHelloTimeout},
		{"garbage", func(ws *websocket.Conn) { ws.Write(ctx, websocket.MessageText, []byte("hi")) }, CodeBadFrame},
		{"binary", func(ws *websocket.Conn) { ws.Write(ctx, websocket.MessageBinary, []byte(`{"type":"hello"}`)) }, CodeBadFrame},
		{"too large", func(ws *websocket.Conn) { ws.Write(ctx, websocket.MessageText, make([]byte, 3*maxFrame)) }, CodeTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sv := newService(t, ServerConfig{})
				ws, _ := sv.open()
				if _, challenge, err := ws.Read(ctx); err != nil || !strings.Contains(string(challenge), typeChallenge) {
					t.Fatalf("read %q, %v", challenge, err)
				}
				go test.send(ws)
				_, _, err := ws.Read(ctx)
				if got := websocket.CloseStatus(err); Code(got) != test.want {
					t.Errorf("closed with %v, want %v", err, test.want)
				}
				ws.CloseNow()
				sv.close()
			})
		})
	}
}

// Clients that stop in the middle of whatever they do hold nothing up: not
// each other, not the server's Close.
func TestStalledClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{})
		honest := sv.dial(ClientConfig{})
		_, silent := sv.open() // reads nothing, not even the challenge
		_, cut := sv.open()
		go cut.Write([]byte{0x81, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4, 'x'}) // says that 2 GiB follow
		header, _ := sv.net.DialContext(ctx, "tcp", "")
		header.Write([]byte("GET / HTTP/1.1\r\nX-Slow: "))
		synctest.Wait()
		start := time.Now()
		if err := honest.Join(ctx, "r", nil); err != nil || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		// Each of them is closed by its own time-out.
		time.Sleep(10 * time.Second)
		for name, conn := range map[string]net.Conn{"silent": silent, "cut": cut, "header": header} {
			buf := make([]byte, 4096)
			var err error
			for err == nil {
				_, err = conn.Read(buf)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s is still open", name)
			}
			conn.Close()
		}
		_, more := sv.open()
		start = time.Now()
		sv.close()
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("Close took %v", d)
		}
		more.Close()
		honest.Close()
	})
}

func TestServerNeedsAnUpgrade(t *testing.T) {
	s, err := NewServer(ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusUpgradeRequired {
		t.Errorf("a plain GET got %d", w.Code)
	}
	w = httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "https://elsewhere.example"} {
		r.Header.Set(k, v)
	}
	s.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("a page of another origin got %d", w.Code)
	}
	s.Close()
	s.Close()
	w = httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || s.Stats() != (Stats{}) {
		t.Errorf("after Close: %d, %+v", w.Code, s.Stats())
	}
}

// The one test over real sockets: with TLS, from a port of the caller's.
func TestLoopback(t *testing.T) {
	s, err := NewServer(ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewTLSServer(s)
	defer h.Close()
	defer s.Close()
	url := "wss" + strings.TrimPrefix(h.URL, "https") + "/"
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var local netip.AddrPort
	cfg := ClientConfig{
		TLSConfig: h.Client().Transport.(*http.Transport).TLSClientConfig,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
			}
			return conn, err
		},
	}
	if _, err := Dial(ctx, url, ClientConfig{}); err == nil || isNotRendezvous(err) {
		t.Errorf("an unknown certificate: %v", err)
	}
	if _, err := Dial(ctx, "ws"+strings.TrimPrefix(url, "wss"), ClientConfig{}); !isNotRendezvous(err) {
		t.Errorf("ws to a TLS server: %v", err)
	}
	a, err := Dial(ctx, url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if a.PublicAddr() != local {
		t.Errorf("the server sees %v, the client dialled from %v", a.PublicAddr(), local)
	}
	b, err := Dial(ctx, url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i, c := range []*Client{a, b} {
		if err := c.Join(ctx, "loop", fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if p := recv[Paired](t, a); string(p.Message) != "1" || p.Peer != b.ID() {
		t.Errorf("a was paired: %+v", p)
	}
	if p := recv[Paired](t, b); string(p.Message) != "0" || p.Peer != a.ID() {
		t.Errorf("b was paired: %+v", p)
	}
}
