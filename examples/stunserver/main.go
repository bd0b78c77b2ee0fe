// Stunserver is a STUN server: it tells clients the address that they are seen
// to come from and, given two addresses, lets them find out what their NAT does.
//
//	stunserver -ip1 A [-ip2 B] [-port1 P] [-port2 Q] [-json]
//
// It prints the addresses that it listens on and runs until it is interrupted. Exit code 0
// means that it was, 1 that it could not listen, 2 that the flags are wrong.
//
// With -json it prints one JSON object a line: event is listening (proto, addr) or, where there
// is no -ip2, one_address.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func main() { cli.Main("stunserver", run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, asJSON, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	server, err := stunserver.Listen(ctx, cfg)
	if wrong := (*stunserver.ConfigError)(nil); errors.As(err, &wrong) {
		return cli.Usage(err)
	}
	if err != nil {
		return fmt.Errorf("%w; -ip1 and -ip2 are to be addresses of this host, -port1 and -port2 free there", err)
	}
	out := &cli.Teller{W: stdout, JSON: asJSON}
	for _, a := range server.Addrs() {
		out.Say(record{Event: "listening", Proto: "udp", Addr: a.String()}, "listening on udp %v", a)
	}
	if !cfg.IP2.IsValid() {
		out.Say(record{Event: "one_address"}, "one address only: clients learn their address, not what their NAT does (see -ip2)")
	}
	<-ctx.Done()
	return server.Close()
}

// record is a line in JSON.
type record struct {
	Event string `json:"event"`
	Proto string `json:"proto,omitempty"`
	Addr  string `json:"addr,omitempty"`
}

const usage = `usage: stunserver -ip1 A [-ip2 B] [-port1 P] [-port2 Q] [-json]

examples:
  stunserver
      on this machine alone, 127.0.0.1:3478
  stunserver -ip1 203.0.113.5 -ip2 203.0.113.6
      on the internet, with all that NAT detection needs
  natcheck -fast -stun 203.0.113.5:3478
      asks it

exit codes: 0 after an interrupt, 1 it could not listen, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (cfg stunserver.Config, asJSON bool, err error) {
	flags := flag.NewFlagSet("stunserver", flag.ContinueOnError)
	ip1 := flags.String("ip1", "127.0.0.1", "`address` to listen on")
	ip2 := flags.String("ip2", "", "second `address` of this host, for NAT behaviour discovery (RFC 5780)")
	port1 := flags.Int("port1", 3478, "first UDP `port`")
	port2 := flags.Int("port2", 3479, "second UDP `port`")
	flags.BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return cfg, false, err
	}
	cfg.Port1, cfg.Port2 = *port1, *port2
	for _, f := range []struct {
		name  string
		value int
	}{{"port1", *port1}, {"port2", *port2}} {
		if f.value < 1 || f.value > 65535 {
			return cfg, false, fmt.Errorf("-%s %d: not a port; give 1 to 65535", f.name, f.value)
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
			return cfg, false, fmt.Errorf("-%s %q: not an IP address; give one of this host", f.name, f.value)
		}
		*f.to = ip
	}
	return cfg, asJSON, nil
}
