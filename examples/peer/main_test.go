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
	"sync/atomic"
	"testing"

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

// screen is what a peer prints; told is called when that says what came back.
type screen struct {
	bytes.Buffer
	told func()
}

func (s *screen) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(`"event":"echo"`)) {
		s.told()
	}
	return s.Buffer.Write(b)
}

// meet runs two peers, each with flags of its own beside those of both, and returns what they
// print. They stay until both have got everything back, however long one is behind the other.
func meet(t *testing.T, both string, own ...string) (outs [2]string) {
	t.Helper()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	var (
		wg      sync.WaitGroup
		left    atomic.Int32
		screens [2]screen
		errs    [2]error
	)
	left.Store(int32(len(screens)))
	for i := range screens {
		screens[i].told = func() {
			if left.Add(-1) == 0 {
				enough()
			}
		}
		flags := both + " -room lab -echo 5 -linger 1h -timeout 20s"
		if i < len(own) {
			flags += own[i]
		}
		wg.Go(func() {
			if errs[i] = run(ctx, strings.Fields(flags), &screens[i], io.Discard); errs[i] != nil {
				enough() // the other one would wait for it
			}
		})
	}
	wg.Wait()
	for i := range screens {
		if outs[i] = screens[i].String(); errs[i] != nil {
			t.Errorf("peer %d: %v\n%s", i, errs[i], outs[i])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return outs
}

// Two peers on loopback: the lines that other programs rely on.
func TestPeersOnLoopback(t *testing.T) {
	for _, proto := range []string{"udp", "tcp"} {
		t.Run(proto, func(t *testing.T) { peersOnLoopback(t, proto) })
	}
}

func peersOnLoopback(t *testing.T, proto string) {
	for i, out := range meet(t, lab(t)+" -proto "+proto) {
		var events []talk.Event
		for line := range strings.Lines(out) {
			var e talk.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("peer %d: line %q: %v", i, line, err)
			}
			if e.Event == "moved" && len(events) > 0 && e.Path == "direct" && e.Proto == proto {
				continue // to another pair of this machine's addresses: which of them answers best is nobody's to say
			}
			events = append(events, e)
		}
		if len(events) != 2 {
			t.Fatalf("peer %d: events %s", i, out)
		}
		if e := events[0]; e.Event != "connected" || e.Path != "direct" || e.Proto != proto || e.Local == "" || e.Remote == "" || e.MS == nil {
			t.Errorf("peer %d: %s", i, out)
		}
		if e := events[1]; e.Event != "echo" || *e.Sent != 5 || *e.Echoed != 5 || *e.RTTus <= 0 {
			t.Errorf("peer %d: %s", i, out)
		}
	}
}

// With -events, both sides record that they have gathered, signalled, punched and connected.
func TestEvents(t *testing.T) {
	for i, out := range meet(t, lab(t)+" -proto udp -events") {
		got := make(map[stats.Stage]stats.Event)
		for line := range strings.Lines(out) {
			if !strings.Contains(line, `"event_id"`) {
				continue // one of -json
			}
			var e stats.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("peer %d: line %q: %v", i, line, err)
			}
			got[e.Stage] = e
		}
		for _, stage := range []stats.Stage{stats.StageSignal, stats.StagePunch, stats.StageConnect} {
			if got[stage].Status != stats.StatusSuccess {
				t.Errorf("peer %d: %v: %v\n%s", i, stage, got[stage], out)
			}
		}
		if e := got[stats.StageConnect]; e.Pair != stats.PairHost || e.Protocol != stats.ProtocolUDP || len(got) != 4 {
			t.Errorf("peer %d: %d stages, %v\n%s", i, len(got), e, out)
		}
	}
}

func TestNobodyComes(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), strings.Fields(lab(t)+" -room lonely -timeout 500ms"), &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `nobody else came to room "lonely"`) || !strings.Contains(err.Error(), "-timeout 500ms") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(out.String(), `"event":"failed"`) {
		t.Errorf("output %s", out.String())
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
			for i, out := range meet(t, lab(t), c.a, c.b) {
				if !strings.Contains(out, `"event":"connected","path":"relay","proto":"udp"`) {
					t.Errorf("peer %d: %s", i, out)
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
