package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// exit is the program: its exit code, with what it says.
func exit(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Exit("rendezvous", run(ctx, args, stdout, stderr), stderr)
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	signalled, interrupt := context.WithCancel(ctx)
	out, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	t.Setenv(envSecret, "hush-hush")
	go func() {
		code <- exit(signalled, []string{"-addr", "127.0.0.1:0", "-v", "-ice-servers", "stun:s.example,turn:t.example", "-turn-lifetime", "5m"}, w, &stderr)
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
	servers := c.ICEServers()
	if len(servers) != 2 || servers[0].URIs[0] != "stun:s.example" || servers[1].URIs[0] != "turn:t.example" {
		t.Fatalf("the client was told of %v", servers)
	}
	mac := hmac.New(sha1.New, []byte("hush-hush"))
	mac.Write([]byte(servers[1].Username))
	if want := base64.StdEncoding.EncodeToString(mac.Sum(nil)); servers[1].Credential != want {
		t.Error("the credential is not made with the environment's secret")
	}
	if left := time.Until(servers[1].Expires); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("the credential is good for %v, want 5 min", left)
	}
	if status, body := health(t, url); status != http.StatusOK || !strings.Contains(body, `"clients":1`) {
		t.Errorf("healthz: %d %q", status, body)
	}

	// A second server finds the port in use.
	var busy bytes.Buffer
	host := strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/")
	if got := exit(ctx, []string{"-addr", host}, io.Discard, &busy); got != 1 {
		t.Errorf("with the port in use it returned %d, want 1", got)
	}
	if s := busy.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, host) || !strings.Contains(s, "-addr") {
		t.Errorf("with the port in use it said %q", s)
	}

	// Whoever has just joined a room is left the time to be paired there.
	if err := c.Join(ctx, "r", []byte("x")); err != nil {
		t.Fatal(err)
	}
	interrupt()
	for status := 0; status != http.StatusServiceUnavailable; {
		var body string
		if status, body = health(t, url); !strings.Contains(body, `"clients":1`) {
			t.Fatalf("healthz while it drains: %d %q", status, body)
		}
	}
	if _, err := rendezvous.Dial(ctx, url, rendezvous.ClientConfig{}); !errors.Is(err, rendezvous.ErrUnavailable) {
		t.Errorf("signing on while it drains: %v", err)
	}
	var ce *rendezvous.CloseError
	if _, err := c.Next(ctx); !errors.As(err, &ce) || ce.Code != rendezvous.CodeShutdown {
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
	for _, secret := range []string{"hush-hush", servers[1].Credential} {
		if strings.Contains(stderr.String(), secret) {
			t.Errorf("the log shows a secret: %q", stderr.String())
		}
	}
	if conn, err := net.Dial("tcp", host); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

// health asks /healthz of the server at a ws URL.
func health(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get("http" + strings.TrimPrefix(url, "ws") + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A drain ends with its time limit, and says so when that cut somebody off: to people, and in
// JSON.
func TestDrainLimit(t *testing.T) {
	t.Run("text", func(t *testing.T) {
		drained(t, "-drain 1ns\n", func(line string) string { return strings.TrimSpace(strings.TrimPrefix(line, "listening on ")) })
	})
	t.Run("json", func(t *testing.T) {
		drained(t, `{"event":"cut_off"}`+"\n", func(line string) string {
			var r record
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Event != "listening" {
				t.Fatalf("%v: %q", err, line)
			}
			return r.URL
		}, "-json")
	})
}

// drained runs the program until it has cut somebody off. The first line of its output tells
// the URL, and the rest ends as wanted.
func drained(t *testing.T, want string, url func(line string) string, flags ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	signalled, interrupt := context.WithCancel(ctx)
	out, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- exit(signalled, append(flags, "-addr", "127.0.0.1:0", "-drain", "1ns"), w, io.Discard)
		w.Close()
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c, err := rendezvous.Dial(ctx, url(line), rendezvous.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Join(ctx, "r", nil); err != nil {
		t.Fatal(err)
	}
	interrupt()
	var ce *rendezvous.CloseError
	if _, err := c.Next(ctx); !errors.As(err, &ce) || ce.Code != rendezvous.CodeShutdown {
		t.Errorf("the client was told %v", err)
	}
	if rest, err := io.ReadAll(lines); err != nil || !strings.HasSuffix(string(rest), want) {
		t.Errorf("the rest of the output is %q, %v", rest, err)
	}
	if got := <-code; got != 0 {
		t.Errorf("it returned %d", got)
	}
}

// Of clients from one address there are as many as the flag says, in twice as many rooms.
func TestClientsOfAnAddress(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	signalled, interrupt := context.WithCancel(ctx)
	out, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- exit(signalled, []string{"-addr", "127.0.0.1:0", "-drain", "1ns", "-max-clients-per-address", "2"}, w, io.Discard)
		w.Close()
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	var clients [2]*rendezvous.Client
	for i := range clients {
		if clients[i], err = rendezvous.Dial(ctx, url, rendezvous.ClientConfig{}); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
	}
	var ce *rendezvous.CloseError
	if _, err := rendezvous.Dial(ctx, url, rendezvous.ClientConfig{}); !errors.As(err, &ce) || ce.Code != rendezvous.CodeTooManyClients {
		t.Errorf("a third one: %v", err)
	}
	for i, room := range []string{"a", "b", "c", "d"} {
		if err := clients[i%2].Join(ctx, room, nil); err != nil {
			t.Fatal(err)
		}
	}
	var refused *rendezvous.Error
	if err := clients[0].Join(ctx, "e", nil); !errors.As(err, &refused) || refused.Code != rendezvous.CodeTooManyRooms {
		t.Errorf("a fifth room: %v", err)
	}
	interrupt()
	_, _ = io.Copy(io.Discard, lines)
	if got := <-code; got != cli.Done {
		t.Errorf("it returned %d", got)
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
		{[]string{"-ice-servers", "stun.example"}, 2},
		{[]string{"-ice-servers", "stun:a,"}, 2},
		{[]string{"-ice-servers", "turn:a"}, 2},
		{[]string{"-turn-secret", "hush-hush"}, 2},
		{[]string{"-ice-servers", "turn:a", "-turn-secret", "hush-hush", "-turn-lifetime", "1s"}, 2},
		{[]string{"-name", "http://meet.example"}, 2},
		{[]string{"-drain", "-1s"}, 2},
		{[]string{"-max-clients-per-address", "0"}, 2},
		{[]string{"-max-clients-per-address", "65537"}, 2},
		{[]string{"-h"}, 0},
	} {
		var stderr bytes.Buffer
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // should it start after all
		if got := exit(ctx, test.args, io.Discard, &stderr); got != test.want || stderr.Len() == 0 {
			t.Errorf("%q returned %d and said %q, want %d", test.args, got, stderr.String(), test.want)
		}
		if strings.Contains(stderr.String(), "hush-hush") || strings.Contains(stderr.String(), "rendezvous: rendezvous:") {
			t.Errorf("%q said %q", test.args, stderr.String())
		}
	}
}
