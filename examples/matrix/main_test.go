package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch"
)

// The whole in virtual time: real sessions, and a table of what became of them.
func TestMeasures(t *testing.T) {
	for _, c := range []struct {
		args   string
		want   []string // lines of the table
		stderr string
	}{
		{"-nats open,udp-blocked -runs 1 -v", []string{
			`(?m)^open × open +1 of 1 +udp +0\.\d\d s +0\.\d\d s +\d+ \+ \d+$`,
			`(?m)^open × udp-blocked +1 of 1 +tcp +0\.\d\d s +0\.\d\d s +\d+ \+ \d+$`,
			`(?m)^ 2  udp-blocked +100 % +100 %$`,
			`tcp: direct over TCP`,
		}, `(?s)^3 pairs of NATs, 3 connections, 3 at a time: this takes about 10s\n.*open × udp-blocked, run 1: direct by tcp after`},
		{"-nats full-cone -runs 2 -loss 1% -format markdown", []string{
			`^\| \| full-cone \|\n\|---\|:-:\|\n\| \*\*full-cone\*\* \| 100 %<br>\d\.\d\d s`, `1 % loss each way, 2 connections for each pair`,
			"Made by `go run ./examples/matrix -nats full-cone -runs 2 -loss 0.01 -format markdown`",
		}, `^1 pair of NATs, 2 connections, 2 at a time`},
		{"-nats symmetric-random -runs 1 -timeout 2s", []string{`(?m)^symmetric-random × symmetric-random +\d of 1 `}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out, said bytes.Buffer
			if err := run(t.Context(), strings.Fields(c.args), &out, &said); err != nil {
				t.Errorf("%s: %v", c.args, err)
			}
			for _, want := range c.want {
				if !regexp.MustCompile(want).Match(out.Bytes()) {
					t.Errorf("%s: no match of %s\n%s", c.args, want, out.String())
				}
			}
			if !regexp.MustCompile(c.stderr).Match(said.Bytes()) {
				t.Errorf("%s: no match of %s\n%s", c.args, c.stderr, said.String())
			}
			if strings.Contains(out.String(), "\x1b") || strings.Contains(said.String(), "\x1b") {
				t.Errorf("%s: colours or a bar for no terminal", c.args)
			}
		})
	}
}

// Who interrupts it gets what there is.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var out, said bytes.Buffer
		err := run(ctx, strings.Fields("-nats open,udp-blocked -runs 1"), &out, &said)
		if cli.Exit("matrix", err, io.Discard) != cli.Interrupted || !strings.Contains(err.Error(), "interrupted after 1 of 3 connections") {
			t.Errorf("error %v, exit code %d", err, cli.Exit("matrix", err, io.Discard))
		}
		if !regexp.MustCompile(`(?m)^ 1  open +100 % +–$`).Match(out.Bytes()) || !strings.Contains(out.String(), "–: not measured") {
			t.Error(out.String())
		}
	})
}

// What was in the file before is gone, and the name says the format.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "matrix.svg")
		if err := os.WriteFile(name, bytes.Repeat([]byte("long before "), 1e4), 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-nats", "open", "-runs", "1", "-o", name}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(got, []byte("<svg ")) || !bytes.HasSuffix(got, []byte("</svg>\n")) || out.Len() > 0 {
			t.Errorf("%v: %.100s, and on standard output: %.100s", err, got, out.Bytes())
		}
	})
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-nats conical":        `-nats: unknown NAT preset "conical": choose one of`,
		"-nats open,":          `-nats: unknown NAT preset ""`,
		"-nats open,open":      `-nats: "open" is there twice; name each preset once`,
		"-runs 0":              "-runs 0: want 1 to 1000",
		"-loss 5":              `-loss "5": want a share from 0 to 0.5, such as 0.02 or 2%`,
		"-loss -1%":            `-loss "-1%": want a share`,
		"-loss NaN":            `-loss "NaN": want a share`,
		"-loss some":           `-loss "some": want a share`,
		"-format html":         `-format "html": want one of text, markdown, svg, json`,
		"-json -format svg":    "-json and -format svg: want one of them",
		"-parallel 0":          "-parallel 0: want 1 to 1000",
		"-timeout 1ms":         "-timeout 1ms: want 1s to 10m",
		"-seed one":            "invalid value",
		"-colour":              "flag provided but not defined: -colour",
		"quick":                `"quick" is not a flag`,
		"-o no/such/place.svg": "name a file that can be written",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || cli.Exit("matrix", err, io.Discard) != 2 {
			t.Errorf("%s: error %v, exit code %d, want %q and 2", args, err, cli.Exit("matrix", err, io.Discard), want)
		}
	}
	var usage strings.Builder
	if err := run(t.Context(), []string{"-help"}, io.Discard, &usage); cli.Exit("matrix", err, io.Discard) != cli.Done || !strings.Contains(usage.String(), "-parallel") || !strings.Contains(usage.String(), "examples:") || !strings.Contains(usage.String(), "exit codes: 0") {
		t.Errorf("%v: %s", err, usage.String())
	}
}

func TestExitCodes(t *testing.T) {
	if cli.Exit("matrix", nil, io.Discard) != 0 || cli.Exit("matrix", errors.New("no"), io.Discard) != 1 {
		t.Error("want 0 for nothing, 1 for anything")
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]options{
		"-loss 2%":                    {loss: 0.02, format: "text"},
		"-loss 0.5":                   {loss: 0.5, format: "text"},
		"-o table.MD":                 {format: "markdown"},
		"-o picture.svg":              {format: "svg"},
		"-o picture.svg -format text": {format: "text"},
	} {
		o, err := parse(strings.Fields(args), io.Discard)
		if err != nil || o.loss != want.loss || o.format != want.format || !slices.Equal(o.nats, selection) {
			t.Errorf("%s: %+v, %v", args, o, err)
		}
	}
	if o, err := parse([]string{"-nats", "all"}, io.Discard); err != nil || len(o.nats) < len(selection) || o.command() != "go run ./examples/matrix -nats all" {
		t.Errorf("-nats all: %v, %v", o.nats, err)
	}
	if o, err := parse(nil, io.Discard); err != nil || o.command() != "go run ./examples/matrix" {
		t.Errorf("%v, %v", o.command(), err)
	}
}

// Each pair has its first run before any has its second, and luck of its own.
func TestJobs(t *testing.T) {
	o := options{nats: []string{"open", "cgnat"}, runs: 2}
	jobs := o.jobs()
	if len(jobs) != 6 || jobs[2].run != 0 || jobs[3].run != 1 || jobs[1].pair != [2]string{"open", "cgnat"} {
		t.Error(jobs)
	}
	seen := make(map[uint64]bool)
	for _, j := range jobs {
		seen[j.seed(1)], seen[j.seed(2)] = true, true
	}
	if len(seen) != 12 {
		t.Errorf("%d seeds for 12 worlds", len(seen))
	}
}

func TestWay(t *testing.T) {
	lane := func(kind punch.LaneKind, state bradawl.LaneState) bradawl.LaneReport {
		return bradawl.LaneReport{Lane: punch.Lane{Kind: kind}, Attempt: 1, State: state}
	}
	for _, c := range []struct {
		protocol string
		lane     bradawl.LaneReport
		want     string
	}{
		{"udp", bradawl.LaneReport{}, "udp"},
		{"udp", lane(punch.LaneBirthday, bradawl.LaneEnded), "udp"},
		{"udp", lane(punch.LanePredicted, bradawl.LaneOpened), "predicted"},
		{"tcp", lane(punch.LaneBirthday, bradawl.LaneOpened), "tcp"},
		{"tcp", lane(punch.LaneTCPPredicted, bradawl.LaneOpened), "tcp_predicted"},
	} {
		e, none := bradawl.Explanation{Path: bradawl.Path{Protocol: c.protocol}}, bradawl.Explanation{}
		with, theirs := e, none
		with.Lanes, theirs.Lanes = []bradawl.LaneReport{c.lane}, []bradawl.LaneReport{c.lane}
		if got, other := wayOf(with, none), wayOf(e, theirs); got != c.want || other != c.want {
			t.Errorf("%v: %q, on the other side %q, want %q", c, got, other, c.want)
		}
	}
	for _, k := range punch.LaneKinds() {
		if k.Guesses() && aboutWays[k.String()] == "" {
			t.Errorf("the legend has no words for %v", k)
		}
	}
}

func TestLine(t *testing.T) {
	j := job{[2]string{"open", "cgnat"}, 1}
	for want, r := range map[string]outcome{
		"direct by udp after 0.20 s, usable after 0.10 s, 3 + 4 packets": {job: j, usable: 1e8, direct: 2e8, way: "udp", packets: [2]int{3, 4}},
		"relayed, usable after 0.10 s, 3 + 4 packets: hard":              {job: j, usable: 1e8, packets: [2]int{3, 4}, why: "hard"},
		"no path, 3 + 4 packets: silence":                                {job: j, packets: [2]int{3, 4}, why: "silence"},
		"not tried: no":                                                  {job: j, err: errors.New("no")},
	} {
		if got := r.line(); got != "open × cgnat, run 2: "+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestMeter(t *testing.T) {
	var m meter
	if m.mean() != 0 {
		t.Error("a mean of nothing")
	}
	m.add(-time.Second)
	m.add(3 * time.Second)
	if m.mean() != 1500*time.Millisecond {
		t.Error(m.mean())
	}
}
