package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

func TestThereAndBack(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-bytes", "300000"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "300000 bytes there and back") {
		t.Error(out.String())
	}
}

func TestJSON(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-bytes", "3000", "-json"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Bytes int64
		MS    float64
		Path  string
	}
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil || got.Bytes != 3000 || got.MS <= 0 || !strings.HasPrefix(got.Path, "direct") {
		t.Errorf("%s: %v", &out, err)
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{"-bytes 0": "1 to 1073741824", "-bytes x": "invalid value", "now": "not a flag", "-m": "not defined"} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("quic", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("quic", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}
