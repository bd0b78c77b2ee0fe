package fingerprint_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/fingerprint"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

// Fingerprints of simulated NATs: the echo dimensions from outside, the rest from what
// natprobe finds out behind each.
func TestFingerprintsInTheSimulator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(1)
		defer w.Go()()
		w.Internet().SetHops(4)
		link := simnet.Link{Delay: 10 * time.Millisecond}
		a, b := netip.MustParseAddr("198.51.100.250"), netip.MustParseAddr("198.51.100.251")
		server := w.AddHost("server", w.Internet(), link, a, b)
		stun, err := stunserver.Listen(t.Context(), stunserver.Config{IP1: a, IP2: b, NoTCP: true, ListenPacket: server.ListenPacket})
		if err != nil {
			t.Fatal(err)
		}
		defer stun.Close()

		sites := map[netip.Addr]*simnet.Site{}
		var candidates []netip.Addr
		add := func(name string, nat simnet.NATConfig) {
			site, err := w.AddSiteOf(name, simnet.Preset{NATs: []simnet.NATConfig{nat}}, link)
			if err != nil {
				t.Fatal(err)
			}
			sites[site.NAT.Addrs()[0]] = site
			candidates = append(candidates, site.NAT.Addrs()[0])
		}
		add("cone", simnet.NATConfig{Filtering: simnet.AddressAndPortDependent})
		add("moving", simnet.NATConfig{Filtering: simnet.AddressDependent, Ports: simnet.PortPolicy{Kind: simnet.Random}})
		add("silent", simnet.NATConfig{EchoLoss: 1})

		results, err := fingerprint.Collect(t.Context(), candidates, &fingerprint.Config{
			Dial: func(_ context.Context, to netip.Addr) (fingerprint.EchoConn, error) { return server.DialEcho(to) },
			Observe: func(ctx context.Context, of netip.Addr) (fingerprint.Vector, error) {
				r, err := natprobe.Discover(ctx, natprobe.Config{
					Servers: []string{stun.Addrs()[0].String()}, Network: "ip4", Fast: true, NoTCP: true,
					ListenPacket: sites[of].ListenPacket,
				})
				if err != nil {
					return fingerprint.Vector{}, err
				}
				o := fingerprint.Observation{Mappings: r.Ports.Samples, Filtering: r.Filtering}
				if r.Ports.Model == natprobe.PortsPreserving {
					o.Preserved = o.Mappings
				}
				return o.Vector()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []map[fingerprint.Dim]float64{
			{fingerprint.TTLDelta: 4, fingerprint.ICMPEchoRate: 1, fingerprint.PortPreserve: 1},
			{fingerprint.TTLDelta: 4, fingerprint.ICMPEchoRate: 1, fingerprint.PortPreserve: 0},
			{fingerprint.ICMPEchoRate: 0, fingerprint.PortPreserve: 1},
		} {
			for d, v := range want {
				if got, ok := results[i].Vector.Get(d); !ok || got != v {
					t.Errorf("%v: %v is %v (known: %v), want %v; masked: %v", results[i].Addr, d, got, ok, v, results[i].Masked)
				}
			}
			if _, ok := results[i].Vector.Get(fingerprint.FilteringBehavior); !ok {
				t.Errorf("%v: filtering is masked: %v", results[i].Addr, results[i].Masked)
			}
		}
	})
}
