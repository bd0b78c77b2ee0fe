// Twopeer shows the main job in one command, with nothing but Go: two programs behind
// two NATs find each other through a rendezvous and then talk directly.
//
//	go run ./examples/twopeer [-nat-a PRESET] [-nat-b PRESET] [-proto udp|tcp|auto] [-json] [-v]
//
// The internet between them is simulated, in real time: a STUN server, a rendezvous
// (WebSocket over HTTP over TCP) and the two NATs. Everything else is what runs
// outside, too.
//
// It ends with the table of what became of the two ends' attempts, as a program that counts
// its connections has it.
//
// With -json, standard output is one JSON object a line: at_ms since the start, who (world,
// alice, bob, stats, net), and either text or what examples/peer prints with -json.
//
// Exit code 0 means that they talked directly, 1 that they did not, 2 that the flags are
// wrong; one line on standard error says what.
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
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/examples/internal/talk"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/stats"
)

func main() { cli.Main("twopeer", run) }

// access is the delay between each peer and the internet, one way.
const access = 20 * time.Millisecond

type options struct {
	nats    [2]string
	proto   string
	seed    uint64
	timeout time.Duration
	verbose bool
	json    bool
}

const usage = `usage: twopeer [-nat-a PRESET] [-nat-b PRESET] [-proto udp|tcp|auto] [-json] [-v]

examples:
  twopeer
      two cone NATs
  twopeer -nat-a symmetric-random -nat-b port-restricted-cone
      a pair that ICE alone does not get through
  twopeer -proto tcp -v
      by TCP, with every packet

exit codes: 0 they talked directly, 1 they did not, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("twopeer", flag.ContinueOnError)
	simworld.NATFlags(flags, &o.nats)
	flags.StringVar(&o.proto, "proto", "auto", "`protocol` of the path: udp, tcp, or auto, which is TCP where UDP does not get through")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` that the simulated internet's luck comes from")
	flags.DurationVar(&o.timeout, "timeout", 12*time.Second, "`time` to try")
	flags.BoolVar(&o.verbose, "v", false, "show every packet and every change of the NATs' tables")
	flags.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	if o.proto != "udp" && o.proto != "tcp" && o.proto != "auto" {
		return o, fmt.Errorf("-proto %q: want udp, tcp or auto", o.proto)
	}
	if o.timeout <= 0 {
		return o, fmt.Errorf("-timeout %v: want a positive time", o.timeout)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	p := talk.NewPrinter(stdout, o.json)
	w := simnet.New(o.seed)
	defer w.Go()()
	if o.verbose {
		w.OnTrace(func(e simnet.TraceEvent) { p.Line("net", "%v", e) })
	}

	ips := [2]netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, 240}), netip.AddrFrom4([4]byte{203, 0, 113, 241})}
	server := w.AddHost("server", w.Internet(), simnet.Link{}, ips[0], ips[1]) // a NAT is told by how it treats two addresses
	stun, err := stunserver.Listen(ctx, stunserver.Config{
		IP1: ips[0], IP2: ips[1], ListenPacket: server.ListenPacket,
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return server.Listen(ctx, network, address, true)
		},
	})
	if err != nil {
		return err
	}
	defer stun.Close()
	url, stop, err := serve(ctx, server)
	if err != nil {
		return err
	}
	defer stop()
	p.Line("world", "STUN server at %v, rendezvous at %s, %v from each peer", stun.Addrs()[0], url, access)

	recorder, err := stats.NewRecorder(stats.Config{})
	if err != nil {
		return err
	}
	var (
		wg   sync.WaitGroup
		errs [2]error
	)
	for i, name := range simworld.Peers {
		site, err := w.AddSite(name, o.nats[i], simnet.Link{Delay: access})
		if err != nil {
			return err
		}
		p.Line("world", "%s is %v behind a %s NAT", name, site.Addr(), o.nats[i])
		wg.Go(func() { errs[i] = talk.Run(ctx, peer(p, name, site, url, stun.Addrs()[0], recorder, o)) })
	}
	wg.Wait()
	for i, name := range simworld.Peers {
		if errs[i] != nil {
			p.Line(name, "failed: %v", errs[i])
		}
	}
	for line := range strings.Lines(recorder.Snapshot().Table().Text()) {
		p.Line("stats", "%s", strings.TrimSpace(line))
	}
	if err := errors.Join(errs[:]...); err != nil {
		if ctx.Err() != nil { // it had no time to be found
			return context.Cause(ctx)
		}
		return fmt.Errorf("no direct path between %s and %s", o.nats[0], o.nats[1])
	}
	p.Line("world", "done: a direct path, and every message came back")
	return nil
}

// serve runs a rendezvous on a host, and returns its URL.
func serve(ctx context.Context, h *simnet.Host) (url string, stop func(), err error) {
	l, err := h.Listen(ctx, "tcp", ":80", false)
	if err != nil {
		return "", nil, err
	}
	handler, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		l.Close()
		return "", nil, err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // ends by Close
	}()
	return fmt.Sprintf("ws://%v/", h.Addr()), func() {
		handler.Close()
		srv.Close()
		<-done
	}, nil
}

// peer is the program that runs on a site.
func peer(p *talk.Printer, name string, site *simnet.Site, url string, stun netip.AddrPort, recorder *stats.Recorder, o options) talk.Config {
	return talk.Config{
		Rendezvous: url, Room: "demo", Proto: o.proto, STUN: []string{stun.String()},
		Echo: 5, Linger: 500 * time.Millisecond, Timeout: o.timeout,
		Host: talk.Host{
			ListenPacket: site.ListenPacket,
			Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
				return site.Listen(ctx, network, address, true)
			},
			Dial:  site.DialFrom,
			Addrs: func() ([]ice.HostAddr, error) { return []ice.HostAddr{{Addr: site.Addr()}}, nil },
		},
		Record: recorder.Record,
		Note:   func(format string, args ...any) { p.Line(name, format, args...) },
		Report: func(e talk.Event) { p.Event(name, e) },
	}
}
