package natprobe_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

// simulate calls test with a socket behind a NAT of the preset and the four
// addresses of a STUN server, 40 ms away, in virtual time. That it returns also
// shows that no goroutine is left.
func simulate(t *testing.T, preset string, test func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort)) {
	t.Helper()
	const seed = 1
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(seed)
		a1, a2 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
		host := w.AddHost("stun", w.Internet(), simnet.Link{Delay: 20 * time.Millisecond}, a1, a2)
		site, err := w.AddSite("client", preset, simnet.Link{})
		if err != nil {
			t.Fatal(err)
		}
		stop := w.Go()
		defer stop()
		server, err := stunserver.Listen(t.Context(), stunserver.Config{IP1: a1, IP2: a2, ListenPacket: host.ListenPacket})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(t, t.Context(), site, server.Addrs())
	})
}

func TestMappedAddressesBehindNATs(t *testing.T) {
	for preset, dependent := range map[string]bool{
		"open": false, "firewall": false, "full-cone": false, "restricted-cone": false, "port-restricted-cone": false,
		"symmetric-random": true, "symmetric-sequential": true, "symmetric-address": true,
	} {
		t.Run(preset, func(t *testing.T) {
			simulate(t, preset, func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
				pc, err := site.Host.ListenPacket(ctx, "udp4", ":0")
				if err != nil {
					t.Fatal(err)
				}
				defer pc.Close()
				start := time.Now()
				answers, err := natprobe.MappedAddresses(ctx, pc, servers, nil)
				if err != nil || len(answers) != 4 {
					t.Fatalf("%+v, %v", answers, err)
				}
				if took := time.Since(start); took != 40*time.Millisecond {
					t.Errorf("took %v, want one round trip", took)
				}
				for _, a := range answers {
					if a.Err != nil || a.RTT != 40*time.Millisecond {
						t.Errorf("answer %+v", a)
					}
				}
				if got := natprobe.EndpointDependent(answers); got != dependent {
					t.Errorf("EndpointDependent = %v for %+v", got, answers)
				}
			})
		})
	}
}

func TestMappedAddressesWithUDPBlocked(t *testing.T) {
	simulate(t, "udp-blocked", func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
		pc, err := site.Host.ListenPacket(ctx, "udp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		start := time.Now()
		answers, err := natprobe.MappedAddresses(ctx, pc, servers, &natprobe.ReflexiveConfig{Timeout: 3 * time.Second})
		var none *natprobe.NoAnswersError
		if !errors.As(err, &none) || len(none.Servers) != 4 || answers != nil || !errors.Is(err, natprobe.ErrNoAnswer) {
			t.Errorf("%+v, %v", answers, err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestMappedAddressesWhenOneServerIsDead: the rest is waited for no longer than
// the patience, and a context that ends does not take away what was learned.
func TestMappedAddressesWhenOneServerIsDead(t *testing.T) {
	simulate(t, "full-cone", func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
		pc, err := site.Host.ListenPacket(ctx, "udp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		servers = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.77:3478"), servers[0]}
		check := func(want time.Duration, ctx context.Context) {
			t.Helper()
			start := time.Now()
			answers, err := natprobe.MappedAddresses(ctx, pc, servers, nil)
			if err != nil || len(answers) != 2 || !errors.Is(answers[0].Err, natprobe.ErrNoAnswer) || answers[1].Err != nil {
				t.Fatalf("%+v, %v", answers, err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
		}
		check(640*time.Millisecond, ctx)
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		check(100*time.Millisecond, short)
	})
}
