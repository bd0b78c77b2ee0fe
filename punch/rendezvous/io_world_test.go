package rendezvous

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// memory is a network of one listener, without sockets, so that it works under
// synctest.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex
	last int
}

func newMemory() *memory {
	return &memory{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// DialContext connects from 198.51.100.1, with another port each time.
func (m *memory) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	m.mu.Lock()
	m.last++
	from := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 40000 + m.last}
	m.mu.Unlock()
	near, far := net.Pipe()
	select {
	case m.conns <- addressed{far, from}:
		return near, nil
	case <-m.done:
		return nil, fmt.Errorf("connection refused")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

// service is a Server with an http.Server before it, in memory.
type service struct {
	t      *testing.T
	server *Server
	http   *http.Server
	net    *memory
	served chan error
}

func newService(t *testing.T, cfg ServerConfig) *service {
	t.Helper()
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/meet/", s)
	sv := &service{t: t, server: s, net: newMemory(), served: make(chan error, 1)}
	sv.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { sv.served <- sv.http.Serve(sv.net) }()
	return sv
}

const testURL = "ws://rendezvous.test/meet/"

func (sv *service) config() ClientConfig { return ClientConfig{DialContext: sv.net.DialContext} }

func (sv *service) dial(cfg ClientConfig) *Client {
	sv.t.Helper()
	cfg.DialContext = sv.net.DialContext
	c, err := Dial(context.Background(), testURL, cfg)
	if err != nil {
		sv.t.Fatal(err)
	}
	return c
}

func (sv *service) close() {
	sv.t.Helper()
	if err := sv.server.Close(); err != nil {
		sv.t.Error(err)
	}
	if err := sv.http.Close(); err != nil {
		sv.t.Error(err)
	}
	<-sv.served
}

// recv returns the next event within virtual seconds, as a T.
func recv[T Event](t *testing.T, c *Client) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	e, err := c.Next(ctx)
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	got, ok := e.(T)
	if !ok {
		t.Fatalf("received %+v, want a %T", e, got)
	}
	return got
}
