package ice

import (
	"flag"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

var preferenceSeeds = flag.Int("preference-seeds", 20, "seeds of the random orders in which candidates come and go")

var (
	v4 = netip.MustParseAddr("192.0.2.1")
	v6 = netip.MustParseAddr("2001:db8::1")
)

func mustTake(t *testing.T, p *Preferences, score float64, addr netip.Addr) uint16 {
	t.Helper()
	v, ok := p.Take(score, addr)
	if !ok {
		t.Fatalf("none left of %v", len(p.given))
	}
	return v
}

// Fifty dual-stack interfaces of the same score, arriving one by one in any order: each
// address has a value of its own.
func TestPreferencesOf50Interfaces(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		for seed := range uint64(*preferenceSeeds) {
			rng := rand.New(rand.NewPCG(seed, 50))
			p := Preferences{TCP: tcp}
			seen := map[uint16]bool{}
			score := rng.Float64()
			addrs := slices.Concat(slices.Repeat([]netip.Addr{v4}, 50), slices.Repeat([]netip.Addr{v6}, 50))
			rng.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
			for _, a := range addrs {
				v := mustTake(t, &p, score, a)
				if seen[v] || tcp && v > 8191 {
					t.Fatalf("seed %d: %d is out already, or too great", seed, v)
				}
				seen[v] = true
			}
		}
	}
}

func TestPreferencesAlternate(t *testing.T) {
	for seed := range uint64(*preferenceSeeds) {
		rng := rand.New(rand.NewPCG(seed, 8421))
		var p Preferences
		family := map[uint16]netip.Addr{}
		addrs := []netip.Addr{v4, v4, v4, v6, v6, v6, v6, v6}
		rng.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		for _, a := range addrs {
			family[mustTake(t, &p, 0.5+rng.Float64()/10000, a)] = a // the same to a thousandth
		}
		var order string
		for _, v := range sortedDown(family) {
			order += map[netip.Addr]string{v4: "4", v6: "6"}[family[v]]
		}
		if order != "64646466" {
			t.Errorf("seed %d: %s", seed, order)
		}
	}
}

func sortedDown(m map[uint16]netip.Addr) (values []uint16) {
	for v := range m {
		values = append(values, v)
	}
	slices.Sort(values)
	slices.Reverse(values)
	return values
}

func levelOf(score float64) int { return int(math.Round(score * 1023)) }

// Thousands of random scores: all unique, and in the order of the scores.
func TestPreferencesFollowScores(t *testing.T) {
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 16))
		var p Preferences
		scores := map[uint16]float64{}
		for range 2000 {
			s, a := rng.Float64(), v4
			if rng.IntN(2) == 0 {
				a = v6
			}
			scores[mustTake(t, &p, s, a)] = s
		}
		if len(scores) != 2000 {
			t.Fatalf("seed %d: %d values for 2000 candidates", seed, len(scores))
		}
		highest := -1
		for v := range math.MaxUint16 + 1 {
			if s, ok := scores[uint16(v)]; ok {
				if levelOf(s) < highest {
					t.Fatalf("seed %d: %d was given for %v, below others of less", seed, v, s)
				}
				highest = max(highest, levelOf(s))
			}
		}
	}
}

// When a level is full, the value given contradicts as few scores as any value could.
func TestPreferencesWhenCrowded(t *testing.T) {
	for seed := range uint64(*preferenceSeeds) {
		rng := rand.New(rand.NewPCG(seed, 17))
		p := Preferences{TCP: true} // levels of 8
		out := map[uint16]int{}
		contradicted := 0
		for range 300 {
			if len(out) > 0 && rng.IntN(4) == 0 {
				v := uint16(p.given[rng.IntN(len(p.given))].value)
				p.Release(v)
				delete(out, v)
				continue
			}
			score := 0.5 + float64(rng.IntN(4))/1023 + rng.Float64()/10000
			wrongs := func(v uint16) (n int) {
				for given, level := range out {
					if given < v && level > levelOf(score) || given > v && level < levelOf(score) {
						n++
					}
				}
				return n
			}
			fewest := min(wrongs(0), wrongs(8191)) // the ends are never given out here
			for given := range out {
				for _, v := range []uint16{given - 1, given + 1} {
					if _, taken := out[v]; !taken {
						fewest = min(fewest, wrongs(v))
					}
				}
			}
			v := mustTake(t, &p, score, []netip.Addr{v4, v6}[rng.IntN(2)])
			if _, taken := out[v]; taken {
				t.Fatalf("seed %d: %d is out already", seed, v)
			}
			if got := wrongs(v); got > fewest {
				t.Fatalf("seed %d: %d contradicts %d scores, another would %d", seed, v, got, fewest)
			}
			contradicted += wrongs(v)
			out[v] = levelOf(score)
		}
		if contradicted == 0 {
			t.Errorf("seed %d: no crowd", seed)
		}
	}
}

func TestPreferencesRunOut(t *testing.T) {
	p := Preferences{TCP: true}
	for v := range 8192 {
		if v != 5 && v != 8190 {
			p.given = append(p.given, preference{v, levelOf(0.3)})
		}
	}
	if a, b := mustTake(t, &p, 0.3, v4), mustTake(t, &p, 0.3, v4); a != 5 || b != 8190 {
		t.Errorf("got %d and %d, want the last two, 5 as the nearer one first", a, b)
	}
	if v, ok := p.Take(0.3, v4); ok {
		t.Errorf("%d is out already", v)
	}
	if v, ok := p.TakeHighest(); ok {
		t.Errorf("%d is out already", v)
	}
	p.Release(77)
	p.Release(77)
	p.Release(60000)
	if v := mustTake(t, &p, 1, v6); v != 77 {
		t.Errorf("got %d, want the one that is free", v)
	}
}

func TestPreferencesAtTheEdges(t *testing.T) {
	for _, c := range []struct {
		tcp   bool
		score float64
		addr  netip.Addr
		want  uint16
	}{
		{false, 1, v6, 65535},
		{false, 1, v4, 65534},
		{false, math.Inf(1), v6, 65535},
		{false, 0, v6, 63},
		{false, -3, v4, 62},
		{false, 0.5, v6, 512*64 + 63},
		{false, math.NaN(), v6, 512*64 + 63},
		{false, 0.5, netip.MustParseAddr("::ffff:192.0.2.1"), 512*64 + 62},
		{false, 0.5, netip.Addr{}, 512*64 + 62},
		{true, 1, v6, 8191},
		{true, 0, v4, 6},
	} {
		if got := mustTake(t, &Preferences{TCP: c.tcp}, c.score, c.addr); got != c.want {
			t.Errorf("score %v of %v, TCP %v: %d, want %d", c.score, c.addr, c.tcp, got, c.want)
		}
	}
	var alone Preferences
	if v, ok := alone.TakeHighest(); v != 65535 || !ok {
		t.Errorf("the only candidate has %d", v)
	}
	if v := mustTake(t, &alone, 1, v6); v != 65533 {
		t.Errorf("the second has %d", v)
	}
	if v, ok := alone.TakeHighest(); v != 65534 || !ok {
		t.Errorf("the third has %d", v)
	}
}

func BenchmarkPreferences(b *testing.B) {
	var p Preferences
	for i := range 50 {
		p.Take(float64(i)/50, v4)
	}
	for b.Loop() {
		v, _ := p.Take(0.5, v6)
		p.Release(v)
	}
}
