package turnclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// simWorld is a client behind a NAT, a TURN server and a peer, 20 ms from the internet
// each, in virtual time.
type simWorld struct {
	*simnet.World
	site, peer *simnet.Site
	host       *simnet.Host
	server     *turntest.Server
	loop       *drive.Loop
	deaf       atomic.Bool // nothing comes to the server over UDP
}

// ear is the server's socket.
type ear struct {
	net.PacketConn
	deaf *atomic.Bool
}

func (e ear) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := e.PacketConn.ReadFrom(b)
		if err != nil || !e.deaf.Load() {
			return n, from, err
		}
	}
}

// simRelays are the relayed addresses of TCP that the server has.
var simRelays = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:50000"), netip.MustParseAddrPort("192.0.2.1:50001")}

// simulate runs test in a world. That it returns shows that no goroutine is left.
func simulate(t *testing.T, preset string, cfg turntest.Config, test func(t *testing.T, w *simWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &simWorld{World: simnet.New(seed)}
		link := simnet.Link{Delay: 20 * time.Millisecond}
		ip := netip.MustParseAddr("192.0.2.1")
		w.host = w.AddHost("turn", w.Internet(), link, ip)
		var err error
		if w.site, err = w.AddSite("client", preset, link); err != nil {
			t.Fatal(err)
		}
		if w.peer, err = w.AddSite("peer", "open", link); err != nil {
			t.Fatal(err)
		}
		stop := w.Go()
		defer stop()
		cfg.Relay, cfg.RelayTCP = ip, simRelays
		w.server = turntest.NewServer(cfg, w.Secrets("turn"))
		w.serve(t)
		defer func() { w.loop.Close() }()
		test(t, w)
	})
}

func (w *simWorld) serve(t *testing.T) {
	ctx := context.Background()
	pc, err := w.host.ListenPacket(ctx, "udp4", "192.0.2.1:3478")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := w.host.Listen(ctx, "tcp4", "192.0.2.1:3478", false)
	if err != nil {
		t.Fatal(err)
	}
	listeners := []net.Listener{ln}
	for _, addr := range simRelays {
		if ln, err = w.host.Listen(ctx, "tcp4", addr.String(), true); err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, ln)
	}
	w.loop, err = drive.Run[struct{}](w.server, nil, drive.Options{
		Sockets: []net.PacketConn{ear{pc, &w.deaf}}, ListenPacket: w.host.ListenPacket, Listeners: listeners, Dial: w.host.DialFrom,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *simWorld) config(uri string) turnclient.Config {
	return turnclient.Config{
		Servers: []string{uri}, Credentials: creds, ListenPacket: w.site.ListenPacket, DialContext: w.site.DialContext,
	}
}

func (w *simWorld) echo(t *testing.T) net.PacketConn {
	pc, err := w.peer.ListenPacket(t.Context(), "udp4", ":7")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[:n], from)
		}
	}()
	return pc
}

func TestClientOverUDPAndTCP(t *testing.T) {
	for _, c := range []struct{ uri, nat string }{
		{"turn:192.0.2.1", "symmetric-random"}, {"turn:192.0.2.1?transport=tcp", "udp-blocked"},
	} {
		t.Run(c.nat, func(t *testing.T) {
			simulate(t, c.nat, authed(), func(t *testing.T, w *simWorld) {
				pc := w.echo(t)
				defer pc.Close()
				client, err := turnclient.Dial(t.Context(), w.config(c.uri))
				if err != nil {
					t.Fatal(err)
				}
				relay, err := client.Allocate(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if relay.RelayedAddr().Addr() != netip.MustParseAddr("192.0.2.1") || !relay.MappedAddr().IsValid() || relay.State() != turnclient.Allocated {
					t.Errorf("%v, mapped %v", relay, relay.MappedAddr())
				}
				to := netip.AddrPortFrom(w.peer.Addr(), 7)
				buf := make([]byte, 2000)
				for i := range 30 {
					want := fmt.Sprint("message ", i)
					if _, err := relay.WriteToUDPAddrPort([]byte(want), to); err != nil {
						t.Fatal(err)
					}
					n, from, err := relay.ReadFromUDPAddrPort(buf)
					if err != nil || string(buf[:n]) != want || from != to {
						t.Fatalf("read %q from %v, %v; want %q", buf[:n], from, err, want)
					}
				}
				if w.server.ChannelData < 10 {
					t.Errorf("%d ChannelData messages of 30 datagrams", w.server.ChannelData)
				}
				relay.SetReadDeadline(time.Now().Add(time.Second))
				if _, _, err := relay.ReadFrom(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("read past the deadline: %v", err)
				}
				relay.SetReadDeadline(time.Time{})
				done := make(chan error)
				go func() {
					_, _, err := relay.ReadFrom(buf)
					done <- err
				}()
				synctest.Wait()
				if err := client.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
				if err := <-done; !errors.Is(err, net.ErrClosed) || !errors.Is(err, turnclient.ErrClosed) {
					t.Errorf("read of a closed allocation: %v", err)
				}
				if _, err := relay.WriteTo(buf[:1], net.UDPAddrFromAddrPort(to)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("write to a closed allocation: %v", err)
				}
				if n := w.server.Allocations(time.Now()); n != 0 {
					t.Errorf("%d allocations left at the server", n)
				}
				if s := relay.Stats(); s.In != 30 || s.Out != 30 {
					t.Errorf("stats %+v", s)
				}
				if _, err := client.Allocate(t.Context()); !errors.Is(err, net.ErrClosed) {
					t.Errorf("allocate on a closed client: %v", err)
				}
			})
		})
	}
}

func TestClientWrongPassword(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		cfg := w.config("turn:192.0.2.1")
		cfg.Credentials.Password = "wrong-canary"
		client, err := turnclient.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, err = client.Allocate(t.Context())
		var all *turnclient.AllocateError
		var one *turnclient.ServerError
		if !errors.As(err, &all) || !errors.As(err, &one) || one.Code != 401 || !errors.Is(err, turnclient.ErrCredentials) {
			t.Fatalf("%v", err)
		}
		for _, want := range []string{"192.0.2.1:3478 over udp", "401", "check username and password"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
	})
}

func TestClientAllocateEndsWithItsContext(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		client, err := turnclient.Dial(t.Context(), w.config("turn:203.0.113.200"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err = client.Allocate(ctx)
		var server *turnclient.ServerError
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second || !errors.Is(err, turnclient.ErrNoAnswer) ||
			!errors.As(err, &server) || server.Server.Addr.String() != "203.0.113.200:3478" || !strings.Contains(err.Error(), "UDP may be blocked here") {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
}
