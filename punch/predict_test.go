package punch

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

func near(got, want, by float64) bool { return math.Abs(got-want) <= by }

// The figures of the design, section 5.
func TestBirthdayFigures(t *testing.T) {
	for _, c := range []struct {
		ports, most      int
		mappings, probes int
	}{
		{64512, 1 << 16, 386, 386},
		{64512, 256, 256, 580},
		{4096, 256, 98, 98},
		{512, 256, 35, 35},
	} {
		n, m := BirthdaySize(c.ports, 0.9, c.most, 1<<16)
		if n != c.mappings || m != c.probes {
			t.Errorf("90 %% of %d with at most %d: %d+%d, want %d+%d", c.ports, c.most, n, m, c.mappings, c.probes)
		}
		if p := BirthdayChance(n, m, c.ports); p < 0.9 || p > 0.92 {
			t.Errorf("%d+%d in %d: %.4f", n, m, c.ports, p)
		}
	}
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"256 sockets, 174 probes", BirthdayChance(256, 174, 64512), 0.50},
		{"256 sockets, 1024 probes", BirthdayChance(256, 1024, 64512), 0.98},
		{"256 sockets, 2048 probes", BirthdayChance(256, 2048, 64512), 0.9997},
		{"two blocks of 512, 430 each", blocksChance(430, 430, 512, 512), 0.50},
		{"sequential against 512, 512 mappings", BirthdayChance(1, 512, 512), 0.63},
		{"nothing", BirthdayChance(0, 100, 512), 0},
		{"all", BirthdayChance(512, 1, 512), 1},
		{"no ports", BirthdayChance(1, 1, 0), 1},
		{"no mappings in blocks", blocksChance(0, 5, 0, 0), 0},
	} {
		if !near(c.got, c.want, 0.01) {
			t.Errorf("%s: %.4f, want %.2f", c.what, c.got, c.want)
		}
	}
	for _, p := range []float64{math.NaN(), -1, 0, 1, 7, math.Inf(1)} {
		if n, m := BirthdaySize(-5, p, 0, -3); n != 1 || m != 1 {
			t.Errorf("chance %v: %d+%d", p, n, m)
		}
	}
}

// What the lane takes in the simulator at a round trip of 100 ms and 400 steps a second is
// p50 0.65 s, p90 1.13 s.
func TestBirthdayCourse(t *testing.T) {
	c := birthdayCourse{mappings: 1600, open: 256, probes: 1600, ports: 64512}
	reach := func(p float64) (seconds float64) {
		for n := 0; ; n++ {
			if c.met(n) >= p {
				return float64(n)/400 + 0.1
			}
		}
	}
	for _, want := range []struct{ p, s float64 }{{0.5, 0.63}, {0.9, 1.09}} {
		if s := reach(want.p); !near(s, want.s, 0.03) {
			t.Errorf("%.0f %% after %.2f s, want %v s", 100*want.p, s, want.s)
		}
	}
	c.mappings, c.open = 256, 0
	for _, want := range []struct{ p, s float64 }{{0.5, 0.63}, {0.9, 1.55}} {
		if s := reach(want.p); !near(s, want.s, 0.03) {
			t.Errorf("with 256 sockets that stay: %.0f %% after %.2f s, want %v s", 100*want.p, s, want.s)
		}
	}
	last := 0.0
	for n := 0; n <= 2000; n += 20 {
		p := c.met(n)
		if p < last || p > 1 {
			t.Fatalf("%v after %d steps: %v before", p, n, last)
		}
		last = p
	}
	if last != c.total() {
		t.Errorf("%v in the end, %v in all", last, c.total())
	}
	for _, c := range []birthdayCourse{{}, {mappings: -1, probes: -1, ports: -1}, {mappings: 1e6, probes: 1e6, ports: 1}} {
		if p := c.met(400) + c.total(); p < 0 || p > 2 || math.IsNaN(p) {
			t.Errorf("%+v: %v", c, p)
		}
	}
}

func TestSprayGivesEachPortOnce(t *testing.T) {
	for _, c := range []struct {
		r         PortRange
		n         int // of ports
		from, to  int // where they lie
		core      int // how many lie in the middle three quarters
		what, odd string
	}{
		{PortRange{}, 64512, 1024, 65535, 0, "all", ""},
		{PortRange{Even: true}, 32256, 1024, 65534, 0, "all even", ""},
		{PortRange{Low: 5000, High: 5511}, 640, 4936, 5575, 384, "a block", ""},
		{PortRange{Low: 5000, High: 5511, Even: true}, 320, 4936, 5574, 192, "an even block", ""},
		{PortRange{Low: 1024, High: 1535}, 576, 1024, 1599, 384, "the first block", ""},
		{PortRange{Low: 65024, High: 65535}, 576, 64960, 65535, 384, "the last block", ""},
		{PortRange{Low: 7, High: 1100}, 86, 1024, 1109, 59, "partly below 1024", ""},
		{PortRange{Low: 9000, High: 8000}, 64512, 1024, 65535, 0, "crossed", ""},
		{PortRange{Low: 9001, High: 9001}, 1, 9001, 9001, 1, "one", ""},
		{PortRange{Low: 9001, High: 9001, Even: true}, 1, 9000, 9000, 1, "one odd", ""},
		{PortRange{Low: 65535, High: 65535, Even: true}, 1, 65534, 65534, 1, "the last one, odd", ""},
		{PortRange{Low: 3, High: 9}, 64512, 1024, 65535, 0, "none that counts", ""},
	} {
		for seed := range uint64(3) {
			var all []int
			seen := make(map[uint16]bool)
			for port := range newSpray(c.r, seed*0x9E3779B97F4A7C15).All() {
				if seen[port] {
					t.Fatalf("%s: %d twice", c.what, port)
				}
				seen[port] = true
				all = append(all, int(port))
			}
			if len(all) != c.n || slices.Min(all) != c.from || slices.Max(all) != c.to {
				t.Errorf("%s: %d ports from %d to %d, want %d from %d to %d", c.what, len(all), slices.Min(all), slices.Max(all), c.n, c.from, c.to)
			}
			if c.core == 0 {
				continue
			}
			low, high := c.r.bounds()
			w := (high - low + 1) / 8
			for i, port := range all {
				if (port >= low+w && port <= high-w) != (i < c.core) && c.n > 1 {
					t.Errorf("%s: %d is the %d-th", c.what, port, i)
					break
				}
			}
			for i := c.core + 2; i < len(all); i++ { // from the inside out
				if mid := (low + high) / 2; max(mid-all[i], all[i]-mid)+2 < max(mid-all[i-2], all[i-2]-mid) {
					t.Errorf("%s: %d after %d", c.what, all[i], all[i-2])
				}
			}
		}
	}
	// The order is spread: the first ports of all lie in all parts, and seeds differ.
	var parts [16]int
	s := newSpray(PortRange{}, 1)
	other := newSpray(PortRange{}, 2)
	same := 0
	for range 1600 {
		a, _ := s.Next()
		b, _ := other.Next()
		parts[a>>12]++
		if a == b {
			same++
		}
	}
	if slices.Min(parts[1:]) < 60 || slices.Max(parts[:]) > 150 || same > 5 {
		t.Errorf("of 1600: %v, %d the same with another seed", parts, same)
	}
}

func TestRangeOf(t *testing.T) {
	ports := func(m natprobe.PortModel, low, high uint16, parity natprobe.Verdict) natprobe.Profile {
		return natprobe.Profile{Ports: natprobe.Ports{Model: m, Low: low, High: high, Parity: parity}}
	}
	for _, c := range []struct {
		p    natprobe.Profile
		size int
	}{
		{natprobe.Profile{}, 64512},
		{ports(natprobe.PortsRandom, 1024, 65535, natprobe.No), 64512},
		{ports(natprobe.PortsRandom, 3000, 65535, natprobe.No), 64512},
		{ports(natprobe.PortsRandom, 50001, 65535, natprobe.No), 15535},
		{ports(natprobe.PortsRandom, 0, 0, natprobe.Yes), 32256},
		{ports(natprobe.PortsBlock, 4096, 4607, natprobe.No), 512},
		{ports(natprobe.PortsBlock, 4096, 4607, natprobe.Yes), 256},
		{ports(natprobe.PortsBlock, 4607, 4096, natprobe.No), 64512},
		{ports(natprobe.PortsBlock, 0, 0, natprobe.No), 64512},
		{ports(natprobe.PortsSequential, 4096, 4607, natprobe.No), 64512},
	} {
		if got := RangeOf(c.p).Size(); got != c.size {
			t.Errorf("%v: %d ports, want %d", c.p.Ports, got, c.size)
		}
	}
}

func TestSequenceNext(t *testing.T) {
	s := sequence{Last: 2000, Delta: 2}
	for _, c := range []struct {
		what string
		s    sequence
		n    int
		want []uint16
	}{
		{"alone", s, 1, []uint16{2002, 2004, 2006}},
		{"the third", s, 3, []uint16{2006, 2008, 2010}},
		{"down", sequence{Last: 1030, Delta: -3}, 1, []uint16{1027, 1024, 65533}},
		{"over the end", sequence{Last: 65534, Delta: 1}, 1, []uint16{65535, 1024, 1025}},
		{"others, four on average", sequence{Last: 2000, Delta: 1, Rate: 8, Age: 500 * time.Millisecond}, 1, []uint16{2005, 2004, 2006}},
	} {
		got := c.s.Next(nil, c.n, 0, 3)
		if c.what == "others, four on average" {
			slices.Sort(got[:2]) // they are as likely as each other
			slices.Sort(c.want[:2])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	mad := sequence{Last: 9, Delta: -32768, Rate: math.NaN(), Age: -1}
	mad.Next(nil, 1, -time.Hour, 5)
	mad.Rate = math.Inf(1)
	for _, port := range mad.Next(nil, 1<<20, time.Hour, 50) {
		if port < 1024 {
			t.Errorf("%d", port)
		}
	}
}

func TestSequenceOf(t *testing.T) {
	for _, c := range []struct {
		ports natprobe.Ports
		want  string
	}{
		{natprobe.Ports{}, "none"},
		{natprobe.Ports{Model: natprobe.PortsRandom}, "none"},
		{natprobe.Ports{Model: natprobe.PortsSequential}, "none"}, // its step is missing
		{natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1 << 20}, "none"},
		{natprobe.Ports{Model: natprobe.PortsSequential, Delta: -2, Rate: 5}, "-2 5 1.00"},
		{natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1, Rate: math.NaN()}, "1 0 1.00"},
		{natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1, Rate: math.Inf(1)}, "1 65535 1.00"},
		{natprobe.Ports{Model: natprobe.PortsPreserving, Confidence: 0.98, Rate: 9, Delta: 7}, "1 0 0.98"},
		{natprobe.Ports{Model: natprobe.PortsPreserving}, "1 0 0.90"},
	} {
		got := "none"
		if s, ok := sequenceOf(natprobe.Profile{Ports: c.ports}, 4000, time.Second); ok {
			got = fmt.Sprintf("%d %.0f %.2f", s.Delta, s.Rate, s.Kept)
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.ports, got, c.want)
		}
	}
}

func TestSandwich(t *testing.T) {
	for _, c := range []struct {
		what          string
		delta         int
		before, after uint16
		own, max      int
		want          []uint16
	}{
		{"nobody else", 1, 2000, 2002, 1, 9, []uint16{2001}},
		{"by two", 2, 2000, 2004, 1, 9, []uint16{2002}},
		{"down by three", -3, 2000, 1994, 1, 9, []uint16{1997}},
		{"two others", 1, 2000, 2004, 1, 9, []uint16{2002, 2003, 2001}},
		{"one other", 1, 2000, 2003, 1, 9, []uint16{2001, 2002}},
		{"three others, two tries", 2, 2000, 2010, 1, 2, []uint16{2004, 2006}},
		{"three of ours", 1, 2000, 2004, 3, 9, []uint16{2001, 2002, 2003}},
		{"over the end", 1, 65535, 1025, 1, 9, []uint16{1024}},
		{"down over the end", -1, 1024, 65534, 1, 9, []uint16{65535}},
		{"half a step", 2, 2000, 2003, 1, 2, []uint16{2002, 2004}}, // not as the profile says
		{"too near", 1, 2000, 2001, 1, 2, []uint16{2001, 2002}},
		{"no step", 0, 2000, 2002, 1, 9, nil},
		{"none of ours", 1, 2000, 2002, 0, 9, nil},
		{"no tries", 1, 2000, 2002, 1, 0, nil},
	} {
		if got := (sequence{Delta: c.delta}).Sandwich(nil, c.before, c.after, c.own, c.max); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	// Of two of ours with one other, the middle is ours in any case.
	got := (sequence{Delta: 1}).Sandwich(nil, 2000, 2004, 2, 9)
	if len(got) != 3 || got[0] != 2002 {
		t.Errorf("%v", got)
	}
	if n := len((sequence{Delta: 1}).Sandwich(nil, 2000, 1999, 2, 40)); n > 40 {
		t.Errorf("a whole turn: %d", n)
	}
}

// What one side aims at is what the other wants to be met at.
func TestCrossIsMutual(t *testing.T) {
	for _, c := range []struct {
		a, b    sequence
		budget  Budget
		waves   int
		sockets int // of a
		p       float64
	}{
		{sequence{Last: 2000, Delta: 1}, sequence{Last: 9000, Delta: 3}, Budget{}, 3, 15, 1},
		{sequence{Last: 2000, Delta: 1, Kept: .9}, sequence{Last: 9000, Delta: 1, Kept: .9}, Budget{}, 3, 15, .99},
		{sequence{Last: 65530, Delta: 2, Rate: 20, Age: 300 * time.Millisecond}, sequence{Last: 9000, Delta: -1, Rate: 5, Age: 200 * time.Millisecond}, Budget{}, 3, 63, .99},
		{sequence{Last: 2000, Delta: 1, Rate: 120, Age: 100 * time.Millisecond}, sequence{Last: 9000, Delta: 1, Rate: 120, Age: 100 * time.Millisecond}, Budget{}, 3, 71, .93},
		{sequence{Last: 2000, Delta: 1}, sequence{Last: 9000, Delta: 3}, Budget{Sockets: 12}, 2, 10, 1},
		{sequence{Last: 2000, Delta: 1}, sequence{Last: 9000, Delta: 3}, Budget{Sockets: 3}, 0, 0, 0},
		{sequence{Last: 2000, Delta: 1}, sequence{Last: 9000}, Budget{}, 0, 0, 0},
		{sequence{Last: 2000, Delta: 1, Rate: 1e6, Age: time.Hour}, sequence{Last: 9000, Delta: 1}, Budget{}, 1, 255, .01},
	} {
		a, b := planCross(c.a, c.b, c.budget), planCross(c.b, c.a, c.budget)
		if a.Count != c.waves || !near(float64(a.Sockets), float64(c.sockets), 12) || !near(a.Probability, c.p, .03) {
			t.Errorf("%+v with %+v: %+v", c.a, c.b, a)
		}
		if a.Count != b.Count || a.Probability != b.Probability {
			t.Errorf("%+v and %+v", a, b)
		}
		for i := range a.Count {
			if a.Waves[i].To != b.Waves[i].From || a.Waves[i].From != b.Waves[i].To || a.Waves[i].Sockets == 0 {
				t.Errorf("wave %d: %+v and %+v", i, a.Waves[i], b.Waves[i])
			}
		}
	}
}

func BenchmarkSpray(b *testing.B) {
	b.ReportAllocs()
	s := newSpray(PortRange{}, 1)
	for b.Loop() {
		if _, ok := s.Next(); !ok {
			s = newSpray(PortRange{}, 2)
		}
	}
}

func BenchmarkSandwich(b *testing.B) {
	b.ReportAllocs()
	dst := make([]uint16, 0, 64)
	for b.Loop() {
		dst = sequence{Delta: 2}.Sandwich(dst[:0], 2000, 2020, 1, 64)
	}
}

func BenchmarkSequenceNext(b *testing.B) {
	b.ReportAllocs()
	dst := make([]uint16, 0, 64)
	for b.Loop() {
		dst = sequence{Last: 2000, Delta: 2, Rate: 50, Age: time.Second}.Next(dst[:0], 1, 0, 32)
	}
}

func BenchmarkCross(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		planCross(sequence{Last: 2000, Delta: 1, Rate: 20, Age: time.Second}, sequence{Last: 9000, Delta: 3, Rate: 5}, Budget{})
	}
}
