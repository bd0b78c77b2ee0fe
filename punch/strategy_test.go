package punch

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

var strategyNoon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func laneOrder(lanes []Lane) (all []LaneKind) {
	for _, l := range lanes {
		if l.Ruled == "" {
			all = append(all, l.Kind)
		}
	}
	return all
}

// What worked here comes first, what was run in vain last, and all of that is forgotten.
func TestOrder(t *testing.T) {
	a, b := pair("cone", "unknown")
	lanes := Plan(a, b, Budget{})
	planned := []LaneKind{LanePlain, LaneOnePacket, LanePredicted, LaneBirthday}
	if got := laneOrder(lanes); !slices.Equal(got, planned) {
		t.Fatal(got)
	}
	key := Networks(a, b)
	var m LaneMemory
	m.Remember(key, LaneBirthday.String(), true, strategyNoon)
	m.Remember(key, LanePlain.String(), false, strategyNoon)
	m.Remember(key, "no lane", true, strategyNoon)
	m.Remember("", LanePredicted.String(), true, strategyNoon)
	for _, c := range []struct {
		what     string
		networks string
		m        Memory
		after    time.Duration
		want     []LaneKind
	}{
		{"at once", key, &m, 0, []LaneKind{LaneBirthday, LaneOnePacket, LanePredicted, LanePlain}},
		{"hours later", key, &m, 20 * time.Hour, []LaneKind{LaneBirthday, LaneOnePacket, LanePredicted, LanePlain}},
		{"a day later", key, &m, 25 * time.Hour, planned},
		{"the other way about", Networks(b, a), &m, 0, planned},
		{"of unknown networks", "", &m, 0, planned},
		{"without a memory", key, nil, 0, planned},
		{"of an odd memory", key, oddMemory{}, 0, planned},
	} {
		got := Order(lanes, c.networks, c.m, strategyNoon.Add(c.after))
		if !slices.Equal(laneOrder(got), c.want) || len(got) != len(lanes) {
			t.Errorf("%s: %v, want %v", c.what, laneOrder(got), c.want)
		}
		if got[len(got)-1].Ruled == "" {
			t.Errorf("%s: what is ruled out comes last", c.what)
		}
	}
	if got := laneOrder(lanes); !slices.Equal(got, planned) {
		t.Errorf("the argument was changed: %v", got)
	}
	// A later success outweighs the failure.
	for range 3 {
		m.Remember(key, LanePlain.String(), true, strategyNoon.Add(time.Hour))
	}
	if q, known := m.Recall(key, "plain", strategyNoon.Add(time.Hour)); !known || !near(q, 3.5/4.92, 1e-9) {
		t.Errorf("%v %v", q, known)
	}
}

type oddMemory struct{}

func (oddMemory) Remember(string, string, bool, time.Time) {}
func (oddMemory) Recall(string, string, time.Time) (float64, bool) {
	return math.NaN(), true
}

func TestNetworks(t *testing.T) {
	a, b := pair("cone", "random")
	key := Networks(a, b)
	if len(key) != 32 {
		t.Fatalf("%q", key)
	}
	at := func(p natprobe.Profile, addr string) natprobe.Profile {
		p.Mapped = netip.AddrPort{}
		if addr != "" {
			p.Mapped = netip.AddrPortFrom(netip.MustParseAddr(addr), 7)
		}
		return p
	}
	other := a
	other.Filtering = natprobe.FilteringAddressDependent
	for _, c := range []struct {
		what string
		key  string
		same bool
	}{
		{"the same /24", Networks(at(a, "203.0.113.200"), b), true},
		{"mapped into IPv6", Networks(at(a, "::ffff:203.0.113.9"), b), true},
		{"another /24", Networks(at(a, "203.0.114.1"), b), false},
		{"another NAT", Networks(other, b), false},
		{"the other way about", Networks(b, a), false},
	} {
		if (c.key == key) != c.same || c.key == "" {
			t.Errorf("%s: %q and %q", c.what, c.key, key)
		}
	}
	if x, y := Networks(at(a, "2001:db8:1:2::3"), b), Networks(at(a, "2001:db8:1:ffff::1%eth0"), b); x != y || x == "" {
		t.Errorf("of one /48: %q and %q", x, y)
	}
	if Networks(at(a, ""), b) != "" || Networks(a, at(b, "")) != "" {
		t.Error("a key of an unknown address")
	}
}

// What had an outcome last stays.
func TestLaneMemoryIsBounded(t *testing.T) {
	var m LaneMemory
	for i := range MaxMemoryPairs {
		m.Remember(fmt.Sprint(i), "birthday", true, strategyNoon)
	}
	m.Remember("0", "birthday", false, strategyNoon) // so that 1 is the oldest
	m.Remember("new", "birthday", true, strategyNoon)
	for networks, want := range map[string]bool{"0": true, "1": false, "2": true, "new": true} {
		if _, known := m.Recall(networks, "birthday", strategyNoon); known != want {
			t.Errorf("%s: %v", networks, known)
		}
	}
	if n := len(m.outcomes.pairs); n != MaxMemoryPairs {
		t.Errorf("%d pairs", n)
	}
	if _, known := m.Recall("new", "plain", strategyNoon); known {
		t.Error("a lane that was not run")
	}
}
