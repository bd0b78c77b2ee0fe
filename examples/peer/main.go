// Peer meets the other member of a room, connects to it directly, and exchanges
// numbered messages with it.
//
//	peer -rendezvous ws://HOST:PORT/ -room NAME -stun HOST:PORT[,HOST:PORT...]
//
// With -turn, or a rendezvous that hands out TURN servers, it falls back to a relay.
//
// Run two of them, behind whatever NATs, with the same room. Each sends -echo messages
// and must get each back, then stays for -linger. Exit code 0 means that every message
// came back, 1 that not, 2 that the flags are wrong; one line on standard error says what.
//
// With -json, standard output is one JSON object a line: connected (path, proto, local,
// remote, ms since both members were in the room), echo (rtt_us, sent, echoed), failed
// (reason).
//
// With -events it also has what becomes of the connection, for statistics: one JSON object
// for each stage, with an event_id (package stats has the form).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/talk"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/turnclient"
)

func main() { cli.Main("peer", run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	waited := func() {}
	if !o.verbose {
		waited = cli.Wait(stderr, "waiting for the other one in room "+cfg.Room+", and for a path")
	}
	defer func() { waited() }()
	if o.verbose {
		cfg.Note = func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	}
	var mu sync.Mutex // lines come from several goroutines
	line := func(v any) {
		mu.Lock()
		defer mu.Unlock()
		waited()
		switch e, isTalk := v.(talk.Event); {
		case o.json || !isTalk:
			_ = json.NewEncoder(stdout).Encode(v) // who closed our output does not want it
		case e.Text() != "":
			fmt.Fprintln(stdout, e.Text())
		}
	}
	cfg.Report = func(e talk.Event) { line(e) }
	if o.events {
		cfg.Record = func(e stats.Event) { line(e) }
	}
	err = talk.Run(ctx, cfg)
	if wrong := (*bradawl.ConfigError)(nil); errors.As(err, &wrong) { // what a flag has put into it
		return cli.Usage(err)
	}
	return err
}

// options is what is not talk.Config's.
type options struct {
	json, verbose, events bool
}

const usage = `usage: peer -rendezvous ws://HOST:PORT/ -room NAME [-stun HOST:PORT,...]

examples:
  peer -rendezvous ws://127.0.0.1:8080/ -room lab
      twice, with examples/rendezvous or examples/server running
  peer -rendezvous wss://meet.example.org/ -room lab -policy direct -json
      for programs, without a relay
  peer -rendezvous ws://192.0.2.1:8080/ -room lab -stun 192.0.2.1:3478 -v
      with a STUN server of one's own, and all that is going on

exit codes: 0 every message came back, 1 not all did, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (talk.Config, options, error) {
	var (
		c talk.Config
		o options
	)
	flags := flag.NewFlagSet("peer", flag.ContinueOnError)
	flags.StringVar(&c.Rendezvous, "rendezvous", "", "`URL` of the rendezvous, ws:// or wss://")
	flags.StringVar(&c.Room, "room", "", "`name` of the room, the same for both peers")
	stun := flags.String("stun", "", "STUN `servers`, host:port, separated by commas; without it those that the rendezvous hands out")
	turn := flags.String("turn", "", "TURN `URIs`, turn:host:port[?transport=tcp], separated by commas; without it those that the rendezvous hands out")
	flags.StringVar(&c.TURNUser, "turn-user", "", "TURN user `name`")
	flags.StringVar(&c.TURNPass, "turn-pass", "", "TURN `password`")
	flags.StringVar(&c.Proto, "proto", "auto", "`protocol` of the path: udp, tcp, or auto, which is TCP where UDP does not get through")
	ports := flags.String("local-ports", "", "`range` of local ports to use, LOW-HIGH")
	flags.StringVar(&c.Policy, "policy", "auto", "`kind` of path: direct, relay, or auto, which is a relay where no direct path is found")
	flags.IntVar(&c.Echo, "echo", 20, "`number` of messages that must come back")
	flags.DurationVar(&c.Linger, "linger", 3*time.Second, "`time` to stay afterwards, with messages flowing")
	flags.DurationVar(&c.Timeout, "timeout", 40*time.Second, "`time` for everything before that")
	flags.BoolVar(&o.json, "json", false, "print events as JSON, one a line")
	flags.BoolVar(&o.events, "events", false, "print what becomes of the connection as JSON, for statistics, a line for each stage")
	flags.BoolVar(&o.verbose, "v", false, "say on standard error what is going on")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return c, o, err
	}
	switch {
	case c.Rendezvous == "":
		return c, o, errors.New("-rendezvous is missing; give the URL that examples/rendezvous prints")
	case !rendezvous.ValidRoom(c.Room):
		return c, o, fmt.Errorf("-room %q: want 1 to %d characters of A-Z a-z 0-9 . _ -", c.Room, rendezvous.MaxRoom)
	case !slices.Contains([]string{"auto", "udp", "tcp"}, c.Proto):
		return c, o, fmt.Errorf("-proto %q: want auto, udp or tcp", c.Proto)
	case !slices.Contains([]string{"auto", "direct", "relay"}, c.Policy):
		return c, o, fmt.Errorf("-policy %q: want auto, direct or relay", c.Policy)
	case c.Echo < 1:
		return c, o, fmt.Errorf("-echo %d: want at least 1", c.Echo)
	case c.Timeout <= 0:
		return c, o, fmt.Errorf("-timeout %v: want a positive time", c.Timeout)
	case c.Linger < 0:
		return c, o, fmt.Errorf("-linger %v: want 0 or a positive time", c.Linger)
	}
	if *stun != "" {
		c.STUN = strings.Split(*stun, ",")
	}
	var err error
	if c.Ports, err = netio.ParsePortRange(*ports); err != nil {
		return c, o, fmt.Errorf("-local-ports: %w", err)
	}
	if *turn != "" {
		c.TURN = strings.Split(*turn, ",")
		for _, uri := range c.TURN {
			if _, err := turnclient.ParseURI(uri); err != nil {
				return c, o, fmt.Errorf("-turn: %w", err)
			}
		}
	}
	return c, o, nil
}
