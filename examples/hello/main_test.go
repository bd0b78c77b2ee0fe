package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// The two halves of the program, as two terminals run them.
func TestHello(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	meet, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer meet.Close()
	web := httptest.NewServer(meet)
	defer web.Close()
	url := "ws" + strings.TrimPrefix(web.URL, "http") + "/"

	accepting, stop := context.WithCancel(ctx)
	defer stop()
	screen, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(accepting, url, filepath.Join(t.TempDir(), "bob.key"), "", out)
	}()
	lines := bufio.NewScanner(screen)
	if !lines.Scan() {
		t.Fatal("no PeerID")
	}
	bob := lines.Text()
	heard := make(chan string, 1)
	go func() {
		lines.Scan()
		heard <- lines.Text()
		_, _ = io.Copy(io.Discard, screen)
	}()
	var said strings.Builder
	if err := run(ctx, url, filepath.Join(t.TempDir(), "alice.key"), bob, &said); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(said.String(), "hello yourself, by way of direct udp host ") {
		t.Errorf("%q", &said)
	}
	if got := <-heard; !strings.HasSuffix(got, ` says "hello"`) {
		t.Errorf("%q", got)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	out.Close()
}

func TestNoPeerID(t *testing.T) {
	err := run(t.Context(), "ws://127.0.0.1:1/", filepath.Join(t.TempDir(), "id.key"), "bob", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "bob") {
		t.Errorf("%v", err)
	}
}
