package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/stats"
)

// trialOf is what a command line asks for.
func trialOf(t *testing.T, args []string) *trial {
	t.Helper()
	o, err := parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrial(o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// The whole in virtual time: real sessions, the table and the verdict of them.
func TestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, said bytes.Buffer
		if err := run(t.Context(), strings.Fields("-arms default,off -pairs 10"), &out, &said); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`(?m)^default +(\d) +\d +\d+\.0 % .* 0 +[12]\d\dms$`,
			`(?m)^off +(\d) +0 +0\.0 % +0\.0 to \d\d\.\d % +\d +0 +[12]\d\dms$`,
			`sizes of the arms: as chance has it`,
			`budget: not enough data: off has \d sessions of the 100 that are needed`,
		} {
			if !regexp.MustCompile(want).Match(out.Bytes()) {
				t.Errorf("no match of %s\n%s", want, out.String())
			}
		}
		if !strings.HasPrefix(said.String(), "symmetric-random and port-restricted-cone, at most 10 pairs, ") || strings.Contains(said.String(), "\r") {
			t.Error(said.String())
		}
	})
}

// In JSON, it adds up, and the same seed puts the same pairs into the same arms.
func TestJSON(t *testing.T) {
	var runs [2]struct {
		Experiment stats.Experiment
		Pairs      int
		Groups     []group
		Verdict    struct {
			Experiment, Decision string
			Arms                 []json.RawMessage
		}
	}
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			var out, said bytes.Buffer
			if err := run(t.Context(), strings.Fields("-arms off,polite,few -pairs 9 -seed 7 -window 1s -nats full-cone,symmetric-block -json"), &out, &said); err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(&out)
			if err := d.Decode(&runs[i]); err != nil || d.More() || said.Len() > 0 {
				t.Error(err, said.String())
			}
		})
		r, sum := runs[i], uint64(0)
		for j, g := range r.Groups {
			sum += g.Attempts
			if g.Direct+g.Relayed+g.Failed != g.Attempts || g.Direct != g.Attempts || g.MedianMS == 0 || g.Group != "budget-"+g.Arm || g.Attempts != runs[0].Groups[j].Attempts {
				t.Errorf("%+v, of which the first run has %+v", g, runs[0].Groups)
			}
		}
		if sum != 9 || r.Pairs != 9 || r.Experiment.Arms[0].Name != "off" || r.Verdict.Decision != "not_enough_data" || len(r.Verdict.Arms) != 2 {
			t.Errorf("%+v", r)
		}
	}
}

// outcome is what the end that counts would record of a pair.
func outcome(t *testing.T, group string, direct bool) []stats.Event {
	var ids [2]stats.ID
	for i := range ids {
		var err error
		if ids[i], err = stats.NewID(rand.Reader); err != nil {
			t.Error(err)
		}
	}
	e := stats.Event{
		ID: ids[0], Session: ids[1], Time: time.Now(), Group: group, Stage: stats.StageConnect, Status: stats.StatusSuccess,
		Pair: stats.PairRelay, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 1,
	}
	if direct {
		e.Pair = stats.PairSrflx
	}
	return []stats.Event{e}
}

// Whoever is done first, pairs count in their order, so that those that take long are not
// missing: a third of both arms is relayed, whenever one looks.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := trialOf(t, strings.Fields("-pairs 600 -parallel 50"))
		tr.meet = func(_ context.Context, pair int) ([]stats.Event, error) {
			direct := pair%3 != 0
			if !direct {
				<-time.After(time.Minute)
			}
			return outcome(t, tr.o.experiment.Groups()[pair/3%2], direct), nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 195*time.Second)
		defer cancel()
		if err := tr.run(ctx); err != nil {
			t.Fatal(err)
		}
		n := uint64(tr.done)
		if n < 100 || n == 600 {
			t.Fatalf("%d pairs, of which some were to be under way", n)
		}
		var all, relayed uint64
		for _, out := range tr.outcomes() {
			all, relayed = all+out.Attempts, relayed+out.Relayed
		}
		if all != n || relayed != (n+2)/3 {
			t.Errorf("%d of %d relayed, of %d pairs", relayed, all, n)
		}
	})
}

// It ends as soon as there is a verdict, or a pair that could not be tried.
func TestEnds(t *testing.T) {
	broken := errors.New("no world")
	for _, c := range []struct {
		fails int
		done  int // at least, and not many more
		err   error
	}{{-1, 2 * stats.MinPerArm, nil}, {7, 7, broken}} {
		synctest.Test(t, func(t *testing.T) {
			tr := trialOf(t, []string{"-parallel", "4"})
			tr.meet = func(_ context.Context, pair int) ([]stats.Event, error) {
				if pair == c.fails {
					return nil, broken
				}
				return outcome(t, tr.o.experiment.Groups()[pair%2], pair%2 == 0), nil
			}
			err := tr.run(t.Context())
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || tr.done != c.done {
				t.Errorf("%d pairs, %v; want %d, %v", tr.done, err, c.done, c.err)
			}
			if text := tr.text(); c.err == nil && (!strings.Contains(text, "budget: stop: few succeeds less often than default") || !strings.Contains(text, "sizes of the arms: as chance has it")) {
				t.Error(text)
			}
		})
	}
}

// Arms whose sizes chance does not make are told of, with the figures, in place of a verdict.
func TestSizes(t *testing.T) {
	tr := trialOf(t, nil)
	results := []stats.ArmResult{{Arm: tr.o.experiment.Arms[0].Name, Rate: stats.Rate{Successes: 900, N: 1000}}, {Arm: tr.o.experiment.Arms[1].Name, Rate: stats.Rate{Successes: 700, N: 700}}}
	v, err := tr.o.experiment.Judge(results)
	if err != nil {
		t.Fatal(err)
	}
	tr.verdict = v
	for _, want := range []string{"sizes of the arms: something takes pairs out of an arm", "has 700 sessions where 850 are due (p = "} {
		if !strings.Contains(tr.text(), want) {
			t.Errorf("no %q in\n%s", want, tr.text())
		}
	}
}

// Who interrupts it gets what there is.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		var out bytes.Buffer
		err := run(ctx, strings.Fields("-parallel 2 -nats full-cone,full-cone"), &out, io.Discard)
		if cli.Exit("experiment", err, io.Discard) != cli.Interrupted || !regexp.MustCompile(`^interrupted after [1-9]\d* pairs`).MatchString(err.Error()) || !strings.Contains(out.String(), "not enough data") {
			t.Errorf("%v\n%s", err, out.String())
		}
	})
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-arms default,large":   `-arms: "large" is none; want some of default, few, off, polite`,
		"-arms default":         "-arms: there are 1; give 2 to 16",
		"-arms off,off":         `-arms: "off" is that of two arms`,
		"-nats full-cone":       `-nats "full-cone": want two presets`,
		"-nats full-cone,cable": `-nats: unknown NAT preset "cable"`,
		"-pairs 0":              "-pairs 0: want 1 to 100000",
		"-parallel 0":           "-parallel 0: want 1 to 1000",
		"-window 1h":            "-window 1h0m0s: want 1s to 1m",
		"-seed one":             "invalid value",
		"quick":                 `"quick" is not a flag`,
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || cli.Exit("experiment", err, io.Discard) != 2 {
			t.Errorf("%s: error %v, exit code %d, want %q and 2", args, err, cli.Exit("experiment", err, io.Discard), want)
		}
	}
	var usage strings.Builder
	if err := run(t.Context(), []string{"-help"}, io.Discard, &usage); cli.Exit("experiment", err, io.Discard) != cli.Done || !strings.Contains(usage.String(), "-window") || !strings.Contains(usage.String(), "examples:") || !strings.Contains(usage.String(), "exit codes: 0") {
		t.Errorf("%v: %s", err, usage.String())
	}
}

func TestProgress(t *testing.T) {
	tr := trialOf(t, nil)
	if err := errors.Join(tr.take(outcome(t, "budget-few", false)), tr.take(outcome(t, "budget-few", true)), tr.take(outcome(t, "budget-default", true))); err != nil {
		t.Fatal(err)
	}
	if got := tr.progress(); got != "3 of at most 400 pairs; default 1 of 1, few 1 of 2 direct" {
		t.Error(got)
	}
}
