package portmap_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch/portmap"
)

// home calls test with a client behind a NAT that has a gateway, in a bubble. That it
// returns also shows that no goroutine is left.
func home(t *testing.T, g simnet.GatewayConfig, test func(t *testing.T, s *simnet.Site, gw *simnet.Gateway, c *portmap.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		const seed = 1
		w := simnet.New(seed)
		site, err := w.AddSite("home", "port-restricted-cone", simnet.Link{})
		if err != nil {
			t.Fatal(err)
		}
		gw, err := site.NAT.Gateway(g, nil)
		if err != nil {
			t.Fatal(err)
		}
		stop := w.Go()
		defer stop()
		client, err := portmap.New(portmap.Config{
			Gateways: func() ([]portmap.Gateway, error) {
				return []portmap.Gateway{{Addr: gw.Addr(), Local: site.Addr()}}, nil
			},
			ListenPacket: site.ListenPacket,
			Dial:         site.DialFrom,
		})
		if err != nil {
			t.Fatal(err)
		}
		test(t, site, gw, client)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if _, err := client.Map(t.Context(), portmap.UDP, netip.AddrPortFrom(netip.Addr{}, 1), 0); !errors.Is(err, portmap.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func port(n uint16) netip.AddrPort { return netip.AddrPortFrom(netip.Addr{}, n) }

func TestClientByEachProtocol(t *testing.T) {
	for _, g := range []simnet.GatewayConfig{{PCP: true}, {NATPMP: true}, {UPnP: true}, {UPnP: true, IGD: 2}} {
		home(t, g, func(t *testing.T, s *simnet.Site, gw *simnet.Gateway, c *portmap.Client) {
			m, err := c.Map(t.Context(), portmap.UDP, port(5000), 6000)
			if err != nil {
				t.Fatal(err)
			}
			if want := netip.AddrPortFrom(s.NAT.Addrs()[0], 6000); m.External() != want || m.Info().Lifetime != 2*time.Hour || m.Err() != nil {
				t.Errorf("%+v, %v, want %v", m.Info(), m.Err(), want)
			}
			if a, err := c.ExternalAddr(t.Context()); err != nil || a != m.External().Addr() {
				t.Errorf("%v, %v", a, err)
			}
			if err := m.Close(); err != nil || s.NAT.Statics() != 0 || !errors.Is(m.Err(), portmap.ErrClosed) || m.External().IsValid() {
				t.Errorf("closed: %v, %d left, %v, %v", err, s.NAT.Statics(), m.Err(), m.External())
			}
			if _, open := <-m.Changes(); open {
				t.Error("a change of what is closed")
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			for i := range uint16(3) { // left to Client.Close
				if _, err := c.Map(t.Context(), portmap.TCP, port(7000+i), 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Close(); err != nil || s.NAT.Statics() != 0 {
				t.Errorf("%v, %d mappings left after Close", err, s.NAT.Statics())
			}
		})
	}
}

func TestExternalAddr(t *testing.T) {
	for _, c := range []struct {
		cfg   simnet.GatewayConfig
		knows bool
	}{
		{simnet.GatewayConfig{PCP: true}, true}, {simnet.GatewayConfig{NATPMP: true}, true}, {simnet.GatewayConfig{UPnP: true}, true},
		{simnet.GatewayConfig{UPnP: true, UPnPError: 606}, true}, {simnet.GatewayConfig{PCP: true, PCPResult: 2}, false}, {simnet.GatewayConfig{}, false},
	} {
		home(t, c.cfg, func(t *testing.T, s *simnet.Site, gw *simnet.Gateway, client *portmap.Client) {
			for range 2 {
				a, err := client.ExternalAddr(t.Context())
				if (err == nil) != c.knows || c.knows && a != s.NAT.Addrs()[0] || s.NAT.Statics() != 0 {
					t.Errorf("%+v: %v, %v, %d mappings", c.cfg, a, err, s.NAT.Statics())
				}
			}
		})
	}
}

func TestClientTellsOfChanges(t *testing.T) {
	home(t, simnet.GatewayConfig{PCP: true}, func(t *testing.T, s *simnet.Site, gw *simnet.Gateway, c *portmap.Client) {
		m, err := c.Map(t.Context(), portmap.UDP, port(5000), 0)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		other := netip.MustParseAddr("192.0.2.77")
		s.NAT.Iface().SetAddrs(other)
		c.Recheck()
		if i := <-m.Changes(); i.External.Addr() != other || m.External() != i.External {
			t.Errorf("%+v", i)
		}
		<-time.After(time.Minute)
		gw.Set(func(g *simnet.GatewayConfig) { g.PCPResult = 2 })
		c.Recheck()
		if i := <-m.Changes(); i.External.IsValid() || !strings.Contains(m.Err().Error(), "NOT_AUTHORIZED") {
			t.Errorf("%+v, %v", i, m.Err())
		}
	})
}

func TestClientRefused(t *testing.T) {
	home(t, simnet.GatewayConfig{PCP: true, PCPResult: 8}, func(t *testing.T, s *simnet.Site, gw *simnet.Gateway, c *portmap.Client) {
		start := time.Now()
		_, err := c.Map(t.Context(), portmap.UDP, port(5000), 0)
		var all *portmap.MapError
		var router *portmap.RouterError
		if !errors.As(err, &all) || !errors.As(err, &router) || router.Name != "NO_RESOURCES" || time.Since(start) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		words := c.Words()
		if len(words) != 3 || words[0].Says != "NO_RESOURCES (8)" || !words[0].Speaks {
			t.Errorf("%v", words)
		}
		gw.Set(func(g *simnet.GatewayConfig) { g.PCPResult = 0 })
		if _, err := c.Map(t.Context(), portmap.UDP, port(5000), 0); err != nil { // the first is no more in its way
			t.Error(err)
		}
	})
}

func TestClientWithContextThatEnds(t *testing.T) {
	home(t, simnet.GatewayConfig{}, func(t *testing.T, s *simnet.Site, gw *simnet.Gateway, c *portmap.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Map(ctx, portmap.UDP, port(5000), 0)
		var all *portmap.MapError
		if !errors.As(err, &all) || !errors.Is(err, context.DeadlineExceeded) || len(all.Methods) != 3 {
			t.Errorf("%v", err)
		}
	})
}

// Who asks while the client closes is not left waiting.
func TestCloseEndsMap(t *testing.T) {
	home(t, simnet.GatewayConfig{}, func(t *testing.T, s *simnet.Site, gw *simnet.Gateway, c *portmap.Client) {
		done := make(chan error)
		go func() {
			_, err := c.Map(t.Context(), portmap.UDP, port(5000), 0)
			done <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Error("mapped by nobody")
		}
	})
}

// The router that a client is at changes: mappings follow.
func TestClientFollowsTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(1)
		site, err := w.AddSite("home", "port-restricted-cone", simnet.Link{})
		if err != nil {
			t.Fatal(err)
		}
		other, err := w.AddNAT("other", w.Internet(), simnet.NATConfig{}, simnet.Link{})
		if err != nil {
			t.Fatal(err)
		}
		first, err := site.NAT.Gateway(simnet.GatewayConfig{PCP: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := other.Gateway(simnet.GatewayConfig{NATPMP: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		iface := site.AddIface(other.Inside(), simnet.Link{})
		stop := w.Go()
		defer stop()
		var moved atomic.Bool
		c, err := portmap.New(portmap.Config{
			Gateways: func() ([]portmap.Gateway, error) {
				if moved.Load() {
					return []portmap.Gateway{{Addr: second.Addr(), Local: iface.Addrs()[0]}}, nil
				}
				return []portmap.Gateway{{Addr: first.Addr(), Local: site.Addr()}}, nil
			},
			ListenPacket: site.ListenPacket, Dial: site.DialFrom,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m, err := c.Map(t.Context(), portmap.UDP, port(5000), 0)
		if err != nil {
			t.Fatal(err)
		}
		moved.Store(true)
		for i := range m.Changes() {
			if i.External.IsValid() {
				if i.Method != portmap.NATPMP || i.External.Addr() != other.Addrs()[0] {
					t.Errorf("%+v", i)
				}
				break
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for field, c := range map[string]portmap.Config{
		"Lifetime":    {Lifetime: time.Second},
		"Watch":       {Watch: time.Second},
		"Description": {Description: "a<b"},
		"NoPCP":       {NoPCP: true, NoNATPMP: true, NoUPnP: true},
	} {
		var bad *portmap.ConfigError
		if _, err := portmap.New(c); !errors.As(err, &bad) || !strings.HasPrefix(bad.Field, field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
