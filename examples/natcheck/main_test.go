package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

// server is a STUN server on two loopback addresses, or on one where the system has only that.
func server(t *testing.T) string {
	t.Helper()
	cfg := stunserver.Config{Port1: -1, Port2: -1}
	if pc, err := net.ListenPacket("udp4", "127.0.0.2:0"); err == nil {
		_ = pc.Close()
		cfg.IP2 = netip.MustParseAddr("127.0.0.2")
	}
	s, err := stunserver.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.Addrs()[0].String()
}

func TestJSON(t *testing.T) {
	var out, progress strings.Builder
	if err := run(t.Context(), []string{"-json", "-stun", server(t)}, &out, &progress); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"type", "mapping", "filtering", "ports", "hairpin", "mapped", "nested", "confidence", "elapsed_ms", "packets"} {
		if _, ok := got[key]; !ok {
			t.Errorf("no %q", key)
		}
	}
	ports := got["ports"].(map[string]any)
	for _, key := range []string{"model", "delta", "low", "high"} {
		if _, ok := ports[key]; !ok {
			t.Errorf("no ports.%s", key)
		}
	}
	if got["nat"] != "no" || ports["model"] != "preserving" {
		t.Errorf("loopback: %s", out.String())
	}
	if progress.Len() > 0 {
		t.Errorf("progress that is not on a terminal: %q", progress.String())
	}
}

func TestText(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-fast", "-stun", server(t)}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "Type") || !strings.Contains(text, "Seen as") {
		t.Errorf("%s", text)
	}
}

func TestBadInputIsToldInOneLine(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-stun ,", "-stun: none given"},
		{"-stun host:0", `-stun: "host:0"`},
		{"-stun 127.0.0.1 -network ip5", `-network: "ip5"`},
		{"-stun 127.0.0.1 -timeout -1s", "-timeout: -1s"},
		{"-stun 127.0.0.1 -lifetime=1s", "-lifetime: 1s"},
		{"-stun 127.0.0.1 -lifetime=soon", "soon"},
		{"-stun 127.0.0.1 -json -html -", "give -html a file"},
		{"-stun 127.0.0.1 -html no/such/directory/nat.html", "a directory that exists"},
		{"-stun 127.0.0.1 -html .", "is a directory; name a file in it"},
		{"-bad", "-bad"},
		{"word", "word"},
	} {
		var out strings.Builder
		err := run(context.Background(), strings.Fields(tt.args), &out, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || out.Len() > 0 {
			t.Errorf("%s: %v, %q", tt.args, err, out.String())
		}
		if code := cli.Exit("natcheck", err, io.Discard); code != cli.Wrong {
			t.Errorf("%s: exit code %d", tt.args, code)
		}
	}
}

// TestSilentServerIsNoBlockedUDP: the report says unknown, and the exit code that nothing
// was found out.
func TestSilentServerIsNoBlockedUDP(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var out strings.Builder
	err = run(t.Context(), []string{"-json", "-stun", pc.LocalAddr().String(), "-timeout", "200ms"}, &out, io.Discard)
	var got struct{ Type string }
	if jsonErr := json.Unmarshal([]byte(out.String()), &got); err == nil || jsonErr != nil || got.Type != "unknown" {
		t.Errorf("%v, %v: %s", err, jsonErr, out.String())
	}
	if code := cli.Exit("natcheck", err, io.Discard); code != cli.Failed {
		t.Errorf("exit code %d", code)
	}
}

func TestHelpIsNoError(t *testing.T) {
	var usage strings.Builder
	if err := run(context.Background(), []string{"-help"}, io.Discard, &usage); cli.Exit("natcheck", err, io.Discard) != cli.Done {
		t.Error(err)
	}
	for _, want := range []string{"examples:", "-html nat.html", "exit codes: 0", "-lifetime"} {
		if !strings.Contains(usage.String(), want) {
			t.Errorf("no %q in %s", want, usage.String())
		}
	}
}
