package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe"
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

// freePort is a port of UDP that nobody had just now.
func freePort(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, port, err := net.SplitHostPort(pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestJSON: with -json each line is an object, and at the address that one tells somebody answers.
func TestJSON(t *testing.T) {
	var err error
	for range 10 { // somebody else may take the ports first
		port1, port2 := freePort(t), freePort(t)
		if err = asksJSON(t, "127.0.0.1:"+port1, "-port1", port1, "-port2", port2, "-json"); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// asksJSON fails the test for what the program says, and returns why it could not start.
func asksJSON(t *testing.T, addr string, args ...string) error {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, args, w, io.Discard)
		w.Close()
	}()
	var all []record
	lines := bufio.NewScanner(out)
	for (len(all) == 0 || all[len(all)-1].Event != "one_address") && lines.Scan() {
		var r record
		d := json.NewDecoder(strings.NewReader(lines.Text()))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%v: %q", err, lines.Text())
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return <-done
	}
	if all[0] != (record{"listening", "udp", addr}) || all[len(all)-1] != (record{Event: "one_address"}) {
		t.Fatalf("%+v", all)
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	seen, err := natprobe.MappedAddresses(ctx, pc, []netip.AddrPort{netip.MustParseAddrPort(all[0].Addr)}, nil)
	if err != nil || len(seen) != 1 || seen[0].Addr.String() != pc.LocalAddr().String() {
		t.Errorf("%+v, %v", seen, err)
	}
	interrupt()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return nil
}
