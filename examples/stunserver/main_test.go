package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

func TestBadInputIsToldInOneLine(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-ip1 x", `-ip1 "x"`},
		{"-ip1 240.0.0.1", "-ip1 and -ip2 are to be addresses of this host"},
		{"-port1 70000", "70000"},
		{"-port2 0", "-port2 0"},
		{"-port1 5 -port2 5", "5 is Port1"},
		{"-bad", "-bad"},
		{"word", "word"},
		{"-ip2 127.0.0.1", "127.0.0.1 is IP1"},
		{"-ip2 ::1", "family"},
		{"-port1 abc", "abc"},
	} {
		err := run(context.Background(), strings.Fields(tt.args), io.Discard, io.Discard)
		code := cli.Wrong
		if strings.Contains(tt.args, "240.0.0.1") { // no address of this host
			code = cli.Failed
		}
		if got := cli.Exit("stunserver", err, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) || got != code || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, exit code %d, want %d", tt.args, err, got, code)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	var help strings.Builder
	if err := run(context.Background(), []string{"-help"}, io.Discard, &help); cli.Exit("stunserver", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-ip2") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}
