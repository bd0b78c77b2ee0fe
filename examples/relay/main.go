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
// Exit code 0 means that all went well; 1 means anything else, and one line on standard
// error says what.
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
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/bradawl/bradawl/examples/internal/talk"
	"github.com/bradawl/bradawl/turnclient"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", strings.TrimPrefix(err.Error(), "turnclient: "))
		os.Exit(1)
	}
}

type options struct {
	turn    []string
	creds   turnclient.Credentials
	peer    netip.AddrPort
	timeout time.Duration
	seed    uint64
	verbose bool
}

func parse(args []string, usage io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are told once, by main
	turn := flags.String("turn", "", "TURN `URIs`, turn:host:port[?transport=tcp], separated by commas; without it the demo")
	flags.StringVar(&o.creds.Username, "turn-user", "", "TURN user `name`")
	flags.StringVar(&o.creds.Password, "turn-pass", "", "TURN `password`")
	peer := flags.String("peer", "", "`address` of the other side on its TURN server, IP:PORT, which it prints")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "`time` that the server may take to give an address")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` that the luck of the demo's internet comes from")
	flags.BoolVar(&o.verbose, "v", false, "show every packet of the demo")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(usage, "usage: relay [-turn turn:HOST -turn-user NAME -turn-pass PASSWORD [-peer IP:PORT]]")
			flags.SetOutput(usage)
			flags.PrintDefaults()
		}
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is not a flag; see -help", flags.Arg(0))
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
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	p := talk.NewPrinter(stdout)
	if o.turn == nil {
		return demo(ctx, o, p)
	}
	return converse(ctx, o, stdin, p)
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
