package interop_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl/turnclient"
)

// Allocation, permission, data and channel over each transport.
func TestCoturnRelays(t *testing.T) {
	t.Parallel()
	testRelays(t, newTurnserver(t), turnTransports)
}

func testRelays(t *testing.T, server turnServer, transports []string) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			peer, other := newTurnPeer(t, "127.0.0.1"), newTurnPeer(t, "127.0.0.2")
			cfg := over(t, server, transport)
			var in, out atomic.Int64
			cfg.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
				pc, err := new(net.ListenConfig).ListenPacket(ctx, network, address)
				return frames{pc, &in, &out}, err
			}
			_, relay := allocate(t, cfg)
			local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			if relay.RelayedAddr().Addr() != local || relay.MappedAddr().Addr() != local || relay.State() != turnclient.Allocated {
				t.Errorf("relayed %v, mapped %v, %v", relay.RelayedAddr(), relay.MappedAddr(), relay.State())
			}
			other.WriteTo([]byte("not permitted"), net.UDPAddrFromAddrPort(relay.RelayedAddr()))
			mustEcho(t, relay, peer.addr, "the first, for which the permission is made")
			if e := awaitEvent(t, relay, turnclient.EventPermission); e.Err != nil || e.Peer.Addr() != local {
				t.Errorf("permission for %v: %v", e.Peer, e.Err)
			}
			if e := awaitEvent(t, relay, turnclient.EventChannel); e.Err != nil || e.Peer != peer.addr || e.Channel < 0x4000 || e.Channel > 0x4fff {
				t.Errorf("channel %#x for %v: %v", e.Channel, e.Peer, e.Err)
			}
			fromIn, fromOut := in.Load(), out.Load()
			const rounds = 40
			for i := range rounds { // every length that padding on a stream tells apart
				mustEcho(t, relay, peer.addr, strings.Repeat("x", 1+30*i))
			}
			if transport == "udp" && (in.Load()-fromIn < rounds || out.Load()-fromOut < rounds) {
				t.Errorf("%d of %d datagrams came and %d went as ChannelData", in.Load()-fromIn, rounds, out.Load()-fromOut)
			}
			if s := relay.Stats(); s.In < rounds || s.Out < rounds+1 || s.Dropped != 0 || s.Unsent != 0 || s.Overrun != 0 {
				t.Errorf("%+v", s)
			}
			if relay.State() != turnclient.Permitted {
				t.Error(relay.State())
			}
		})
	}
}

// Data comes in of permitted addresses only, and an address that the server refuses
// leaves others alone.
func TestCoturnPermissions(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"udp", "dtls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			server := newTurnserver(t, "denied-peer-ip=127.0.0.3")
			peer, stranger := newTurnPeer(t, "127.0.0.1"), newTurnPeer(t, "127.0.0.2")
			_, relay := allocate(t, over(t, server, transport))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := relay.Permit(ctx, peer.addr.Addr()); err != nil {
				t.Fatal(err)
			}
			var refused *turnclient.PeerError
			var why *turnclient.ServerError
			err := relay.Permit(ctx, netip.MustParseAddr("127.0.0.3"))
			if !errors.As(err, &refused) || !errors.Is(err, turnclient.ErrNotPermitted) || !errors.As(err, &why) || why.Code != 403 {
				t.Errorf("permission for a denied address: %v", err)
			}
			// The relay's socket keeps their order.
			to := net.UDPAddrFromAddrPort(relay.RelayedAddr())
			relay.SetReadDeadline(time.Now().Add(10 * time.Second))
			buf := make([]byte, 100)
			for i, c := range []struct {
				from turnPeer
				text string
			}{{stranger, "not permitted"}, {peer, "permitted"}} {
				if _, err := c.from.WriteTo([]byte(c.text), to); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					continue
				}
				if n, from, err := relay.ReadFromUDPAddrPort(buf); err != nil || from != peer.addr || string(buf[:n]) != c.text {
					t.Errorf("%q of %v: %v", buf[:n], from, err)
				}
			}
			mustEcho(t, relay, stranger.addr, "permitted by now")
		})
	}
}

// A lifetime of a few seconds: the allocation outlives it.
func TestCoturnRefresh(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"udp", "dtls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			server := newTurnserver(t, "max-allocate-lifetime=3")
			peer := newTurnPeer(t, "127.0.0.1")
			cfg := over(t, server, transport)
			cfg.Lifetime = time.Hour // coturn grants no less than ten minutes unless it is asked for more than it may
			_, relay := allocate(t, cfg)
			e := awaitEvent(t, relay, turnclient.EventAllocated)
			if e.Lifetime != 3*time.Second {
				t.Fatalf("granted %v, want the server's 3 s", e.Lifetime)
			}
			for time.Since(e.At) < 5*time.Second {
				mustEcho(t, relay, peer.addr, "x")
				pause(t)
			}
			for len(relay.Events()) > 0 {
				if e := <-relay.Events(); e.Kind == turnclient.EventAllocated || e.State == turnclient.Disconnecting {
					t.Errorf("%v: %v", e.Kind, e.Lost.Err)
				}
			}
			server.awaitWords(t, ": refreshed, ")
		})
	}
}

// Nonces of one second: requests go on, the deletion included.
func TestCoturnStaleNonce(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"tcp", "dtls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			server := newTurnserver(t, "stale-nonce=1")
			peer := newTurnPeer(t, "127.0.0.1")
			client, relay := allocate(t, over(t, server, transport))
			for start := time.Now(); time.Since(start) < 2500*time.Millisecond; pause(t) {
				mustEcho(t, relay, peer.addr, "x")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := relay.Permit(ctx, netip.MustParseAddr("127.0.0.2")); err != nil {
				t.Error(err)
			}
			server.awaitWords(t, "error 438") // else this test proves nothing
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a server refuses, or is not, is a typed error that shows no secret.
func TestCoturnRefusals(t *testing.T) {
	t.Parallel()
	server := newTurnserver(t)
	try := func(t *testing.T, cfg turnclient.Config) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		client, err := turnclient.Dial(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, err = client.Allocate(ctx)
		if err == nil {
			t.Fatal("it gave an allocation")
		}
		return err
	}
	for _, transport := range turnTransports {
		for name, creds := range map[string]turnclient.Credentials{
			"wrong password": {Username: turnUser.Username, Password: "looking-glass"},
			"unknown user":   {Username: "mallory", Password: turnUser.Password},
			"no credentials": {},
		} {
			t.Run(name+" over "+transport, func(t *testing.T) {
				cfg := over(t, server, transport)
				cfg.Credentials = creds
				err := try(t, cfg)
				var refusal *turnclient.ServerError
				if !errors.Is(err, turnclient.ErrCredentials) || !errors.As(err, &refusal) || refusal.Code != 401 {
					t.Error(err)
				}
				if creds.Password != "" && strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), creds.Password) {
					t.Error("the error shows the password")
				}
			})
		}
	}
	for _, transport := range []string{"tls", "dtls"} {
		t.Run("certificate for another name over "+transport, func(t *testing.T) {
			cfg := over(t, server, transport)
			cfg.Servers[0] = strings.Replace(cfg.Servers[0], turnHost, "other.example.org", 1)
			err := try(t, cfg)
			var name x509.HostnameError
			var verification *tls.CertificateVerificationError
			if !errors.Is(err, turnclient.ErrCertificate) || !errors.As(err, &name) || !errors.As(err, &verification) {
				t.Error(err)
			}
		})
	}
	t.Run("proxy that knows another password", func(t *testing.T) {
		cfg := over(t, server, "tls by proxy")
		proxy := cfg.Proxy
		cfg.Proxy = func(ctx context.Context, address string) (*url.URL, error) {
			u, err := proxy(ctx, address)
			u.User = url.UserPassword("proxy", "looking-glass")
			return u, err
		}
		err := try(t, cfg)
		var refusal *turnclient.ProxyError
		if !errors.As(err, &refusal) || refusal.Code != 407 || strings.Contains(err.Error(), "looking-glass") {
			t.Error(err)
		}
	})
}

// The second allocation of a user who may have one.
func TestCoturnQuota(t *testing.T) {
	t.Parallel()
	server := newTurnserver(t, "user-quota=1")
	client, _ := allocate(t, server.config("udp"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Allocate(ctx)
	var refusal *turnclient.ServerError
	if !errors.As(err, &refusal) || refusal.Code != 486 || refusal.RetryAfter.IsZero() {
		t.Error(err)
	}
}

// Credentials that hold for a while, made from a secret that the server shares (the REST
// API's): expired ones are refused, and asked for again.
func TestCoturnExpiredCredentials(t *testing.T) {
	t.Parallel()
	const secret = "jabberwocky"
	server := newTurnserver(t, "use-auth-secret", "static-auth-secret="+secret)
	until := func(at time.Time) turnclient.Credentials {
		user := fmt.Sprint(at.Unix(), ":alice")
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write([]byte(user))
		return turnclient.Credentials{Username: user, Password: base64.StdEncoding.EncodeToString(mac.Sum(nil))}
	}
	cfg := server.config("udp")
	cfg.Credentials = turnclient.Credentials{}
	renew := true
	cfg.FetchCredentials = func(_ context.Context, r turnclient.CredentialsRequest) (turnclient.Credentials, error) {
		if r.Again && renew {
			return until(time.Now().Add(time.Hour)), nil
		}
		return until(time.Now().Add(-time.Hour)), nil
	}
	allocate(t, cfg)
	renew = false
	client, err := turnclient.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = client.Allocate(ctx)
	var refusal *turnclient.ServerError
	if !errors.Is(err, turnclient.ErrCredentials) || !errors.As(err, &refusal) || refusal.Code != 401 || !strings.Contains(err.Error(), "may have expired") || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
}

// The server is killed and comes back on its port: traffic resumes by itself within
// ten seconds, on the same Allocation, and the loss is stated.
func TestCoturnRestart(t *testing.T) {
	t.Parallel()
	testRestart(t, func(t *testing.T) turnServer { return newTurnserver(t) }, turnTransports)
}

func testRestart(t *testing.T, newServer func(*testing.T) turnServer, transports []string) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			peer := newTurnPeer(t, "127.0.0.1")
			_, relay := allocate(t, over(t, server, transport))
			mustEcho(t, relay, peer.addr, "before")
			first := awaitEvent(t, relay, turnclient.EventAllocated)
			awaitEvent(t, relay, turnclient.EventChannel)
			server.kill()
			for start := time.Now(); time.Since(start) < 300*time.Millisecond; pause(t) { // the client gets to know
				if echo(relay, peer.addr, "while it is down", 100*time.Millisecond) == nil {
					t.Fatal("an echo without a server")
				}
			}
			server.start(t)
			back := time.Now()
			for echo(relay, peer.addr, "after", 200*time.Millisecond) != nil {
				if time.Since(back) > 10*time.Second {
					t.Fatalf("no traffic 10 s after the restart, state %v", relay.State())
				}
				pause(t)
			}
			t.Logf("traffic resumed %v after the restart", time.Since(back).Round(time.Millisecond))
			e := awaitEvent(t, relay, turnclient.EventAllocated)
			if e.Lost.Err == nil || len(e.Lost.Relayed) != 1 || e.Lost.Relayed[0] != first.Relayed[0] || e.Lost.Permissions != 1 || e.Lost.Channels != 1 {
				t.Errorf("lost %+v", e.Lost)
			}
		})
	}
}

// The client's network goes and another one comes: the allocation moves to another
// socket, with what it has.
func TestCoturnMobility(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"udp", "dtls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			server := newTurnserver(t, "mobility")
			peer := newTurnPeer(t, "127.0.0.1")
			var gone atomic.Pointer[atomic.Bool] // of the network that there is now
			gone.Store(new(atomic.Bool))
			cfg := over(t, server, transport)
			cfg.Mobility = true
			cfg.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
				pc, err := new(net.ListenConfig).ListenPacket(ctx, network, address)
				return mobile{pc, gone.Load()}, err
			}
			client, relay := allocate(t, cfg)
			mustEcho(t, relay, peer.addr, "before")
			relayed, mapped := relay.RelayedAddr(), relay.MappedAddr()
			awaitEvent(t, relay, turnclient.EventChannel)
			for range 2 { // the second move needs the ticket that the first one gave
				gone.Swap(new(atomic.Bool)).Store(true)
				client.NetworkChanged()
				if e := awaitEvent(t, relay, turnclient.EventMoved); !e.Local.IsValid() || e.Local.Port() == mapped.Port() {
					t.Errorf("moved to %v, was at %v", e.Local, mapped)
				}
				mustEcho(t, relay, peer.addr, "after")
				if relay.RelayedAddr() != relayed {
					t.Errorf("relayed %v, want %v still", relay.RelayedAddr(), relayed)
				}
			}
		})
	}
}

// mobile is a socket on a network that may go away.
type mobile struct {
	net.PacketConn
	gone *atomic.Bool
}

func (m mobile) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := m.PacketConn.ReadFrom(b)
		if err != nil || !m.gone.Load() {
			return n, from, err
		}
	}
}

func (m mobile) WriteTo(b []byte, to net.Addr) (int, error) {
	if m.gone.Load() {
		return len(b), nil
	}
	return m.PacketConn.WriteTo(b, to)
}

// newTurnClient makes a client that lives until the test ends.
func newTurnClient(t testing.TB, cfg turnclient.Config) *turnclient.Client {
	t.Helper()
	client, err := turnclient.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// allocate gets an allocation that lives until the test ends.
func allocate(t testing.TB, cfg turnclient.Config) (*turnclient.Client, *turnclient.Allocation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := newTurnClient(t, cfg)
	relay, err := client.Allocate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return client, relay
}

// echo sends text to a peer and reads until it comes back.
func echo(relay *turnclient.Allocation, to netip.AddrPort, text string, patience time.Duration) error {
	if _, err := relay.WriteToUDPAddrPort([]byte(text), to); err != nil {
		return err
	}
	relay.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2000)
	for {
		n, from, err := relay.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		if from == to && string(buf[:n]) == text {
			return nil
		}
	}
}

// mustEcho is echo for a server that is there: only UDP may lose a datagram.
func mustEcho(t *testing.T, relay *turnclient.Allocation, to netip.AddrPort, text string) {
	t.Helper()
	err := os.ErrDeadlineExceeded
	for range 5 {
		if err = echo(relay, to, text, time.Second); err == nil {
			return
		}
	}
	t.Fatalf("no echo of %d bytes: %v, state %v", len(text), err, relay.State())
}

// awaitEvent takes events until one is of the kind.
func awaitEvent(t testing.TB, relay *turnclient.Allocation, kind turnclient.EventKind) turnclient.Event {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-relay.Events():
			if !ok {
				t.Fatalf("the allocation ended before event %v", kind)
			}
			if e.Kind == kind {
				return e
			}
		case <-late:
			t.Fatalf("no event %v, state %v", kind, relay.State())
		}
	}
}

// pause waits between datagrams of steady traffic.
func pause(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-t.Context().Done():
	}
}

// frames counts the ChannelData messages on a UDP socket.
type frames struct {
	net.PacketConn
	in, out *atomic.Int64
}

func isChannelData(b []byte) bool { return len(b) >= 4 && b[0]&0xf0 == 0x40 }

func (f frames) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := f.PacketConn.ReadFrom(b)
	if isChannelData(b[:n]) {
		f.in.Add(1)
	}
	return n, from, err
}

func (f frames) WriteTo(b []byte, to net.Addr) (int, error) {
	if isChannelData(b) {
		f.out.Add(1)
	}
	return f.PacketConn.WriteTo(b, to)
}
