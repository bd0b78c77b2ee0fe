package interop_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/turn/v4"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/kernellab"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// relayAddr is where the relay serves, and at which it relays.
var relayAddr = netip.AddrPortFrom(stun1, 3480)

// Where a session's sockets are: in a namespace for good, whichever thread uses them.

func listenPacketIn(n *kernellab.Namespace) func(context.Context, string, string) (net.PacketConn, error) {
	return func(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
		err = n.Do(func() (err error) {
			pc, err = netio.ListenUDP(ctx, network, address)
			return err
		})
		return pc, err
	}
}

func listenIn(n *kernellab.Namespace) func(context.Context, string, string) (net.Listener, error) {
	return func(ctx context.Context, network, address string) (l net.Listener, err error) {
		err = n.Do(func() (err error) {
			l, err = (&net.ListenConfig{Control: netio.ReusePort}).Listen(ctx, network, address)
			return err
		})
		return l, err
	}
}

func dialIn(n *kernellab.Namespace) func(context.Context, string, netip.AddrPort, string) (net.Conn, error) {
	return func(ctx context.Context, network string, local netip.AddrPort, remote string) (c net.Conn, err error) {
		d := net.Dialer{}
		if local.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		}
		if local.Port() != 0 {
			d.Control = netio.ReusePort
		}
		err = n.Do(func() (err error) {
			c, err = d.DialContext(ctx, network, remote)
			return err
		})
		return c, err
	}
}

// serve runs in a public namespace, until the test ends, all that sessions need: a STUN
// server with two addresses, a relay, and a rendezvous.
func serve(t *testing.T, public *kernellab.Namespace) {
	t.Helper()
	stun, err := stunserver.Listen(t.Context(), stunserver.Config{
		IP1: stun1, IP2: stun2, ListenPacket: listenPacketIn(public), Listen: listenIn(public),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stun.Close() })

	relay, err := turn.NewServer(turn.ServerConfig{
		Realm: "example.org",
		AuthHandler: func(name, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(turnUser.Username, realm, turnUser.Password), name == turnUser.Username
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: public.ListenUDP(relayAddr.String()), RelayAddressGenerator: relays{public}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })

	meet, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listenIn(public)(t.Context(), "tcp4", rendezvousAddr.String())
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: meet, ReadHeaderTimeout: patience}
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(l) }()
	t.Cleanup(func() {
		meet.Close()
		web.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("rendezvous: %v", err)
		}
	})
}

// relays opens the relay's sockets in its namespace.
type relays struct{ *kernellab.Namespace }

func (r relays) Validate() error { return nil }

func (r relays) AllocatePacketConn(string, int) (net.PacketConn, net.Addr, error) {
	pc, err := listenPacketIn(r.Namespace)(context.Background(), "udp4", netip.AddrPortFrom(relayAddr.Addr(), 0).String())
	if err != nil {
		return nil, nil, err
	}
	return pc, pc.LocalAddr(), nil
}

func (r relays) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.New("no TCP relays here")
}

// open opens a session on a host, and returns when it can be dialled and knows its NAT. It
// is closed when the test ends.
func open(t *testing.T, host *kernellab.Namespace, addr netip.Addr, cfg bradawl.Config) *bradawl.Session {
	t.Helper()
	dial := dialIn(host)
	cfg.ListenPacket, cfg.Listen, cfg.Dial = listenPacketIn(host), listenIn(host), dial
	cfg.Addrs = func() ([]ice.HostAddr, error) { return []ice.HostAddr{{Addr: addr}}, nil }
	cfg.STUN = []string{stunAddrs[0].String(), stunAddrs[1].String()}
	cfg.TURN = []bradawl.TURNServer{{URI: fmt.Sprintf("turn:%v", relayAddr), Username: turnUser.Username, Password: turnUser.Password}}
	cfg.Signaler = &rendezvous.Signaler{
		URL: fmt.Sprintf("ws://%v/", rendezvousAddr),
		Client: rendezvous.ClientConfig{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, netip.AddrPort{}, address)
		}},
	}
	s, err := bradawl.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	await(t, host.Name+": does not sign on, or does not find out what the NAT does", func() bool {
		_, known := s.NAT()
		return known && s.SignedOn()
	})
	return s
}

// await looks again and again until something is so.
func await(t *testing.T, wrong string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !so() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal(wrong)
		}
	}
}

// connect connects two sessions. Both ends are closed with their sessions.
func connect(t *testing.T, from, to *bradawl.Session) (dialled, accepted *bradawl.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dialled, err := from.Dial(ctx, to.ID())
	if err != nil {
		t.Fatal(err)
	}
	if accepted, err = to.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

// awaitDirect returns when a connection uses a direct path.
func awaitDirect(t *testing.T, c *bradawl.Conn) bradawl.Path {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for p := range c.Paths(ctx) {
		if p.Kind == bradawl.PathDirect {
			return p
		}
	}
	t.Fatalf("no direct path in %v:\n%v", patience, c.Explain())
	return bradawl.Path{}
}

// mustCarry sends from one end until it arrives at the other, both ways.
func mustCarry(t *testing.T, a, b *bradawl.Conn) {
	t.Helper()
	for i, way := range [][2]*bradawl.Conn{{a, b}, {b, a}} {
		text, buf := fmt.Sprintf("message %d, over the path %v", i, way[0].Path()), make([]byte, 1500)
		await(t, text+": does not arrive", func() bool {
			if _, err := way[0].Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			way[1].SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			n, err := way[1].Read(buf)
			return err == nil && string(buf[:n]) == text
		})
	}
}
