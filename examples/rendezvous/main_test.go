package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	signalled, interrupt := context.WithCancel(ctx)
	out, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(signalled, []string{"-addr", "127.0.0.1:0", "-v"}, w, &stderr)
		w.Close()
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v; %s", err, stderr.String())
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok || !strings.HasPrefix(url, "ws://127.0.0.1:") {
		t.Fatalf("the first line is %q", line)
	}
	c, err := rendezvous.Dial(ctx, url, rendezvous.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := http.Get("http" + strings.TrimPrefix(url, "ws") + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"clients":1`) {
		t.Errorf("healthz: %d %q, %v", resp.StatusCode, body, err)
	}

	// A second server finds the port in use.
	var busy bytes.Buffer
	host := strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/")
	if got := run(ctx, []string{"-addr", host}, io.Discard, &busy); got != 1 {
		t.Errorf("with the port in use it returned %d, want 1", got)
	}
	if s := busy.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, host) || !strings.Contains(s, "-addr") {
		t.Errorf("with the port in use it said %q", s)
	}

	interrupt()
	var ce *rendezvous.CloseError
	if _, err := c.Recv(ctx); !errors.As(err, &ce) || ce.Code != rendezvous.CodeShutdown {
		t.Errorf("the client was told %v", err)
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("the rest of the output is %q, %v", rest, err)
	}
	if got := <-code; got != 0 {
		t.Errorf("after the signal it returned %d", got)
	}
	if !strings.Contains(stderr.String(), "signed on") {
		t.Errorf("the log is %q", stderr.String())
	}
	if conn, err := net.Dial("tcp", host); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

func TestBadArguments(t *testing.T) {
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"-addr", "no such address"}, 1},
		{[]string{"-addr", "127.0.0.1:99999"}, 1},
		{[]string{"-nonsense"}, 2},
		{[]string{"stray"}, 2},
		{[]string{"-h"}, 0},
	} {
		var stderr bytes.Buffer
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // should it start after all
		if got := run(ctx, test.args, io.Discard, &stderr); got != test.want || stderr.Len() == 0 {
			t.Errorf("%q returned %d and said %q, want %d", test.args, got, stderr.String(), test.want)
		}
	}
}
