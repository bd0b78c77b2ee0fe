// Portmap asks this host's router for a port that anybody can reach, and tells what the
// router said, protocol by protocol, in its own words.
//
//	portmap [-tcp] [-addr IP] [-port N] [-external N] [-hold TIME] [-only pcp|nat-pmp|upnp]
//
// Without -port it opens a UDP socket of its own and, with -hold, shows what arrives
// there. With -addr and an IPv6 address of this host, where nothing is translated, the
// router's firewall is asked for a pinhole. At the end the mapping is deleted. A host without such a router is told so
// within some seconds.
//
// Exit code 0 means that there was a mapping, 1 that there was none, 2 that the
// arguments cannot be used or the system failed; for 2, one line on standard error says
// why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/bradawl/bradawl/punch/portmap"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], portmap.Config{}, os.Stdout)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errNone):
		os.Exit(1) // what was printed says why
	default:
		fmt.Fprintln(os.Stderr, "portmap:", strings.TrimPrefix(err.Error(), "portmap: "))
		os.Exit(2)
	}
}

var errNone = errors.New("no mapping")

type options struct {
	protocol portmap.Protocol
	addr     netip.Addr
	port     uint
	external uint
	hold     time.Duration
}

func parse(args []string, cfg *portmap.Config, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("portmap", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are told once, by main
	tcp := flags.Bool("tcp", false, "map TCP instead of UDP")
	flags.TextVar(&o.addr, "addr", netip.IPv4Unspecified(), "local `address` to map (default any of IPv4)")
	flags.UintVar(&o.port, "port", 0, "local `port` to map (default that of a new UDP socket)")
	flags.UintVar(&o.external, "external", 0, "outside `port` to ask for (default the local one)")
	flags.DurationVar(&o.hold, "hold", 0, "`time` to keep the mapping")
	only := flags.String("only", "", "ask by one `protocol` alone: pcp, nat-pmp or upnp")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(help)
			flags.PrintDefaults()
		}
		return o, err
	}
	o.protocol = portmap.UDP
	if *tcp {
		o.protocol = portmap.TCP
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q: there are no arguments but flags; see -help", flags.Arg(0))
	case o.port > 65535 || o.external > 65535:
		return o, errors.New("a port is at most 65535")
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
func run(ctx context.Context, args []string, cfg portmap.Config, out io.Writer) error {
	o, err := parse(args, &cfg, out)
	if err != nil {
		return err
	}
	if o.port == 0 {
		pc, err := net.ListenPacket("udp", netip.AddrPortFrom(o.addr, 0).String())
		if err != nil {
			return err
		}
		o.port = uint(pc.LocalAddr().(*net.UDPAddr).Port)
		done := make(chan struct{})
		go func() {
			defer close(done)
			show(pc, out)
		}()
		defer func() {
			_ = pc.Close()
			<-done
		}()
	}
	client, err := portmap.New(cfg)
	if err != nil {
		return err
	}
	defer client.Close()

	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	start := time.Now()
	internal := netip.AddrPortFrom(o.addr, uint16(o.port))
	mapping, err := client.Map(limit, o.protocol, internal, uint16(o.external))
	took := time.Since(start).Round(time.Millisecond)
	if bad := (*portmap.ConfigError)(nil); errors.As(err, &bad) {
		return err
	}
	for _, w := range client.Words() {
		fmt.Fprintln(out, w)
	}
	if err != nil {
		if errors.Is(err, portmap.ErrNoGateway) {
			fmt.Fprintln(out, portmap.ErrNoGateway)
		}
		fmt.Fprintf(out, "no mapping of %v port %d, known after %v\n", o.protocol, o.port, took)
		return errNone
	}
	tell(out, o.protocol, mapping.Info())
	fmt.Fprintf(out, "after %v\n", took)
	timer := time.NewTimer(o.hold)
	defer timer.Stop()
	for {
		select {
		case i := <-mapping.Changes():
			if i.External.IsValid() {
				tell(out, o.protocol, i)
			} else {
				fmt.Fprintln(out, "lost:", mapping.Err())
			}
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return nil
		}
	}
}

func tell(out io.Writer, p portmap.Protocol, i portmap.Info) {
	public := ""
	if !i.Public {
		public = ", which is not public: there is another NAT beyond this router"
	}
	life := "until it is deleted"
	if i.Lifetime > 0 {
		life = fmt.Sprint("for ", i.Lifetime)
	}
	fmt.Fprintf(out, "mapped: %v %v to %v by %v of %v, %s%s\n", p, i.External, i.Internal, i.Method, i.Gateway, life, public)
}

// show tells what arrives, until the socket is closed.
func show(pc net.PacketConn, out io.Writer) {
	buf := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		fmt.Fprintf(out, "received %d bytes from %v\n", n, from)
	}
}
