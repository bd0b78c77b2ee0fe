package simnet

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
)

func ports(p PortPolicy) Preset { return Preset{NATs: []NATConfig{symmetric.with(p)}} }

func (c NATConfig) with(p PortPolicy) NATConfig {
	c.Ports = p
	return c
}

// sequence opens n mappings, every after the last, and returns their ports.
func (l *lab) sequence(n int, every time.Duration) (all []int) {
	for i := range n {
		s := l.socket(uint16(20000 + i))
		start := l.w.Elapsed()
		seen := l.ask(s, 0, 0)
		s.close()
		if !seen.IsValid() {
			l.t.Fatalf("mapping %d of %d failed (seed %d)", i+1, n, l.w.seed)
		}
		all = append(all, int(seen.Port()))
		l.w.Run(every - (l.w.Elapsed() - start))
	}
	return all
}

// The rate of the cross-traffic can be measured by how far the ports of mappings
// made one second apart differ.
func TestSequentialPortsAdvanceByDeltaAndCrossTraffic(t *testing.T) {
	const n = 400
	for _, delta := range []int{1, 2, 3, -1, -2} {
		for _, rate := range []float64{0, 5, 20} {
			l := newLab(t, ports(PortPolicy{Kind: Sequential, Delta: delta, CrossTraffic: rate}), 7)
			all := l.sequence(n, time.Second)
			sum := 0
			for i := 1; i < n; i++ {
				step := all[i] - all[i-1]
				if step%delta != 0 && abs(step) < 30000 {
					t.Fatalf("delta %d, rate %v: step %d is no multiple", delta, rate, step)
				}
				if sum += step; abs(step) > 30000 { // around the end of the range
					sum += sign(delta) * 64512
				}
			}
			got := float64(sum)/float64(delta)/float64(n-1) - 1
			if tolerance := 5 * math.Sqrt(rate/n); math.Abs(got-rate) > tolerance {
				t.Errorf("delta %d: %.2f mappings a second of others, want %.2f +- %.2f", delta, got, rate, tolerance)
			}
		}
	}
}

func abs(n int) int { return max(n, -n) }

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

func TestParityIsKeptByEveryPolicy(t *testing.T) {
	for _, p := range []PortPolicy{
		{Kind: Random}, {Kind: Sequential}, {Kind: Sequential, Delta: 2}, {Kind: Sequential, Delta: -2, Low: 1025, High: 60000}, {Kind: Block, Block: 64},
	} {
		p.Parity = true
		l := newLab(t, ports(p), 3)
		for i, port := range l.sequence(30, time.Second) {
			if port%2 != (20000+i)%2 {
				t.Errorf("%+v: inside port %d became %d", p, 20000+i, port)
			}
		}
	}
}

func TestContiguousPairs(t *testing.T) {
	for seed := range uint64(20) {
		l := newLab(t, ports(PortPolicy{Kind: Random, Contiguous: true}), seed)
		if !l.pairs() {
			t.Errorf("seed %d: ports 2n and 2n+1 did not become neighbours", seed)
		}
		// Where the neighbour is taken, any other will do.
		l = newLab(t, ports(PortPolicy{Kind: Random, Contiguous: true, Low: 30000, High: 30001}), seed)
		a, b := l.socket(40000), l.socket(40001)
		if l.ask(a, 0, 0).Port() == 30001 {
			continue
		}
		if got := l.ask(b, 0, 0); got.Port() != 30001 {
			t.Errorf("seed %d: the neighbour is %v", seed, got)
		}
	}
}

// Blocks are the hosts' own: none gets a port of another's.
func TestBlocksAreExclusive(t *testing.T) {
	const size, hosts = 64, 8
	for seed := range uint64(20) {
		policy := PortPolicy{Kind: Block, Block: size, Low: 10000, High: 10000 + size*hosts - 1}
		l := newLab(t, ports(policy), seed)
		owner := map[int]string{}
		for i := range hosts + 1 {
			h := l.w.AddHost(fmt.Sprint("host", i), l.site.LAN(), Link{})
			for j := range 10 {
				seen := l.ask(l.socketOf(h, uint16(5000+j)), 0, 0)
				if i == hosts {
					if seen.IsValid() {
						t.Fatalf("seed %d: host %d got %v of %d blocks", seed, i, seen, hosts)
					}
					continue
				}
				b := (int(seen.Port()) - 10000) / size
				if seen.Port() < 10000 || b >= hosts || owner[b] != "" && owner[b] != h.name {
					t.Fatalf("seed %d: %s got %v, in the block of %q", seed, h.name, seen, owner[b])
				}
				owner[b] = h.name
			}
		}
	}
}

// What does not fit into the range is dropped, and what is there lives on.
func TestPortsRunOut(t *testing.T) {
	for _, kind := range []PortKind{Sequential, Random, Block} {
		l := newLab(t, ports(PortPolicy{Kind: kind, Low: 50000, High: 50003, Block: 4}), 1)
		var open []*socket
		for i := range 4 {
			s := l.socket(uint16(20000 + i))
			if seen := l.ask(s, 0, 0); seen.Port() < 50000 || seen.Port() > 50003 {
				t.Fatalf("%v: port %v", kind, seen)
			}
			open = append(open, s)
		}
		if seen := l.ask(l.socket(30000), 0, 0); seen.IsValid() {
			t.Errorf("%v: a fifth mapping: %v", kind, seen)
		}
		for _, s := range open {
			if seen := l.ask(s, 0, 0); !l.arrives(l.servers[0][0], seen) {
				t.Errorf("%v: mapping %v died", kind, seen)
			}
		}
		l.w.Run(2 * time.Minute)
		if seen := l.ask(l.socket(30002), 0, 0); !seen.IsValid() {
			t.Errorf("%v: no port although all have expired", kind)
		}
	}
}

// Under overloading two hosts share a port towards different remotes, and what comes
// back finds the right one.
func TestOverloadedPortsAreToldApartByRemote(t *testing.T) {
	l := newLab(t, mustPreset(t, "symmetric-preserving"), 1)
	other := l.w.AddHost("other", l.site.LAN(), Link{})
	var gotA, gotB int
	a, b := l.socket(40000), l.socketOf(other, 40000)
	a.receive = func(*Packet) { gotA++ }
	b.receive = func(*Packet) { gotB++ }
	seenA, seenB := l.ask(a, 0, 0), l.ask(b, 1, 1)
	if seenA != seenB || seenA.Port() != 40000 {
		t.Fatalf("%v and %v, want one, with the inside port", seenA, seenB)
	}
	l.say(l.servers[0][0], seenA, "!")
	l.say(l.servers[1][1], seenA, "!")
	l.say(l.servers[1][1], seenA, "!")
	l.say(l.servers[0][1], seenA, "!")
	if gotA != 1 || gotB != 2 {
		t.Errorf("%d and %d datagrams arrived, want 1 and 2", gotA, gotB)
	}
	if seen := l.ask(b, 0, 0); seen == seenA || !seen.IsValid() {
		t.Errorf("to the same remote both have %v", seen)
	}
}

func TestBadPortPoliciesAreRefused(t *testing.T) {
	for _, c := range []NATConfig{
		{Ports: PortPolicy{Low: 5000, High: 4000}},
		{Ports: PortPolicy{Kind: Block, Block: 100, Low: 5000, High: 5010}},
		{Ports: PortPolicy{Kind: Block, Block: -1}},
		{Ports: PortPolicy{Overload: true}},
		{TCP: &Rules{Ports: PortPolicy{Overload: true}}},
		{StrayUDP: Reset},
	} {
		w := New(1)
		if _, err := w.AddNAT("nat", w.Internet(), c, Link{}); err == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

func mustPreset(t testing.TB, name string) Preset {
	t.Helper()
	p, err := PresetByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}
