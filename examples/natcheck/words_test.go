package main

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

func TestTicksAreRoundAndFew(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		want      []float64
	}{
		{0, 65535, []float64{0, 20000, 40000, 60000}},
		{18067, 18106, []float64{18070, 18080, 18090, 18100}},
		{35440, 38251, []float64{36000, 37000, 38000}},
		{65532, 65535, []float64{65532, 65533, 65534, 65535}},
	} {
		if got := slices.Collect(ticks(tt.low, tt.high)); !slices.Equal(got, tt.want) {
			t.Errorf("%v to %v: %v, want %v", tt.low, tt.high, got, tt.want)
		}
	}
	for width := 3.0; width < 70000; width *= 1.07 {
		if n := len(slices.Collect(ticks(1000.5, 1000.5+width))); n < 2 || n > 6 {
			t.Errorf("%d ticks over %v", n, width)
		}
	}
}

func TestFit(t *testing.T) {
	for _, tt := range []struct {
		s    string
		most int
		want string
	}{{"abcdef", 6, "abcdef"}, {"abcdefg", 6, "ab…efg"}, {"äöüßäöü", 5, "äö…öü"}, {"[2001:db8::1]:3478", 9, "[200…3478"}} {
		if got := fit(tt.s, tt.most); got != tt.want {
			t.Errorf("%q in %d: %q, want %q", tt.s, tt.most, got, tt.want)
		}
	}
}

// TestPercent: nothing is quite sure, and what is not known has no number.
func TestPercent(t *testing.T) {
	for c, want := range map[float64]string{0: "", -1: "", 0.001: "1 % sure", 0.5: "50 % sure", 0.998: "99 % sure", 7: "99 % sure", math.Inf(1): "99 % sure"} {
		if got := percent(c); got != want {
			t.Errorf("%v: %q, want %q", c, got, want)
		}
	}
	if got := percent(math.NaN()); got != "" {
		t.Errorf("NaN: %q", got)
	}
}

// TestDestinations: of the socket that the report is about, each once, not too many.
func TestDestinations(t *testing.T) {
	at := netip.MustParseAddrPort
	r := natprobe.Report{Mapped: at("192.0.2.9:100")}
	see := func(socket int, asked, to, mapped string) {
		r.Observations = append(r.Observations, natprobe.Observation{Socket: socket, Asked: asked, To: at(to), Mapped: at(mapped)})
	}
	see(0, "plain", "192.0.2.1:1", "192.0.2.9:99")    // another socket, of a server that was of no use
	see(1, "control", "192.0.2.1:1", "192.0.2.9:100") // no test of the mapping
	see(2, "plain", "192.0.2.1:1", "192.0.2.9:100")
	see(2, "plain", "192.0.2.1:1", "192.0.2.9:100")
	see(2, "plain, other IP", "192.0.2.2:1", "192.0.2.9:101")
	see(3, "plain", "192.0.2.3:1", "192.0.2.9:102")
	see(2, "plain, other IP and port", "192.0.2.2:2", "192.0.2.9:103")
	see(2, "plain, other server", "192.0.2.4:1", "192.0.2.9:104")
	shown, more := destinations(&r)
	var got []string
	for i, s := range shown {
		got = append(got, fmt.Sprintf("%v %s %d", s.To, relation(shown, i), s.Mapped.Port()))
	}
	want := []string{"192.0.2.1:1 first destination 100", "192.0.2.2:1 another address 101", "192.0.2.2:2 same address, another port 103"}
	if !slices.Equal(got, want) || more != 1 {
		t.Errorf("%q and %d more", got, more)
	}
}

// TestReachIsWhatIsPlanned: the page promises no more than a session would try.
func TestReachIsWhatIsPlanned(t *testing.T) {
	for _, preset := range []string{"open", "port-restricted-cone", "symmetric-sequential", "symmetric-random", "udp-blocked"} {
		r := measured(t, preset)
		all := reach(&r)
		if len(all) != len(kinds) {
			t.Fatalf("%s: %d lines", preset, len(all))
		}
		for i, k := range kinds {
			theirs := k.profile
			if theirs.Type != natprobe.TypeUDPBlocked {
				theirs.Mapped = elsewhere(r.Mapped.Addr())
			}
			lanes := punch.Plan(r.Profile(), theirs, punch.Budget{})
			if got := all[i]; (got.State == bad) == (punch.Possible(lanes) == natprobe.Yes) || got.How == "" || got.Cost == "" {
				t.Errorf("%s to %s: %+v of %+v", preset, k.name, got, lanes)
			}
		}
	}
	for _, k := range punch.LaneKinds() {
		if laneWords[k] == "" {
			t.Errorf("lane %v has no words", k)
		}
	}
	if ip := elsewhere(netip.MustParseAddr("203.0.113.77")).Addr(); ip == netip.MustParseAddr("203.0.113.77") {
		t.Error("a peer at our own address is no peer elsewhere")
	}
}
