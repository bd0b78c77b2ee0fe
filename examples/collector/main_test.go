package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// exit is the program: its exit code, with what it says.
func exit(ctx context.Context, args []string, token string, stdout, stderr io.Writer) int {
	return cli.Exit("collector", run(ctx, args, token, stdout, stderr), stderr)
}

// start runs the program and returns where it listens; it ends with the test, by then
// without an error.
func start(t *testing.T, token string, args ...string) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, to := io.Pipe()
	done := make(chan int)
	var log bytes.Buffer
	go func() {
		done <- exit(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), token, to, &log)
		to.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	go io.Copy(io.Discard, out)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if code := <-done; code != cli.Done {
			t.Errorf("exit code %d: %s", code, log.String())
		}
	}
	t.Cleanup(stop)
	return strings.TrimSuffix(strings.TrimSpace(line), "/table"), stop
}

func request(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, string(text)
}

func eventLine(t *testing.T) string {
	t.Helper()
	id, err := stats.NewID(nil)
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(stats.Event{
		ID: id, Session: id, Time: time.Now(), Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: 80 * time.Millisecond,
		LocalNAT: natprobe.TypeFullCone, Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

// await asks for a page until it has something; aggregators store every few seconds.
func await(t *testing.T, url, token, want string) string {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		status, text := request(t, "GET", url, token, "")
		if status == http.StatusOK && strings.Contains(text, want) {
			return text
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %d %s, want something with %q", url, status, text, want)
		}
	}
}

// Events go in, also twice and spoiled, and come out as a table, also after a restart.
func TestCollector(t *testing.T) {
	dir := t.TempDir()
	url, stop := start(t, "", "-dir", dir, "-shards", "2")
	a, b := eventLine(t), eventLine(t)
	status, text := request(t, "POST", url+"/events", "", a+b+a+"\n"+`{"stage":"guess"}`+"\n")
	if status != http.StatusAccepted || !strings.Contains(text, `"taken":3,"refused":1,"error":"line 5: `) {
		t.Errorf("%d %s", status, text)
	}
	await(t, url+"/ledger", "", `"recorded":2,`)
	stop()
	url, _ = start(t, "", "-dir", dir, "-shards", "2")
	if text := await(t, url+"/table", "", "full-cone"); !strings.Contains(text, "full-cone | 2 ") {
		t.Error(text)
	}
	for format, want := range map[string]string{
		"markdown": "| full-cone | 2 | 2 |", "csv": "full_cone,2,2,0,0,1,", "json": `"nat_type":"full_cone","attempts":2`, "text": "NAT type",
	} {
		if status, text := request(t, "GET", url+"/table?format="+format, "", ""); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", format, status, text)
		}
	}
	if status, text := request(t, "GET", url+"/window", "", ""); status != http.StatusOK || !strings.Contains(text, `"local_nat":"full_cone"`) {
		t.Errorf("%d %s", status, text)
	}
	for _, bad := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/events", "", http.StatusMethodNotAllowed},
		{"POST", "/table", "", http.StatusMethodNotAllowed},
		{"GET", "/", "", http.StatusNotFound},
		{"GET", "/table?format=<script>", "", http.StatusBadRequest},
		{"POST", "/events", "{}", http.StatusBadRequest},
		{"POST", "/events", strings.Repeat("x", stats.MaxEvent+2), http.StatusRequestEntityTooLarge},
		{"GET", "/healthz", "", http.StatusOK},
	} {
		if status, text := request(t, bad.method, url+bad.path, "", bad.body); status != bad.status {
			t.Errorf("%s %s: %d %s, want %d", bad.method, bad.path, status, text, bad.status)
		}
	}
}

func TestToken(t *testing.T) {
	url, _ := start(t, "open sesame")
	for token, want := range map[string]int{"": http.StatusUnauthorized, "open": http.StatusUnauthorized, "open sesame": http.StatusAccepted} {
		if status, text := request(t, "POST", url+"/events", token, eventLine(t)); status != want {
			t.Errorf("%q: %d %s, want %d", token, status, text, want)
		}
	}
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"-addr nowhere":      "-addr",
		"-addr 0.0.0.0:8090": "BRADAWL_COLLECTOR_TOKEN",
		"fast":               `"fast" is not a flag`,
		"-shards many":       "want a whole number",
		"-shards 0":          "-shards 0: want 1 to 256",
		"-shards 999":        "-shards 999: want 1 to 256",
		"-replicas 0":        "-replicas 0: want 1 to 5",
		"-prefix=":           "-prefix is empty",
		"-prefix a.b":        "letters, digits",
		"-nats x -dir y":     "leave it out with -nats",
	} {
		var out bytes.Buffer
		if code := exit(t.Context(), strings.Fields(args), "", io.Discard, &out); code != cli.Wrong || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %d %s, want %s", args, code, out.String(), want)
		}
	}
	var out bytes.Buffer
	if code := exit(t.Context(), []string{"-h"}, "", io.Discard, &out); code != cli.Done || !strings.Contains(out.String(), "examples:") {
		t.Errorf("-h: %d %s", code, out.String())
	}
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"-addr 127.0.0.1:0 -nats nats://127.0.0.1:1": "connecting to NATS",
		"-addr 127.0.0.1:0 -dir " + file:             "name a folder that can be written",
	} {
		out.Reset()
		if code := exit(t.Context(), strings.Fields(args), "", io.Discard, &out); code != cli.Failed || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %d %s, want %s", args, code, out.String(), want)
		}
	}
}
