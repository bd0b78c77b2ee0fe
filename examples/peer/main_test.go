package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/talk"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

func TestBadInput(t *testing.T) {
	ok := "-rendezvous ws://127.0.0.1:1/ -room lab "
	for args, want := range map[string]string{
		"":                      "-rendezvous is missing",
		"-rendezvous ws://h/":   `-room "": want 1 to 64 characters`,
		ok + "-room a/b":        `-room "a/b"`,
		ok + "-proto sctp":      `-proto "sctp": want auto, udp or tcp`,
		ok + "-policy any":      `-policy "any": want auto, direct or relay`,
		ok + "-local-ports 9-1": `-local-ports: netio: port range 9-1`,
		ok + "-local-ports a":   "want LOW-HIGH",
		ok + "-turn foo":        `-turn: `,
		ok + "-echo 0":          "-echo 0: want at least 1",
		ok + "-timeout 0s":      "-timeout 0s: want a positive time",
		ok + "-linger -1s":      "-linger -1s",
		ok + "now":              `"now" is not a flag`,
		ok + "-timeout 5s":      "127.0.0.1:1",
		"-rendezvous ftp://h/ -room lab -timeout 5s":         "ftp",
		ok + "-stun 127.0.0.1:1 -rendezvous ws:// -room lab": "ws://",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
		code := cli.Wrong
		if args == ok+"-timeout 5s" { // nobody listens there
			code = cli.Failed
		}
		if got := cli.Exit("peer", err, io.Discard); got != code {
			t.Errorf("%s: exit code %d, want %d", args, got, code)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("peer", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-events") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}

// lab runs the servers on loopback and returns the flags that name the rendezvous, which
// in turn names the STUN server.
func lab(t *testing.T) string {
	stun, err := stunserver.Listen(t.Context(), stunserver.Config{Port1: -1, Port2: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stun.Close() })
	meet, err := rendezvous.NewServer(rendezvous.ServerConfig{ICEServers: []string{"stun:" + stun.Addrs()[0].String()}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(meet)
	t.Cleanup(func() { meet.Close(); srv.Close() })
	return "-rendezvous ws" + strings.TrimPrefix(srv.URL, "http") + "/ -json"
}

// Two peers on loopback: the lines that other programs rely on.
func TestPeersOnLoopback(t *testing.T) {
	for _, proto := range []string{"udp", "tcp"} {
		t.Run(proto, func(t *testing.T) { peersOnLoopback(t, proto) })
	}
}

func peersOnLoopback(t *testing.T, proto string) {
	flags := lab(t)
	var (
		wg   sync.WaitGroup
		outs [2]bytes.Buffer
		errs [2]error
	)
	for i := range outs {
		wg.Go(func() {
			args := strings.Fields(flags + " -room lab -echo 5 -linger 200ms -timeout 20s -proto " + proto)
			errs[i] = run(t.Context(), args, &outs[i], io.Discard)
		})
	}
	wg.Wait()
	for i := range outs {
		if errs[i] != nil {
			t.Fatalf("peer %d: %v\n%s", i, errs[i], outs[i].String())
		}
		var events []talk.Event
		for line := range bytes.Lines(outs[i].Bytes()) {
			var e talk.Event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("peer %d: line %q: %v", i, line, err)
			}
			if e.Event == "moved" && len(events) > 0 && e.Path == "direct" && e.Proto == proto {
				continue // to another pair of this machine's addresses: which of them answers best is nobody's to say
			}
			events = append(events, e)
		}
		if len(events) != 2 {
			t.Fatalf("peer %d: events %s", i, outs[i].String())
		}
		if e := events[0]; e.Event != "connected" || e.Path != "direct" || e.Proto != proto || e.Local == "" || e.Remote == "" || e.MS == nil {
			t.Errorf("peer %d: %s", i, outs[i].String())
		}
		if e := events[1]; e.Event != "echo" || *e.Sent != 5 || *e.Echoed != 5 || *e.RTTus <= 0 {
			t.Errorf("peer %d: %s", i, outs[i].String())
		}
	}
}

// With -events, both sides record that they have gathered, signalled, punched and connected.
func TestEvents(t *testing.T) {
	flags := lab(t)
	var (
		wg   sync.WaitGroup
		outs [2]bytes.Buffer
		errs [2]error
	)
	for i := range outs {
		wg.Go(func() {
			args := strings.Fields(flags + " -room lab -echo 5 -linger 200ms -timeout 20s -proto udp -events")
			errs[i] = run(t.Context(), args, &outs[i], io.Discard)
		})
	}
	wg.Wait()
	for i := range outs {
		if errs[i] != nil {
			t.Fatalf("peer %d: %v\n%s", i, errs[i], outs[i].String())
		}
		got := make(map[stats.Stage]stats.Event)
		for line := range bytes.Lines(outs[i].Bytes()) {
			if !bytes.Contains(line, []byte(`"event_id"`)) {
				continue // one of -json
			}
			var e stats.Event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("peer %d: line %q: %v", i, line, err)
			}
			got[e.Stage] = e
		}
		for _, stage := range []stats.Stage{stats.StageSignal, stats.StagePunch, stats.StageConnect} {
			if got[stage].Status != stats.StatusSuccess {
				t.Errorf("peer %d: %v: %v\n%s", i, stage, got[stage], outs[i].String())
			}
		}
		if e := got[stats.StageConnect]; e.Pair != stats.PairHost || e.Protocol != stats.ProtocolUDP || len(got) != 4 {
			t.Errorf("peer %d: %d stages, %v\n%s", i, len(got), e, outs[i].String())
		}
	}
}

func TestNobodyComes(t *testing.T) {
	var out bytes.Buffer
	start := time.Now()
	err := run(t.Context(), strings.Fields(lab(t)+" -room lonely -timeout 500ms"), &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `nobody else came to room "lonely"`) || !strings.Contains(err.Error(), "-timeout 500ms") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(out.String(), `"event":"failed"`) {
		t.Errorf("output %s", out.String())
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

// turn runs a TURN server on loopback and returns the flags that name it.
func turn(t *testing.T) string {
	listen := func(ctx context.Context, network, address string) (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, network, address)
	}
	pc, err := listen(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := turntest.NewServer(turntest.Config{
		Realm: "test", Users: map[string]string{"user": "secret"}, Relay: netip.MustParseAddr("127.0.0.1"),
	}, rand.Reader)
	loop, err := drive.Run[struct{}](server, nil, drive.Options{Sockets: []net.PacketConn{pc}, ListenPacket: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close() })
	return " -turn turn:" + pc.LocalAddr().String() + " -turn-user user -turn-pass secret"
}

func TestRelayOnLoopback(t *testing.T) {
	relay := turn(t)
	for _, c := range []struct{ name, a, b string }{
		{"both have a relay", relay + " -policy relay", relay},
		{"one has a relay", relay + " -policy relay", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			flags := lab(t) + " -room lab -echo 5 -linger 200ms -timeout 20s"
			var (
				wg   sync.WaitGroup
				outs [2]bytes.Buffer
				errs [2]error
			)
			for i, more := range []string{c.a, c.b} {
				wg.Go(func() { errs[i] = run(t.Context(), strings.Fields(flags+more), &outs[i], io.Discard) })
			}
			wg.Wait()
			for i := range outs {
				if errs[i] != nil || !strings.Contains(outs[i].String(), `"event":"connected","path":"relay","proto":"udp"`) {
					t.Errorf("peer %d: %v\n%s", i, errs[i], outs[i].String())
				}
			}
		})
	}
}

func TestPoliciesThatDoNotMeet(t *testing.T) {
	var wg sync.WaitGroup
	flags := lab(t) + " -room lab -timeout 10s -policy "
	relay := turn(t)
	for policy, want := range map[string]string{"direct": "one side wants direct paths only", "relay" + relay: "one side wants direct paths only"} {
		wg.Go(func() {
			if err := run(t.Context(), strings.Fields(flags+policy), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("-policy %s: %v, want %q", policy, err, want)
			}
		})
	}
	wg.Wait()
	err := run(t.Context(), strings.Fields(lab(t)+" -room lab -timeout 10s -policy relay -turn turn:127.0.0.1:1 -turn-user u -turn-pass hidden"), io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("silent TURN server: %v", err)
	}
}
