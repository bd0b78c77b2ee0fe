package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// The demo in virtual time: it does what the README says that it does.
func TestDemo(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // a line of the output
		err  string
	}{
		{nil, `alice +connected: direct path over udp, 203\.0\.113\.1:\d+ -> 203\.0\.113\.2:\d+`, ""},
		{[]string{"-nat-a", "full-cone", "-nat-b", "symmetric-random"}, `bob +5 of 5 messages came back`, ""},
		{nil, `stats +port-restricted-cone \| 2 +\| 2 +\| 0\.0 % \* +\| \d+ ms`, ""},
		{[]string{"-v"}, `net +alice's NAT mapping: new udp 192\.168\.0\.2:\d+ as 203\.0\.113\.1:\d+`, ""},
		{[]string{"-nat-a", "port-restricted-cone", "-nat-b", "symmetric-random"}, `alice +connected: direct path over udp`, ""},
		{[]string{"-nat-a", "symmetric-random", "-nat-b", "symmetric-random"}, `alice +failed: .*no path to the peer was found`, "no direct path between"},
		{[]string{"-proto", "tcp"}, `alice +connected: direct path over tcp, 203\.0\.113\.1:\d+ -> 203\.0\.113\.2:\d+`, ""},
		{[]string{"-proto", "auto", "-nat-b", "udp-blocked"}, `bob +connected: direct path over tcp`, ""},
		{[]string{"-nat-a", "udp-blocked", "-nat-b", "firewall"}, `bob +connected: direct path over tcp`, ""}, // one address listens and dials
		{[]string{"-proto", "udp", "-nat-b", "udp-blocked"}, `bob +failed: .*no path to the peer was found`, "no direct path between"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), c.args, &out, io.Discard)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: error %v, want %q\n%s", c.args, err, c.err, out.String())
			}
			if !regexp.MustCompile(c.want).Match(out.Bytes()) {
				t.Errorf("%v: no line matches %s\n%s", c.args, c.want, out.String())
			}
		})
	}
}

// TestInterrupted: who is interrupted is told so, and not that there is no path.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := run(ctx, nil, io.Discard, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-nat-a conical":     `flag -nat-a: unknown NAT preset "conical": choose one of`,
		"-nat-b=":            `flag -nat-b: unknown NAT preset ""`,
		"-timeout -1s":       "-timeout -1s: want a positive time",
		"-proto sctp":        `-proto "sctp": want udp, tcp or auto`,
		"fast":               `"fast" is not a flag`,
		"-seed one":          "invalid value",
		"-nat-c full-cone":   "flag provided but not defined: -nat-c",
		"-timeout tomorrow ": "invalid value",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
		if code := cli.Exit("twopeer", err, io.Discard); code != cli.Wrong {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("twopeer", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-nat-a") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}

func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-json"}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		connected := map[string]bool{}
		for line := range strings.Lines(out.String()) {
			var r struct {
				At               *int64 `json:"at_ms"`
				Who, Text, Event string
				Path             string
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.At == nil || r.Who == "" || (r.Text == "") == (r.Event == "") {
				t.Fatalf("%q: %v", line, err)
			}
			if r.Event == "connected" && r.Path == "direct" {
				connected[r.Who] = true
			}
		}
		if !connected["alice"] || !connected["bob"] {
			t.Errorf("no direct path in\n%s", &out)
		}
	})
}
