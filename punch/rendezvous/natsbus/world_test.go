package natsbus

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// deadline bounds a test's waiting for what must come; none waits so long.
const deadline = 60 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// runNATS starts a NATS server on loopback.
func runNATS(t testing.TB, opts *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(deadline) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

func natsOptions(t testing.TB) *server.Options {
	return &server.Options{
		ServerName: "nats", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}
}

func dialNATS(t testing.TB, urls ...string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// testNode is a rendezvous server with its bus.
type testNode struct {
	t      testing.TB
	nc     *nats.Conn
	bus    *Bus
	server *rendezvous.Server
	web    *httptest.Server
	url    string
	log    *lines
	stop   sync.Once
}

func runNode(t testing.TB, nc *nats.Conn, cfg Config) *testNode {
	t.Helper()
	n := &testNode{t: t, nc: nc, log: newLines()}
	cfg.Conn = nc
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second // nothing but what a test does itself is to cut a node off
	}
	var err error
	if n.bus, err = New(within(t), cfg); err != nil {
		t.Fatal(err)
	}
	n.server, err = rendezvous.NewServer(rendezvous.ServerConfig{Bus: n.bus, LoggerFactory: n.log, MessageRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	n.web = httptest.NewServer(n.server)
	n.url = "ws" + strings.TrimPrefix(n.web.URL, "http")
	t.Cleanup(n.close)
	return n
}

func (n *testNode) close() {
	n.stop.Do(func() {
		_ = n.server.Close()
		n.web.Close()
		_ = n.bus.Close()
	})
}

// lines is a log that can be waited on.
type lines struct {
	mu    sync.Mutex
	all   []string
	added chan struct{} // closed by the next line
}

func newLines() *lines { return &lines{added: make(chan struct{})} }

func (l *lines) NewLogger(string) logging.LeveledLogger { return leveled{l} }

type leveled struct{ l *lines }

func (w leveled) Trace(s string)            { w.l.add(s) }
func (w leveled) Tracef(s string, a ...any) { w.l.add(fmt.Sprintf(s, a...)) }
func (w leveled) Debug(s string)            { w.l.add(s) }
func (w leveled) Debugf(s string, a ...any) { w.l.add(fmt.Sprintf(s, a...)) }
func (w leveled) Info(s string)             { w.l.add(s) }
func (w leveled) Infof(s string, a ...any)  { w.l.add(fmt.Sprintf(s, a...)) }
func (w leveled) Warn(s string)             { w.l.add(s) }
func (w leveled) Warnf(s string, a ...any)  { w.l.add(fmt.Sprintf(s, a...)) }
func (w leveled) Error(s string)            { w.l.add(s) }
func (w leveled) Errorf(s string, a ...any) { w.l.add(fmt.Sprintf(s, a...)) }

func (l *lines) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
	close(l.added)
	l.added = make(chan struct{})
}

// count is how many lines have text.
func (l *lines) count(text string) (n int, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n, l.added
}

// wait waits for times lines with text.
func (l *lines) wait(t testing.TB, times int, text string) {
	t.Helper()
	ctx := within(t)
	for {
		n, more := l.count(text)
		if n >= times {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("no %q in the log:\n%s", text, strings.Join(l.all, "\n"))
		}
	}
}

func identity(t testing.TB, n byte) *ident.Identity {
	t.Helper()
	id, err := ident.NewIdentity(strings.NewReader(strings.Repeat(string([]byte{n, 'n', 'a', 't'}), 16)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// client is one peer at a node.
type client struct {
	t testing.TB
	*rendezvous.Client
}

func (n *testNode) dial(id *ident.Identity) *client {
	n.t.Helper()
	c, err := rendezvous.Dial(within(n.t), n.url, rendezvous.ClientConfig{Identity: id})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return &client{n.t, c}
}

func (c *client) join(room, message string) {
	c.t.Helper()
	if err := c.Join(within(c.t), room, []byte(message)); err != nil {
		c.t.Fatalf("join: %v", err)
	}
}

func (c *client) recv() rendezvous.Event {
	c.t.Helper()
	e, err := c.Next(within(c.t))
	if err != nil {
		c.t.Fatalf("recv: %v", err)
	}
	return e
}

// paired waits until c is paired, with a peer whose message is want.
func (c *client) paired(with *client, want string) {
	c.t.Helper()
	e := c.recv()
	p, ok := e.(rendezvous.Paired)
	if !ok || p.Peer != with.ID() || string(p.Message) != want || !p.Proven {
		c.t.Fatalf("got %+v, want to be paired by %q", e, want)
	}
}

// closedWith waits for the end of the connection.
func (c *client) closedWith(code rendezvous.Code) {
	c.t.Helper()
	ctx := within(c.t)
	for {
		_, err := c.Next(ctx)
		if err == nil {
			continue
		}
		if got := closeCode(err); got != code {
			c.t.Fatalf("closed by %v, want %v", err, code)
		}
		return
	}
}

// hostOf is what a URL of NATS listens on.
func hostOf(t testing.TB, s string) string {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
