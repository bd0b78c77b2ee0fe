package ice_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// shells are two endpoints behind NATs, with STUN and TURN servers, in virtual time.
type shells struct {
	*simnet.World
	sites [2]*simnet.Site
	ends  [2]*ice.Endpoint
}

// simulate runs test over endpoints. That it returns shows that no goroutine is left.
func simulate(t *testing.T, natA, natB string, cfg ice.Config, test func(t *testing.T, w *shells)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &shells{World: simnet.New(1)}
		server := w.AddHost("server", w.Internet(), simnet.Link{})
		for i, nat := range []string{natA, natB} {
			site, err := w.AddSite(string('a'+rune(i)), nat, simnet.Link{Delay: access})
			check(t, err)
			w.sites[i] = site
		}
		stop := w.Go()
		defer stop()
		defer serveBoth(t, server)()
		for i, site := range w.sites {
			client, err := turnclient.Dial(t.Context(), turnclient.Config{
				Servers: []string{"turn:" + server.Addr().String()}, ListenPacket: site.ListenPacket, DialContext: site.DialContext,
			})
			check(t, err)
			defer client.Close()
			c := cfg
			c.ListenPacket = site.ListenPacket
			c.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
				return site.Listen(ctx, network, address, true)
			}
			c.Dial = site.DialFrom
			c.Addrs = func() ([]ice.HostAddr, error) {
				var all []ice.HostAddr
				for _, a := range site.Addrs() {
					all = append(all, ice.HostAddr{Addr: a})
				}
				return all, nil
			}
			c.STUN = []string{netip.AddrPortFrom(server.Addr(), 3479).String()}
			c.Relays = []ice.Allocator{client}
			w.ends[i], err = ice.Listen(t.Context(), c)
			check(t, err)
			defer func() { check(t, w.ends[i].Close()) }()
		}
		test(t, w)
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serveBoth runs a TURN and a STUN server on one host.
func serveBoth(t *testing.T, host *simnet.Host) (stop func()) {
	t.Helper()
	at := netip.AddrPortFrom(host.Addr(), 3478).String()
	pc, err := host.ListenPacket(t.Context(), "udp4", at)
	check(t, err)
	loop, err := drive.Run[struct{}](turntest.NewServer(turntest.Config{Relay: host.Addr()}, rand.Reader), nil, drive.Options{
		Sockets: []net.PacketConn{pc}, ListenPacket: host.ListenPacket,
	})
	check(t, err)
	stunAt := netip.AddrPortFrom(host.Addr(), 3479)
	pc, err = host.ListenPacket(t.Context(), "udp4", stunAt.String())
	check(t, err)
	m, err := stund.NewMachine([]netip.AddrPort{stunAt}, 0, 1)
	check(t, err)
	stun, err := drive.Run(m, nil, drive.Options{Sockets: []net.PacketConn{pc}})
	check(t, err)
	return func() { loop.Close(); stun.Close() }
}

// agents makes an agent on each endpoint and lets them signal, 50 ms each way.
func (w *shells) agents(t *testing.T, cfg ice.AgentConfig) (a, b *ice.Agent) {
	t.Helper()
	var made [2]*ice.Agent
	for i, e := range w.ends {
		c := cfg
		c.Controlling = i == 0
		var err error
		made[i], err = e.NewAgent(c)
		check(t, err)
	}
	for i, from := range made {
		to := made[1-i]
		time.AfterFunc(50*time.Millisecond, func() { _ = to.SetRemote(from.LocalCredentials()) })
		go func() {
			for {
				e, err := from.Next(context.Background())
				if err != nil {
					return
				}
				switch e.Kind {
				case ice.EventCandidate:
					time.AfterFunc(50*time.Millisecond, func() { _ = to.AddRemote(e.Candidate) })
				case ice.EventGathered:
					time.AfterFunc(51*time.Millisecond, func() { _ = to.EndOfCandidates() })
				}
			}
		}()
	}
	return made[0], made[1]
}

func TestEndpointsBehindNATs(t *testing.T) {
	for _, c := range []struct {
		name, natA, natB string
		policy           ice.Policy
		want             ice.CandidateType
	}{
		{"direct", "port-restricted-cone", "port-restricted-cone", ice.AllCandidates, ice.ServerReflexive},
		{"by relay where nothing else works", "symmetric-random", "symmetric-random", ice.AllCandidates, ice.Relay},
		{"by relay by policy", "open", "open", ice.RelayOnly, ice.Relay},
		{"no host", "full-cone", "full-cone", ice.NoHost, ice.ServerReflexive},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, c.natA, c.natB, ice.Config{}, func(t *testing.T, w *shells) {
				a, b := w.agents(t, ice.AgentConfig{Policy: c.policy})
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				began := time.Now()
				ca, err := a.Connect(ctx)
				check(t, err)
				cb, err := b.Connect(ctx)
				check(t, err)
				t.Logf("connected after %v, by %v", time.Since(began), a.Selected().Local)
				for range 100 {
					exchangeOnce(t, ca, cb)
					exchangeOnce(t, cb, ca)
				}
				if got := a.Selected().Local.Type; got != c.want && !(c.want == ice.Relay && a.Selected().Remote.Type == ice.Relay) {
					t.Errorf("by %v, want %v", a.Selected().Local, c.want)
				}
				check(t, ca.Close())
				if _, err := ca.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("write after Close: %v", err)
				}
				if _, err := ca.Read(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("read after Close: %v", err)
				}
			})
		})
	}
}

func exchangeOnce(t *testing.T, from, to *ice.Conn) {
	t.Helper()
	if _, err := from.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	check(t, to.SetReadDeadline(time.Now().Add(time.Second)))
	buf := make([]byte, 10)
	n, err := to.Read(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
}

func TestConnDeadlinesAndLimits(t *testing.T) {
	simulate(t, "open", "open", ice.Config{}, func(t *testing.T, w *shells) {
		a, b := w.agents(t, ice.AgentConfig{})
		ca, err := a.Connect(t.Context())
		check(t, err)
		cb, err := b.Connect(t.Context())
		check(t, err)
		check(t, ca.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := ca.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read past the deadline: %v", err)
		}
		check(t, ca.SetWriteDeadline(time.Now().Add(-time.Second)))
		if _, err := ca.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write past the deadline: %v", err)
		}
		check(t, ca.SetDeadline(time.Time{}))
		if _, err := ca.Write(make([]byte, 70000)); !errors.Is(err, ice.ErrTooLong) {
			t.Errorf("write of 70,000 bytes: %v", err)
		}
		if _, err := ca.Write([]byte("longer than the buffer")); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 6)
		if n, err := cb.Read(buf); !errors.Is(err, io.ErrShortBuffer) || string(buf[:n]) != "longer" {
			t.Errorf("read into a short buffer: %q, %v", buf[:n], err)
		}
	})
}

// What TCP has no room for is lost and counted, and no error, at which DTLS and SCTP give up.
func TestConnOverFullTCP(t *testing.T) {
	simulate(t, "open", "open", ice.Config{Networks: []string{"tcp4"}}, func(t *testing.T, w *shells) {
		a, b := w.agents(t, ice.AgentConfig{})
		ca, err := a.Connect(t.Context())
		check(t, err)
		cb, err := b.Connect(t.Context())
		check(t, err)
		check(t, cb.SetReadDeadline(time.Now().Add(time.Minute)))
		const burst = 5000
		for range burst { // no time passes
			_, err := ca.Write(make([]byte, 1200))
			check(t, err)
		}
		if s := ca.Stats(); s.Unsent == 0 || s.Out == 0 || s.Out+s.Unsent != burst {
			t.Errorf("%+v of %d datagrams", s, burst)
		}
		buf := make([]byte, 1200)
		time.AfterFunc(30*time.Second, func() { _, _ = ca.Write([]byte("hello")) }) // there is room again
		for n := 0; string(buf[:n]) != "hello"; {
			n, err = cb.Read(buf)
			check(t, err)
		}
	})
}

// Names take time to be looked up. The end of candidates, which comes in the meantime, does
// not shut out what is found, and a name that is not found is told.
func TestNamesAndTheEndOfCandidates(t *testing.T) {
	noSuchHost := errors.New("no such host")
	var addr netip.Addr
	resolve := func(_ context.Context, name string) (netip.Addr, error) {
		<-time.After(time.Second)
		if name != "there.local" {
			return netip.Addr{}, noSuchHost
		}
		return addr, nil
	}
	simulate(t, "open", "open", ice.Config{Resolve: resolve}, func(t *testing.T, w *shells) {
		a, err := w.ends[0].NewAgent(ice.AgentConfig{Controlling: true})
		check(t, err)
		b, err := w.ends[1].NewAgent(ice.AgentConfig{})
		check(t, err)
		at := w.ends[1].LocalAddrs()[0]
		addr = at.Addr()
		check(t, b.SetRemote(a.LocalCredentials()))
		check(t, a.SetRemote(b.LocalCredentials()))
		for _, name := range []string{"there.local", "elsewhere.local"} {
			check(t, a.AddRemote(ice.Candidate{
				Foundation: "1", Component: 1, Priority: 1, Type: ice.Host, Name: name, Addr: netip.AddrPortFrom(netip.Addr{}, at.Port()),
			}))
		}
		check(t, a.EndOfCandidates())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = a.Connect(ctx)
		check(t, err)
		if got := a.Selected().Remote; got.Addr != at || got.Type != ice.Host {
			t.Errorf("connected to %v, want %v", got, at)
		}
		for {
			e, err := a.Next(ctx)
			if err != nil {
				t.Fatalf("the name that is not found is not told: %v", err)
			}
			if e.Kind == ice.EventPassedOver {
				const want = "ice: candidate elsewhere.local was not found: no such host"
				if e.Candidate.Name != "elsewhere.local" || !errors.Is(e.Err, noSuchHost) || e.Err.Error() != want {
					t.Errorf("passed over %v: %v", e.Candidate, e.Err)
				}
				break
			}
		}
	})
}

func TestConnectWhereNobodyAnswers(t *testing.T) {
	simulate(t, "open", "open", ice.Config{}, func(t *testing.T, w *shells) {
		a, err := w.ends[0].NewAgent(ice.AgentConfig{Timeout: 5 * time.Second})
		check(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without credentials of a peer: %v", err)
		}
		check(t, a.SetRemote(ice.Credentials{Ufrag: "nobody", Pwd: "aPasswordThatIsLongEnough"}))
		check(t, a.AddRemote(ice.Candidate{Component: 1, Priority: 1, Foundation: "1", Addr: netip.MustParseAddrPort("198.51.100.9:5000")}))
		_, err = a.Connect(t.Context())
		var failed *ice.FailedError
		if !errors.As(err, &failed) || !errors.Is(err, ice.ErrSilent) {
			t.Errorf("nobody there: %v", err)
		}
		t.Log(err)
	})
}
