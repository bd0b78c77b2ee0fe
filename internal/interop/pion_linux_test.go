package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/turn/v4"

	"github.com/bradawl/bradawl/turnclient"
)

// pionServer is pion/turn's server on loopback, over UDP, TCP and TLS. It has no
// TCP relays (RFC 6062), no mobility and no second address family to ask for.
type pionServer struct {
	port, port2 int // plain, TLS
	roots       *x509.CertPool
	cert        tls.Certificate
	quota       atomic.Bool // is reached

	server *turn.Server
	mu     sync.Mutex
	conns  []net.Conn // guarded by mu
}

const deniedIP = "127.0.0.3" // no peer there

// newPionServer runs a server until the test ends.
func newPionServer(t *testing.T) *pionServer {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	s := &pionServer{port: freePort(t), port2: freePort(t), roots: selfSigned(t, turnHost, cert, key)}
	var err error
	if s.cert, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	// A free port may be somebody's relayed address by the time that it is opened.
	for range 10 {
		pc, plain, secure, err := s.listen()
		if err == nil {
			pc.Close()
			plain.Close()
			secure.Close()
			break
		}
		s.port, s.port2 = freePort(t), freePort(t)
	}
	t.Cleanup(s.kill)
	s.start(t)
	return s
}

// listen opens the server's ports.
func (s *pionServer) listen() (pc net.PacketConn, plain, secure net.Listener, err error) {
	if pc, err = net.ListenPacket("udp4", fmt.Sprint("127.0.0.1:", s.port)); err != nil {
		return nil, nil, nil, err
	}
	if plain, err = net.Listen("tcp4", fmt.Sprint("127.0.0.1:", s.port)); err != nil {
		pc.Close()
		return nil, nil, nil, err
	}
	if secure, err = net.Listen("tcp4", fmt.Sprint("127.0.0.1:", s.port2)); err != nil {
		pc.Close()
		plain.Close()
	}
	return pc, plain, secure, err
}

func (s *pionServer) start(t testing.TB) {
	t.Helper()
	pc, plain, secure, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	relays := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	permit := func(_ net.Addr, peer net.IP) bool { return peer.String() != deniedIP }
	s.server, err = turn.NewServer(turn.ServerConfig{
		Realm: "example.org",
		AuthHandler: func(name, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(turnUser.Username, realm, turnUser.Password), name == turnUser.Username
		},
		QuotaHandler:      func(string, string, net.Addr) bool { return !s.quota.Load() },
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: pc, RelayAddressGenerator: relays, PermissionHandler: permit}},
		ListenerConfigs: []turn.ListenerConfig{
			{Listener: kept{plain, s}, RelayAddressGenerator: relays, PermissionHandler: permit},
			{Listener: tls.NewListener(kept{secure, s}, &tls.Config{Certificates: []tls.Certificate{s.cert}}), RelayAddressGenerator: relays, PermissionHandler: permit},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// kill ends the server as a crash does: with its connections.
func (s *pionServer) kill() {
	if s.server == nil {
		return
	}
	s.server.Close() // it may be closed already
	s.server = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// kept is a listener whose connections end with the server.
type kept struct {
	net.Listener
	s *pionServer
}

func (k kept) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err == nil {
		k.s.mu.Lock()
		k.s.conns = append(k.s.conns, c)
		k.s.mu.Unlock()
	}
	return c, err
}

func (s *pionServer) config(transport string) turnclient.Config {
	return turnConfig(transport, s.port, s.port2, s.roots)
}

// Its stream reader holds a message of eight bytes back until more comes, so that over
// TCP and TLS the echo of one byte takes a second try.
func TestPionRelays(t *testing.T) {
	t.Parallel()
	testRelays(t, newPionServer(t), []string{"udp", "tcp", "tls"})
}

// A new server's key for nonces is another one, and where there is no allocation it does
// not answer at all.
func TestPionRestart(t *testing.T) {
	t.Parallel()
	testRestart(t, func(t *testing.T) turnServer { return newPionServer(t) }, []string{"udp", "tcp", "tls"})
}

// A lifetime of two seconds: the allocation outlives it.
func TestPionRefresh(t *testing.T) {
	t.Parallel()
	server, peer := newPionServer(t), newTurnPeer(t, "127.0.0.1")
	cfg := server.config("udp")
	cfg.Lifetime = 2 * time.Second
	_, relay := allocate(t, cfg)
	e := awaitEvent(t, relay, turnclient.EventAllocated)
	if e.Lifetime != cfg.Lifetime {
		t.Fatalf("granted %v, want %v", e.Lifetime, cfg.Lifetime)
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
}

// It refuses a peer without an error code, and does not sign other refusals: they are
// not believed, but what they say is told, and at once.
func TestPionRefusals(t *testing.T) {
	t.Parallel()
	server := newPionServer(t)
	_, relay := allocate(t, server.config("udp"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var refused *turnclient.PeerError
	if err := relay.Permit(ctx, netip.MustParseAddr(deniedIP)); !errors.As(err, &refused) || !errors.Is(err, turnclient.ErrNotPermitted) {
		t.Errorf("permission for a denied address: %v", err)
	}
	server.quota.Store(true)
	const mistake = "looking-glass"
	for _, transport := range []string{"udp", "tcp", "tls"} {
		for _, c := range []struct {
			name  string
			creds turnclient.Credentials
			want  error
			code  int
		}{
			{"quota", turnUser, turnclient.ErrIntegrity, 486},
			{"wrong password", turnclient.Credentials{Username: turnUser.Username, Password: mistake}, turnclient.ErrIntegrity, 400},
			{"unknown user", turnclient.Credentials{Username: "mallory", Password: mistake}, turnclient.ErrIntegrity, 400},
			{"no credentials", turnclient.Credentials{}, turnclient.ErrCredentials, 401},
		} {
			t.Run(c.name+" over "+transport, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if transport == "udp" && c.want == turnclient.ErrIntegrity {
					// The true answer may still come, as far as the client knows.
					ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				}
				defer cancel()
				cfg := server.config(transport)
				cfg.Credentials = c.creds
				client, err := turnclient.Dial(ctx, cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				_, err = client.Allocate(ctx)
				var refusal *turnclient.ServerError
				if !errors.Is(err, c.want) || !errors.As(err, &refusal) || !refusal.Server.Addr.IsValid() {
					t.Fatal(err)
				}
				code := refusal.Code
				var unsigned *turnclient.UnsignedError
				if errors.As(err, &unsigned) {
					code = unsigned.Code
				}
				if code != c.code || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), mistake) {
					t.Errorf("code %d: %v", code, err)
				}
			})
		}
	}
}
