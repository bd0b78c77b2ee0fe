package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// screen is what a chat has printed, to wait for.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newScreen() *screen { return &screen{more: make(chan struct{}, 1)} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// wait waits until text is on the screen.
func (s *screen) wait(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.more:
		case <-t.Context().Done():
			t.Fatalf("no %q on the screen:\n%s", text, s)
		}
	}
}

func meetingPoint(t *testing.T) string {
	t.Helper()
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(func() { server.Close(); web.Close() })
	return "ws" + strings.TrimPrefix(web.URL, "http") + "/"
}

func TestTwoChat(t *testing.T) {
	url := meetingPoint(t)
	var (
		wg      sync.WaitGroup
		screens [2]*screen
		keys    [2]*io.PipeWriter
		errs    [2]error
	)
	for i := range 2 {
		screens[i] = newScreen()
		var in *io.PipeReader
		in, keys[i] = io.Pipe()
		wg.Go(func() {
			errs[i] = run(t.Context(), []string{"-rendezvous", url, "-room", "teapot"}, in, screens[i], io.Discard)
		})
	}
	for i, text := range []string{"hello there", "hi \x1b[2J"} {
		screens[i].wait(t, "-- direct udp")
		_, _ = io.WriteString(keys[i], text+"\n")
	}
	screens[1].wait(t, ": hello there")
	screens[0].wait(t, ": hi ?[2J") // nothing that would clear a terminal
	_, _ = io.WriteString(keys[0], "/why\n")
	screens[0].wait(t, "why: direct")
	_, _ = io.WriteString(keys[0], "/quit\n")
	screens[1].wait(t, "has left")
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
		keys[i].Close()
	}
}

// TestJSON: a program talks to somebody at a terminal.
func TestJSON(t *testing.T) {
	url := meetingPoint(t)
	screens, keys, errs := [2]*screen{newScreen(), newScreen()}, [2]*io.PipeWriter{}, [2]error{}
	var wg sync.WaitGroup
	for i, asJSON := range []string{"-json=true", "-json=false"} {
		var in *io.PipeReader
		in, keys[i] = io.Pipe()
		defer keys[i].Close()
		wg.Go(func() {
			errs[i] = run(t.Context(), []string{"-rendezvous", url, "-room", "teapot", asJSON}, in, screens[i], io.Discard)
		})
	}
	screens[0].wait(t, `"path":"direct"`)
	screens[1].wait(t, "-- direct udp")
	_, _ = io.WriteString(keys[1], "hi \x1b[2J\n")
	screens[0].wait(t, `"event":"said"`)
	_, _ = io.WriteString(keys[0], "/why\n")
	screens[0].wait(t, `"event":"why"`)
	_, _ = io.WriteString(keys[1], "/quit\n")
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]record)
	for line := range strings.Lines(screens[0].String()) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		seen[r.Event] = r
	}
	other := seen["said"].Peer
	if _, err := bradawl.ParsePeerID(other); err != nil || other == seen["self"].Peer {
		t.Errorf("%q has said it: %v", other, err)
	}
	for _, want := range []record{
		{Event: "self", Peer: seen["self"].Peer},
		{Event: "waiting", Room: "teapot"},
		{Event: "talking", Peer: other},
		{Event: "said", Peer: other, Text: "hi \x1b[2J"}, // as it came: no terminal shows it
		{Event: "why", Text: seen["why"].Text},
		{Event: "left", Peer: other},
	} {
		if seen[want.Event] != want {
			t.Errorf("%+v, want %+v", seen[want.Event], want)
		}
	}
	if p := seen["path"]; p.Path != "direct" || p.Proto != "udp" || p.Local == "" || p.Remote == "" {
		t.Errorf("%+v", p)
	}
	if !strings.Contains(seen["why"].Text, "why: direct") {
		t.Errorf("%+v", seen["why"])
	}
}

func TestNoPath(t *testing.T) {
	var text, lines bytes.Buffer
	printer{&cli.Teller{W: &text}}.path(bradawl.Path{})
	printer{&cli.Teller{W: &lines, JSON: true}}.path(bradawl.Path{})
	if text.String() != "-- no path\n" || lines.String() != `{"event":"path","path":"none"}`+"\n" {
		t.Errorf("%q, %q", &text, &lines)
	}
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                                      "-rendezvous is missing",
		"-rendezvous ws://127.0.0.1:1/ x y":     "one PEERID at most",
		"-rendezvous ws://127.0.0.1:1/ x":       "not the 52",
		"-rendezvous ws://127.0.0.1:1/ -room /": "-room",
		"-rendezvous ws://127.0.0.1:1/ -timeout 1ms": "-timeout",
		"-rendezvous ws://127.0.0.1:1/ -room a bcde": "not both",
		"-loud": "not defined",
	} {
		err := run(t.Context(), strings.Fields(args), strings.NewReader(""), io.Discard, io.Discard)
		if code := cli.Exit("chat", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, strings.NewReader(""), io.Discard, &help); cli.Exit("chat", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-room") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}

func TestNoRendezvous(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + l.Addr().String() + "/"
	l.Close() // nobody listens there
	ctx, cancel := context.WithCancel(t.Context())
	screen, done := newScreen(), make(chan error)
	go func() { done <- run(ctx, []string{"-rendezvous", url}, strings.NewReader(""), screen, io.Discard) }()
	screen.wait(t, "-- no rendezvous, trying again: rendezvous: dial "+url)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var config *bradawl.ConfigError
	if err := run(t.Context(), []string{"-rendezvous", "nonsense"}, strings.NewReader(""), screen, io.Discard); !errors.As(err, &config) || cli.Exit("chat", err, io.Discard) != cli.Wrong {
		t.Errorf("a URL that is none: %v", err)
	}
}
