package punch

import (
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
)

// TestBetween: what two sides are told of each other is the same, seen from either.
func TestBetween(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want Obstacle
		on   Side
	}{
		{"cone", "cone", ObstacleNone, Neither},
		{"cone", "cone, by its type", ObstacleNone, Neither},
		{"cone, filter unknown", "cone", ObstacleNone, Neither},
		{"open", "random", ObstacleNone, Neither},
		{"restricted cone", "random", ObstacleNone, Neither},
		{"random, by address", "random, open", ObstacleNone, Neither}, // one packet is enough
		{"cone", "random", ObstaclePorts, Theirs},
		{"cone", "random, by its type", ObstaclePorts, Theirs},
		{"cone, by its type", "random, by its type", ObstaclePorts, Theirs},
		{"cone, filter unknown", "random", ObstaclePorts, Theirs},
		{"restricted cone", "random, many addresses", ObstaclePorts, Theirs},
		{"sequential", "firewall", ObstaclePorts, Ours},
		{"random", "block of 512", ObstaclePorts, Both},
		{"random, by its type", "random", ObstaclePorts, Both},
		{"blocked", "random", ObstacleBlocked, Ours},
		{"unknown", "blocked", ObstacleBlocked, Theirs},
		{"blocked", "blocked", ObstacleBlocked, Both},
		{"unknown", "random", ObstacleUnknown, Ours},
		{"unknown", "unknown", ObstacleUnknown, Both},
	} {
		a, b := pair(c.a, c.b)
		turned := [...]Side{Neither, Theirs, Ours, Both}[c.on]
		if o, on := Between(a, b); o != c.want || on != c.on {
			t.Errorf("%s with %s: %v, %v; want %v, %v", c.a, c.b, o, on, c.want, c.on)
		}
		if o, on := Between(b, a); o != c.want || on != turned {
			t.Errorf("%s with %s: %v, %v; want %v, %v", c.b, c.a, o, on, c.want, turned)
		}
	}
	a, b := pair("cone", "cone")
	b.Mapped = a.Mapped
	if o, _ := Between(a, b); o != ObstacleNone {
		t.Errorf("behind one NAT: %v", o)
	}
	a.Hairpin = natprobe.No
	if o, on := Between(a, b); o != ObstacleHairpin || on != Both {
		t.Errorf("behind one NAT that does not turn back: %v, %v", o, on)
	}
	b.Mapped = netip.MustParseAddrPort("[2001:db8::1]:1")
	if o, on := Between(a, b); o != ObstacleFamilies || on != Both {
		t.Errorf("of two families: %v, %v", o, on)
	}
}

func TestPossible(t *testing.T) {
	for _, c := range []struct {
		a, tcpA, b, tcpB string
		budget           Budget
		want             natprobe.Verdict
	}{
		{a: "cone", b: "cone", want: natprobe.Yes},
		{a: "unknown", b: "unknown", want: natprobe.Yes},
		{a: "cone", b: "random", want: natprobe.Yes},
		{a: "cone", b: "random", budget: Budget{Probes: -1}, want: natprobe.VerdictUnknown},
		{a: "random", b: "random", want: natprobe.No},
		{a: "blocked", b: "cone", want: natprobe.Yes},
		{a: "blocked", b: "random", want: natprobe.VerdictUnknown}, // its TCP may be kinder
		{a: "blocked", tcpA: "cone", b: "random", want: natprobe.VerdictUnknown},
		{a: "blocked", tcpA: "cone", b: "random", tcpB: "random", want: natprobe.No},
		{a: "blocked", tcpA: "cone", b: "random", tcpB: "cone", want: natprobe.Yes},
	} {
		a, b := pair(c.a, c.b)
		a, b = overTCP(a, c.tcpA), overTCP(b, c.tcpB)
		lanes := Plan(a, b, c.budget)
		if got := Possible(lanes); got != c.want {
			t.Errorf("%s, TCP %q, with %s, TCP %q: %v, want %v\n%s", c.a, c.tcpA, c.b, c.tcpB, got, c.want, table(lanes))
		}
		can := Possible(lanes) == natprobe.Yes
		if why, remedy := Because(lanes); (why == "") != can || (remedy == "") != can {
			t.Errorf("%s with %s: %q, %q", c.a, c.b, why, remedy)
		}
	}
	if got := Possible(nil); got != natprobe.VerdictUnknown {
		t.Errorf("of no lanes: %v", got)
	}
	for _, lanes := range [][]Lane{nil, {{Kind: LanePredicted, Obstacle: ObstaclePorts, Ruled: "no"}}} {
		if why, remedy := Because(lanes); why != "" || remedy != "" {
			t.Errorf("of what is no plan: %q, %q", why, remedy)
		}
	}
}
