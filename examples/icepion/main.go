// Icepion has an agent of package ice and one of github.com/pion/ice/v2 find each other.
// Both are in this process and on the loopback interface; what they tell each other goes by
// function calls, where a real program has its signalling.
//
//	icepion                      ours makes the offer and chooses the path
//	icepion -controlling pion    pion's does
//	icepion -trickle=false       each is told all of the other's candidates at once
//	icepion -tcp                 over TCP (RFC 6544): each side listens and dials
//	icepion -json                for programs
//
// It prints the candidates of both as they are found, how long it took until each could
// send, the pair that each has chosen, and what became of every pair of ours; then messages
// go to and fro.
//
// With -json, standard output is one JSON object a line, as it happens: event (found, connected,
// selected, pair or message); side (ours or pion), local and remote (candidates); ms (of
// connected, since the credentials were exchanged); number (of a message that came back, from
// 1); and of a pair of ours state, usable, nominated, checks, answered, requests (checks of the
// peer), rtt_us and why (it failed).
//
// Exit code 0 means that all went well, 1 that it did not, 2 that the flags are wrong; one
// line on standard error says what.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

func main() { cli.Main("icepion", run) }

type options struct {
	weControl bool
	trickle   bool
	tcp       bool
	json      bool
	messages  int
	timeout   time.Duration
}

const usage = `usage: icepion [-controlling ours|pion] [-trickle=false] [-tcp] [-messages N] [-timeout TIME] [-json]

examples:
  icepion                      ours makes the offer and chooses the path
  icepion -controlling pion    pion's does
  icepion -trickle=false       each is told all of the other's candidates at once
  icepion -tcp                 over TCP
  icepion -json                for programs

exit codes: 0 all went well, 1 it did not, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("icepion", flag.ContinueOnError)
	controlling := flags.String("controlling", "ours", "`side` that chooses the path: ours or pion")
	flags.BoolVar(&o.trickle, "trickle", true, "tell candidates as they are found, while checks are under way")
	flags.BoolVar(&o.tcp, "tcp", false, "TCP candidates in place of UDP")
	flags.IntVar(&o.messages, "messages", 3, "`number` of messages that go to pion's side and back")
	flags.DurationVar(&o.timeout, "timeout", 20*time.Second, "`time` for all of it")
	flags.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	switch *controlling {
	case "ours":
		o.weControl = true
	case "pion":
	default:
		return o, fmt.Errorf("-controlling %q: want ours or pion", *controlling)
	}
	switch {
	case o.messages < 0:
		return o, fmt.Errorf("-messages %d: want 0 or more", o.messages)
	case o.timeout <= 0:
		return o, fmt.Errorf("-timeout %v: want a positive time", o.timeout)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done within %v", o.timeout))
	defer cancel()
	m, err := newMeeting(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	out := teller{&cli.Teller{W: stdout, JSON: o.json}}
	ends, err := m.connect(ctx, out)
	m.report(out) // also where it failed: that is when it is wanted
	if err != nil {
		return err
	}
	return ends.talk(ctx, o.messages, out)
}
