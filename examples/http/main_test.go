package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-n", "2", "-json"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	var pages []page
	for lines := json.NewDecoder(&out); lines.More(); {
		lines.DisallowUnknownFields()
		var p page
		if err := lines.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pages = append(pages, p)
	}
	if len(pages) != 2 {
		t.Fatalf("%+v, want two pages", pages)
	}
	for i, p := range pages {
		if want := fmt.Sprintf("hello visitor-%d, you came by direct udp", i+1); p.Status != 200 || !strings.HasPrefix(p.Text, want) || p.MS <= 0 || p.Path != "direct" {
			t.Errorf("%+v, want %q", p, want)
		}
	}
}

// TestNotFound: a refusal is a page, too, with its status.
func TestNotFound(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	p, err := get(t.Context(), web.Client(), web.URL)
	if err != nil || p.Status != http.StatusNotFound || !strings.Contains(p.Text, "not found") {
		t.Errorf("%+v, %v", p, err)
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
