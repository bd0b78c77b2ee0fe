package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// TestTunnelOutlivesANetwork: packets of every size get through, and a TCP connection in the
// tunnel outlives the network that it was made on.
func TestTunnelOutlivesANetwork(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-json"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	var pages []page
	for lines := json.NewDecoder(&out); lines.More(); {
		var p page
		if err := lines.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pages = append(pages, p)
	}
	if len(pages) != 2 || pages[0].Bytes != 200_000 || pages[0].Path == "" || pages[0].Reused || pages[1].Bytes != 200_000 || pages[1].Path == "" || !pages[1].Reused {
		t.Errorf("%+v, want two whole pages, the second by the connection of the first", pages)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-bytes", "3000", "-nat-b", "open"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"3000 bytes through the tunnel", "by a new TCP connection over ", "has left her network", "by the same TCP connection over "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{"-bytes 0": "1 to 1073741824", "-bytes x": "invalid value", "-nat-a none": "-nat-a", "-nat-b none": "-nat-b", "now": "not a flag"} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("wireguard", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("wireguard", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}
