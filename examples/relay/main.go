// Relay shows two programs that talk through a TURN server.
//
//	relay
//
// runs both, and a server, in a simulated internet: alice behind a NAT that no hole can be
// punched through, bob behind one that lets no UDP out. In the midst of it the server is
// killed and started anew, and the two go on.
//
//	relay -turn turn:HOST -turn-user NAME -turn-pass PASSWORD [-peer IP:PORT]
//
// is one of the two over real sockets. It prints its address on the server, which the
// other side must be told, by its -peer or a line "/peer IP:PORT" on its standard input,
// and the other way round: neither is let through to one who has not asked for it. Any
// other line goes to the other side, and what comes from there is printed, until standard
// input ends. What goes through the server is not encrypted.
//
// With -json, standard output is one JSON object a line: at_ms since the start, who (world,
// alice, bob, net; relay, peer) and text.
//
// Exit code 0 means that all went well, 1 that it did not, 2 that the flags are wrong; one
// line on standard error says what.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/talk"
	"github.com/bradawl/bradawl/turnclient"
)

func main() {
	cli.Main("relay", func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return run(ctx, args, os.Stdin, stdout, stderr)
	})
}

type options struct {
	turn    []string
	creds   turnclient.Credentials
	peer    netip.AddrPort
	timeout time.Duration
	seed    uint64
	verbose bool
	json    bool
}

const usage = `usage: relay [-turn turn:HOST -turn-user NAME -turn-pass PASSWORD [-peer IP:PORT]] [-json] [-v]

examples:
  relay
      both sides and a server that is restarted, in a simulated internet
  relay -turn turn:turn.example.org -turn-user alice -turn-pass secret
      one side; it prints the address to tell the other one
  relay -turn turn:turn.example.org -turn-user bob -turn-pass secret -peer 203.0.113.5:50000
      the other side

exit codes: 0 all went well, 1 it did not, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	turn := flags.String("turn", "", "TURN `URIs`, turn:host:port[?transport=tcp], separated by commas; without it the demo")
	flags.StringVar(&o.creds.Username, "turn-user", "", "TURN user `name`")
	flags.StringVar(&o.creds.Password, "turn-pass", "", "TURN `password`")
	peer := flags.String("peer", "", "`address` of the other side on its TURN server, IP:PORT, which it prints")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "`time` that the server may take to give an address")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` that the luck of the demo's internet comes from")
	flags.BoolVar(&o.verbose, "v", false, "show every packet of the demo")
	flags.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	switch {
	case o.timeout <= 0:
		return o, fmt.Errorf("-timeout %v: want a positive time", o.timeout)
	case *turn == "" && (*peer != "" || o.creds.Username != "" || o.creds.Password != ""):
		return o, errors.New("-turn is missing; give the URI of a TURN server, or no flag for the demo")
	}
	if *turn != "" {
		o.turn = strings.Split(*turn, ",")
	}
	if *peer != "" {
		var err error
		if o.peer, err = netip.ParseAddrPort(*peer); err != nil {
			return o, fmt.Errorf("-peer %q: want IP:PORT, as the other side prints it", *peer)
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	p := talk.NewPrinter(stdout, o.json)
	if o.turn == nil {
		return demo(ctx, o, p)
	}
	err = converse(ctx, o, stdin, p)
	if wrong := (*turnclient.ConfigError)(nil); errors.As(err, &wrong) { // what a flag has put into it
		return cli.Usage(err)
	}
	return err
}

// converse is one side, with somebody at the keyboard.
func converse(ctx context.Context, o options, stdin io.Reader, p *talk.Printer) (err error) {
	note := func(format string, args ...any) { p.Line("relay", format, args...) }
	s, err := open(ctx, o.timeout, turnclient.Config{Servers: o.turn, Credentials: o.creds}, note, func(a netip.AddrPort) {
		note("our address is %v: give it to the other side", a)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	meet := func(peer netip.AddrPort) {
		if err := s.meet(ctx, peer); err != nil {
			note("%v", err)
			return
		}
		note("lines that you type go to %v", peer)
	}
	if o.peer.IsValid() {
		meet(o.peer)
	} else {
		note("type /peer and the other side's address")
	}
	lines := make(chan string)
	go func() { // it ends with standard input, or with the program
		defer close(lines)
		for in := bufio.NewScanner(stdin); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case text := <-s.heard:
			p.Line("peer", "%s", text)
		case text, ok := <-lines:
			address, command := strings.CutPrefix(text, "/peer ")
			switch {
			case !ok:
				return nil
			case command:
				if peer, err := netip.ParseAddrPort(strings.TrimSpace(address)); err != nil {
					note("%q is no address; type /peer IP:PORT", address)
				} else {
					meet(peer)
				}
			default:
				if err := s.send(text); err != nil {
					note("%v", err)
				}
			}
		}
	}
}
