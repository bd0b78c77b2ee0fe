package main

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// The program over real sockets: it does what it says that it does.
func TestExchange(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-message", "through a hole"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	const loopback = `host udp 127\.0\.0\.1:\d+`
	const peers = `(host|prflx) udp 127\.0\.0\.1:\d+` // prflx where a check outran the candidate
	for _, want := range []string{
		`^alice sent "through a hole" and got "through a hole" back`,
		`(?s)\nalice\n.* ms  gathered +` + loopback + `\n.*\nbob\n.* ms  gathered +` + loopback + `\n`,
		`(?s)\nalice\n.* ms  gathering_done\n.*\nbob\n.* ms  gathering_done\n`,
		`(?s)\nalice\n.* ms  state +checking -> connected\n.*\nbob\n.* ms  state +checking -> connected\n`,
		`(?s)\nalice\n.* ms  pair +` + loopback + ` <-> ` + peers + `\n.*\nbob\n.* ms  pair +` + loopback + ` <-> ` + peers + `\n`,
		`(?s)\nalice\n.*\ngathered within .*, connected .* after the first check\n.*\nbob\n.*\ngathered within .*, connected .* after the first check\n$`,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("nothing matches %s in\n%s", want, out.String())
		}
	}
}

// The same for programs.
func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-json"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	const loopback = "udp 127.0.0.1:"
	seen := make(map[string]bool)
	for line := range bytes.Lines(out.Bytes()) {
		var r record
		lines := json.NewDecoder(bytes.NewReader(line))
		lines.DisallowUnknownFields()
		if err := lines.Decode(&r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		good := r.Error == ""
		switch r.Event {
		case "answered":
			good = good && r.Sent == "hello" && r.Got == "hello"
		case "times":
			good = good && r.GatheredMS != nil && *r.GatheredMS >= 0 && r.ConnectedMS != nil && *r.ConnectedMS >= 0
		case "gathered":
			good = good && r.MS != nil && strings.HasPrefix(r.Local, "host "+loopback) && r.Remote == ""
		case "gathering_done":
			good = good && r.MS != nil && r.Local == ""
		case "state":
			good = good && r.MS != nil && r.State != ""
		case "pair":
			good = good && r.MS != nil && strings.Contains(r.Local, loopback) && strings.Contains(r.Remote, loopback)
		default:
			good = false
		}
		if !good {
			t.Errorf("%s", line)
		}
		seen[r.Who+" "+r.Event+" "+r.State] = true
	}
	for _, want := range []string{"alice answered ", "alice times ", "bob times ", "alice gathered ", "bob pair ", "bob gathering_done ", "alice state connected", "bob state connected"} {
		if !seen[want] {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestOutOfTime(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-timeout", "1ns"}, &out, io.Discard); err == nil || !strings.Contains(err.Error(), "no answer within 1ns") {
		t.Errorf("error %v, want one that names the time", err)
	}
	if !strings.Contains(out.String(), "\nalice\n") {
		t.Errorf("no report of a failure:\n%s", out.String())
	}
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-timeout -1s": "-timeout -1s: want a positive time",
		"-message=":    "-message is empty",
		"fast":         `"fast" is not a flag`,
		"-speed 9":     "flag provided but not defined: -speed",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("pionwebrtc", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, io.Discard, &help); cli.Exit("pionwebrtc", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-message") {
		t.Errorf("-help: %v\n%s", err, help.String())
	}
}
