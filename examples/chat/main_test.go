package main

import (
	"bytes"
	"context"
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
