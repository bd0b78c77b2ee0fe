package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// The demo in virtual time: two sides over two transports, and both survive the server.
func TestDemo(t *testing.T) {
	for _, args := range [][]string{nil, {"-seed", "2"}, {"-v"}} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), args, strings.NewReader(""), &out, io.Discard); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out.String())
			}
			for _, want := range []string{
				`alice +203\.0\.113\.1:\d+ on 203\.0\.113\.1:3478 over udp, for 10m0s`,
				`bob +203\.0\.113\.1:\d+ on 203\.0\.113\.1:3478 over tcp, for 10m0s`,
				`alice +message 5 came back from bob in 1?\d\dms`,
				`bob +203\.0\.113\.1:\d+ on .*; lost before: 203\.0\.113\.1:\d+, 1 permissions`,
				`world +done: alice and bob talk again \d`,
				`bob +permitted -> closed`,
			} {
				if !regexp.MustCompile(want).Match(out.Bytes()) {
					t.Errorf("%v: no line matches %s\n%s", args, want, out.String())
				}
			}
			if verbose := strings.Contains(out.String(), " net "); verbose != (len(args) == 1) {
				t.Errorf("%v: packets shown: %v", args, verbose)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	for args, want := range map[string]string{
		"now":               `"now" is not a flag`,
		"-nat":              "-nat",
		"-turn foo":         `"foo" is no turn: or turns: URI`,
		"-turn turns:1.2.3": `"turns:1.2.3"`,
		"-peer 1.2.3.4:5":   "-turn is missing",
		"-turn-pass hidden": "-turn is missing",
		"-turn turn:127.0.0.1 -peer localhost:80": `-peer "localhost:80": want IP:PORT`,
		"-timeout 0s": "-timeout 0s: want a positive time",
		"-turn turn:127.0.0.1:1?transport=tcp -turn-user u -turn-pass hidden -timeout 5s": "127.0.0.1:1 over tcp",
	} {
		err := run(t.Context(), strings.Fields(args), strings.NewReader(""), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
		code := cli.Wrong
		if strings.Contains(want, " over ") { // nobody listens there
			code = cli.Failed
		}
		if got := cli.Exit("relay", err, io.Discard); got != code {
			t.Errorf("%s: exit code %d, want %d", args, got, code)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, nil, io.Discard, &help); cli.Exit("relay", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-turn-user") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}

// server is a TURN server on loopback; it returns the flags that name it.
func server(t *testing.T) []string {
	listen := func(ctx context.Context, network, address string) (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, network, address)
	}
	pc, err := listen(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loop, err := drive.Run[struct{}](turntest.NewServer(turntest.Config{
		Realm: "test", Users: map[string]string{"user": "secret"}, Relay: netip.MustParseAddr("127.0.0.1"),
	}, rand.Reader), nil, drive.Options{Sockets: []net.PacketConn{pc}, ListenPacket: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close() })
	return []string{"-turn", "turn:" + pc.LocalAddr().String() + "?transport=udp", "-turn-user", "user", "-turn-pass", "secret"}
}

// program is one side as a user has it: a keyboard and a screen.
type program struct {
	t      *testing.T
	keys   io.WriteCloser
	screen *bufio.Scanner
	ended  chan error
}

func start(t *testing.T, args ...string) *program {
	in, keys := io.Pipe()
	screen, out := io.Pipe()
	p := &program{t: t, keys: keys, screen: bufio.NewScanner(screen), ended: make(chan error, 1)}
	late := time.AfterFunc(20*time.Second, func() { screen.CloseWithError(context.DeadlineExceeded) })
	t.Cleanup(func() { late.Stop() })
	go func() {
		p.ended <- run(t.Context(), args, in, out, io.Discard)
		out.Close()
	}()
	return p
}

// see reads lines until one matches, and returns what the pattern's group matched.
func (p *program) see(pattern string) string {
	p.t.Helper()
	var all []string
	for re := regexp.MustCompile(pattern); p.screen.Scan(); {
		all = append(all, p.screen.Text())
		if strings.Contains(p.screen.Text(), "intruder") {
			p.t.Errorf("somebody else was heard: %s", p.screen.Text())
		}
		if m := re.FindStringSubmatch(p.screen.Text()); m != nil {
			return m[len(m)-1]
		}
	}
	p.t.Fatalf("no line matches %s:\n%s", pattern, strings.Join(all, "\n"))
	return ""
}

// Two programs on loopback, as two people would use them.
func TestTwoPrograms(t *testing.T) {
	flags := server(t)
	a := start(t, flags...)
	here := a.see(`our address is (127\.0\.0\.1:\d+)`)
	a.see("type /peer and the other side's address")
	fmt.Fprintln(a.keys, "anybody there?")
	a.see("nobody to send this to: type /peer")
	fmt.Fprintln(a.keys, "/peer nonsense")
	a.see(`"nonsense" is no address`)

	b := start(t, append(flags, "-peer", here)...)
	there := b.see(`our address is (127\.0\.0\.1:\d+)`)
	b.see("lines that you type go to " + here)
	fmt.Fprintln(a.keys, "/peer", there)
	a.see("lines that you type go to " + there)
	fmt.Fprintln(a.keys, "hello from a")
	b.see("peer +hello from a")
	third, err := net.Dial("udp4", here) // at an address that is let through
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := third.Write([]byte("hello from an intruder")); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(b.keys, "hello from b\x1b[2J")
	a.see(`peer +hello from b \[2J`)

	for _, p := range []*program{a, b} {
		p.keys.Close()
		go func() { // let it say the rest
			for p.screen.Scan() {
			}
		}()
		select {
		case err := <-p.ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the end of its input does not end it")
		}
	}
}
