// Portmap asks this host's router for a port that anybody can reach, and tells what the
// router said, protocol by protocol, in its own words.
//
//	portmap [-tcp] [-addr IP] [-port N] [-external N] [-hold TIME] [-only pcp|nat-pmp|upnp] [-json]
//
// Without -port it opens a UDP socket of its own and, with -hold, shows what arrives
// there. With -addr and an IPv6 address of this host, where nothing is translated, the
// router's firewall is asked for a pinhole. At the end the mapping is deleted. A host without such a router is told so
// within some seconds.
//
// With -json, standard output is one JSON object a line: mapped (protocol, external,
// internal, method, gateway, lifetime_s, which is missing for a mapping that lasts, public,
// ms, words), lost (error), received (bytes, from) or failed (error, ms, words); words is
// what the router said.
//
// Exit code 0 means that there was a mapping, 1 that there was none or the system failed,
// 2 that the flags are wrong; one line on standard error says why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch/portmap"
)

func main() {
	cli.Main("portmap", func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return run(ctx, args, portmap.Config{}, stdout, stderr)
	})
}

var errNone = errors.New("no mapping; see whether the router has UPnP, NAT-PMP or PCP, and whether it is switched on there")

type options struct {
	protocol portmap.Protocol
	addr     netip.Addr
	port     uint
	external uint
	hold     time.Duration
	json     bool
}

const usage = `usage: portmap [-tcp] [-addr IP] [-port N] [-external N] [-hold TIME] [-only pcp|nat-pmp|upnp] [-json]

examples:
  portmap
      does this router map ports, and by which protocol
  portmap -hold 10m
      keeps the mapping, and shows what arrives
  portmap -tcp -port 8080 -external 80 -hold 1h
      for a server on port 8080 of this machine
  portmap -addr 2001:db8::5 -tcp -port 8080 -hold 1h
      a hole in the firewall, where there is no NAT

exit codes: 0 there was a mapping, 1 there was none, 2 the flags are wrong
`

func parse(args []string, cfg *portmap.Config, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("portmap", flag.ContinueOnError)
	tcp := flags.Bool("tcp", false, "map TCP instead of UDP")
	flags.TextVar(&o.addr, "addr", netip.IPv4Unspecified(), "local `address` to map")
	flags.UintVar(&o.port, "port", 0, "local `port` to map (default that of a new UDP socket)")
	flags.UintVar(&o.external, "external", 0, "outside `port` to ask for (default the local one)")
	flags.DurationVar(&o.hold, "hold", 0, "`time` to keep the mapping")
	only := flags.String("only", "", "ask by one `protocol` alone: pcp, nat-pmp or upnp")
	flags.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	o.protocol = portmap.UDP
	if *tcp {
		o.protocol = portmap.TCP
	}
	switch {
	case o.port > 65535:
		return o, fmt.Errorf("-port %d: want 65535 at most", o.port)
	case o.external > 65535:
		return o, fmt.Errorf("-external %d: want 65535 at most", o.external)
	case o.hold < 0:
		return o, fmt.Errorf("-hold %v: want 0 or a positive time", o.hold)
	case *tcp && o.port == 0:
		return o, errors.New("-tcp needs -port, the port that your program listens at")
	}
	switch *only {
	case "":
	case "pcp":
		cfg.NoNATPMP, cfg.NoUPnP = true, true
	case "nat-pmp":
		cfg.NoPCP, cfg.NoUPnP = true, true
	case "upnp":
		cfg.NoPCP, cfg.NoNATPMP = true, true
	default:
		return o, fmt.Errorf("-only %s: want pcp, nat-pmp or upnp", *only)
	}
	return o, nil
}

// run maps a port for a while and tells about it.
func run(ctx context.Context, args []string, cfg portmap.Config, stdout, stderr io.Writer) error {
	o, err := parse(args, &cfg, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	out := &teller{w: stdout, json: o.json, protocol: o.protocol}
	if o.port == 0 {
		pc, err := net.ListenPacket("udp", netip.AddrPortFrom(o.addr, 0).String())
		if err != nil {
			return err
		}
		o.port = uint(pc.LocalAddr().(*net.UDPAddr).Port)
		done := make(chan struct{})
		go func() {
			defer close(done)
			out.show(pc)
		}()
		defer func() {
			_ = pc.Close()
			<-done
		}()
	}
	client, err := portmap.New(cfg)
	if err != nil {
		return usageOf(err)
	}
	defer client.Close()

	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	start := time.Now()
	internal := netip.AddrPortFrom(o.addr, uint16(o.port))
	waited := cli.Wait(stderr, "asking the router")
	mapping, err := client.Map(limit, o.protocol, internal, uint16(o.external))
	waited()
	took := time.Since(start).Round(time.Millisecond)
	if bad := (*portmap.ConfigError)(nil); errors.As(err, &bad) {
		return usageOf(err)
	}
	if err != nil {
		out.failed(err, client.Words(), o.port, took)
		return errNone
	}
	out.mapped(mapping.Info(), client.Words(), took)
	timer := time.NewTimer(o.hold)
	defer timer.Stop()
	for {
		select {
		case i := <-mapping.Changes():
			if i.External.IsValid() {
				out.mapped(i, nil, 0)
			} else {
				out.lost(mapping.Err())
			}
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return nil
		}
	}
}

// usageOf marks what a flag has put into a configuration.
func usageOf(err error) error {
	if bad := (*portmap.ConfigError)(nil); errors.As(err, &bad) {
		if name := flagOf[bad.Field]; name != "" {
			err = fmt.Errorf("%s: %s", name, bad.Reason)
		}
		return cli.Usage(err)
	}
	return err
}

// flagOf names the flag behind what portmap refuses.
var flagOf = map[string]string{"internal": "-addr and -port"}
