package turnclient_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

func open(t *testing.T, cfg turnclient.Config) (*turnclient.Client, *turnclient.Allocation) {
	t.Helper()
	client, err := turnclient.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := client.Allocate(t.Context())
	if err != nil {
		client.Close()
		t.Fatal(err)
	}
	return client, relay
}

// The server forgets everything while traffic flows: it goes on by itself, on the same
// Allocation, and an event states the loss.
func TestClientSurvivesARestart(t *testing.T) {
	for _, uri := range []string{"turn:192.0.2.1?transport=udp", "turn:192.0.2.1?transport=tcp", dtlsURI} {
		t.Run(uri, func(t *testing.T) {
			simulate(t, "port-restricted-cone", authed(), func(t *testing.T, w *simWorld) {
				pc := w.echo(t)
				defer pc.Close()
				cfg := secureConfig(w, plainDTLS)
				cfg.Servers = []string{uri}
				client, relay := open(t, cfg)
				defer client.Close()
				to := netip.AddrPortFrom(w.peer.Addr(), 7)
				buf := make([]byte, 100)
				exchange := func() error {
					relay.WriteToUDPAddrPort([]byte("x"), to)
					relay.SetReadDeadline(time.Now().Add(time.Second))
					_, _, err := relay.ReadFromUDPAddrPort(buf)
					return err
				}
				for range 20 {
					if err := exchange(); err != nil {
						t.Fatal(err)
					}
				}
				first := relay.RelayedAddr()
				w.loop.Close() // killed
				w.server.Restart()
				start := time.Now()
				for time.Since(start) < 3*time.Second {
					exchange()
				}
				w.serve(t) // restarted
				back := time.Now()
				for exchange() != nil {
					if time.Since(back) > 10*time.Second {
						t.Fatalf("no traffic 10 s after the restart: %v", relay.State())
					}
				}
				for len(relay.Events()) > 0 {
					if e := <-relay.Events(); e.Kind == turnclient.EventAllocated && e.Lost.Err != nil {
						if e.Lost.Relayed[0] != first || e.Lost.Permissions != 1 || e.Lost.Channels != 1 {
							t.Errorf("loss %+v", e.Lost)
						}
						return
					}
				}
				t.Error("no event states the loss")
			})
		})
	}
}

// Several allocations on one client do not see each other's data.
func TestSeveralAllocations(t *testing.T) {
	simulate(t, "full-cone", authed(), func(t *testing.T, w *simWorld) {
		client, a := open(t, w.config("turn:192.0.2.1"))
		defer client.Close()
		b, err := client.Allocate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.RelayedAddr() == b.RelayedAddr() {
			t.Fatalf("both are %v", a.RelayedAddr())
		}
		if err := a.Permit(t.Context(), b.RelayedAddr().Addr()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for i := range 30 {
			want := fmt.Sprint("from b to a ", i)
			if _, err := b.WriteToUDPAddrPort([]byte(want), a.RelayedAddr()); err != nil {
				t.Fatal(err)
			}
			a.SetReadDeadline(time.Now().Add(time.Second))
			n, from, err := a.ReadFromUDPAddrPort(buf)
			if err != nil || string(buf[:n]) != want || from != b.RelayedAddr() {
				t.Fatalf("%q from %v, %v", buf[:n], from, err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if _, err := a.WriteToUDPAddrPort(buf[:1], netip.AddrPortFrom(w.peer.Addr(), 9)); err != nil {
			t.Errorf("a, after b was closed: %v", err)
		}
		for range b.Events() { // ends
		}
	})
}

// A peer that is refused, and one whose permission is never answered, change nothing
// for another.
func TestBlockedPeerChangesNothingForAnother(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		refused := netip.MustParseAddrPort("198.51.100.66:6")
		w.server.Deny = func(ip netip.Addr) bool { return ip == refused.Addr() }
		pc := w.echo(t)
		defer pc.Close()
		client, relay := open(t, w.config("turn:192.0.2.1"))
		defer client.Close()
		to := netip.AddrPortFrom(w.peer.Addr(), 7)
		buf := make([]byte, 100)
		trip := func() time.Duration {
			start := time.Now()
			if _, err := relay.WriteToUDPAddrPort([]byte("x"), to); err != nil {
				t.Fatal(err)
			}
			if _, _, err := relay.ReadFromUDPAddrPort(buf); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		trip()
		alone := trip()
		for range 20 {
			relay.WriteToUDPAddrPort([]byte("no"), refused)
			if took := trip(); took != alone {
				t.Fatalf("a round trip took %v, alone %v", took, alone)
			}
		}
		_, err := relay.WriteToUDPAddrPort([]byte("no"), refused)
		var p *turnclient.PeerError
		if !errors.Is(err, turnclient.ErrNotPermitted) || !errors.As(err, &p) || p.Peer.Addr() != refused.Addr() {
			t.Errorf("%v", err)
		}
		if err := relay.Permit(t.Context(), refused.Addr()); !errors.Is(err, turnclient.ErrNotPermitted) {
			t.Errorf("permit: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.server.Refuse = nil
		w.server.Users = map[string]string{} // nothing is answered with success any more
		if err := relay.Permit(ctx, netip.MustParseAddr("198.51.100.77")); err == nil {
			t.Error("permitted by a server that knows nobody")
		}
	})
}

// The first write to a peer is done before the server refuses it, as the package comment says:
// an event tells of what was dropped, and the next write fails. Permit tells beforehand.
func TestFirstWriteToARefusedPeer(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		refused := netip.MustParseAddrPort("198.51.100.66:6")
		w.server.Deny = func(ip netip.Addr) bool { return ip == refused.Addr() }
		client, relay := open(t, w.config("turn:192.0.2.1"))
		defer client.Close()
		if _, err := relay.WriteToUDPAddrPort([]byte("no"), refused); err != nil {
			t.Fatalf("the first write: %v", err)
		}
		for e := range relay.Events() {
			if e.Kind == turnclient.EventDropped {
				if e.Peer.Addr() != refused.Addr() || e.Lost.Datagrams != 1 || !errors.Is(e.Err, turnclient.ErrNotPermitted) {
					t.Errorf("%v", e)
				}
				break
			}
		}
		if s := relay.Stats(); s.Out != 1 || s.Dropped != 1 {
			t.Errorf("%+v", s)
		}
		if _, err := relay.WriteToUDPAddrPort([]byte("no"), refused); !errors.Is(err, turnclient.ErrNotPermitted) {
			t.Errorf("the second write: %v", err)
		}
		if err := relay.Permit(t.Context(), refused.Addr()); !errors.Is(err, turnclient.ErrNotPermitted) {
			t.Errorf("permit: %v", err)
		}
	})
}

func TestFetchedCredentials(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		cfg := w.config("turn:192.0.2.1")
		cfg.Credentials = turnclient.Credentials{}
		asked := 0
		cfg.FetchCredentials = func(ctx context.Context, r turnclient.CredentialsRequest) (turnclient.Credentials, error) {
			asked++
			if r.Realm != "example.org" {
				t.Errorf("%+v", r)
			}
			if !r.Again {
				return turnclient.Credentials{Username: "user", Password: "expired"}, nil
			}
			return creds, nil
		}
		client, _ := open(t, cfg)
		defer client.Close()
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
		if s := fmt.Sprintf("%v %+v %#v", client, client, client); strings.Contains(s, "canary") {
			t.Error(s)
		}
	})
}

func TestSlowReaderIsBounded(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		cfg := w.config("turn:192.0.2.1")
		cfg.ReadBuffer = 10
		client, relay := open(t, cfg)
		defer client.Close()
		if err := relay.Permit(t.Context(), w.peer.Addr()); err != nil {
			t.Fatal(err)
		}
		pc, err := w.peer.ListenPacket(t.Context(), "udp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		for range 25 {
			pc.WriteTo([]byte("x"), relay.LocalAddr())
		}
		<-time.After(time.Second)
		synctest.Wait()
		if s := relay.Stats(); s.In != 10 || s.Overrun != 15 {
			t.Errorf("%+v", s)
		}
	})
}

func TestDialRefusesWhatCannotWork(t *testing.T) {
	for name, cfg := range map[string]turnclient.Config{
		"no servers":               {},
		"TLS to an IP address":     {Servers: []string{"turns:192.0.2.1"}},
		"TLS to an IPv6 address":   {Servers: []string{"turns:[2001:db8::1]:443?transport=tcp"}},
		"DTLS to an IP address":    {Servers: []string{"turns:192.0.2.1?transport=udp"}, DTLS: plainDTLS},
		"DTLS without Config.DTLS": {Servers: []string{"turns:example.org?transport=udp"}},
		"lifetime":                 {Servers: []string{"turn:192.0.2.1"}, Lifetime: -1},
		"keepalive":                {Servers: []string{"turn:192.0.2.1"}, Keepalive: time.Millisecond},
		"read buffer":              {Servers: []string{"turn:192.0.2.1"}, ReadBuffer: -1},
		"two kinds of credentials": {Servers: []string{"turn:192.0.2.1"}, Credentials: creds, FetchCredentials: func(context.Context, turnclient.CredentialsRequest) (turnclient.Credentials, error) {
			return creds, nil
		}},
	} {
		c, err := turnclient.Dial(t.Context(), cfg)
		var bad *turnclient.ConfigError
		if ofServer := strings.Contains(name, "TLS"); len(cfg.Servers) == 1 && errors.As(cfg.CheckServer(cfg.Servers[0]), &bad) != ofServer {
			t.Errorf("%s: checked: %v", name, cfg.CheckServer(cfg.Servers[0]))
		}
		if !errors.As(err, &bad) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
		if c != nil {
			c.Close()
		}
	}
	broken := errors.New("no such host")
	_, err := turnclient.Dial(t.Context(), turnclient.Config{Servers: []string{"turn:nowhere.example"}, Resolver: &dns{err: broken}})
	var failed *turnclient.ResolveError
	if !errors.Is(err, broken) || !errors.As(err, &failed) || failed.Server != "turn:nowhere.example" {
		t.Errorf("%v", err)
	}
}

// certificate makes one for a name, and the pool that trusts it.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, pool, err := turntest.Certificate(name)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pool
}

// Real sockets on loopback: TLS, with a certificate for the name and for another. With
// the wrong one not a byte of STUN leaves (RFC 8489 section 6.2.3).
func TestTLSOnLoopback(t *testing.T) {
	for _, name := range []string{"turn.example.org", "other.example.org"} {
		t.Run(name, func(t *testing.T) {
			cert, pool := certificate(t, name)
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			cfg := authed()
			cfg.Relay = netip.MustParseAddr("127.0.0.1")
			server := turntest.NewServer(cfg, rand.Reader)
			loop, err := drive.Run[struct{}](server, nil, drive.Options{
				Listeners: []net.Listener{tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}})},
				ListenPacket: func(ctx context.Context, network, address string) (net.PacketConn, error) {
					return new(net.ListenConfig).ListenPacket(ctx, network, address)
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer loop.Close()
			client, err := turnclient.Dial(t.Context(), turnclient.Config{
				Servers:     []string{fmt.Sprintf("turns:turn.example.org:%d", ln.Addr().(*net.TCPAddr).Port)},
				Credentials: creds, TLS: &tls.Config{RootCAs: pool},
				Resolver: &dns{addrs: map[string][]string{"turn.example.org": {"::ffff:127.0.0.1"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			relay, err := client.Allocate(ctx)
			requests := 0
			loop.Do(func(time.Time) { requests = server.Requests[wire.Allocate] })
			if name != "turn.example.org" {
				var s *turnclient.ServerError
				var h x509.HostnameError
				if !errors.Is(err, turnclient.ErrCertificate) || !errors.As(err, &s) || s.Server.Transport != turnclient.TLS || !errors.As(err, &h) || requests != 0 {
					t.Errorf("%v; %d requests reached the server", err, requests)
				}
				for _, want := range []string{"turn.example.org (127.0.0.1:", "over tls", "name the host that the certificate is for"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q lacks %q", err, want)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			buf := make([]byte, 70000)
			pc.SetDeadline(time.Now().Add(time.Minute))
			relay.SetDeadline(time.Now().Add(time.Minute))
			for i := range 30 {
				size := 1 + i*1000
				if _, err := relay.WriteTo(buf[:size], pc.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				n, from, err := pc.ReadFrom(buf)
				if err != nil || n != size {
					t.Fatal(n, err)
				}
				if _, err := pc.WriteTo(buf[:min(n, 1200)], from); err != nil {
					t.Fatal(err)
				}
				if n, _, err := relay.ReadFrom(buf); err != nil || n != min(size, 1200) {
					t.Fatal(n, err)
				}
			}
		})
	}
}
