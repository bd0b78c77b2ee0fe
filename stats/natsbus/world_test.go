package natsbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// deadline bounds a test's waiting for what must come; none waits so long.
const deadline = 90 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func options(t testing.TB) *server.Options {
	return &server.Options{
		ServerName: "nats", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}
}

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

// runCluster starts three servers that are one JetStream.
func runCluster(t testing.TB) (all []*server.Server, urls []string) {
	t.Helper()
	// Each chooses a port that is free, and the later ones tell the first where they are. It has
	// to know how many they will be.
	routes := server.RoutesFromStr("nats://127.0.0.1:1,nats://127.0.0.1:2")
	for i := range 3 {
		opts := options(t)
		opts.ServerName = fmt.Sprintf("nats-%d", i)
		opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}
		opts.Routes = routes
		s := runNATS(t, opts)
		if i == 0 {
			routes = nil
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: s.ClusterAddr().String()})
		all, urls = append(all, s), append(urls, s.ClientURL())
	}
	await(t, "the cluster has a leader and all its members", func() bool {
		for _, s := range all {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == 3
			}
		}
		return false
	})
	return all, urls
}

func dial(t testing.TB, urls ...string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// await waits for what NATS has no event for.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}

// some returns n events of as many sessions, and how many of them succeeded.
func some(seed uint64, n int) (all []stats.Event, succeeded uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range n {
		e := stats.Event{
			Time: time.Now(), Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: time.Duration(rnd.IntN(1e9)), Tries: 1,
			LocalNAT: natprobe.Type(rnd.IntN(8)), Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4,
		}
		for i := range e.ID {
			e.ID[i], e.Session[i] = byte(rnd.Uint32()), byte(rnd.Uint32())
		}
		if rnd.IntN(3) == 0 {
			e.Status, e.Pair, e.Protocol, e.IPVersion = stats.StatusTimeOut, 0, 0, 0
		} else {
			succeeded++
		}
		all = append(all, e)
	}
	return all, succeeded
}

// counting is how all aggregators of the tests count.
var counting = stats.Config{Window: 10 * time.Minute, Lateness: 10 * time.Minute}

// aggregators counts all shards, and lets each be ended in the middle.
type aggregators struct {
	t   testing.TB
	cfg Config
	all []*Aggregator
}

func aggregate(t testing.TB, cfg Config) *aggregators {
	a := &aggregators{t: t, cfg: cfg, all: make([]*Aggregator, cfg.Shards)}
	for i := range a.all {
		a.begin(i)
	}
	return a
}

func (a *aggregators) begin(shard int) {
	a.t.Helper()
	cfg := AggregatorConfig{Config: a.cfg, Shard: shard, Recorder: counting, Every: 50 * time.Millisecond}
	await(a.t, "an aggregator begins", func() bool {
		got, err := NewAggregator(within(a.t), cfg)
		var wrong *ConfigError
		if errors.As(err, &wrong) {
			a.t.Fatal(err)
		}
		a.all[shard] = got
		return err == nil
	})
	got := a.all[shard]
	a.t.Cleanup(func() { got.kill() })
}

// kill ends an aggregator as a crash does: nothing is stored any more.
func (a *Aggregator) kill() {
	a.cancel()
	<-a.done
}

func (a *aggregators) given() (n uint64) {
	for _, of := range a.all {
		n += of.Recorder().Ledger().Given()
	}
	return n
}
