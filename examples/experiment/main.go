// Experiment runs an experiment over sessions: whether a smaller budget for NATs whose ports
// have to be guessed gets through as often.
//
//	experiment [-arms A,B] [-nats A,B] [-pairs N] [-window TIME] [-salt WORD] [-seed N] [-parallel N] [-json]
//
// Each pair of peers meets in an internet of its own, simulated in real time, with a STUN
// server, a TURN server and a rendezvous, behind two NATs. By [bradawl.Config].TreatPeer and
// a [stats.Assigner] both ends work out, each by itself, which arm the pair is in and who
// counts; the budget of the arm is what their attempt may cost. What the sessions record goes
// to a [stats.Recorder], as it would to a collector, and [stats.Experiment.Judge] says what
// it means.
//
// Arms are default (punch.Budget's defaults), polite (punch.Polite), few (200 probes) and off
// (no attempts); the first one named is the control. A connection has -window to become
// direct. The verdict may be looked at as often as one likes, so it is after each pair, and
// the experiment ends as soon as every arm has one, or after -pairs.
//
// In JSON it is one object: experiment (which makes the arms again), nats, window_ms, seed,
// pairs, groups, each with arm, group, attempts, direct, relayed, failed and median_ms (until
// the first path), and verdict, as [stats.Verdict] has it.
//
// The arms, and what the NATs do by chance, are those of -seed; the sessions' own keys and
// waits are random, so that two runs differ a little.
//
// Exit code 0 means that it ran, whatever its verdict; 1, that a pair could not be tried; 2, a
// flag that is wrong; 130, that it was interrupted, after what there was so far was printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/stats"
)

func main() { cli.Main("experiment", run) }

// What may be asked for.
const (
	mostPairs    = 100_000
	mostParallel = 1000
)

type options struct {
	experiment stats.Experiment
	nats       [2]string
	pairs      int
	window     time.Duration
	seed       uint64
	parallel   int
	json       bool
}

const usage = `usage: experiment [-arms A,B] [-nats A,B] [-pairs N] [-window TIME] [-salt WORD] [-seed N] [-parallel N] [-json]

examples:
  experiment
      does an eighth of the probes do? a verdict in a minute
  experiment -arms default,polite -pairs 1000
      does 600 of 1,600 probes do? that takes more pairs, and may stay undecided
  experiment -arms default,polite,few,off -pairs 2000
      all of them against the default
  experiment -arms off,default -nats symmetric-block,port-restricted-cone -json
      what attempts at ports are good for, at another NAT, for programs

exit codes: 0 it ran, whatever the verdict, 1 a pair could not be tried, 2 the flags are wrong, 130 interrupted
`

func parse(args []string, help io.Writer) (options, error) {
	o := options{parallel: 16 * runtime.GOMAXPROCS(0)} // they wait nearly always
	flags := flag.NewFlagSet("experiment", flag.ContinueOnError)
	arms := flags.String("arms", "default,few", "`budgets` to compare, the control first: "+strings.Join(budgetNames(), ", "))
	nats := flags.String("nats", "symmetric-random,port-restricted-cone", "`presets` of the two NATs: "+strings.Join(simnet.PresetNames(), ", "))
	salt := flags.String("salt", "", "`word` by which the same pairs are drawn anew")
	flags.IntVar(&o.pairs, "pairs", 400, "`number` of pairs at most")
	flags.DurationVar(&o.window, "window", 6*time.Second, "`time` that a connection has to become direct")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` that the pairs and the simulated internets' luck come from")
	flags.IntVar(&o.parallel, "parallel", o.parallel, "`number` of pairs at a time; with too many of them the processors are what is measured")
	flags.BoolVar(&o.json, "json", false, "print one JSON object")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	o.experiment = stats.Experiment{Name: "budget", Salt: *salt, Guards: []stats.Guard{{Name: "failed"}}}
	for name := range strings.SplitSeq(*arms, ",") {
		if _, ok := budgets[name]; !ok {
			return o, fmt.Errorf("-arms: %q is none; want some of %s", name, strings.Join(budgetNames(), ", "))
		}
		o.experiment.Arms = append(o.experiment.Arms, stats.Arm{Name: name})
	}
	if wrong, ok := errors.AsType[*stats.ConfigError](o.experiment.Validate()); ok {
		return o, fmt.Errorf("-arms: %s", wrong.Reason)
	}
	both := strings.Split(*nats, ",")
	if len(both) != 2 {
		return o, fmt.Errorf("-nats %q: want two presets, such as symmetric-random,port-restricted-cone", *nats)
	}
	for _, name := range both {
		if _, err := simnet.PresetByName(name); err != nil {
			return o, fmt.Errorf("-nats: %w", err)
		}
	}
	o.nats = [2]string(both)
	switch {
	case o.pairs < 1 || o.pairs > mostPairs:
		return o, fmt.Errorf("-pairs %d: want 1 to %d", o.pairs, mostPairs)
	case o.parallel < 1 || o.parallel > mostParallel:
		return o, fmt.Errorf("-parallel %d: want 1 to %d", o.parallel, mostParallel)
	case o.window < time.Second || o.window > time.Minute:
		return o, fmt.Errorf("-window %v: want 1s to 1m", o.window)
	}
	return o, nil
}

// budgetNames are the arms that there may be.
func budgetNames() []string {
	names := make([]string, 0, len(budgets))
	for name := range budgets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	t, err := newTrial(o)
	if err != nil {
		return err
	}
	if !o.json {
		fmt.Fprintf(stderr, "%s and %s, at most %d pairs, %d at a time, each with %v to become direct\n",
			o.nats[0], o.nats[1], o.pairs, min(o.parallel, o.pairs), o.window)
	}
	stop := cli.Watch(stderr, t.progress)
	err = t.run(ctx)
	stop()
	if err != nil {
		return err
	}
	text := t.text
	if o.json {
		text = t.asJSON
	}
	if _, err := io.WriteString(stdout, text()); err != nil {
		return fmt.Errorf("the results could not be written: %w", err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w after %d pairs: the verdict is of those", cli.ErrInterrupted, t.done)
	}
	return nil
}
