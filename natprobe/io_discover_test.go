package natprobe_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

// TestDiscoverBehindNATs runs the whole shell in virtual time. That it finds open filters
// shows that its sockets hear everybody, as connected ones would not.
func TestDiscoverBehindNATs(t *testing.T) {
	for _, nat := range []string{"open", "firewall", "full-cone", "restricted-cone", "port-restricted-cone", "linux", "symmetric-random", "symmetric-sequential", "cgnat"} {
		t.Run(nat, func(t *testing.T) {
			simulate(t, nat, func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
				var stages []natprobe.Stage
				report, err := natprobe.Discover(ctx, natprobe.Config{
					Servers: []string{servers[0].String()}, ListenPacket: site.ListenPacket,
					Progress: func(p natprobe.Progress) { stages = append(stages, p.Stage) },
				})
				want := truths[nat]
				if err != nil || report.Type != want.typ || report.Mapping != want.mapping || report.Filtering != want.filtering ||
					report.Ports.Model != want.ports || report.Hairpin != want.hairpin {
					t.Errorf("%v, %v\n%s", err, report, trail(report))
				}
				if !reflect.DeepEqual(stages, []natprobe.Stage{natprobe.StagePorts, natprobe.StageDone}) {
					t.Errorf("stages %v", stages)
				}
				if report.Known > 300*time.Millisecond {
					t.Errorf("known after %v", report.Known)
				}
			})
		})
	}
}

func TestDiscoverMeasuresLifetimes(t *testing.T) {
	simulate(t, "linux", func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
		report, err := natprobe.Discover(ctx, natprobe.Config{
			Servers: []string{servers[0].String()}, ListenPacket: site.ListenPacket, Lifetime: 40 * time.Second,
		})
		if err != nil || report.Lifetime == nil || !within(report.Lifetime.Answered, 30*time.Second) || report.Lifetime.Stream.High != 0 {
			t.Errorf("%v, %v", err, report)
		}
		if p := report.Profile(); p.Lifetime < 25*time.Second || p.Lifetime > 30*time.Second {
			t.Errorf("the profile tells %v", p.Lifetime)
		}
	})
}

// TestDiscoverWithoutALimit: with a context that never ends, each stage runs to its own end.
func TestDiscoverWithoutALimit(t *testing.T) {
	simulate(t, "linux", func(t *testing.T, _ context.Context, site *simnet.Site, servers []netip.AddrPort) {
		report, err := natprobe.Discover(context.Background(), natprobe.Config{
			Servers: []string{servers[0].String()}, ListenPacket: site.ListenPacket, Dial: site.DialFrom, TCP: true, Lifetime: 40 * time.Second,
		})
		if err != nil || report.Type != truths["linux"].typ || report.TCP == nil || report.Lifetime == nil {
			t.Errorf("%v, %v", err, report)
		}
	})
}

// TestDiscoverEndsWithItsContext: at once, with what is known by then.
func TestDiscoverEndsWithItsContext(t *testing.T) {
	for _, limit := range []time.Duration{0, 10 * time.Millisecond, 120 * time.Millisecond, 500 * time.Millisecond} {
		simulate(t, "symmetric-block", func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			start := time.Now()
			report, err := natprobe.Discover(ctx, natprobe.Config{Servers: []string{servers[0].String()}, ListenPacket: site.ListenPacket})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != limit {
				t.Errorf("%v after %v, want %v", err, time.Since(start), limit)
			}
			if limit >= 500*time.Millisecond && report.Type != natprobe.TypeSymmetric {
				t.Errorf("%v", report)
			}
			if limit < 100*time.Millisecond && report.Type != natprobe.TypeUnknown {
				t.Errorf("%v", report)
			}
		})
	}
}

// TestProberKeepsThePace: of several runs together, too.
func TestProberKeepsThePace(t *testing.T) {
	simulate(t, "full-cone", func(t *testing.T, ctx context.Context, site *simnet.Site, servers []netip.AddrPort) {
		p, err := natprobe.NewProber(natprobe.Config{Servers: []string{servers[0].String()}, ListenPacket: site.ListenPacket})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		begun := 0
		for range 5 {
			r, err := p.Discover(ctx)
			if err != nil || r.Type != natprobe.TypeFullCone {
				t.Fatalf("%v, %v", err, r)
			}
			begun += len(r.Observations)
		}
		if most := 12 + 10*time.Since(start).Seconds(); float64(begun) > most {
			t.Errorf("%d transactions in %v, want at most %v", begun, time.Since(start), most)
		}
	})
}

func TestDiscoverRefusesBadInput(t *testing.T) {
	var ce *natprobe.ConfigError
	for field, cfg := range map[string]natprobe.Config{
		"Servers":  {},
		"Network":  {Servers: []string{"192.0.2.1"}, Network: "udp"},
		"Timeout":  {Servers: []string{"192.0.2.1"}, Timeout: -1},
		"Lifetime": {Servers: []string{"192.0.2.1"}, Lifetime: time.Second},
		"names":    {Servers: []string{"host:0"}},
	} {
		if _, err := natprobe.Discover(t.Context(), cfg); !errors.As(err, &ce) || ce.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := natprobe.NewProber(natprobe.Config{Servers: make([]string, 33)}); !errors.As(err, &ce) || ce.Field != "Servers" {
		t.Errorf("33 servers: %v", err)
	}
	// What cannot be resolved, alone and beside what can.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := natprobe.Discover(ctx, natprobe.Config{Servers: []string{"2001:db8::1"}, Network: "ip4"}); err == nil {
		t.Error("an IPv6 literal for IPv4: no error")
	}
}

// TestDiscoverOnLoopback uses real sockets.
func TestDiscoverOnLoopback(t *testing.T) {
	cfg := stunserver.Config{Port1: -1, Port2: -1}
	want := natprobe.TypeUnknown // without a second address the filtering cannot be told
	if pc, err := net.ListenPacket("udp4", "127.0.0.2:0"); err == nil {
		_ = pc.Close()
		cfg.IP2 = netip.MustParseAddr("127.0.0.2")
		want = natprobe.TypeOpen
	}
	server, err := stunserver.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	report, err := natprobe.Discover(t.Context(), natprobe.Config{Servers: []string{server.Addrs()[0].String()}})
	if err != nil || report.Type != want || report.NAT != natprobe.No {
		t.Errorf("%v, %v", err, report)
	}
}

// TestReportForms: the text has the words that people look for, the JSON comes back as it
// was, and the profile fits.
func TestReportForms(t *testing.T) {
	for nat, words := range map[string][]string{
		"open":                 {"NAT0", "anyone with UDP"},
		"firewall":             {"firewall that lets only answers in"},
		"full-cone":            {"full cone NAT (NAT1)", "203.0.113.1"},
		"restricted-cone":      {"restricted cone NAT (NAT2)"},
		"port-restricted-cone": {"port restricted cone NAT (NAT3)", "hard: only by many probes", "UPnP"},
		"symmetric-random":     {"symmetric NAT (NAT4)", "no: through a relay", "full cone"},
		"symmetric-sequential": {"sequential by +1", "likely: ports can be predicted"},
		"symmetric-block":      {"block of about"},
		"udp-blocked":          {"UDP is blocked", "by TCP, or through a relay", "Let UDP out"},
	} {
		r := newWorld(t, 1, preset(t, nat), path).discover(all, natprobe.DiscoveryConfig{}).Report
		text := r.String()
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in\n%s", nat, w, text)
			}
		}
		data, err := json.Marshal(r)
		var back natprobe.Report
		if err != nil || json.Unmarshal(data, &back) != nil {
			t.Fatalf("%s: %v", nat, err)
		}
		again, _ := json.Marshal(back)
		if string(again) != string(data) {
			t.Errorf("%s: JSON comes back changed:\n%s\n%s", nat, data, again)
		}
		checkProfile(t, r.Profile())
	}
}

func checkProfile(t *testing.T, p natprobe.Profile) {
	t.Helper()
	data, err := p.MarshalBinary()
	if err != nil || len(data) >= 64 || len(data) > natprobe.MaxProfile {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	var back natprobe.Profile
	if err := back.UnmarshalBinary(append(data, 1, 2, 3)); err != nil { // of a later version
		t.Fatal(err)
	}
	again, _ := back.MarshalBinary()
	if string(again) != string(data) || back.Ports.Delta != p.Ports.Delta || back.Mapped != p.Mapped || back.Type != p.Type {
		t.Errorf("profile comes back as %+v, was %+v", back, p)
	}
	for n := range data {
		_ = back.UnmarshalBinary(data[:n])
	}
}

func TestProfileRefuses(t *testing.T) {
	var p natprobe.Profile
	for _, b := range [][]byte{nil, {}, {9}, {1}, make([]byte, 40), append([]byte{1}, make([]byte, 17)...), append(append([]byte{1}, make([]byte, 17)...), 5)} {
		if err := p.UnmarshalBinary(b); err == nil {
			t.Errorf("% x: no error", b)
		}
	}
	checkProfile(t, natprobe.Profile{Mapped: netip.MustParseAddrPort("[2001:db8::1]:65535"), Lifetime: time.Hour, Confidence: 1,
		Ports: natprobe.Ports{Delta: -32768, Rate: 1e9, Low: 1, High: 65535, Confidence: 1}})
}

func FuzzProfile(f *testing.F) {
	seed, _ := natprobe.Profile{Mapped: capable[0], Type: natprobe.TypeSymmetric}.MarshalBinary()
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p natprobe.Profile
		if p.UnmarshalBinary(b) == nil {
			checkProfile(t, p)
		}
	})
}
