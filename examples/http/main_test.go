package main

import (
	"io"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

func TestPages(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-n", "3"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "hello visitor-3, you came by direct udp") {
		t.Error(out.String())
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{"-n 0": "1 to 1000", "-n 1001": "1 to 1000", "-n x": "invalid value", "now": "not a flag", "-m": "not defined"} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("http", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("http", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}
