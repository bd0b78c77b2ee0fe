package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

func TestBadInputIsToldInOneLine(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-ip1 x", `-ip1 "x"`},
		{"-ip1 240.0.0.1", "240.0.0.1:3478"},
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
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "stunserver: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	var usage strings.Builder
	if err := run(context.Background(), []string{"-help"}, io.Discard, &usage); err != nil || !strings.Contains(usage.String(), "-ip2") {
		t.Errorf("%v: %s", err, usage.String())
	}
}
