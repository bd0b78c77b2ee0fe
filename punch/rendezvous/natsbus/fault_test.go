package natsbus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// quick is the patience of nodes that are to lose it: more than a busy machine
// keeps one waiting.
const quick = 3 * time.Second

// A node that is cut off says so to everybody, those who share a room with it
// learn that too, and it heals.
func TestPartition(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	cable := newLine(t, hostOf(t, s.ClientURL()))
	cfg := Config{Patience: quick}
	one, two := runNode(t, dialNATS(t, s.ClientURL()), cfg), runNode(t, dialNATS(t, cable.url()), cfg)
	a, b, c := one.dial(identity(t, 1)), two.dial(identity(t, 2)), one.dial(identity(t, 3))
	b.join("r", "b") // node two is the home
	a.join("r", "a")
	a.paired(b, "b")
	b.paired(a, "a")
	c.join("s", "c") // node one is, and hears from a node two that goes
	d := two.dial(identity(t, 4))
	d.join("s", "d")
	c.paired(d, "d")
	d.paired(c, "c")

	cable.set(true)
	b.closedWith(rendezvous.CodeCutOff)
	d.closedWith(rendezvous.CodeCutOff)
	_, err := rendezvous.Dial(within(t), two.url, rendezvous.ClientConfig{Identity: identity(t, 2)})
	if closeCode(err) != rendezvous.CodeCutOff {
		t.Errorf("dialling it: %v", err)
	}
	health := httptest.NewRecorder()
	two.server.ServeHealth(health, nil)
	if health.Code != http.StatusServiceUnavailable || two.bus.Stats().Up {
		t.Errorf("its health is %d %s", health.Code, health.Body)
	}
	if e, ok := a.recv().(*rendezvous.Error); !ok || e.Code != rendezvous.CodeUnreachable || e.Room != "r" {
		t.Errorf("the member elsewhere got %+v", e)
	}
	if e, ok := c.recv().(rendezvous.PeerLeft); !ok || e.Room != "s" || e.Peer != d.ID() {
		t.Errorf("the member of the other home got %+v", e)
	}
	// The rest goes on, with the room's name too.
	a.join("r", "a2")
	b = one.dial(identity(t, 2))
	b.join("r", "b2")
	a.paired(b, "b2")
	b.paired(a, "a2")

	cable.set(false)
	two.log.wait(t, 1, "joined to the other nodes again")
	d = two.dial(identity(t, 4))
	d.join("s", "d2")
	c.paired(d, "d2")
	d.paired(c, "c")
	if n, _ := one.log.count("cut off"); n > 0 {
		t.Error("node one was cut off, too")
	}
}

// NATS may restart: with time enough nobody notices.
func TestNATSRestarts(t *testing.T) {
	opts := natsOptions(t)
	s := runNATS(t, opts)
	cfg := Config{Patience: 20 * time.Second}
	one, two := runNode(t, dialNATS(t, s.ClientURL()), cfg), runNode(t, dialNATS(t, s.ClientURL()), cfg)
	a, b := one.dial(identity(t, 1)), two.dial(identity(t, 2))
	a.join("r", "a")
	port := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	joined := make(chan error, 1)
	go func() { joined <- b.Join(within(t), "r", []byte("b")) }() // while there is no NATS
	again := opts.Clone()
	if _, err := fmt.Sscanf(port, "127.0.0.1:%d", &again.Port); err != nil {
		t.Fatal(err)
	}
	runNATS(t, again)
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	a.paired(b, "b")
	b.paired(a, "a")
	for _, n := range []*testNode{one, two} {
		if cuts, _ := n.log.count("cut off"); cuts > 0 {
			t.Error("a node was cut off")
		}
	}
}

// NATS may even lose all that it knew: the service begins anew.
func TestNATSForgets(t *testing.T) {
	opts := natsOptions(t)
	s := runNATS(t, opts)
	cfg := Config{Patience: quick}
	one, two := runNode(t, dialNATS(t, s.ClientURL()), cfg), runNode(t, dialNATS(t, s.ClientURL()), cfg)
	a := one.dial(identity(t, 1))
	a.join("r", "a")
	port := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	if err := os.RemoveAll(filepath.Join(opts.StoreDir, server.JetStreamStoreDir)); err != nil {
		t.Fatal(err)
	}
	again := opts.Clone()
	if _, err := fmt.Sscanf(port, "127.0.0.1:%d", &again.Port); err != nil {
		t.Fatal(err)
	}
	runNATS(t, again)
	a.closedWith(rendezvous.CodeCutOff)
	one.log.wait(t, 1, "joined to the other nodes again")
	two.log.wait(t, 1, "joined to the other nodes again")
	a, b := one.dial(identity(t, 1)), two.dial(identity(t, 2))
	a.join("r", "a")
	b.join("r", "b")
	a.paired(b, "b")
	b.paired(a, "a")
}

// A node dies without a word. Who waits in a room that it kept joins again, and
// who was there from it has left.
func TestNodeDies(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	cfg := Config{Patience: quick}
	one, two := runNode(t, dialNATS(t, s.ClientURL()), cfg), runNode(t, dialNATS(t, s.ClientURL()), cfg)
	x, a := two.dial(identity(t, 9)), one.dial(identity(t, 1))
	x.join("r", "x") // so that node two is the home
	type result struct {
		peer string
		err  error
	}
	met := make(chan result, 1)
	x.join("s", "x")
	a.join("s", "a")
	a.paired(x, "x")
	x.paired(a, "a")
	go func() {
		peer, err := a.Meet(within(t), "r")
		met <- result{peer.String(), err}
	}()
	if p, ok := x.recv().(rendezvous.Paired); !ok || p.Room != "r" {
		t.Fatalf("got %+v", p)
	}
	if r := <-met; r.err != nil {
		t.Fatal(r.err)
	}
	// In "s" a is still a member; the home of that dies.
	two.nc.Close()
	if e, ok := a.recv().(*rendezvous.Error); !ok || e.Code != rendezvous.CodeUnreachable || e.Room != "s" {
		t.Errorf("got %+v", e)
	}
	three := runNode(t, dialNATS(t, s.ClientURL()), cfg)
	b := three.dial(identity(t, 2))
	go func() {
		peer, err := a.Meet(within(t), "s")
		met <- result{peer.String(), err}
	}()
	if peer, err := b.Meet(within(t), "s"); err != nil || peer != a.ID() {
		t.Errorf("b met %v, %v", peer, err)
	}
	if r := <-met; r.err != nil || r.peer != b.ID().String() {
		t.Errorf("a met %+v", r)
	}
}

// A node whose line dies without a word is one that has died, though NATS takes its
// connection for alive for minutes.
func TestNodeFallsSilent(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	cable := newLine(t, hostOf(t, s.ClientURL()))
	cfg := Config{Patience: quick}
	one, two := runNode(t, dialNATS(t, s.ClientURL()), cfg), runNode(t, dialNATS(t, cable.url()), cfg)
	x, a, b := two.dial(identity(t, 9)), one.dial(identity(t, 1)), one.dial(identity(t, 2))
	x.join("r", "x") // node two is the home
	t.Cleanup(cable.stall())
	a.join("r", "a")
	b.join("r", "b")
	a.paired(b, "b")
	b.paired(a, "a")
}

// A node that is closed in order is missed by nobody.
func TestNodeCloses(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	cfg := Config{Patience: deadline} // nobody could wait until a lease of its ends
	one, two := runNode(t, dialNATS(t, s.ClientURL()), Config{}), runNode(t, dialNATS(t, s.ClientURL()), cfg)
	x, a := two.dial(identity(t, 9)), one.dial(identity(t, 1))
	x.join("r", "x")
	a.join("r", "a")
	a.paired(x, "x")
	two.close()
	_ = two.bus.Close() // again is harmless
	for left := 2; left > 0; left-- {
		switch e := a.recv().(type) {
		case rendezvous.PeerLeft:
		case *rendezvous.Error:
			if e.Code != rendezvous.CodeUnreachable {
				t.Errorf("got %v", e)
			}
			left = 1 // the last: PeerLeft may have been lost with the home
		default:
			t.Errorf("got %+v", e)
		}
	}
	b := one.dial(identity(t, 2))
	a.join("r", "a2")
	b.join("r", "b")
	a.paired(b, "b")
	b.paired(a, "a2")
}

// A cluster of three goes on without one.
func TestClusterLosesOne(t *testing.T) {
	servers := runCluster(t, 3)
	cfg := Config{Patience: 15 * time.Second, Replicas: 3}
	var nodes []*testNode
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	for i := range servers {
		nodes = append(nodes, runNode(t, dialNATS(t, urls[i], urls[(i+1)%3], urls[(i+2)%3]), cfg))
	}
	a, b := nodes[0].dial(identity(t, 1)), nodes[1].dial(identity(t, 2))
	a.join("r", "a")
	b.join("r", "b")
	a.paired(b, "b")
	b.paired(a, "a")

	lost := leaderOf(t, servers, subjects{prefix: "bradawl.rendezvous"}.store())
	lost.Shutdown()
	lost.WaitForShutdown()
	c, d := nodes[1].dial(identity(t, 3)), nodes[2].dial(identity(t, 4))
	c.join("s", "c")
	d.join("s", "d")
	c.paired(d, "d")
	d.paired(c, "c")
	d.join("r2", "d")
	a.join("r2", "a")
	a.paired(d, "d")
	for i, n := range nodes {
		if cuts, _ := n.log.count("cut off"); cuts > 0 {
			t.Errorf("node %d was cut off", i)
		}
	}
}

func runCluster(t *testing.T, size int) (servers []*server.Server) {
	t.Helper()
	var routes []string
	for i := range size {
		opts := natsOptions(t)
		opts.ServerName = fmt.Sprintf("nats%d", i)
		opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}
		for _, r := range routes {
			opts.Routes = append(opts.Routes, server.RoutesFromStr(r)...)
		}
		if i == 0 { // the first has to know how many there will be
			opts.Routes = server.RoutesFromStr("nats://127.0.0.1:1,nats://127.0.0.1:2")
		}
		s := runNATS(t, opts)
		routes = append(routes, "nats://"+s.ClusterAddr().String())
		servers = append(servers, s)
	}
	await(t, func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == size {
				return true
			}
		}
		return false
	})
	return servers
}

// await asks again and again, for a NATS server tells of its state in no other way.
func await(t testing.TB, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx := within(t)
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not come to pass")
		}
	}
}

func leaderOf(t *testing.T, servers []*server.Server, stream string) *server.Server {
	t.Helper()
	var leader *server.Server
	await(t, func() bool {
		for _, s := range servers {
			if s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

// What is none of the bus's does no harm.
func TestForeign(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	nc := dialNATS(t, s.ClientURL())
	one, two := runNode(t, dialNATS(t, s.ClientURL()), Config{}), runNode(t, dialNATS(t, s.ClientURL()), Config{})
	a, b := one.dial(identity(t, 1)), two.dial(identity(t, 2))
	b.join("s", "b") // at node two, so that what a hears comes by NATS, which knows of a by then
	a.join("s", "a")
	a.paired(b, "b")
	b.paired(a, "a")
	names := one.bus.names
	one.bus.mu.Lock()
	id := one.bus.n.id
	one.bus.mu.Unlock()
	for _, data := range []string{"", "x", "\x01", "\x01b", "\x01r\x01", "\x02b" + string(make([]byte, 200))} {
		for _, subject := range []string{names.peer(a.ID()), names.node(id), names.signOnSubject(), names.inbox + ".1", names.inbox + ".x"} {
			if err := nc.Publish(subject, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := nc.Request(names.key(roomKey("r")), []byte("nonsense"), deadline); err != nil {
		t.Fatal(err)
	}
	a.join("r", "a")
	b.join("r", "b")
	a.paired(b, "b")
	b.paired(a, "a")
	await(t, func() bool { return one.bus.Stats().Foreign == 6*3+6 }) // what comes to an inbox without being asked for counts as foreign, too
}

func TestNewFails(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	nc := dialNATS(t, s.ClientURL())
	closed := dialNATS(t, s.ClientURL())
	closed.Close()
	for name, cfg := range map[string]Config{
		"Conn":          {},
		"Conn closed":   {Conn: closed},
		"Prefix":        {Conn: nc, Prefix: "a..b"},
		"Prefix *":      {Conn: nc, Prefix: "a.*"},
		"Replicas":      {Conn: nc, Replicas: 6},
		"Patience":      {Conn: nc, Patience: time.Millisecond},
		"QueueMessages": {Conn: nc, QueueMessages: -1},
		"QueueBytes":    {Conn: nc, QueueBytes: -1},
	} {
		_, err := New(within(t), cfg)
		var wrong *ConfigError
		if !errors.As(err, &wrong) || len(name) < len(wrong.Field) || name[:len(wrong.Field)] != wrong.Field {
			t.Errorf("%s: %v", name, err)
		}
	}
	// More replicas than there are servers is for NATS to say.
	var op *OpError
	if _, err := New(within(t), Config{Conn: nc, Replicas: 3}); !errors.As(err, &op) {
		t.Errorf("three replicas on one server: %v", err)
	}
	// Nor is there any waiting for a NATS that is not there, beyond the context.
	nowhere := dialNATS(t, "nats://127.0.0.1:1")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New(ctx, Config{Conn: nowhere}); !errors.As(err, &op) {
		t.Errorf("without NATS: %v", err)
	}
}
