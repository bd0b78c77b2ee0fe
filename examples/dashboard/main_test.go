package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats/dashboard"
)

// running is the program, started.
type running struct {
	*testing.T
	lines *bufio.Reader
	stop  func() error
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, w := io.Pipe()
	var stderr bytes.Buffer
	done := make(chan error, 1)
	go func() {
		err := run(ctx, args, w, &stderr)
		w.CloseWithError(errors.New("the program has ended"))
		done <- err
	}()
	var ended bool
	r := &running{T: t, lines: bufio.NewReader(out)}
	r.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("it ended by %v; %s", err, stderr.String())
		}
	})
	return r
}

// line is what it says next after a word.
func (r *running) line(begins string) string {
	r.Helper()
	line, err := r.lines.ReadString('\n')
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), begins)
	if err != nil || !ok {
		r.Fatalf("it says %q, %v; want %q", line, err, begins)
	}
	return rest
}

// get is a file of the page.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, resp.Status, err)
	}
	return string(text)
}

// As a collector it takes reports from those who have the token.
func TestCollects(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := start(t, "-collect", "-addr", "127.0.0.1:0", "-interval", "100ms")
	url := r.line("the page: ")
	if to := r.line("reports to: "); to != url+"report" {
		t.Errorf("reports to %q", to)
	}
	token := r.line("token: ")
	if text := get(t, url); !strings.Contains(text, "<title>Reporting detectors</title>") {
		t.Errorf("the page is %s", text)
	}
	c, err := dashboard.NewClient(dashboard.ClientConfig{URL: url, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if err := c.Push(ctx, dashboard.Report{NAT: natprobe.TypeSymmetric}); err != nil {
		t.Fatal(err)
	}
	for {
		var m struct {
			Sections struct{ Detectors struct{ All []int } }
		}
		if err := json.Unmarshal([]byte(get(t, url+"data.json")), &m); err != nil {
			t.Fatal(err)
		}
		if all := m.Sections.Detectors.All; len(all) == 8 && all[natprobe.TypeSymmetric] == 1 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the detector does not show")
		}
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestTokenOfTheEnvironment(t *testing.T) {
	t.Setenv(envToken, "given-by-the-environment")
	r := start(t, "-collect", "-addr", "127.0.0.1:0")
	url := r.line("the page: ")
	r.line("reports to: ")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"report", strings.NewReader(`{"detector":"00000000000000000000000000000001"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer given-by-the-environment")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

// Without -collect there is a fleet from the first moment on.
func TestShowsAFleet(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := start(t, "-addr", "127.0.0.1:0", "-detectors", "300", "-worlds", "1", "-interval", "100ms")
	url := r.line("the page: ")
	for {
		var m struct {
			Sections struct {
				Detectors struct{ All []int }
				Meta      struct{ Note string }
			}
		}
		if err := json.Unmarshal([]byte(get(t, url+"data.json")), &m); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, n := range m.Sections.Detectors.All {
			sum += n
		}
		if sum >= 300 && strings.HasPrefix(m.Sections.Meta.Note, "Simulated: 300 detectors") {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d detectors; %q", sum, m.Sections.Meta.Note)
		}
	}
}

// It goes by the names that it is given, and by the one that it prints.
func TestHosts(t *testing.T) {
	for args, want := range map[string]string{
		"-addr 192.0.2.1:0": "192.0.2.1", "-addr 192.0.2.1:0 -host a,b": "192.0.2.1 a b", "-addr :0 -host a": "a", "-addr [::]:0": "", "-addr 0.0.0.0:0": "",
	} {
		o, err := parse(strings.Fields(args), io.Discard)
		if got := strings.Join(o.config().Hosts, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", args, got, err, want)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-detectors 0": "-detectors 0", "-worlds 0": "-worlds 0", "-interval 0s": "100ms to 1m", "x": "not a flag", "-token abc": "-collect", "-collect -token abc": "-token",
		"-interval 1ns": "-interval", "-host http://x": "-host", "-nonsense": "-nonsense", "-addr 127.0.0.1": "-addr", "-addr :99999": "-addr",
		"-addr 127.0.0.1:web": "-addr", "-collect -detectors 5": "-detectors is for a simulated fleet", "-collect -worlds 5": "-worlds", "-collect -seed 5": "-seed",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something of %q", args, err, want)
		}
		if code := cli.Exit("dashboard", err, io.Discard); code != cli.Wrong {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if code := cli.Exit("dashboard", run(t.Context(), []string{"-addr", taken.Addr().String()}, io.Discard, io.Discard), io.Discard); code != cli.Failed {
		t.Errorf("an address that is taken: exit code %d", code)
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-help"}, io.Discard, &help); cli.Exit("dashboard", err, io.Discard) != cli.Done {
		t.Errorf("-help: %v", err)
	}
	for _, want := range []string{"examples:", "exit codes: 0", "-collect"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("no %q in %s", want, help.String())
		}
	}
}
