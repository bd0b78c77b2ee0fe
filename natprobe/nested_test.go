package natprobe_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
)

// TestNestedByHops: a router in a carrier's address space behind the own one gives the
// second NAT away.
func TestNestedByHops(t *testing.T) {
	for nat, want := range map[string]natprobe.Verdict{
		"cgnat": natprobe.Yes, "cgnat-symmetric": natprobe.Yes, "port-restricted-cone": natprobe.VerdictUnknown, "open": natprobe.VerdictUnknown,
	} {
		simulate(t, nat, func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
			r, err := natprobe.Discover(ctx, natprobe.Config{Servers: []string{servers[0].String()}, ListenPacket: site.ListenPacket})
			if err != nil || r.Nested != want || r.Type != truths[nat].typ {
				t.Errorf("%s: %v, %v", nat, err, r)
			}
			if want == natprobe.Yes && !strings.Contains(why(r, "nested"), "100.64.") {
				t.Errorf("%s: %s", nat, why(r, "nested"))
			}
		})
	}
}

// TestNestedByGateway: the router's own word counts more.
func TestNestedByGateway(t *testing.T) {
	const late = 500 * time.Millisecond
	for _, tt := range []struct {
		nat  string
		tell func(site *simnet.Site) (netip.Addr, error)
		want natprobe.Verdict
	}{
		{"port-restricted-cone", func(s *simnet.Site) (netip.Addr, error) { return s.NAT.Addrs()[0], nil }, natprobe.No},
		{"cgnat", func(s *simnet.Site) (netip.Addr, error) { return s.NATs[0].Addrs()[0], nil }, natprobe.Yes},
		{"port-restricted-cone", func(*simnet.Site) (netip.Addr, error) { return netip.MustParseAddr("10.0.0.1"), nil }, natprobe.Yes},
		{"port-restricted-cone", func(*simnet.Site) (netip.Addr, error) { return netip.Addr{}, errors.New("no answer") }, natprobe.VerdictUnknown},
	} {
		simulate(t, tt.nat, func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
			r, err := natprobe.Discover(ctx, natprobe.Config{
				Servers: []string{servers[0].String()}, ListenPacket: site.ListenPacket,
				Gateway: func(ctx context.Context) (netip.Addr, error) {
					select {
					case <-time.After(late):
						return tt.tell(site)
					case <-ctx.Done():
						return netip.Addr{}, ctx.Err()
					}
				},
			})
			if err != nil || r.Nested != tt.want {
				t.Errorf("%s: %v, %v", tt.nat, err, r)
			}
		})
	}
}

// TestGrades: what is observed is graded, and nothing else.
func TestGrades(t *testing.T) {
	for nat, want := range map[string]string{
		"open":                 "",
		"full-cone":            "1 yes, 2 yes, 3 unknown, 4 no, 8 yes, 9 yes, 10 yes, 11 unknown",
		"port-restricted-cone": "1 yes, 2 yes, 3 unknown, 4 yes, 8 no, 9 no, 10 yes, 11 unknown",
		"linux":                "1 yes, 2 yes, 3 no, 4 yes, 8 no, 9 no, 10 yes, 11 no",
		"symmetric-random":     "1 no, 2 yes, 3 unknown, 4 no, 8 no, 9 no, 10 yes, 11 unknown",
	} {
		r := newWorld(t, 1, preset(t, nat), path).discover(all, natprobe.DiscoveryConfig{}).Report
		var got []string
		for _, g := range r.Grades() {
			got = append(got, strings.TrimPrefix(g.Requirement, "REQ-")+" "+g.Kept.String())
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", nat, strings.Join(got, ", "), want)
		}
	}
	// With lifetimes and TCP measured.
	span := func(low, high time.Duration) natprobe.Lifespan { return natprobe.Lifespan{Low: low, High: high} }
	r := natprobe.Report{NAT: natprobe.Yes, TCP: &natprobe.TCPReport{Mapping: apdm}, Lifetime: &natprobe.Lifetime{
		Answered: span(28*time.Second, 32*time.Second), Stream: span(115*time.Second, 132*time.Second), RefreshOut: natprobe.Yes,
	}}
	var kept []string
	for _, g := range r.Grades() {
		if g.Kept != natprobe.VerdictUnknown {
			kept = append(kept, g.Requirement+" "+g.Kept.String())
		}
	}
	if got := strings.Join(kept, ", "); got != "REQ-5 no, REQ-6 yes, REQ-1 no" {
		t.Errorf("%s", got)
	}
}

// TestRewriting: a NAT that changes addresses inside of packets is found out by the form
// that it does not know (RFC 5780 section 3.6).
func TestRewriting(t *testing.T) {
	w := newWorld(t, 1, preset(t, "full-cone"), path)
	w.server.SetFaults(rewriting)
	r := w.discover(all, natprobe.DiscoveryConfig{})
	if r.ALG != natprobe.Yes || r.Type != natprobe.TypeFullCone || !strings.Contains(r.String(), "ALG") {
		t.Errorf("%v", r)
	}
}

var rewriting = stund.Faults{Rewrite: func(netip.AddrPort) netip.AddrPort { return netip.MustParseAddrPort("192.168.0.2:5000") }}

// TestFragments: a path that takes long packets, one that does not, and servers that do not
// know PADDING or drop everything long.
func TestFragments(t *testing.T) {
	for name, tt := range map[string]struct {
		mtu    int
		faults *stund.Faults
		want   natprobe.Verdict
	}{
		"through":         {mtu: 9000, want: natprobe.Yes},
		"lost":            {mtu: 1500, want: natprobe.No},
		"PADDING refused": {mtu: 9000, faults: &stund.Faults{RefusePadding: 420}, want: natprobe.VerdictUnknown},
	} {
		w := newWorld(t, 1, preset(t, "open"), simnet.Link{Delay: oneWay, MTU: tt.mtu})
		if tt.faults != nil {
			w.server.SetFaults(*tt.faults)
		}
		r := w.discover(all, natprobe.DiscoveryConfig{Fragments: true})
		if r.Fragments != tt.want || r.Type != natprobe.TypeOpen || why(r.Report, "fragments") == "" {
			t.Errorf("%s: %v\n%s", name, r.Conclusions, trail(r.Report))
		}
	}
	if r := newWorld(t, 1, preset(t, "full-cone"), path).discover(all, natprobe.DiscoveryConfig{}); r.Fragments != natprobe.VerdictUnknown {
		t.Error("not asked for, and told")
	}
}
