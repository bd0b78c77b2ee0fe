// Stunserver is a STUN server: it tells clients the address that they are seen
// to come from and, given two addresses, lets them find out what their NAT does.
//
//	stunserver -ip1 A [-ip2 B] [-port1 P] [-port2 Q]
//
// It prints the addresses that it listens on and runs until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stunserver: %w", err)
	}
	server, err := stunserver.Listen(ctx, cfg)
	if err != nil {
		return err
	}
	for _, a := range server.Addrs() {
		fmt.Fprintf(stdout, "listening on udp %v\n", a)
	}
	if !cfg.IP2.IsValid() {
		fmt.Fprintln(stdout, "one address only: clients learn their address, not what their NAT does (see -ip2)")
	}
	<-ctx.Done()
	return server.Close()
}

func parse(args []string, usage io.Writer) (stunserver.Config, error) {
	flags := flag.NewFlagSet("stunserver", flag.ContinueOnError)
	ip1 := flags.String("ip1", "127.0.0.1", "`address` to listen on")
	ip2 := flags.String("ip2", "", "second `address` of this host, for NAT behaviour discovery (RFC 5780)")
	port1 := flags.Int("port1", 3478, "first UDP `port`")
	port2 := flags.Int("port2", 3479, "second UDP `port`")
	flags.SetOutput(io.Discard) // errors are told once, by main
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(usage)
			flags.Usage()
		}
		return stunserver.Config{}, err
	}
	if flags.NArg() > 0 {
		return stunserver.Config{}, fmt.Errorf("%q is not a flag; see -help", flags.Arg(0))
	}
	cfg := stunserver.Config{Port1: *port1, Port2: *port2}
	for _, f := range []struct {
		name  string
		value int
	}{{"port1", *port1}, {"port2", *port2}} {
		if f.value < 1 || f.value > 65535 {
			return cfg, fmt.Errorf("-%s %d: not a port; give 1 to 65535", f.name, f.value)
		}
	}
	for _, f := range []struct {
		name, value string
		to          *netip.Addr
	}{{"ip1", *ip1, &cfg.IP1}, {"ip2", *ip2, &cfg.IP2}} {
		if f.value == "" && f.name == "ip2" {
			continue
		}
		ip, err := netip.ParseAddr(f.value)
		if err != nil {
			return cfg, fmt.Errorf("-%s %q: not an IP address; give one of this host", f.name, f.value)
		}
		*f.to = ip
	}
	return cfg, nil
}
