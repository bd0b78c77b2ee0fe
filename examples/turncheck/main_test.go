package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

const host = "turn.example.org"

// world is a TURN server, 20 ms from a user, over all transports and both families.
type world struct {
	*simnet.World
	server *turntest.Server
	site   *simnet.Site
	roots  *x509.CertPool
}

// simulate runs test in virtual time, with the user behind what the preset says.
func simulate(t *testing.T, preset string, cfg turntest.Config, link simnet.Link, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: simnet.New(1)}
		ip4 := netip.MustParseAddr("192.0.2.1")
		hosts := []*simnet.Host{
			w.AddHost("turn", w.Internet(), link, ip4),
			w.AddHost("turn by IPv6", w.Internet(), link, netip.MustParseAddr("2001:db8:f::1")),
		}
		var err error
		if w.site, err = w.AddSite("user", preset, link); err != nil {
			t.Fatal(err)
		}
		defer w.Go()()
		cfg.Realm, cfg.Users, cfg.Relay = "example.org", map[string]string{"alice": "wonderland"}, ip4
		w.server = turntest.NewServer(cfg, w.Secrets("turn"))
		cert, roots := certificate(t)
		w.roots = roots
		o := drive.Options{ListenPacket: hosts[0].ListenPacket}
		for i, family := range []string{"4", "6"} {
			pc, err := hosts[i].ListenPacket(t.Context(), "udp"+family, ":3478")
			if err != nil {
				t.Fatal(err)
			}
			o.Sockets = append(o.Sockets, pc)
			for _, port := range []string{":3478", ":5349"} {
				l, err := hosts[i].Listen(t.Context(), "tcp"+family, port, false)
				if err != nil {
					t.Fatal(err)
				}
				if port == ":5349" {
					l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
				}
				o.Listeners = append(o.Listeners, l)
			}
		}
		loop, err := drive.Run[struct{}](w.server, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		defer loop.Close()
		test(t, w)
	})
}

// check runs the program as on the user's host.
func (w *world) check(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	args = append([]string{"-transports", "udp,tcp,tls"}, args...) // that is what the world's server has
	o, err := parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	o.cfg.ListenPacket, o.cfg.DialContext = w.site.ListenPacket, w.site.DialContext
	o.cfg.TLS.RootCAs = w.roots
	o.lookup = func(_ context.Context, _, name string) ([]netip.Addr, error) {
		if name != host {
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		return []netip.Addr{netip.MustParseAddr("2001:db8:f::1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")}, nil
	}
	var b bytes.Buffer
	err = o.run(t.Context(), &b)
	return b.String(), err
}

func (w *world) results(t *testing.T, args ...string) (all []result, err error) {
	t.Helper()
	out, err := w.check(t, append([]string{"-json", "-user", "alice", "-pass", "wonderland"}, args...)...)
	if wrong := json.Unmarshal([]byte(out), &all); wrong != nil {
		t.Fatalf("%v, %v\n%s", err, wrong, out)
	}
	if strings.Contains(out, "wonderland") {
		t.Errorf("the password is shown: %s", out)
	}
	return all, err
}

// What is shown is what there is: the world's delay, the server's abilities.
func TestEveryWay(t *testing.T) {
	link := simnet.Link{Delay: 20 * time.Millisecond}
	simulate(t, "dual-stack", turntest.Config{SHA256: true, Mobility: true, Lifetime: 5 * time.Minute}, link, func(t *testing.T, w *world) {
		all, err := w.results(t, host)
		if err != nil || len(all) != 6 {
			t.Fatalf("%d ways, %v", len(all), err)
		}
		for i, r := range all {
			name := []string{"udp", "udp", "tcp", "tcp", "tls", "tls"}[i]
			family := []string{"IPv4", "IPv6"}[i%2]
			if r.Transport != name || r.Family != family || r.Target != host || !r.OK || r.Error != "" || r.Sent != 50 || r.Received != 50 || r.Loss != 0 {
				t.Errorf("%d: %+v", i, r)
				continue
			}
			// 80 ms there and back. Over TCP data may wait for other data.
			if r.RTT.P50 < 79 || r.RTT.P50 > 85 || r.RTT.P95 < r.RTT.P50 || r.RTT.P95 > 125 {
				t.Errorf("%s over %s: %+v", name, family, *r.RTT)
			}
			// The challenge and the answer; before that the handshakes.
			if trips := []float64{2, 2, 3, 3, 4, 4}[i]; r.Allocate < 80*trips-1 || r.Allocate > 80*trips+10 {
				t.Errorf("%s over %s: %v ms to allocate", name, family, r.Allocate)
			}
			if want := (features{SHA256: true, Mobility: true, Channel: true}); *r.Features != want || r.Lifetime != 300 || !strings.HasPrefix(r.Relayed, "192.0.2.1:") || r.Mapped == "" {
				t.Errorf("%s over %s: %+v, %+v", name, family, r, *r.Features)
			}
		}
		if n := w.server.Allocations(time.Now()); n != 0 {
			t.Errorf("%d allocations are left", n)
		}
	})
}

// Losses are counted, and are nobody's failure.
func TestLossyPath(t *testing.T) {
	simulate(t, "open", turntest.Config{}, simnet.Link{Delay: 5 * time.Millisecond, Loss: 0.05}, func(t *testing.T, w *world) {
		all, err := w.results(t, "-n", "500", "-timeout", "1m", "turn:192.0.2.1?transport=udp")
		if err != nil || len(all) != 1 || !all[0].OK {
			t.Fatalf("%+v, %v", all, err)
		}
		// Two links, each twice: 1 - 0.95^4 is 18.5 %.
		if r := all[0]; r.Loss < 0.1 || r.Loss > 0.27 || r.Sent != 500 || float64(r.Received) != 500*(1-r.Loss) {
			t.Errorf("%+v", r)
		}
	})
}

// Each way that does not work says why, and what to do, and the others go on.
func TestWhatFails(t *testing.T) {
	link := simnet.Link{Delay: 5 * time.Millisecond}
	for _, c := range []struct {
		name, preset string
		cfg          turntest.Config
		args         string
		works        []string // of udp, tcp, tls
		errors       []string // a part of each error
		code         int
	}{
		{"UDP is blocked", "udp-blocked", turntest.Config{}, "-name " + host + " 192.0.2.1", []string{"tcp", "tls"},
			[]string{"allocate at 192.0.2.1:3478 over udp: no answer within 5s (4 sent); check the address; UDP may be blocked here"}, 0},
		{"another port", "open", turntest.Config{}, "turn:192.0.2.1:1234?transport=tcp", nil,
			[]string{"allocate at 192.0.2.1:1234 over tcp: dial tcp4"}, 0},
		{"wrong password", "open", turntest.Config{}, "-pass looking-glass turn:192.0.2.1", nil,
			[]string{"check username and password", "check username and password"}, 401},
		{"wrong name", "open", turntest.Config{}, "-name other.example.org turns:192.0.2.1", nil,
			[]string{`TLS with "other.example.org"`}, 0},
		{"no name", "open", turntest.Config{}, "turns:192.0.2.1", nil,
			[]string{"give its name by -name"}, 0},
		{"full", "open", turntest.Config{Refuse: map[wire.Method]int{wire.Allocate: 508}}, "turn:192.0.2.1?transport=udp", nil,
			[]string{"refused with 508 (Insufficient Capacity); the server is full"}, 508},
		{"no relaying to itself", "open", turntest.Config{Deny: func(netip.Addr) bool { return true }}, "turn:192.0.2.1?transport=udp", nil,
			[]string{"give an echo server by -peer: peer 192.0.2.1: permission at 192.0.2.1:3478 over udp: refused with 403 (Forbidden)"}, 403},
		{"a peer that says nothing", "open", turntest.Config{}, "-n 5 -peer 192.0.2.1:9 turn:192.0.2.1?transport=udp", nil,
			[]string{"of 5 datagrams to 192.0.2.1:9 none came back"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, c.preset, c.cfg, link, func(t *testing.T, w *world) {
				all, err := w.results(t, strings.Fields(c.args)...)
				if (err == nil) != (len(c.works) > 0) || err != nil && !errors.Is(err, errNone) {
					t.Errorf("%v", err)
				}
				var works, wrong []string
				for _, r := range all {
					if r.OK {
						works = append(works, r.Transport)
						continue
					}
					wrong = append(wrong, r.Error)
					if r.Code != c.code || strings.Contains(r.Error, "\n") || strings.Contains(r.Error, "looking-glass") {
						t.Errorf("code %d: %q", r.Code, r.Error)
					}
				}
				if strings.Join(works, " ") != strings.Join(c.works, " ") || len(wrong) != len(c.errors) {
					t.Fatalf("works: %v, fails: %q", works, wrong)
				}
				for i, want := range c.errors {
					if !strings.Contains(wrong[i], want) {
						t.Errorf("%q, want %q", wrong[i], want)
					}
				}
			})
		})
	}
}

// A peer that echoes takes the place of the relayed address. What counts is what was sent,
// from there, once.
func TestEchoPeer(t *testing.T) {
	own := netip.MustParseAddr("192.0.2.1")
	simulate(t, "open", turntest.Config{Deny: func(a netip.Addr) bool { return a == own }}, simnet.Link{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		var conns [2]net.PacketConn
		for i, port := range []string{":7", ":8"} {
			var err error
			if conns[i], err = w.site.ListenPacket(t.Context(), "udp4", port); err != nil {
				t.Fatal(err)
			}
			defer conns[i].Close()
		}
		go func() {
			for buf := make([]byte, 1500); ; {
				n, from, err := conns[0].ReadFrom(buf)
				if err != nil {
					return
				}
				switch number := buf[probeHeader-1]; number % 3 {
				case 0:
					_, _ = conns[0].WriteTo(buf[:n], from)
					_, _ = conns[0].WriteTo(buf[:n], from)
				case 1:
					_, _ = conns[1].WriteTo(buf[:n], from)
				case 2:
					buf[0] ^= 1
					_, _ = conns[0].WriteTo(buf[:n], from)
				}
			}
		}()
		all, err := w.results(t, "-n", "60", "-peer", netip.AddrPortFrom(w.site.Addr(), 7).String(), "turn:192.0.2.1?transport=udp")
		if err != nil || len(all) != 1 || all[0].Received != 20 || all[0].RTT.P50 < 39 || all[0].RTT.P50 > 41 {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

func TestTable(t *testing.T) {
	simulate(t, "udp-blocked", turntest.Config{SHA256: true}, simnet.Link{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		out, err := w.check(t, "-user", "alice", "-pass", "wonderland", "-name", host, "192.0.2.1")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if err != nil || len(lines) != 4 {
			t.Fatalf("%v\n%s", err, out)
		}
		for i, want := range []string{"transport", "udp        IPv4    failed: allocate at", "tcp        IPv4 ", "tls        IPv4 "} {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%q, want %q", lines[i], want)
			}
		}
		for _, column := range []string{" ms  ", "0.0 %", "600 s", "channel sha-256", "192.0.2.1:"} {
			if !strings.Contains(lines[2], column) {
				t.Errorf("%q lacks %q", lines[2], column)
			}
		}
		out, err = w.check(t, "turn:192.0.2.1?transport=tcp")
		if !errors.Is(err, errNone) || !strings.Contains(out, "give -user and -pass") {
			t.Errorf("without credentials: %v\n%s", err, out)
		}
		if _, err := w.check(t, "nowhere.example.org"); err == nil || errors.Is(err, errNone) || !strings.Contains(err.Error(), "nowhere.example.org") {
			t.Errorf("a name without an address: %v", err)
		}
	})
}

func TestTargets(t *testing.T) {
	o := options{transports: []string{"udp", "tcp", "tls", "dtls"}, lookup: func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}, nil
	}}
	for arg, want := range map[string]string{
		host:                        "turn:192.0.2.1:3478?transport=udp turn:192.0.2.1:3478?transport=tcp turns:192.0.2.1:5349?transport=tcp turns:192.0.2.1:5349?transport=udp",
		host + ":443":               "turn:192.0.2.1:443?transport=udp turn:192.0.2.1:443?transport=tcp turns:192.0.2.1:443?transport=tcp turns:192.0.2.1:443?transport=udp",
		"2001:db8::1":               "turn:[2001:db8::1]:3478?transport=udp turn:[2001:db8::1]:3478?transport=tcp turns:[2001:db8::1]:5349?transport=tcp turns:[2001:db8::1]:5349?transport=udp",
		"turn:[2001:db8::1]:9":      "turn:[2001:db8::1]:9?transport=udp turn:[2001:db8::1]:9?transport=tcp",
		"turn:h?transport=tcp":      "turn:192.0.2.1:3478?transport=tcp",
		"turns:h":                   "turns:192.0.2.1:5349?transport=tcp turns:192.0.2.1:5349?transport=udp",
		"TURNS:h:443?transport=tcp": "turns:192.0.2.1:443?transport=tcp",
	} {
		tgt, err := parseTarget(arg)
		if err != nil {
			t.Error(err)
			continue
		}
		ways, err := o.ways(t.Context(), tgt)
		var got []string
		for _, w := range ways {
			got = append(got, w.uri)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v, want %s", arg, got, err, want)
		}
	}
}

func TestBadInput(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":                      "no server named",
		"-n 0 h":                "-n 0",
		"-n 1000000 h":          "-n 1000000",
		"-interval 1us h":       "-interval",
		"-size 11 h":            "-size 11: want 12",
		"-size 1401 h":          "-size 1401",
		"-timeout 0s h":         "-timeout 0s",
		"-ca /nonexistent h":    "-ca: ",
		"-ca " + junk + " h":    "no certificate",
		"-peer example.org:7 h": `-peer "example.org:7"`,
		"stun:h":                `"stun:h" is neither`,
		"turn:h?transport=sctp": "unknown transport",
		"h:70000":               "port",
		"http://example.org/":   "is neither",
		"-loud h":               "-loud",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard)
		if err == nil || cli.Exit("turncheck", err, io.Discard) != cli.Wrong || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, io.Discard, &help); cli.Exit("turncheck", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-peer") {
		t.Errorf("%v: %s", err, help.String())
	}
}

func TestPercentiles(t *testing.T) {
	for n, want := range map[int][2]float64{1: {1, 1}, 2: {1, 2}, 20: {10, 19}, 100: {50, 95}, 101: {51, 96}} {
		all := make([]float64, n)
		for i := range all {
			all[i] = float64(i + 1)
		}
		if got := [2]float64{percentile(all, 50), percentile(all, 95)}; got != want {
			t.Errorf("of %d: %v, want %v", n, got, want)
		}
	}
}

// certificate makes one for host, and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
