// Matrix shows between which NATs two sessions get a direct path, how soon, and what it
// costs: the table of every kind of NAT against every other.
//
//	matrix [-nats A,B,C] [-runs N] [-loss P] [-format text|markdown|svg|json] [-o FILE] [-seed N] [-parallel N] [-v]
//
// Each cell is measured, nothing is written down in advance. For each pair there is an
// internet of its own, simulated in real time: a STUN server with two addresses, a
// rendezvous, a TURN server and two NATs, and behind each of these a [bradawl.Session],
// which is the one that runs outside, too. Once both know what their NAT does, one dials
// the other. It has -timeout to become direct, less where it says itself that this is
// impossible; until then data goes by the relay. Many such worlds run at once, for most of
// the time they wait.
//
// In JSON it is one object: command, which makes it again, timeout_ms, loss, and pairs, each
// with nats, runs (of those that could be tried), usable and direct (how many of them), the
// medians usable_ms and direct_ms, ways and packets (of either side), and why not.
//
// The sessions' keys and waits are random, so that times differ a little between runs of
// the same -seed.
//
// Exit code 0 means that all was measured, whatever came of it; 1, that something could not
// be, or not be written; 2, a flag that is wrong; 130, that it was interrupted, after what
// there was so far was printed. One line on standard error says what.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

func main() { cli.Main("matrix", run) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	out, colour := stdout, cli.IsColoured(stdout)
	if o.file != "" {
		// It is opened now, so that nobody waits in vain, and emptied when there is something
		// to put in.
		f, err := os.OpenFile(o.file, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return cli.Usage(fmt.Errorf("-o: %w; name a file that can be written", err))
		}
		defer f.Close()
		out, colour = f, false
	}

	jobs := o.jobs()
	bar := newProgress(stderr, len(jobs), o.parallel, time.Now())
	bar.say(o.announce(len(jobs)))
	done, lag := collect(ctx, o, jobs, bar)
	t := summarise(o, done)
	if err := write(out, t.render(o.format, colour)); err != nil {
		return fmt.Errorf("the table could not be written: %w", err)
	}

	failed := 0
	for _, r := range done {
		if r.err != nil {
			failed++
			err = r.err
		}
	}
	if lag > 10*time.Millisecond {
		fmt.Fprintf(stderr, "the machine was busy: the clock was late by %v on average, and times are longer by a few times that; a smaller -parallel than %d makes them truer\n",
			lag.Round(time.Millisecond), o.parallel)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w after %d of %d connections: the table shows those", cli.ErrInterrupted, len(done), len(jobs))
	case failed > 0:
		return fmt.Errorf("%d of %d connections could not be tried, the last one because: %w", failed, len(jobs), err)
	}
	return nil
}

// write puts text in place of what is in w, as far as that is a file.
func write(w io.Writer, text string) error {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && f != os.Stdout {
			if err := f.Truncate(0); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// collect runs the jobs, and tells of them by bar. It returns what came of those that ended
// before ctx did, and by how much the clock was late on average.
func collect(ctx context.Context, o options, jobs []job, bar *progress) ([]outcome, time.Duration) {
	results := make(chan outcome)
	go func() {
		defer close(results)
		sweep(ctx, o, jobs, results)
	}()
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	var (
		done []outcome
		late meter
	)
	for last := time.Now(); ; {
		select {
		case r, ok := <-results:
			if !ok {
				bar.clear()
				return done, late.mean()
			}
			if r.interrupted {
				continue
			}
			done = append(done, r)
			if o.verbose {
				bar.say(r.line())
			}
			bar.step(time.Now(), r.took)
		case <-tick.C:
			now := time.Now()
			late.add(now.Sub(last) - lagEvery)
			last = now
			bar.tick(now)
		}
	}
}

// lagEvery is how often the clock is looked at.
const lagEvery = 50 * time.Millisecond

// meter is a mean of what is not negative.
type meter struct {
	sum time.Duration
	n   int
}

func (m *meter) add(d time.Duration) { m.sum, m.n = m.sum+max(d, 0), m.n+1 }

func (m *meter) mean() time.Duration { return m.sum / time.Duration(max(m.n, 1)) }

// announce says what is about to be done, and how long that takes.
func (o options) announce(connections int) string {
	about := time.Duration(connections)*typical/time.Duration(o.parallel) + o.timeout // which the last one may need
	return fmt.Sprintf("%s of NATs, %s, %d at a time: this takes about %v", count(len(o.nats)*(len(o.nats)+1)/2, "pair"),
		count(connections, "connection"), min(connections, o.parallel), about.Round(time.Second))
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// line is an outcome for those who watch.
func (r outcome) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s × %s, run %d: ", r.pair[0], r.pair[1], r.run+1)
	switch {
	case r.err != nil:
		fmt.Fprintf(&b, "not tried: %v", r.err)
		return b.String()
	case r.direct > 0:
		fmt.Fprintf(&b, "direct by %s after %s", r.way, seconds(r.direct))
	case r.usable > 0:
		b.WriteString("relayed")
	default:
		b.WriteString("no path")
	}
	if r.usable > 0 {
		fmt.Fprintf(&b, ", usable after %s", seconds(r.usable))
	}
	fmt.Fprintf(&b, ", %d + %d packets", r.packets[0], r.packets[1])
	if r.direct == 0 && r.why != "" {
		fmt.Fprintf(&b, ": %s", r.why)
	}
	return b.String()
}
