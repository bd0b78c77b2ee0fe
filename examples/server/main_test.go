package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/turnclient"
)

// secondAddress is a second address of loopback, where there is one without setup.
func secondAddress() string {
	pc, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		return ""
	}
	pc.Close()
	return "127.0.0.2"
}

// A session that knows the URL alone gets all it needs, and all of it works.
func TestServer(t *testing.T) {
	t.Parallel()
	second := secondAddress()
	p := start(t, "-v", "-listen2", second, "-turn-secret", secret)
	signals, got := p.signOn(t, rendezvous.ClientConfig{})
	if len(got.stun) != 1 || len(got.turn) != 2 || got.Username == "" {
		t.Fatalf("handed out: %v, %v as %q", got.stun, got.turn, got.Username)
	}

	report, err := natprobe.Discover(t.Context(), natprobe.Config{Servers: got.stun, Fast: true})
	if err != nil || report.NAT != natprobe.No {
		t.Errorf("NAT detection: %v, %v", report, err)
	}
	if second != "" && report.Type != natprobe.TypeOpen {
		t.Errorf("NAT detection with two addresses: %v", report)
	}

	var opened []*turnclient.Allocation
	for i, uri := range got.turn {
		relay, err := allocate(t, turnclient.Config{Servers: []string{uri}, Credentials: got.Credentials})
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		relays(t, relay)
		opened = append(opened, relay)
		if status, body := p.health(t, http.DefaultClient); status != http.StatusOK || body["status"] != "ok" || body["clients"] != 1.0 || body["relays"] != float64(i+1) {
			t.Errorf("healthz: %d %v", status, body)
		}

	}
	// The same credentials, but made with another secret, or for another user.
	for _, wrong := range []turnclient.Credentials{
		{Username: got.Username, Password: password("another secret", got.Username)},
		{Username: got.Username + "x", Password: got.Password},
		{Username: "nobody", Password: password(secret, "nobody")},
		{Username: "1000000000:long ago", Password: password(secret, "1000000000:long ago")},
	} {
		_, err := allocate(t, turnclient.Config{Servers: got.turn[1:], Credentials: wrong})
		refusedWith(t, 400, err)
	}
	// Others that know the secret can make credentials, too.
	byOthers := turnclient.Credentials{Username: "9999999999:somebody", Password: password(secret, "9999999999:somebody")}
	relay, err := allocate(t, turnclient.Config{Servers: got.turn, Credentials: byOthers})
	if err != nil {
		t.Fatal(err)
	}
	opened = append(opened, relay)

	// The signalling goes from one to the other.
	other, _ := p.signOn(t, rendezvous.ClientConfig{})
	stranger, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Send(t.Context(), stranger.ID(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	var undeliverable *rendezvous.Error
	if _, _, err := other.Receive(t.Context()); !errors.As(err, &undeliverable) {
		t.Errorf("sent to nobody: %v", err)
	}
	signals.Close()
	other.Close()

	if err := errors.Join(opened[0].Close(), opened[1].Close(), opened[2].Close()); err != nil {
		t.Error(err)
	}
	p.interrupt()
	p.end()
	said := p.said()
	for _, s := range []string{secret, got.Password} {
		if strings.Contains(said, s) {
			t.Errorf("the log shows a secret: %s", said)
		}
	}
}

// With a name, who was led to dial another one is refused.
func TestName(t *testing.T) {
	t.Parallel()
	p := start(t, "-name", "meet.test:8080")
	address := strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/")
	cfg := rendezvous.ClientConfig{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	p.url = "ws://meet.test:8080/"
	if _, got := p.signOn(t, cfg); len(got.stun) != 1 || !strings.HasPrefix(got.stun[0], "stun:meet.test:") {
		t.Errorf("handed out: %v", got.stun)
	}
	id, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	var ce *rendezvous.CloseError
	_, err = (&rendezvous.Signaler{URL: "ws://elsewhere.test:8080/", Client: cfg}).SignOn(t.Context(), id)
	if !errors.As(err, &ce) || ce.Code != rendezvous.CodeBadProof {
		t.Errorf("by another name: %v", err)
	}
}

// Of clients from one address there are as many as the flag says.
func TestClientsOfAnAddress(t *testing.T) {
	t.Parallel()
	p := start(t, "-max-clients-per-address", "2")
	for range 2 {
		p.signOn(t, rendezvous.ClientConfig{})
	}
	id, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	var ce *rendezvous.CloseError
	if _, err := (&rendezvous.Signaler{URL: p.url}).SignOn(t.Context(), id); !errors.As(err, &ce) || ce.Code != rendezvous.CodeTooManyClients {
		t.Errorf("a third one: %v", err)
	}
}

// While it drains nobody gets in, and who is in can go on until it has gone.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := start(t, "-drain", "1h")
	signals, got := p.signOn(t, rendezvous.ClientConfig{})
	relay, err := allocate(t, turnclient.Config{Servers: got.turn, Credentials: got.Credentials})
	if err != nil {
		t.Fatal(err)
	}
	// A stray packet, which nobody has permitted.
	stray, err := net.Dial("udp4", relay.RelayedAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	if _, err := stray.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	p.interrupt()
	var ce *rendezvous.CloseError
	if _, _, err := signals.Receive(t.Context()); !errors.As(err, &ce) || ce.Code != rendezvous.CodeShutdown {
		t.Errorf("the client was told %v", err)
	}
	if status, body := p.health(t, http.DefaultClient); status != http.StatusServiceUnavailable || body["status"] != "draining" || body["relays"] != 1.0 {
		t.Errorf("healthz: %d %v", status, body)
	}
	id, err := bradawl.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&rendezvous.Signaler{URL: p.url}).SignOn(t.Context(), id); !errors.Is(err, rendezvous.ErrUnavailable) {
		t.Errorf("signing on: %v", err)
	}
	_, err = allocate(t, turnclient.Config{Servers: got.turn[1:], Credentials: got.Credentials})
	refusedWith(t, 486, err)
	relays(t, relay)
	if err := relay.Close(); err != nil {
		t.Error(err)
	}
	code, rest := p.end()
	if code != cli.Done || len(rest) != 2 || rest[0]["msg"] != "draining" || rest[1]["msg"] != "drained" {
		t.Errorf("it ended with %d, and logged %v", code, rest)
	}
	free(t, "tcp", strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/"))
	free(t, "udp", strings.TrimPrefix(got.stun[0], "stun:"))
	free(t, "udp", strings.TrimSuffix(strings.TrimPrefix(got.turn[0], "turn:"), "?transport=udp"))
	free(t, "tcp", strings.TrimSuffix(strings.TrimPrefix(got.turn[1], "turn:"), "?transport=tcp"))
}

// free checks that nobody listens at an address any more.
func free(t *testing.T, network, address string) {
	t.Helper()
	if network == "tcp" {
		if conn, err := net.Dial(network, address); err == nil {
			conn.Close()
			t.Errorf("%s %s is still open", network, address)
		}
		return
	}
	pc, err := net.ListenPacket(network, address)
	if err != nil {
		t.Errorf("%s %s is still open: %v", network, address, err)
		return
	}
	pc.Close()
}

// A drain ends with its limit, and says whom that has cut off.
func TestDrainLimit(t *testing.T) {
	t.Parallel()
	p := start(t, "-drain", "1ms")
	_, got := p.signOn(t, rendezvous.ClientConfig{})
	for _, uri := range got.turn {
		if _, err := allocate(t, turnclient.Config{Servers: []string{uri}, Credentials: got.Credentials}); err != nil {
			t.Fatal(err)
		}
	}
	p.interrupt()
	code, rest := p.end()
	cut := slices.ContainsFunc(rest, func(r record) bool { return r["level"] == "WARN" && r["relays"] == 2.0 })
	if code != cli.Done || !cut {
		t.Errorf("it ended with %d, %v", code, rest)
	}
}

// Peers on IPv6 reach everything too.
func TestIPv6(t *testing.T) {
	t.Parallel()
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6 loopback address (ip addr add ::1/128 dev lo): ", err)
	}
	pc.Close()
	p := start(t, "-listen", "::1,127.0.0.1")
	v6 := p.await(t, func(r record) bool { return r["service"] == "rendezvous" })
	p.url = v6["url"].(string)
	_, got := p.signOn(t, rendezvous.ClientConfig{})
	if len(got.stun) != 2 || len(got.turn) != 4 {
		t.Fatalf("handed out: %v, %v", got.stun, got.turn)
	}
	for _, uri := range got.turn[2:] {
		if !strings.Contains(uri, "[::1]") {
			t.Errorf("%s is not by IPv6", uri)
		}
		relay, err := allocate(t, turnclient.Config{Servers: []string{uri}, Credentials: got.Credentials})
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		relays(t, relay)
	}
	addrs, err := natprobe.ResolveServers(t.Context(), "ip6", got.stun[1])
	if err != nil {
		t.Fatal(err)
	}
	pc, err = net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	answers, err := natprobe.MappedAddresses(t.Context(), pc, addrs, nil)
	if err != nil || answers[0].Addr.Addr() != netip.IPv6Loopback() {
		t.Errorf("STUN: %v, %v", answers, err)
	}
}

// TestMain is the program itself where TestSignal asks for it.
func TestMain(m *testing.M) {
	if args := os.Getenv("TEST_SERVER_ARGS"); args != "" {
		os.Args = append(os.Args[:1], strings.Fields(args)...)
		main()
	}
	os.Exit(m.Run())
}

// A real process drains on SIGTERM, and a second one ends it at once.
func TestSignal(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM to send to a process; run the test on another system")
	}
	for _, twice := range []bool{false, true} {
		p := new(program)
		p.more.L = &p.mu
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "TEST_SERVER_ARGS=-http-port 0 -stun-port 0 -stun-port2 0 -turn-port 0 -log json -drain 1h")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			for lines := bufio.NewScanner(stderr); lines.Scan(); {
				p.Write(lines.Bytes())
			}
			p.close()
		}()
		p.url = p.await(t, func(r record) bool { return r["service"] == "rendezvous" })["url"].(string)
		signals, got := p.signOn(t, rendezvous.ClientConfig{})
		relay, err := allocate(t, turnclient.Config{Servers: got.turn[:1], Credentials: got.Credentials})
		if err != nil {
			t.Fatal(err)
		}
		signals.Close()
		terminate := func() {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		terminate()
		p.await(t, func(r record) bool { return r["msg"] == "draining" })
		if twice {
			terminate()
		} else {
			relay.Close()
		}
		p.end()
		var exit *exec.ExitError
		if err := cmd.Wait(); twice && (!errors.As(err, &exit) || exit.ExitCode() != -1) || !twice && err != nil {
			t.Errorf("signalled twice %t: it ended with %v", twice, err)
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, flag := range []string{"-http-port", "-stun-port", "-turn-port"} {
		args := []string{"-http-port", "0", "-stun-port", "0", "-stun-port2", "0", "-turn-port", "0", "-log", "json", flag, port}
		var log bytes.Buffer
		if code := run(t.Context(), args, func(string) string { return "" }, &log); code != cli.Failed {
			t.Errorf("%s: it ended with %d", flag, code)
		}
		last := record{}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
			t.Fatal(err)
		}
		if text, _ := last["error"].(string); last["level"] != "ERROR" || !strings.Contains(text, port) || !strings.Contains(text, flag) {
			t.Errorf("%s: it said %v", flag, last)
		}
	}
}
