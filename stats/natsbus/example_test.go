package natsbus_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/natsbus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A program publishes what became of its connections, a collector counts that, and somebody
// looks at the table of the whole fleet.
func Example() {
	url, stop := startNATS()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	cfg := natsbus.Config{Conn: nc, Shards: 1}

	// In the program: its session's Config.Record is publisher.Record.
	publisher, err := natsbus.NewPublisher(ctx, natsbus.PublisherConfig{Config: cfg})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, _ := stats.NewID(nil)
	publisher.Record(stats.Event{
		ID: id, Session: id, Time: time.Now(), Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: 120 * time.Millisecond,
		LocalNAT: natprobe.TypeFullCone, Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 3,
	})
	if err := publisher.Close(ctx); err != nil {
		fmt.Println(err)
	}

	// In the collector: one for each shard.
	aggregator, err := natsbus.NewAggregator(ctx, natsbus.AggregatorConfig{Config: cfg})
	if err != nil {
		fmt.Println(err)
		return
	}
	for aggregator.Recorder().Ledger().Recorded == 0 && ctx.Err() == nil {
		if err := aggregator.Flush(ctx); err != nil {
			fmt.Println(err)
		}
	}
	if err := aggregator.Close(ctx); err != nil {
		fmt.Println(err)
	}

	// Anywhere.
	fleet, err := natsbus.Read(ctx, cfg, stats.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(fleet.Snapshot().Table().Text())
	// Output:
	// NAT type  | attempts | P2P successes | relay fallback rate | mean latency
	// full-cone | 1        | 1             | 0.0 % *             | 120 ms
	// all       | 1        | 1             | 0.0 % *             | 120 ms
	// * fewer than 30 attempts
}

// startNATS runs a NATS server with JetStream; in earnest that is nats-server -js.
func startNATS() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "natsbus")
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		panic(err)
	}
	s.Start()
	s.ReadyForConnections(time.Minute)
	return s.ClientURL(), func() {
		s.Shutdown()
		s.WaitForShutdown()
		os.RemoveAll(dir)
	}
}
