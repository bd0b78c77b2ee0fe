// Dashboard serves the page that shows which NATs a fleet sits behind, where, and what gets
// through.
//
//	dashboard [-addr HOST:PORT] [-detectors N] [-worlds N] [-seed N] [-interval TIME]
//	dashboard -collect [-addr HOST:PORT] [-host NAME,...] [-token TOKEN] [-interval TIME]
//
// Without -collect it has a fleet of its own to show: detectors in the world's large cities,
// behind kinds of NATs. What they tell of these is not made up: for each two kinds there are
// simulated internets, made one after the other as long as the program runs, with a STUN
// server, a TURN server, a rendezvous and two sessions, which are those that run outside,
// too; they find out what they are behind, and connect. A detector tells what was measured
// for its kind, and draws its attempts from those of its kind and its peers'. How many there
// are of each kind, and where, is an assumption. The verdict on the experiment, whether a
// smaller budget for hard NATs does as well, is of the measured connections, each once.
//
// With -collect it takes reports of real detectors (see package stats/dashboard, whose Client
// makes them), which present the token. It is -token, or, out of sight of the process list,
// the environment's DASHBOARD_TOKEN; else one is made and printed. There is no TLS: put it
// behind a proxy that does that, and name with -host what it is called by.
//
// Exit code 0 means that it was told to end, by SIGINT or SIGTERM; 1, that it could not
// serve; 2, a flag that is wrong.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/stats/dashboard"
)

// envToken may hold what -token gives.
const envToken = "DASHBOARD_TOKEN"

func main() { cli.Main("dashboard", run) }

type options struct {
	addr      string
	hosts     string
	collect   bool
	token     string
	interval  time.Duration
	detectors int
	worlds    int
	seed      uint64
}

// What may be asked for.
const (
	mostDetectors = 100_000
	mostWorlds    = 1000
)

const usage = `usage: dashboard [-addr HOST:PORT] [-detectors N] [-worlds N] [-seed N] [-interval TIME]
       dashboard -collect [-addr HOST:PORT] [-host NAME,...] [-token TOKEN] [-interval TIME]

examples:
  dashboard
      a simulated fleet, at http://127.0.0.1:8095/
  dashboard -addr 127.0.0.1:0 -detectors 20000 -interval 1s
      a large one, on any port that is free
  DASHBOARD_TOKEN=a-token-of-your-own dashboard -collect -addr :8095 -host stats.example.org
      reports of real detectors, behind a proxy that does TLS

exit codes: 0 after a signal, 1 it could not serve, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("dashboard", flag.ContinueOnError)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8095", "`HOST:PORT` to listen on; port 0 picks a free one")
	flags.StringVar(&o.hosts, "host", "", "`NAMES` that the page may be called by besides loopback's and the host of -addr, separated by commas")
	flags.BoolVar(&o.collect, "collect", false, "take reports of real detectors, and simulate none")
	flags.StringVar(&o.token, "token", "", "the `TOKEN` that detectors present, with -collect; default: $"+envToken+", or a new one")
	flags.DurationVar(&o.interval, "interval", 5*time.Second, "`TIME` between updates of the page")
	flags.IntVar(&o.detectors, "detectors", 2000, "`number` of simulated detectors")
	flags.IntVar(&o.worlds, "worlds", 16, "`number` of simulated internets at a time, until each two kinds of NATs have met; later on, one at a time")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` that the simulation's luck comes from")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	_, port, err := net.SplitHostPort(o.addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return o, fmt.Errorf("-addr %q: %w; give HOST:PORT", o.addr, err)
	}
	idle := ""
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "detectors" || f.Name == "worlds" || f.Name == "seed" {
			idle = f.Name
		}
	})
	switch {
	case o.collect && idle != "":
		return o, fmt.Errorf("-%s is for a simulated fleet; leave it out with -collect", idle)
	case o.detectors < 1 || o.detectors > mostDetectors:
		return o, fmt.Errorf("-detectors %d: want 1 to %d", o.detectors, mostDetectors)
	case o.interval == 0:
		return o, errors.New("-interval 0s: want 100ms to 1m")
	case o.worlds < 1 || o.worlds > mostWorlds:
		return o, fmt.Errorf("-worlds %d: want 1 to %d", o.worlds, mostWorlds)
	case o.token != "" && !o.collect:
		return o, errors.New("-token is for -collect; a simulated fleet needs none")
	}
	return o, nil
}

// config is the dashboard's, as far as flags say it.
func (o options) config() dashboard.Config {
	// Those that have fallen silent count for a while, beside those in their places.
	cfg := dashboard.Config{Interval: o.interval, MaxDetectors: max(20_000, o.detectors+o.detectors/2)}
	if host, _, err := net.SplitHostPort(o.addr); err == nil && host != "" && host != "0.0.0.0" && host != "::" {
		cfg.Hosts = []string{host} // by which it is told to whoever started it
	}
	if o.hosts != "" {
		cfg.Hosts = append(cfg.Hosts, strings.Split(o.hosts, ",")...)
	}
	return cfg
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	cfg := o.config()
	made := false
	var measured *lab // nil: the fleet is a real one
	if o.collect {
		token := o.token
		if token == "" {
			token = os.Getenv(envToken)
		}
		if token == "" {
			token, made = rand.Text(), true
		}
		cfg.Tokens = []string{token}
	} else {
		if measured, err = newLab(o.seed, stderr); err != nil {
			return err
		}
		cfg.Note, cfg.Verdicts = o.note(), measured.verdicts
	}
	d, err := dashboard.New(cfg)
	if wrong, ok := errors.AsType[*dashboard.ConfigError](err); ok {
		return cli.Usage(fmt.Errorf("%s: %s", flagOf[wrong.Field], wrong.Reason))
	}
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.addr)
	if err != nil {
		_ = d.Close(ctx)
		return fmt.Errorf("%w; choose another address with -addr HOST:PORT", err)
	}
	at, anywhere := address(listener.Addr())
	fmt.Fprintf(stdout, "the page: http://%s/\n", at)
	if o.collect {
		fmt.Fprintf(stdout, "reports to: http://%s/report\n", at)
	}
	if anywhere && o.hosts == "" {
		fmt.Fprintln(stdout, "it goes by loopback's names alone; name others with -host")
	}
	if made {
		fmt.Fprintf(stdout, "token: %s\n", cfg.Tokens[0])
	}
	return serve(ctx, d, listener, o, measured)
}

// address is how a listener is reached from here, and whether it is at all addresses.
func address(a net.Addr) (text string, anywhere bool) {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return a.String(), false
	}
	return fmt.Sprintf("localhost:%d", ap.Port()), true
}

// flagOf names the flag behind a field that the dashboard refuses.
var flagOf = map[string]string{"Interval": "-interval", "Tokens": "-token or $" + envToken, "Hosts": "-host or -addr", "MaxDetectors": "-detectors"}

// serve serves until ctx ends, and has the fleet report meanwhile, of what the lab measures.
func serve(ctx context.Context, d *dashboard.Dashboard, listener net.Listener, o options, lab *lab) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	web := &http.Server{Handler: d, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	var fleet sync.WaitGroup
	if lab != nil {
		fleet.Go(func() { lab.run(ctx, o.worlds) })
		fleet.Go(func() { newFleet(o, lab, d).run(ctx) })
	}
	var err error
	select {
	case err = <-served:
		cancel()
	case <-ctx.Done():
	}
	fleet.Wait()
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer stop()
	if closed := d.Close(last); err == nil && closed != nil {
		err = fmt.Errorf("some pages did not end in time: %w", closed)
	}
	_ = web.Close()
	return err
}
