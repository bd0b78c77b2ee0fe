package punch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// The NATs of the tables below.
func profileOf(name string) natprobe.Profile {
	const (
		ei  = natprobe.MappingEndpointIndependent
		ad  = natprobe.MappingAddressDependent
		apd = natprobe.MappingAddressAndPortDependent
	)
	p := natprobe.Profile{NAT: natprobe.Yes, Mapping: apd, Filtering: natprobe.FilteringAddressAndPortDependent, Confidence: 0.99}
	p.Ports = natprobe.Ports{Model: natprobe.PortsRandom, Low: 1024, High: 65535, Parity: natprobe.No, Confidence: 0.97}
	sequential := func(delta int, rate float64) {
		p.Ports = natprobe.Ports{Model: natprobe.PortsSequential, Delta: delta, Rate: rate, Confidence: 0.97}
	}
	block := func(low, high uint16) {
		p.Ports = natprobe.Ports{Model: natprobe.PortsBlock, Low: low, High: high, Confidence: 0.97}
	}
	switch name {
	case "unknown":
		return natprobe.Profile{}
	case "blocked":
		return natprobe.Profile{Type: natprobe.TypeUDPBlocked}
	case "open":
		p.Type, p.NAT, p.Mapping, p.Filtering = natprobe.TypeOpen, natprobe.No, ei, natprobe.FilteringEndpointIndependent
	case "firewall":
		p.Type, p.NAT, p.Mapping = natprobe.TypeSymmetricFirewall, natprobe.No, ei
	case "full cone":
		p.Mapping, p.Filtering = ei, natprobe.FilteringEndpointIndependent
	case "restricted cone":
		p.Mapping, p.Filtering = ei, natprobe.FilteringAddressDependent
	case "cone":
		p.Mapping = ei
	case "cone, filter unknown":
		p.Mapping, p.Filtering = ei, 0
	case "cone, by its type":
		p = natprobe.Profile{Type: natprobe.TypePortRestrictedCone}
	case "random":
	case "random, by its type":
		p = natprobe.Profile{Type: natprobe.TypeSymmetric, Filtering: natprobe.FilteringAddressAndPortDependent}
	case "random, open":
		p.Filtering = natprobe.FilteringEndpointIndependent
	case "random, by address":
		p.Mapping, p.Filtering = ad, natprobe.FilteringAddressDependent
	case "random, parity":
		p.Ports.Parity = natprobe.Yes
	case "random, many addresses":
		p.Paired = natprobe.No
	case "50001 and up":
		p.Ports.Low = 50001
	case "sequential":
		sequential(1, 0)
	case "sequential, busy":
		sequential(-3, 30)
	case "sequential, mad":
		sequential(1, 6553)
	case "sequential, no step":
		sequential(0, 0)
	case "preserving":
		p.Ports = natprobe.Ports{Model: natprobe.PortsPreserving, Confidence: 0.98}
	case "block of 512":
		block(20480, 20991)
	case "block of 4096":
		block(20480, 24575)
	case "block, crossed":
		block(20991, 20480)
	default:
		panic(name)
	}
	return p
}

// pair gives the two different addresses.
func pair(a, b string) (natprobe.Profile, natprobe.Profile) {
	x, y := profileOf(a), profileOf(b)
	x.Mapped, y.Mapped = netip.MustParseAddrPort("203.0.113.1:40000"), netip.MustParseAddrPort("198.51.100.1:50000")
	return x, y
}

// brief tells of a plan in short: the lanes to run and the reason for the first of others.
func brief(lanes []Lane) string {
	var s []string
	for _, l := range lanes {
		if l.Ruled == "" {
			s = append(s, fmt.Sprintf("%v %.0f%%", l.Kind, 100*l.Probability))
		}
	}
	if len(s) == 0 {
		why, remedy := Because(lanes)
		return "- because " + why + "; " + remedy
	}
	return strings.Join(s, ", ")
}

func TestPlan(t *testing.T) {
	const whole = "give random ports of their whole range"
	for _, c := range []struct{ a, b, want string }{
		{"open", "open", "plain 99%, one_packet 99%"},
		{"cone", "cone", "plain 99%"},
		{"cone, by its type", "firewall", "plain 99%"},
		{"full cone", "cone", "plain 99%, one_packet 99%"},
		{"cone, filter unknown", "cone", "plain 99%, one_packet 25%"},
		{"unknown", "unknown", "plain 49%, one_packet 18%"},
		{"cone", "unknown", "plain 69%, one_packet 18%, predicted 5%, birthday 50%"},
		{"open", "random", "one_packet 99%"},
		{"full cone", "random", "one_packet 99%"},
		{"restricted cone", "random", "one_packet 99%"},
		{"restricted cone", "random, many addresses", "one_packet 50%, birthday 50%"},
		{"random", "random, open", "- because both NATs " + whole + "; enable UPnP or PCP on either router"},
		{"random, by address", "random, open", "one_packet 95%"},
		{"cone", "random", "birthday 99%"},
		{"cone, filter unknown", "random", "one_packet 25%, birthday 99%"},
		{"cone", "random, by its type", "predicted 10%, birthday 99%"},
		{"cone", "random, by address", "birthday 99%"},
		{"cone", "random, parity", "birthday 99%"},
		{"cone", "50001 and up", "birthday 99%"},
		{"cone", "block of 512", "birthday 99%"},
		{"cone", "block, crossed", "birthday 99%"},
		{"cone", "sequential", "predicted 100%"},
		{"cone", "sequential, busy", "predicted 100%"},
		{"cone", "sequential, mad", "predicted 100%"},
		{"cone", "sequential, no step", "predicted 10%, birthday 99%"},
		{"cone", "preserving", "predicted 100%"},
		{"sequential", "sequential", "crossing 100%"},
		{"sequential", "sequential, busy", "crossing 100%"},
		{"sequential", "preserving", "crossing 100%"},
		{"sequential, mad", "sequential", "crossing 16%"},
		{"block of 512", "block of 512", "blocks 53%"},
		{"block of 512", "sequential", "blocks 58%"},
		{"block of 4096", "block of 4096", "blocks 14%"},
		{"random", "random", "- because both NATs " + whole + "; enable UPnP or PCP on either router"},
		{"random", "sequential", "- because your NAT gives random ports of its whole range and the peer's gives ports that can be foretold; enable UPnP or PCP on either router"},
		{"random", "block of 512", "- because your NAT gives random ports of its whole range and the peer's gives random ports out of a block of about 512; enable UPnP or PCP on either router"},
		{"blocked", "cone", "tcp_simultaneous_open 60%"},
		{"blocked", "open", "tcp_simultaneous_open 95%"},
		{"blocked", "preserving", "tcp_simultaneous_open 60%"},
		{"blocked", "random", "- because UDP is blocked on your side, and the peer's NAT gives each destination another port; let UDP out of the network that blocks it"},
		{"blocked", "blocked", "tcp_simultaneous_open 40%"},
	} {
		a, b := pair(c.a, c.b)
		lanes := Plan(a, b, Budget{})
		if got := brief(lanes); got != c.want {
			t.Errorf("%s with %s:\n got %s\nwant %s\n%s", c.a, c.b, got, c.want, table(lanes))
		}
	}
}

func table(lanes []Lane) string {
	var s strings.Builder
	for _, l := range lanes {
		fmt.Fprintf(&s, "\t%-10v %-7v %.3f  %d sockets, %d probes, %d entries, %v  %s\n", l.Kind, l.Hard, l.Probability, l.Sockets, l.Probes, l.Entries, l.Time, l.Ruled)
	}
	return s.String()
}

// laneOf is the lane of a kind.
func laneOf(lanes []Lane, kind LaneKind) Lane {
	for _, l := range lanes {
		if l.Kind == kind {
			return l
		}
	}
	return Lane{}
}

// The costs are those of this side, whichever role it has.
func TestPlanCosts(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		kind   LaneKind
		budget Budget
		want   Lane
	}{
		{"cone", "random", LaneBirthday, Budget{}, Lane{Hard: Theirs, Probes: 893, Entries: 893, Time: 2232500 * time.Microsecond, Probability: .99}},
		{"random", "cone", LaneBirthday, Budget{}, Lane{Hard: Ours, Sockets: 256, Probes: 1600, Entries: 893, Time: 2232500 * time.Microsecond, Probability: .99}},
		{"random", "cone", LaneBirthday, Budget{Sockets: 1600}, Lane{Hard: Ours, Sockets: 771, Probes: 1542, Entries: 771, Time: 1927500 * time.Microsecond, Probability: .99}},
		{"random", "cone", LaneBirthday, Polite, Lane{Hard: Ours, Sockets: 128, Probes: 600, Entries: 600, Time: 3 * time.Second, Probability: .979}},
		{"random", "cone", LaneBirthday, Budget{Table: 200}, Lane{Hard: Ours, Sockets: 100, Probes: 200, Entries: 100, Time: 250 * time.Millisecond, Probability: .144}},
		{"cone", "random, parity", LaneBirthday, Budget{}, Lane{Hard: Theirs, Probes: 596, Entries: 596, Time: 1490000 * time.Microsecond, Probability: .99}},
		{"cone", "block of 512", LaneBirthday, Budget{}, Lane{Hard: Theirs, Probes: 69, Entries: 69, Time: 172500 * time.Microsecond, Probability: .99}},
		{"block of 512", "cone", LaneBirthday, Budget{}, Lane{Hard: Ours, Sockets: 69, Probes: 138, Entries: 69, Time: 172500 * time.Microsecond, Probability: .99}},
		{"cone", "sequential", LanePredicted, Budget{}, Lane{Hard: Theirs, Probes: 6, Entries: 6, Time: 30 * time.Millisecond, Probability: 1}},
		{"sequential", "cone", LanePredicted, Budget{}, Lane{Hard: Ours, Sockets: 9, Probes: 12, Entries: 12, Time: 30 * time.Millisecond, Probability: 1}},
		{"sequential", "sequential", LaneCrossing, Budget{}, Lane{Hard: Both, Sockets: 15, Probes: 30, Entries: 15, Time: 37500 * time.Microsecond, Probability: 1}},
		{"block of 512", "block of 512", LaneBlocks, Budget{}, Lane{Hard: Both, Sockets: 64, Probes: 896, Entries: 448, Time: 1120 * time.Millisecond, Probability: .535}},
		{"block of 512", "block of 512", LaneBlocks, Budget{Entries: 430}, Lane{Hard: Both, Sockets: 64, Probes: 860, Entries: 430, Time: 1075 * time.Millisecond, Probability: .506}},
	} {
		a, b := pair(c.a, c.b)
		got := laneOf(Plan(a, b, c.budget), c.kind)
		c.want.Kind = c.kind
		if !near(got.Probability, c.want.Probability, .006) {
			t.Errorf("%s with %s: %.3f, want %.3f", c.a, c.b, got.Probability, c.want.Probability)
		}
		if got.Probability = c.want.Probability; got != c.want {
			t.Errorf("%s with %s:\n got %+v\nwant %+v", c.a, c.b, got, c.want)
		}
	}
}

func TestPlanReasons(t *testing.T) {
	for _, c := range []struct {
		a, b string
		kind LaneKind
		want string
	}{
		{"random", "cone", LanePlain, "your NAT gives each destination another port"},
		{"cone", "random", LanePlain, "the peer's NAT gives each destination another port"},
		{"random", "sequential", LanePlain, "both NATs give each destination another port"},
		{"random", "cone", LaneOnePacket, "the peer's NAT filters by port"},
		{"cone", "random", LaneOnePacket, "your NAT filters by port"},
		{"cone", "cone", LaneOnePacket, "your NAT filters by port and the peer's filters by port"},
		{"random", "sequential", LaneOnePacket, "both NATs give each destination another port, and neither lets the other's first packet in"},
		{"random", "cone", LaneMapped, "no router has mapped a port"},
		{"random", "cone", LanePredicted, "your NAT gives random ports of its whole range"},
		{"cone", "block of 512", LanePredicted, "the peer's NAT gives random ports out of a block of about 512"},
		{"random", "cone", LaneCrossing, "only your NAT is known to give each destination another port"},
		{"cone", "sequential", LaneBirthday, "the next port of the peer's NAT can be foretold"},
		{"cone", "cone", LaneBirthday, "both sides keep one outside port for all destinations, so there is none to guess"},
		{"restricted cone", "random", LaneBirthday, "one packet is enough, as your NAT filters by address"},
		{"unknown", "unknown", LaneBirthday, "it is not known whether either NAT gives each destination another port"},
		{"random", "random", LaneBlocks, "both NATs give random ports of their whole range"},
		{"cone", "cone", LaneTCP, "UDP is not known to be blocked on either side, and TCP would meet the same NATs"},
		{"cone", "blocked", LanePlain, "UDP is blocked on the peer's side"},
		{"blocked", "cone", LaneBirthday, "UDP is blocked on your side"},
		{"blocked", "blocked", LaneBirthday, "UDP is blocked on both sides"},
	} {
		a, b := pair(c.a, c.b)
		if got := laneOf(Plan(a, b, Budget{}), c.kind).Ruled; got != c.want {
			t.Errorf("%s with %s, %v: %q, want %q", c.a, c.b, c.kind, got, c.want)
		}
	}
	a, b := pair("cone", "random")
	for _, c := range []struct {
		change func()
		want   string
	}{
		{func() { b.Mapped = a.Mapped }, "birthday 50%, plain 50%"},
		{func() { a.Hairpin = natprobe.No }, "plain 50%"},
		{func() { a.Hairpin = natprobe.Yes }, "birthday 99%"},
		{func() { b.Mapped = netip.MustParseAddrPort("[2001:db8::1]:1") }, "- because one side's address is IPv4 and the other's is IPv6; give both sides an address of one family"},
	} {
		c.change()
		got := strings.Split(brief(Plan(a, b, Budget{})), ", ")
		if len(got) == 2 && got[0] > got[1] {
			got[0], got[1] = got[1], got[0]
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s, want %s", s, c.want)
		}
	}
}

func TestPlanMapped(t *testing.T) {
	a, b := pair("random", "random")
	for _, c := range []struct {
		side   Side
		nested natprobe.Verdict // of ours
		want   string
	}{
		{Ours, natprobe.No, "mapped 99%"}, {Ours, natprobe.Yes, "mapped 30%"}, {Theirs, natprobe.Yes, "mapped 90%"}, {Both, natprobe.No, "mapped 99%"},
	} {
		if a.Nested = c.nested; brief(PlanMapped(a, b, Budget{}, c.side)) != c.want {
			t.Errorf("%v, nested %v: %s", c.side, c.nested, brief(PlanMapped(a, b, Budget{}, c.side)))
		}
	}
}

// What one side plans is what the other does, seen from there; and whatever a profile says,
// no plan is beyond the budget.
func TestPlanMirrors(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		a, b := wild(rng), wild(rng)
		budget := Budget{Sockets: rng.IntN(400) - 20, Probes: rng.IntN(3000) - 20, Entries: rng.IntN(3000) - 20, Rate: rng.IntN(500), Table: rng.IntN(5000)}
		if rng.IntN(2) == 0 {
			budget = Budget{}
		}
		checkPlan(t, a, b, budget)
	}
}

func wild(rng *rand.Rand) natprobe.Profile {
	p := natprobe.Profile{
		Type: natprobe.Type(rng.IntN(9)), Mapping: natprobe.Mapping(rng.IntN(5)), Filtering: natprobe.Filtering(rng.IntN(5)),
		NAT: natprobe.Verdict(rng.IntN(4)), Hairpin: natprobe.Verdict(rng.IntN(4)), Nested: natprobe.Verdict(rng.IntN(4)), Paired: natprobe.Verdict(rng.IntN(4)),
	}
	if rng.IntN(8) > 0 {
		p.Type %= natprobe.TypeUDPBlocked
	}
	p.Ports = natprobe.Ports{
		Model: natprobe.PortModel(rng.IntN(6)), Delta: rng.IntN(7) - 3, Rate: rng.Float64() * 50, Low: uint16(rng.IntN(65536)),
		Parity: natprobe.Verdict(rng.IntN(4)), Overloaded: natprobe.Verdict(rng.IntN(4)), Confidence: rng.Float64()*3 - 1,
	}
	p.Ports.High = p.Ports.Low + uint16(rng.IntN(2000))
	switch rng.IntN(10) {
	case 0:
		p.Ports.Rate = math.NaN()
	case 1:
		p.Ports.Rate = math.Inf(1 - 2*rng.IntN(2))
	case 2:
		p.Ports.Delta = rng.Int() - rng.Int()
	case 3:
		p.Ports.Confidence = math.NaN()
	}
	if rng.IntN(2) == 0 {
		p.TCP = natprobe.TCPProfile{Mapping: natprobe.Mapping(rng.IntN(5)), Ports: p.Ports}
		if rng.IntN(2) == 0 {
			p.Type = natprobe.TypeUDPBlocked
		}
	}
	if rng.IntN(3) > 0 {
		p.Mapped = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(rng.IntN(3))}), uint16(rng.IntN(65536)))
	}
	return p
}

func checkPlan(t *testing.T, a, b natprobe.Profile, budget Budget) {
	t.Helper()
	ours, theirs := Plan(a, b, budget), Plan(b, a, budget)
	full := budget.WithDefaults()
	if len(ours) != len(LaneKinds()) || len(theirs) != len(ours) {
		t.Fatalf("%d and %d lanes", len(ours), len(theirs))
	}
	seen := make(map[LaneKind]bool)
	ruled := false
	for i, l := range ours {
		m := theirs[i]
		turned := [...]Side{Neither, Theirs, Ours, Both}[m.Hard]
		if l.Kind != m.Kind || l.Probability != m.Probability || l.Hard != turned || l.Time != m.Time || (l.Ruled == "") != (m.Ruled == "") || l.Obstacle != m.Obstacle || (l.Ruled == "") != (l.Obstacle == ObstacleNone) {
			t.Fatalf("%+v\nwith %+v:\n%sthe other way about\n%s", a, b, table(ours), table(theirs))
		}
		if seen[l.Kind] || ruled && l.Ruled == "" {
			t.Fatalf("the order of\n%s", table(ours))
		}
		seen[l.Kind], ruled = true, l.Ruled != ""
		if !(l.Probability >= 0 && l.Probability <= 1) || (l.Ruled == "") != (l.Probability > 0) {
			t.Fatalf("%+v\nwith %+v: %+v", a, b, l)
		}
		if ruled && l != (Lane{Kind: l.Kind, Hard: l.Hard, Obstacle: l.Obstacle, Ruled: l.Ruled}) {
			t.Fatalf("ruled out, with a cost: %+v", l)
		}
		if !l.Kind.Guesses() || ruled {
			continue
		}
		if l.Hard == Neither || l.Sockets < 0 || l.Probes < 0 || l.Sockets > max(full.Sockets, 0) || l.Probes > max(full.Probes, 0) || l.Entries > full.entries() ||
			l.Time < 0 || l.Time > time.Duration(full.Probes+1)*time.Second/time.Duration(full.Rate) {
			t.Fatalf("beyond %+v: %+v", full, l)
		}
	}
}

// FuzzPlan plans with whatever a peer may send.
func FuzzPlan(f *testing.F) {
	for _, name := range []string{"unknown", "blocked", "open", "cone", "random", "sequential, busy", "block of 512", "preserving"} {
		a, b := pair(name, "cone")
		x, _ := a.MarshalBinary()
		y, _ := b.MarshalBinary()
		f.Add(x, y, 0, 0, 0, 0)
	}
	f.Fuzz(func(t *testing.T, x, y []byte, sockets, probes, entries, rate int) {
		var a, b natprobe.Profile
		if a.UnmarshalBinary(x) != nil || b.UnmarshalBinary(y) != nil {
			return
		}
		checkPlan(t, a, b, Budget{Sockets: sockets, Probes: probes, Entries: entries, Rate: rate})
		s, _ := sequenceOf(a, a.Mapped.Port(), a.Lifetime)
		r, _ := sequenceOf(b, b.Mapped.Port(), b.Lifetime)
		for _, port := range s.Sandwich(s.Next(nil, 1, 0, 16), a.Mapped.Port(), b.Mapped.Port(), 2, 64) {
			if port < firstPort {
				t.Fatalf("port %d", port)
			}
		}
		if c := planCross(s, r, Budget{Sockets: sockets, Rate: rate}); !(c.Probability >= 0 && c.Probability <= 1) || c.Sockets > 256 && c.Sockets > sockets {
			t.Fatalf("%+v", c)
		}
		spray := newSpray(RangeOf(a), uint64(sockets))
		for range 100 {
			if port, ok := spray.Next(); ok && port < firstPort {
				t.Fatalf("port %d", port)
			}
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	for _, hard := range []string{"cone", "random", "sequential, busy"} {
		b.Run(hard, func(b *testing.B) {
			b.ReportAllocs()
			x, y := pair("cone", hard)
			for b.Loop() {
				Plan(x, y, Budget{})
			}
		})
	}
}
