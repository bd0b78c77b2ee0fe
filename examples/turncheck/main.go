// Turncheck tells whether a TURN server works, how fast, and over which transports.
//
//	turncheck [-user NAME] [-pass PASSWORD] [-json] HOST[:PORT]|URI...
//
// A host is tried over every transport, by IPv4 and by IPv6 as far as it has addresses; a
// URI as RFC 7065 has it (turn:HOST?transport=tcp, turns:HOST) over what it names. Each
// way gets an address on the server and sends datagrams from there to itself, through the
// server and back: what is shown is the time until there was the address, the median and
// the 95th percentile of those round trips, how many were lost, and what the server can
// do. A way that fails is told with the reason and what to do about it. The ways are tried
// one after the other, so as not to disturb each other or to reach the user's quota.
//
// With -json, standard output is one JSON array with an object for each way: target,
// transport, family, server, ok, allocate_ms, rtt_ms (p50, p95), sent, received, loss (0
// to 1), relayed, mapped, lifetime_s, features, and error and code where it failed.
//
// Exit code 0 means that at least one way works, 1 that none does or that a name has no
// address, 2 that the arguments are wrong; one line on standard error says why, unless the
// table does.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/dtlstransport"
)

func main() { cli.Main("turncheck", run) }

// errNone: the server was tried, and no way to it works. The table says why.
var errNone = errors.New("no way works; each says why")

type options struct {
	targets  []target
	cfg      turnclient.Config // what all ways have in common
	name     string            // that certificates must be for; "": the target's
	peer     netip.AddrPort    // that echoes; the zero AddrPort: the relayed address itself
	probes   int
	interval time.Duration
	size     int
	timeout  time.Duration
	json     bool
	wait     func(what string) (stop func()) // tells what is being tried; nil: nobody
	// transports are the names of those to check.
	transports []string
	lookup     func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const usage = `usage: turncheck [-user NAME] [-pass PASSWORD] [-json] HOST[:PORT]|URI...

examples:
  turncheck -user alice -pass secret turn.example.org
      every transport, on the usual ports
  turncheck -user alice -pass secret "turns:turn.example.org:443?transport=tcp"
      TLS on port 443 alone
  TURN_PASSWORD=secret turncheck -user alice -json turn.example.org
      for programs, with the password out of the list of processes
  turncheck -user alice -pass secret -name turn.example.org -ca ca.pem 192.0.2.1
      a server by its address, with the name and the issuer of its certificate
  turncheck -user alice -pass secret -n 500 -size 1200 turn:192.0.2.1
      500 round trips of 1,200 bytes

exit codes: 0 at least one way works, 1 none does, 2 the arguments are wrong
`

func parse(args []string, help io.Writer) (options, error) {
	o := options{lookup: net.DefaultResolver.LookupNetIP}
	flags := flag.NewFlagSet("turncheck", flag.ContinueOnError)
	var creds turnclient.Credentials
	flags.StringVar(&creds.Username, "user", "", "user `name`")
	flags.StringVar(&creds.Password, "pass", "", "`password`; without it that in the environment variable TURN_PASSWORD")
	flags.StringVar(&o.name, "name", "", "`host` that the certificate must be for (default the one named)")
	ca := flags.String("ca", "", "`file` with the certificates to trust, in PEM (default the system's)")
	peer := flags.String("peer", "", "`address`, IP:PORT, of a UDP echo server to send to instead, for TURN servers that do not relay to themselves")
	flags.IntVar(&o.probes, "n", 50, "`number` of round trips on each way")
	flags.DurationVar(&o.interval, "interval", 20*time.Millisecond, "`time` between them")
	flags.IntVar(&o.size, "size", 100, "`bytes` of each")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Second, "`time` that a way may take to give an address")
	only := flags.String("transports", "udp,tcp,tls,dtls", "`names` of the transports to check, separated by commas")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	if err := cli.Parse(flags, args, help, usage, true); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() == 0:
		return o, errors.New("no server named; give a host or a URI")
	case o.probes < 1 || o.probes > maxProbes:
		return o, fmt.Errorf("-n %d: want 1 to %d", o.probes, maxProbes)
	case o.interval < time.Millisecond:
		return o, fmt.Errorf("-interval %v: want at least 1ms", o.interval)
	case o.size < probeHeader || o.size > 1400:
		return o, fmt.Errorf("-size %d: want %d to 1400", o.size, probeHeader)
	case o.timeout <= 0:
		return o, fmt.Errorf("-timeout %v: want a positive time", o.timeout)
	}
	o.transports = strings.Split(*only, ",")
	for _, name := range o.transports {
		if !slices.ContainsFunc(transports, func(t transport) bool { return t.name == name }) {
			return o, fmt.Errorf("-transports %q: %q is none; want some of udp,tcp,tls,dtls", *only, name)
		}
	}
	o.cfg.DTLS = dtlstransport.Client
	if creds.Password == "" && creds.Username != "" {
		creds.Password = os.Getenv("TURN_PASSWORD")
	}
	o.cfg.Credentials = creds
	o.cfg.TLS = &tls.Config{}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return o, fmt.Errorf("-ca: %w", err)
		}
		o.cfg.TLS.RootCAs = x509.NewCertPool()
		if !o.cfg.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return o, fmt.Errorf("-ca %s: no certificate in PEM is in there", *ca)
		}
	}
	if *peer != "" {
		var err error
		if o.peer, err = netip.ParseAddrPort(*peer); err != nil {
			return o, fmt.Errorf("-peer %q: want IP:PORT", *peer)
		}
	}
	for _, arg := range flags.Args() {
		t, err := parseTarget(arg)
		if err != nil {
			return o, err
		}
		o.targets = append(o.targets, t)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	o.wait = func(what string) (stop func()) { return cli.Wait(stderr, what) }
	return o.run(ctx, stdout)
}

// run tries every way to every target.
func (o *options) run(ctx context.Context, stdout io.Writer) error {
	var ways []way
	for _, t := range o.targets {
		found, err := o.ways(ctx, t)
		if err != nil {
			return err
		}
		ways = append(ways, found...)
	}
	results := []result{}
	works := false
	if !o.json {
		fmt.Fprint(stdout, head)
	}
	for _, w := range ways {
		waited := func() {}
		if o.wait != nil {
			waited = o.wait("trying " + w.transport + " to " + w.target.host)
		}
		r := o.check(ctx, w)
		waited()
		works = works || r.OK
		results = append(results, r)
		if !o.json {
			_, _ = fmt.Fprintln(stdout, r.row()) // who closed our output does not want it
		}
	}
	if o.json {
		text, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(stdout, string(text))
	}
	if !works {
		return errNone
	}
	return nil
}
