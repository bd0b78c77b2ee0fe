package ice

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// The priorities that the RFCs print.
func TestPriorityOfTheRFCs(t *testing.T) {
	for _, c := range []struct {
		what string
		c    Candidate
		want uint32
	}{
		{"RFC 8839 A, host", Candidate{Component: 1}, 2130706431},
		{"RFC 8839 A, srflx", Candidate{Component: 1, Type: ServerReflexive}, 1694498815},
		{"prflx", Candidate{Component: 1, Type: PeerReflexive}, 1862270975},
		{"relay", Candidate{Component: 1, Type: Relay}, 16777215},
		{"host, component 2", Candidate{Component: 2}, 2130706430},
	} {
		if got := c.c.RecommendedPriority(65535); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
	// RFC 6544 appendix C has TCP at the type preferences of UDP, then at one less.
	for _, c := range []struct {
		preference uint32
		t          CandidateType
		side       TCPType
		want       uint32
	}{
		{126, Host, Active, 2128609279},
		{126, Host, Passive, 2124414975},
		{126, Host, SimultaneousOpen, 2120220671},
		{100, ServerReflexive, Active, 1688207359},
		{100, ServerReflexive, Passive, 1684013055},
		{100, ServerReflexive, SimultaneousOpen, 1692401663},
		{125, Host, Active, 2111832063},
		{125, Host, Passive, 2107637759},
		{99, ServerReflexive, Active, 1671430143},
		{99, ServerReflexive, Passive, 1667235839},
	} {
		if got := priority(c.preference, tcpLocalPreference(c.t, c.side, 8191), 1); got != c.want {
			t.Errorf("RFC 6544 C, %v %v at %d: %d, want %d", c.t, c.side, c.preference, got, c.want)
		}
	}
}

// Each type has a preference of its own, and what is none of the constants goes last.
func TestPriorityOfEveryType(t *testing.T) {
	seen := map[uint32]CandidateType{}
	for ty := range numTypes {
		p := typePreference(ty, UDP)
		if other, ok := seen[p]; ok {
			t.Errorf("%v and %v are preferred alike", ty, other)
		}
		seen[p] = ty
	}
	last := Candidate{Type: Relay, Component: 1}.RecommendedPriority(0)
	for _, c := range []Candidate{{Type: numTypes, Component: 1}, {Type: 255, Transport: 255, TCPType: 255, Component: 1}} {
		if got := c.RecommendedPriority(0); got != last {
			t.Errorf("%+v: %d, want that of the last relay, %d", c, got, last)
		}
	}
	side := func(s TCPType) uint32 { return Candidate{Transport: TCP, TCPType: s}.RecommendedPriority(65535) }
	for s := Active; s < numTCPTypes; s++ {
		if side(numTCPTypes) >= side(s) || side(255) >= side(s) {
			t.Errorf("a side that there is not goes before %v", s)
		}
	}
}

// TestPrioritiesAreOrdered goes through the recommended order: no local preference puts
// a candidate before one of a better type.
func TestPrioritiesAreOrdered(t *testing.T) {
	order := []Candidate{
		{}, {Type: PeerReflexive}, {Type: ServerReflexive},
		{Transport: TCP, TCPType: Active}, {Transport: TCP, Type: PeerReflexive, TCPType: SimultaneousOpen}, {Transport: TCP, Type: ServerReflexive, TCPType: SimultaneousOpen},
		{Type: Relay},
	}
	for i := range order[1:] {
		better, worse := order[i], order[i+1]
		better.Component, worse.Component = 256, 1
		if b, w := better.RecommendedPriority(0), worse.RecommendedPriority(65535); b <= w {
			t.Errorf("%v %v at its worst has %d, %v %v at its best %d", better.Transport, better.Type, b, worse.Transport, worse.Type, w)
		}
	}
	for _, byType := range [][]Candidate{
		{{Type: Host, TCPType: Active}, {Type: Host, TCPType: Passive}, {Type: Host, TCPType: SimultaneousOpen}},
		{{Type: Relay, TCPType: Active}, {Type: Relay, TCPType: Passive}, {Type: Relay, TCPType: SimultaneousOpen}},
		{{Type: ServerReflexive, TCPType: SimultaneousOpen}, {Type: ServerReflexive, TCPType: Active}, {Type: ServerReflexive, TCPType: Passive}},
		{{Type: PeerReflexive, TCPType: SimultaneousOpen}, {Type: PeerReflexive, TCPType: Active}, {Type: PeerReflexive, TCPType: Passive}},
	} {
		for i := range byType[1:] {
			better, worse := byType[i], byType[i+1]
			better.Transport, worse.Transport, better.Component, worse.Component = TCP, TCP, 1, 1
			if b, w := better.RecommendedPriority(0), worse.RecommendedPriority(65535); b <= w {
				t.Errorf("%v: %v has %d, %v %d", better.Type, better.TCPType, b, worse.TCPType, w)
			}
		}
	}
}

// Priorities are unique where local preferences are, and never outside 1 to 2^31-1.
func TestPrioritiesAreUniqueAndInRange(t *testing.T) {
	seen := make(map[uint32]Candidate)
	for _, transport := range []Transport{UDP, TCP} {
		for typ := Host; typ <= Relay; typ++ {
			for side := Active; side <= SimultaneousOpen; side++ {
				if transport == UDP && side != Active || transport == TCP && typ == Relay {
					continue // UDP has no sides; relayed TCP shares the preference 0 with relayed UDP
				}
				c := Candidate{Transport: transport, Type: typ, Component: 1}
				if transport == TCP {
					c.TCPType = side
				}
				for i := range 50 {
					p := c.RecommendedPriority(uint16(65535 - 8*i))
					if p < 1 || p > maxPriority {
						t.Fatalf("%+v: %d", c, p)
					}
					if other, ok := seen[p]; ok {
						t.Fatalf("%d for %v %v %v and %v %v %v", p, c.Transport, c.Type, c.TCPType, other.Transport, other.Type, other.TCPType)
					}
					seen[p] = c
				}
			}
		}
	}
	for _, c := range []Candidate{{Type: Relay, Component: 256}, {Type: Relay, Component: 65535}, {Type: Relay, Transport: TCP, Component: 256}} {
		if p := c.RecommendedPriority(0); p != 1 {
			t.Errorf("the last candidate of all has priority %d", p)
		}
	}
}

// PRIORITY is that of the candidate but for the type preference.
func TestCheckPriority(t *testing.T) {
	for _, typ := range []CandidateType{Host, ServerReflexive, PeerReflexive, Relay} {
		for _, local := range []uint16{0, 1, 40000, 65535} {
			c := Candidate{Type: typ, Component: 3}
			c.Priority = c.RecommendedPriority(local)
			if got, want := checkPriority(&c), 110<<24|uint32(local)<<8|253; got != want {
				t.Errorf("%v at %d: %d, want %d", typ, local, got, want)
			}
		}
	}
	c := Candidate{Transport: TCP, TCPType: Active, Component: 1}
	c.Priority = c.RecommendedPriority(65535)
	if got := checkPriority(&c); got >= 100<<24 || got>>24 <= 73 || got&0xFFFFFF != c.Priority&0xFFFFFF {
		t.Errorf("TCP: %d: not between the UDP and the TCP candidates of servers", got)
	}
}

func TestPairPriority(t *testing.T) {
	for _, c := range []struct {
		g, d uint32
		want uint64
	}{
		{1, 1, 1<<32 + 2},
		{1, 2, 1<<32 + 4},
		{2, 1, 1<<32 + 5},
		{2130706431, 1694498815, 1694498815<<32 + 2*2130706431 + 1},
		{1694498815, 2130706431, 1694498815<<32 + 2*2130706431},
		{maxPriority, maxPriority, maxPriority<<32 + 2*maxPriority},
		{1<<32 - 1, 1<<32 - 1, maxPriority<<32 + 2*maxPriority},
		{1<<32 - 1, 1, 1<<32 + 2*maxPriority + 1},
	} {
		if got := pairPriority(c.g, c.d); got != c.want {
			t.Errorf("G=%d, D=%d: %d, want %d", c.g, c.d, got, c.want)
		}
	}
}

// TestPairPriorityProperties: the number is the formula's, without overflow; only its
// last bit depends on which side controls; pairs are ordered by the worse candidate, then by
// the better one.
func TestPairPriorityProperties(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	draw := func() uint32 {
		if r.IntN(4) == 0 {
			return uint32(1 + r.IntN(4)) // so that equal ones happen
		}
		return uint32(1 + r.IntN(maxPriority))
	}
	for range 100000 {
		g, d, h := draw(), draw(), draw()
		sum := new(big.Int).Lsh(big.NewInt(int64(min(g, d))), 32)
		sum.Add(sum, big.NewInt(2*int64(max(g, d))))
		if g > d {
			sum.Add(sum, big.NewInt(1))
		}
		p := pairPriority(g, d)
		if sum.Cmp(new(big.Int).SetUint64(p)) != 0 {
			t.Fatalf("seed %d: G=%d, D=%d: %d, want %v", seed, g, d, p, sum)
		}
		if q := pairPriority(d, g); p>>1 != q>>1 || (p == q) != (g == d) {
			t.Fatalf("seed %d: G=%d, D=%d: %d one way and %d the other", seed, g, d, p, q)
		}
		a, b := []uint32{g, d}, []uint32{g, h}
		slices.Sort(a)
		slices.Sort(b)
		if q := pairPriority(g, h); d != h && slices.Compare(a, b) != compare(p, q) {
			t.Fatalf("seed %d: pairs %v and %v have %d and %d", seed, a, b, p, q)
		}
	}
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
