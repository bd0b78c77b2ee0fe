package dashboard

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// pipes is a network of pipes, so that a whole server fits into a synctest bubble.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
}

// pipe is one end of a connection. What is written to it waits until it is read.
type pipe struct {
	net.Conn
	from net.Addr
}

func (p pipe) RemoteAddr() net.Addr { return p.from }

func (n *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *pipes) Close() error   { close(n.closed); return nil }
func (n *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (n *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.accept <- pipe{server, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4000}}:
		return client, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rig is a dashboard that is served, and a client of HTTP for it.
type rig struct {
	*testing.T
	d      *Dashboard
	client *http.Client
}

const testToken = "a-token-for-the-tests"

// serve serves a dashboard inside a bubble.
func serve(t *testing.T, cfg Config) *rig {
	t.Helper()
	if cfg.Tokens == nil && !cfg.Open {
		cfg.Tokens = []string{testToken}
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: d}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(n) }()
	transport := &http.Transport{DialContext: n.dial}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		_ = server.Close()
		<-done
	})
	return &rig{t, d, &http.Client{Transport: transport}}
}

const base = "http://localhost/"

// watch opens a page's WebSocket.
func (r *rig) watch() *viewing {
	r.Helper()
	ws, _, err := websocket.Dial(r.Context(), base+"ws", &websocket.DialOptions{HTTPClient: r.client})
	if err != nil {
		r.Fatal(err)
	}
	ws.SetReadLimit(-1)
	r.Cleanup(func() { _ = ws.CloseNow() })
	return &viewing{rig: r, ws: ws}
}

// viewing does what the page does with what it is sent.
type viewing struct {
	*rig
	ws  *websocket.Conn
	seq uint64
	pic picture
}

func (p *viewing) read() (message, error) {
	_, data, err := p.ws.Read(p.Context())
	if err != nil {
		return message{}, err
	}
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		p.Fatal(err)
	}
	p.apply(m)
	return m, nil
}

// next reads a message that must come.
func (p *viewing) next() message {
	p.Helper()
	m, err := p.read()
	if err != nil {
		p.Fatal(err)
	}
	return m
}

func (p *viewing) apply(m message) {
	p.Helper()
	switch {
	case m.Type == "snapshot":
		p.pic = make(picture)
	case m.Seq != p.seq+1:
		p.Fatalf("delta %d after %d", m.Seq, p.seq)
	}
	p.seq = m.Seq
	for section, values := range m.Sections {
		if p.pic[section] == nil {
			p.pic[section] = make(map[string]json.RawMessage)
		}
		for key, value := range values {
			if string(value) == "null" {
				delete(p.pic[section], key)
			} else {
				p.pic[section][key] = value
			}
		}
	}
}

// same reports whether two pictures tell the same.
func same(a, b picture) bool {
	return len(a.since(b)) == 0
}

// newID is the nth of a test.
func newID(t testing.TB, n uint64) stats.ID {
	t.Helper()
	id, err := stats.ParseID(strings.Repeat("0", 16) + hex16(n+1))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func hex16(n uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[15-i] = digits[n>>(4*i)&15]
	}
	return string(b[:])
}

// connected is an event of a session that got a path.
func connected(t testing.TB, n uint64, at time.Time, pair stats.PairKind) stats.Event {
	return stats.Event{
		ID: newID(t, n), Session: newID(t, n), Time: at, Stage: stats.StageConnect, Status: stats.StatusSuccess, Tries: 3,
		Latency: 40 * time.Millisecond, LocalNAT: natprobe.TypeSymmetric, RemoteNAT: natprobe.TypeFullCone, Pair: pair, Protocol: stats.ProtocolUDP, IPVersion: 4,
	}
}

func mustPlace(p Place, err error) Place {
	if err != nil {
		panic(err)
	}
	return p
}
