// Collector takes the events of a fleet and shows what got through: an HTTP API in front of
// NATS JetStream, with a NATS server of its own unless it is given a cluster.
//
//	collector [-addr HOST:PORT] [-dir DIR] [-nats URL] [-shards N] [-count=false]
//
// Clients send what their sessions' Config.Record gets, one JSON object a line:
//
//	go run ./examples/peer -events ... | curl --data-binary @- http://127.0.0.1:8090/events
//
//	POST /events                  events, a line each; at most 1 MiB
//	GET  /table?format=FORMAT     the table of the last window: text, markdown, csv or json
//	GET  /window                  the last window, cell by cell, as JSON
//	GET  /ledger                  what became of all events that arrived, as JSON
//	GET  /healthz                 200 while NATS answers, else 503
//
// What is shown is what the aggregators have stored, at most some seconds old. Several
// collectors may share one cluster: all take events and show the whole, and of two that count
// one shard, one goes on. The other does not take over later, so let one count, and restart
// it when it ends; -count=false is for the rest.
//
// With BRADAWL_COLLECTOR_TOKEN in its environment it wants that as a bearer token from
// everybody, and without it listens on loopback alone.
//
// Exit codes: 0 after a signal and for -h; 1 if it could not start, or failed; 2 if the
// arguments are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/natsbus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func main() {
	cli.Main("collector", func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return run(ctx, args, os.Getenv("BRADAWL_COLLECTOR_TOKEN"), stdout, stderr)
	})
}

type options struct {
	addr, dir, nats, prefix, token string
	shards, replicas               int
	count                          bool
}

const usage = `usage: collector [-addr HOST:PORT] [-dir DIR] [-nats URL] [-shards N] [-count=false]

examples:
  collector -dir /var/lib/collector
      a NATS server inside, on loopback, whose events outlast the program
  collector -nats nats://10.0.0.1:4222,nats://10.0.0.2:4222 -replicas 3
      one of several in front of a cluster
  curl http://127.0.0.1:8090/table
      what got through

exit codes: 0 after a signal, 1 it could not start or failed, 2 the arguments are wrong
`

func parse(args []string, token string, help io.Writer) (options, error) {
	o := options{token: token}
	flags := flag.NewFlagSet("collector", flag.ContinueOnError)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8090", "`address` to listen on")
	flags.StringVar(&o.dir, "dir", "", "`folder` of the NATS server inside; without one, a temporary one")
	flags.StringVar(&o.nats, "nats", "", "`URL`s of a NATS cluster, with commas between; without one, a server inside")
	flags.StringVar(&o.prefix, "prefix", "bradawl", "`word` that the names in NATS begin with")
	flags.IntVar(&o.shards, "shards", 4, "`number` of parts that events are counted in; the same for all of a cluster")
	flags.IntVar(&o.replicas, "replicas", 1, "`number` of NATS servers that keep each event")
	flags.BoolVar(&o.count, "count", true, "count events, and not only take and show them")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	host, _, err := net.SplitHostPort(o.addr)
	if err != nil {
		return o, fmt.Errorf("-addr: %w; give HOST:PORT", err)
	}
	if ip, err := netip.ParseAddr(host); token == "" && (err != nil || !ip.IsLoopback()) {
		return o, fmt.Errorf("-addr %s: set BRADAWL_COLLECTOR_TOKEN in the environment to listen on other than a loopback address", o.addr)
	}
	switch {
	case o.prefix == "":
		return o, errors.New("-prefix is empty; give a word, or leave it out")
	case o.shards < 1 || o.shards > 256:
		return o, fmt.Errorf("-shards %d: want 1 to 256", o.shards)
	case o.replicas < 1 || o.replicas > 5:
		return o, fmt.Errorf("-replicas %d: want 1 to 5", o.replicas)
	case o.nats != "" && o.dir != "":
		return o, errors.New("-dir is for a NATS server inside; leave it out with -nats")
	}
	return o, nil
}

func run(ctx context.Context, args []string, token string, stdout, stderr io.Writer) error {
	o, err := parse(args, token, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	return collect(ctx, o, stdout, stderr)
}

// collect runs until ctx is done.
func collect(ctx context.Context, o options, stdout, stderr io.Writer) error {
	if o.nats == "" {
		url, stop, err := inside(o.dir)
		if err != nil {
			return err
		}
		defer stop()
		o.nats = url
	}
	nc, err := nats.Connect(o.nats, nats.MaxReconnects(-1), nats.Name("collector"))
	if err != nil {
		return fmt.Errorf("connecting to NATS at %s: %w; see that a server runs there, and that -nats names it", o.nats, err)
	}
	defer nc.Close()
	bus := natsbus.Config{Conn: nc, Prefix: o.prefix, Shards: o.shards, Replicas: o.replicas}
	publisher, err := natsbus.NewPublisher(ctx, natsbus.PublisherConfig{Config: bus})
	if wrong := (*natsbus.ConfigError)(nil); errors.As(err, &wrong) { // what a flag has put into it
		return cli.Usage(err)
	}
	if err != nil {
		return err
	}
	counting := stats.Config{Lateness: 10 * time.Minute}
	var aggregators []*natsbus.Aggregator
	for shard := 0; o.count && shard < o.shards; shard++ {
		a, err := natsbus.NewAggregator(ctx, natsbus.AggregatorConfig{
			Config: bus, Shard: shard, Recorder: counting,
			OnError: func(err error) { fmt.Fprintf(stderr, "collector: %v\n", err) },
		})
		if err != nil {
			return err
		}
		aggregators = append(aggregators, a)
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -addr HOST:PORT", err)
	}
	web := &http.Server{
		Handler: &api{bus: bus, counting: counting, publisher: publisher, token: o.token}, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	fmt.Fprintf(stdout, "http://%s/table\n", listener.Addr())

	select {
	case <-ctx.Done():
	case err = <-served:
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	all := []error{err, web.Shutdown(end), publisher.Close(end)}
	for _, a := range aggregators {
		if err := a.Close(end); !errors.Is(err, natsbus.ErrReplaced) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// inside starts a NATS server that nobody but this program reaches.
func inside(dir string) (url string, stop func(), err error) {
	clean := func() {}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "collector"); err != nil {
			return "", nil, err
		}
		clean = func() { os.RemoveAll(dir) }
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { // the server says it after 30 s
		return "", nil, fmt.Errorf("-dir: %w; name a folder that can be written", err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		clean()
		return "", nil, fmt.Errorf("the NATS server inside: %w", err)
	}
	s.Start()
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
		clean()
	}
	if !s.ReadyForConnections(30 * time.Second) {
		stop()
		return "", nil, errors.New("the NATS server inside does not start: is its folder writable and not in use?")
	}
	return s.ClientURL(), stop, nil
}
