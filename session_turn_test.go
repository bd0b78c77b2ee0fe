package bradawl_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// hosts is a resolver that knows names by their addresses.
type hosts map[string]netip.Addr

func (h hosts) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := h[host]; ok {
		return []netip.Addr{a}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (hosts) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

const turnName = "turn.example"

// turnServer runs a TURN server on a host of its own: over UDP on port 3478, and over TLS, with
// a certificate of nobody's, on 5349.
func (w *internet) turnServer(t *testing.T, cfg turntest.Config) (at netip.Addr, roots *x509.CertPool) {
	t.Helper()
	host := w.AddHost("TURN", w.Internet(), simnet.Link{})
	certificate, roots, err := turntest.Certificate(turnName)
	check(t, err)
	pc, err := host.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(host.Addr(), 3478).String())
	check(t, err)
	ln, err := host.Listen(context.Background(), "tcp4", netip.AddrPortFrom(host.Addr(), 5349).String(), false)
	check(t, err)
	cfg.Relay = host.Addr()
	loop, err := drive.Run[struct{}](turntest.NewServer(cfg, rand.Reader), nil, drive.Options{
		Sockets: []net.PacketConn{pc}, ListenPacket: host.ListenPacket,
		Listeners: []net.Listener{tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{certificate}})},
	})
	check(t, err)
	w.stop = append(w.stop, func() { loop.Close() })
	return host.Addr(), roots
}

// proxy runs an HTTP proxy that connects to wherever it is asked to, by the names it knows.
func (w *internet) proxy(t *testing.T, names hosts) (at string, asked *atomic.Int64) {
	t.Helper()
	host := w.AddHost("proxy", w.Internet(), simnet.Link{})
	ln, err := host.Listen(context.Background(), "tcp4", netip.AddrPortFrom(host.Addr(), 443).String(), false)
	check(t, err)
	asked = new(atomic.Int64)
	var mu sync.Mutex
	var open []net.Conn
	keep := func(c net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
		return c
	}
	w.stop = append(w.stop, func() {
		_ = ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
	})
	serve := func(c net.Conn) {
		defer c.Close()
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		asked.Add(1)
		name, port, _ := net.SplitHostPort(r.Host)
		out, err := host.DialContext(context.Background(), "tcp4", net.JoinHostPort(names[name].String(), port))
		if err != nil {
			return
		}
		defer keep(out).Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connected\r\n\r\n")
		go func() {
			_, _ = io.Copy(out, in)
			_ = out.Close()
		}()
		_, _ = io.Copy(c, out)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(keep(c))
		}
	}()
	return netip.AddrPortFrom(host.Addr(), 443).String(), asked
}

// TestWaysToTURNServers: a session reaches TURN servers by the ways that turnclient has.
func TestWaysToTURNServers(t *testing.T) {
	for _, way := range []string{"TLS, roots of our own", "TLS, the system's roots", "DTLS", "an HTTP proxy"} {
		t.Run(way, func(t *testing.T) {
			nat := "port-restricted-cone"
			if way == "an HTTP proxy" {
				nat = "only-443"
			}
			var at netip.Addr
			var roots *x509.CertPool
			var through string
			var asked *atomic.Int64
			var laid atomic.Int64
			build := func(w *internet) {
				at, roots = w.turnServer(t, turntest.Config{})
				through, asked = w.proxy(t, hosts{turnName: at})
			}
			change := func(c *bradawl.Config) {
				c.Policy = bradawl.RelayOnly
				c.TURN = []bradawl.TURNServer{{URI: "turns:" + turnName + "?transport=tcp"}}
				c.TURNClient = turnclient.Config{Resolver: hosts{turnName: at}, TLS: &tls.Config{RootCAs: roots}}
				switch way {
				case "TLS, the system's roots":
					c.TURNClient.TLS = nil
				case "DTLS":
					c.TURN[0].URI = "turns:" + turnName + ":3478?transport=udp"
					c.TURNClient.DTLS = func(_ context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
						if cfg.ServerName != turnName || cfg.RootCAs != roots {
							return nil, fmt.Errorf("asked for %q", cfg.ServerName)
						}
						laid.Add(1)
						return conn, nil // to a server that speaks without
					}
				case "an HTTP proxy":
					c.TURNClient.Resolver = hosts{}
					c.TURNClient.Proxy = func(_ context.Context, server string) (*url.URL, error) {
						if server != turnName+":5349" {
							return nil, fmt.Errorf("a proxy for %q", server)
						}
						return &url.URL{Scheme: "http", Host: through}, nil
					}
				}
			}
			simulateIn(t, presetsOf(t, nat, nat), build, change, func(t *testing.T, w *internet) {
				if way == "TLS, the system's roots" {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					for e := range w.ends[0].Events(ctx) {
						if e.Kind == bradawl.EventServer && errors.Is(e.Err, turnclient.ErrCertificate) {
							return
						}
					}
					t.Fatal("a certificate of nobody's was taken")
				}
				a, b := w.meet(t)
				if a.Path().Kind != bradawl.PathRelay || !reaches(t, a, b) || !reaches(t, b, a) {
					t.Errorf("by %v", a.Path())
				}
				if way == "DTLS" && laid.Load() != 2 || way == "an HTTP proxy" && asked.Load() != 2 {
					t.Errorf("DTLS was laid %d times, the proxy asked %d times", laid.Load(), asked.Load())
				}
			})
		})
	}
}

// TestWordsWithoutARelay: whom only a relay would help is told why there is none.
func TestWordsWithoutARelay(t *testing.T) {
	for _, c := range []struct {
		name     string
		policy   bradawl.Policy
		password string // "": no server is named
		says     []string
	}{
		{"a wrong password", bradawl.Auto, "wrong", []string{"; no relay here: ", "401"}},
		{"a wrong password, and relays alone", bradawl.RelayOnly, "wrong", []string{"none leads to the peer; no relay here: ", "401"}},
		{"no server", bradawl.Auto, "", []string{"; no TURN server is known here: name one in Config.TURN"}},
		{"no server, and relays alone", bradawl.RelayOnly, "", []string{"none leads to the peer; no TURN server is known here: name one in Config.TURN"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var at netip.Addr
			var text lines
			build := func(w *internet) {
				at, _ = w.turnServer(t, turntest.Config{Realm: "turn.example", Users: map[string]string{"u": "right"}})
			}
			change := func(cfg *bradawl.Config) {
				cfg.Policy, cfg.Networks, cfg.Budget.Probes, cfg.TURN = c.policy, []string{"udp4"}, -1, nil
				if c.password != "" {
					cfg.TURN = []bradawl.TURNServer{{URI: "turn:" + at.String(), Username: "u", Password: c.password}}
				}
				cfg.LoggerFactory = bradawl.FromSlog(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn})))
			}
			simulateIn(t, presetsOf(t, "symmetric-random", "symmetric-random"), build, change, func(t *testing.T, w *internet) {
				_, err := w.ends[0].Dial(t.Context(), w.ends[1].ID())
				says(t, "a dial", err, bradawl.ErrNoPath, c.says...)
				if strings.Contains(err.Error(), "another Policy") || strings.Contains(err.Error(), "relayed") {
					t.Errorf("a dial: %v", err)
				}
				t.Log(err)
			})
			if n := text.count("401"); c.password != "" && n != 2 || c.password == "" && n != 0 { // one of each side
				t.Errorf("the log warns %d times: %s", n, &text.text)
			}
		})
	}
}

// TestKeepalive: with the interval that a NAT wants, neither the mapping of the session's
// socket nor that of its TURN client ends; with the default they do, behind one that forgets
// so soon.
func TestKeepalive(t *testing.T) {
	presets := presetsOf(t, "port-restricted-cone", "port-restricted-cone")
	for i := range presets {
		presets[i].NATs = slices.Clone(presets[i].NATs)
		n := &presets[i].NATs[0]
		n.Idle, n.IdleUnreplied, n.IdleStream = 5*time.Second, 0, 0
	}
	for _, every := range []time.Duration{0, 3 * time.Second} {
		change := func(cfg *bradawl.Config) {
			cfg.Keepalive, cfg.NoNATProbe, cfg.Networks = every, true, []string{"udp4"}
		}
		simulateOf(t, presets, change, func(t *testing.T, w *internet) {
			pass(20 * time.Second)
			least := 99
			for range 60 {
				pass(time.Second)
				least = min(least, w.sites[0].NAT.Mappings())
			}
			if stay := least >= 2; stay != (every > 0) {
				t.Errorf("kept up every %v, there were %d mappings at least", every, least)
			}
		})
	}
}
