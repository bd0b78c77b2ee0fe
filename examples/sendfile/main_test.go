package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// meetingPoint runs a rendezvous on loopback.
func meetingPoint(t *testing.T) (url string) {
	t.Helper()
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		server.Close()
		web.Close()
	})
	return "ws" + strings.TrimPrefix(web.URL, "http") + "/"
}

// somebody makes an identity, and returns its file and its PeerID.
func somebody(t *testing.T) (file, id string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-id", file}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(out.String())
}

// TestFromPeerToPeer: a file goes from the peer that may send; one that may not is refused.
func TestFromPeerToPeer(t *testing.T) {
	url := meetingPoint(t)
	aliceKey, alice := somebody(t)
	bobKey, bob := somebody(t)
	strangerKey, _ := somebody(t)
	path := t.TempDir()
	received := make(chan error, 1)
	var there bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	said, screen := io.Pipe()
	go func() {
		received <- run(ctx, []string{"-rendezvous", url, "-id", bobKey, "-receive", path, "-from", alice, "-json"}, &there, screen)
		screen.Close()
	}()
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); err != nil || line != "I am "+bob+", and can be reached\n" {
		t.Fatalf("%q, %v", line, err)
	}
	go io.Copy(io.Discard, lines)
	file := fileOf(t, "page.txt", content(100_000)).Name()
	if err := run(ctx, []string{"-rendezvous", url, "-id", strangerKey, bob, file}, io.Discard, io.Discard); err == nil {
		t.Error("a stranger could send")
	}
	var here bytes.Buffer
	if err := run(ctx, []string{"-rendezvous", url, "-id", aliceKey, "-json", bob, file}, &here, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	var results [2]result
	for i, b := range []*bytes.Buffer{&here, &there} {
		if err := json.Unmarshal(b.Bytes(), &results[i]); err != nil || results[i].Bytes != 100_000 || results[i].Path != "direct" || results[i].Name != "page.txt" {
			t.Errorf("%s: %v", b, err)
		}
	}
	if results[0].Hash != results[1].Hash {
		t.Errorf("%+v", results)
	}
	if got, err := os.ReadFile(filepath.Join(path, "page.txt")); err != nil || !bytes.Equal(got, content(100_000)) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}

func TestFlags(t *testing.T) {
	_, id := somebody(t)
	const r = "-rendezvous ws://127.0.0.1:1/ "
	for args, want := range map[string]string{
		"":                                       "-rendezvous is missing",
		r:                                        "want -receive FOLDER, or",
		r + "x":                                  "want -receive FOLDER, or",
		r + id + " f g":                          "want -receive FOLDER, or",
		r + "nobody f":                           "nobody",
		r + "-receive . ":                        "-from is missing",
		r + "-receive . -from nobody":            "-from: ",
		r + "-receive . -from " + id + " f g":    "not both",
		r + "-n -1 -receive . -from " + id:       "-n -1",
		r + "-max -1 -receive . -from " + id:     "-max -1",
		r + "-from " + id + " " + id + " f":      "-from is for who receives",
		r + "-n 2 " + id + " f":                  "-n is for who receives",
		r + "-max 9 " + id + " f":                "-max is for who receives",
		"-id x -n 1":                             "-n is for who receives",
		"-rendezvous x -receive . -from " + id:   "Signaler",
		r + "-stun x:y:z -receive . -from " + id: "STUN[0]",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("sendfile", err, io.Discard); code != cli.Wrong || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	for args, want := range map[string]string{
		r + id + " none.txt":                  "none.txt",
		r + "-receive none -from " + id:       "none",
		r + "-id . -receive none -from " + id: "",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if code := cli.Exit("sendfile", err, io.Discard); code != cli.Failed || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, exit code %d, want %q", args, err, code, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); err != nil || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}

func TestInterrupted(t *testing.T) {
	url := meetingPoint(t)
	_, id := somebody(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"-rendezvous", url, id, fileOf(t, "x", nil).Name()}, io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("sending: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	said, screen := io.Pipe()
	go func() {
		_, _ = said.Read(make([]byte, 1)) // it can be reached
		cancel()
		_, _ = io.Copy(io.Discard, said)
	}()
	if err := run(ctx, []string{"-rendezvous", url, "-receive", t.TempDir(), "-from", id, "-n", "0"}, io.Discard, screen); err != nil {
		t.Errorf("receiving: %v", err)
	}
}

func TestMeter(t *testing.T) {
	m := newMeter(io.Discard)
	began := time.Now()
	if text := m.text(began.Add(time.Minute)); text != "" {
		t.Errorf("nothing goes on: %q", text)
	}
	m.start("sending x", 1_000_000, 4_000_000)
	began = m.began
	if _, err := m.Write(make([]byte, 2_000_000)); err != nil {
		t.Error(err)
	}
	for after, want := range map[time.Duration]string{
		900 * time.Millisecond: "",
		2 * time.Second:        "sending x, 3000000 of 4000000 bytes (75 %), 1.0 MB/s",
	} {
		if text := m.text(began.Add(after)); text != want {
			t.Errorf("after %v %q, want %q", after, text, want)
		}
	}
	m.start("waiting", 0, 0)
	if text := m.text(m.began.Add(3 * time.Second)); text != "waiting, 3 s" {
		t.Error(text)
	}
	m.close()
}

// TestLyingReceiver: who says that it has more than there is, is not believed.
func TestLyingReceiver(t *testing.T) {
	for _, from := range []int64{-1, 11} {
		here, there := net.Pipe()
		go func() {
			var o offer
			_ = readMessage(there, &o)
			_ = writeMessage(there, reply{From: from})
		}()
		if _, err := send(t.Context(), here, fileOf(t, "x", content(10)), newMeter(io.Discard)); err == nil || !strings.Contains(err.Error(), "of 10") {
			t.Errorf("%d: %v", from, err)
		}
		here.Close()
		there.Close()
	}
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	if _, err := send(t.Context(), here, dir(t), newMeter(io.Discard)); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Error(err)
	}
}

func dir(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
