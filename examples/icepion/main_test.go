package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// The program over real sockets, in every way that it knows.
func TestMeeting(t *testing.T) {
	for _, c := range []struct{ args, local, remote string }{
		{"", `host udp`, `(host|prflx) udp`}, // prflx where a check outran the candidate
		{"-trickle=false", `host udp`, `host udp`},
		{"-controlling pion", `host udp`, `(host|prflx) udp`},
		{"-controlling pion -trickle=false", `host udp`, `host udp`},
		{"-tcp", `(host|prflx) tcp`, `(host|prflx) tcp`},
		{"-tcp -controlling pion -trickle=false", `(host|prflx) tcp`, `(host|prflx) tcp`},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := run(t.Context(), append(strings.Fields(c.args), "-messages", "2"), &out, io.Discard); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			const at = ` 127\.0\.0\.1:\d+`
			for _, want := range []string{
				`(?m)^ours  found      host ` + c.local[len(c.local)-3:] + at,
				`(?m)^pion  found      host ` + c.local[len(c.local)-3:] + at,
				`(?m)^ours  connected \S+s after the credentials were exchanged$`,
				`(?m)^pion  connected \S+s after the credentials were exchanged$`,
				`(?m)^ours  selected   ` + c.local + at + `.* <-> ` + c.remote + at,
				`(?m)^pion  selected   (host|prflx) ` + c.local[len(c.local)-3:] + at,
				`(?m)^succeeded, nominated  ` + c.local + at + `.* ` + c.remote + at,
				`(?s)\nmessage 1 went .* came back\nmessage 2 went .* came back\n$`,
			} {
				if !regexp.MustCompile(want).Match(out.Bytes()) {
					t.Errorf("nothing matches %s in\n%s", want, out.String())
				}
			}
		})
	}
}

// The same for programs: every line says what it is, with what docs name.
func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-trickle=false", "-messages", "2", "-json"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	seen := make(map[string]int)
	for line := range bytes.Lines(out.Bytes()) {
		var r record
		lines := json.NewDecoder(bytes.NewReader(line))
		lines.DisallowUnknownFields()
		if err := lines.Decode(&r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		good := false
		switch r.Event {
		case "found":
			good = strings.HasPrefix(r.Local, "host udp 127.0.0.1:")
		case "connected":
			good = r.MS != nil && *r.MS > 0
		case "selected":
			good = strings.HasPrefix(r.Local, "host udp 127.0.0.1:") && strings.HasPrefix(r.Remote, "host udp 127.0.0.1:")
		case "pair":
			good = r.PairRecord != nil && r.State == "succeeded" && r.Usable && r.Nominated && r.Checks > 0 && r.Answered > 0 && r.RTTus > 0 && r.Why == ""
		case "message":
			good = r.Number == seen["message "]+1
		}
		if !good {
			t.Errorf("%s", line)
		}
		seen[r.Event+" "+r.Side]++
	}
	want := map[string]int{
		"found ours": 1, "found pion": 1, "connected ours": 1, "connected pion": 1, "selected ours": 1, "selected pion": 1, "pair ": 1, "message ": 2,
	}
	if !maps.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
}

// A failure is reported with what became of the pairs, not with an error alone.
func TestOutOfTime(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-timeout", "1ns"}, &out, io.Discard); err == nil || !strings.Contains(err.Error(), "not done within 1ns") {
		t.Errorf("error %v, want one that names the time", err)
	}
	if !strings.Contains(out.String(), "PAIRS OF OURS") {
		t.Errorf("no report:\n%s", out.String())
	}
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-controlling both": `-controlling "both": want ours or pion`,
		"-messages -1":      "-messages -1: want 0 or more",
		"-timeout -1s":      "-timeout -1s: want a positive time",
		"fast":              `"fast" is not a flag`,
		"-speed 9":          "flag provided but not defined: -speed",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("icepion", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, io.Discard, &help); cli.Exit("icepion", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "icepion -tcp  ") {
		t.Errorf("-help: %v\n%s", err, help.String())
	}
}
