package simnet

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func preset(c NATConfig) Preset { return Preset{NATs: []NATConfig{c}} }

// wideLab is a lab whose NAT has several outside addresses.
func wideLab(t *testing.T, c NATConfig, seed uint64, outside ...netip.Addr) *lab {
	l := newLab(t, preset(c), seed)
	l.site.NAT.Iface().SetAddrs(outside...)
	return l
}

func TestPooling(t *testing.T) {
	outside := addrs("203.0.113.101", "203.0.113.102", "203.0.113.103", "203.0.113.104")
	for _, mapping := range []Behavior{EndpointIndependent, AddressAndPortDependent} {
		for _, arbitrary := range []bool{false, true} {
			byAll := map[netip.Addr]bool{}
			for seed := range uint64(5) {
				l := wideLab(t, NATConfig{Mapping: mapping, Arbitrary: arbitrary, Ports: PortPolicy{Kind: Random}}, seed, outside...)
				byHost := map[netip.Addr]bool{}
				for i := range 30 {
					seen := l.ask(l.socket(uint16(20000+i)), 0, 0)
					if !seen.IsValid() {
						t.Fatal("no mapping")
					}
					byHost[seen.Addr()], byAll[seen.Addr()] = true, true
				}
				if want := map[bool]int{false: 1, true: 4}[arbitrary]; len(byHost) != want {
					t.Errorf("mapping %v, arbitrary %v, seed %d: one host has %d addresses, want %d", mapping, arbitrary, seed, len(byHost), want)
				}
				other := l.w.AddHost("other", l.site.LAN(), Link{})
				byAll[l.ask(l.socketOf(other, 20000), 0, 0).Addr()] = true
			}
			if len(byAll) < 3 {
				t.Errorf("mapping %v, arbitrary %v: all hosts share %d of 4 addresses", mapping, arbitrary, len(byAll))
			}
		}
	}
}

func TestAbsoluteLifetime(t *testing.T) {
	l := newLab(t, preset(NATConfig{Absolute: 5 * time.Minute, InboundRefresh: true, Ports: PortPolicy{Kind: Random}}), 1)
	s := l.socket(40000)
	seen := l.ask(s, 0, 0)
	for l.w.Elapsed() < 5*time.Minute-time.Second {
		if l.ask(s, 0, 0) != seen || !l.arrives(l.servers[0][0], seen) {
			t.Fatalf("mapping lost at %v", l.w.Elapsed())
		}
	}
	l.w.Run(time.Second)
	if l.arrives(l.servers[0][0], seen) {
		t.Error("mapping lives on although it was in use for 5 minutes")
	}
	if again := l.ask(s, 0, 0); again == seen || !again.IsValid() {
		t.Errorf("new mapping %v", again)
	}
}

// Full is full: what is new finds no room and is dropped, what is old lives on.
func TestTableLimit(t *testing.T) {
	const size = 100
	for _, name := range []string{"port-restricted-cone", "symmetric-random", "linux"} {
		c := mustPreset(t, name).NATs[0]
		c.Table = size
		l := newLab(t, preset(c), 1)
		keep := l.socket(30000)
		seen := l.ask(keep, 0, 0)
		l.arrives(l.servers[0][0], seen)
		l.w.Run(3 * time.Second)
		l.ask(keep, 0, 0)
		flood := func(from int) (through int) {
			for i := range 3 * size {
				s := l.socket(uint16(from + i))
				l.seen = netip.AddrPort{}
				s.send(l.servers[1][0].local, []byte("?"), 0, false)
				if l.w.RunUntil(25*time.Millisecond, func() bool { return l.seen.IsValid() }) {
					through++
				}
				s.close()
			}
			return through
		}
		if n := flood(31000); n != size-1 || l.site.NAT.Mappings() != size {
			t.Errorf("%s: %d new flows got through beside one, %d mappings, want %d", name, n, l.site.NAT.Mappings(), size)
		}
		if l.ask(keep, 0, 0) != seen || !l.arrives(l.servers[0][0], seen) {
			t.Errorf("%s: the old flow died", name)
		}
		for range 4 {
			l.w.Run(29 * time.Second)
			l.ask(keep, 0, 0)
		}
		l.w.Run(5 * time.Second)
		if n := flood(32000); n != size-1 {
			t.Errorf("%s: after all but one expired, %d new flows got through", name, n)
		}
		if l.ask(keep, 0, 0) != seen {
			t.Errorf("%s: the old flow died at last", name)
		}
	}
}

func TestWhoRefreshes(t *testing.T) {
	for _, both := range []bool{false, true} {
		for _, filter := range []Behavior{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
			l := newLab(t, preset(NATConfig{Filtering: filter, InboundRefresh: both}), 1)
			s := l.socket(40000)
			seen := l.ask(s, 0, 0)
			alive := func() bool { l.w.Run(100 * time.Second); return l.arrives(l.servers[0][0], seen) }
			if !alive() {
				t.Fatalf("dead at 100 s, filter %v", filter)
			}
			if got := alive(); got != both {
				t.Errorf("filter %v: refreshed from outside only, alive at 200 s: %v, want %v", filter, got, both)
			}
			l.ask(s, 0, 0)
			if !alive() {
				t.Errorf("filter %v: not refreshed from inside", filter)
			}
		}
	}
}

// What one remote does neither prolongs nor shortens what another may do.
func TestPermissionsExpireOneByOne(t *testing.T) {
	for _, filter := range []Behavior{AddressDependent, AddressAndPortDependent} {
		l := newLab(t, preset(NATConfig{Filtering: filter, IdleUnreplied: 30 * time.Second}), 1)
		s := l.socket(40000)
		seen := l.ask(s, 0, 0)
		l.arrives(l.servers[0][0], seen)
		l.ask(s, 1, 0)
		l.w.Run(20 * time.Second)
		l.ask(s, 0, 0)
		if !l.arrives(l.servers[1][0], seen) {
			t.Errorf("filter %v: permission gone at 20 s", filter)
		}
		l.ask(s, 1, 0)
		l.ask(s, 1, 1)
		l.w.Run(60 * time.Second)
		if !l.arrives(l.servers[1][0], seen) {
			t.Errorf("filter %v: an answered permission gone at 60 s", filter)
		}
		if filter == AddressAndPortDependent && l.arrives(l.servers[1][1], seen) {
			t.Error("an unanswered permission lives at 60 s")
		}
	}
}

// An early packet from outside costs the mapping towards its sender the port, for 30 s.
func TestEarlyPacketsPoisonAnAllocation(t *testing.T) {
	for _, name := range []string{"linux", "symmetric-preserving"} {
		poisons := name == "linux"
		for _, wait := range []time.Duration{0, 29 * time.Second, 31 * time.Second} {
			l := newLab(t, mustPreset(t, name), 1)
			s := l.socket(40000)
			seen := l.ask(s, 0, 0)
			if l.arrives(l.servers[1][0], seen) {
				t.Fatalf("%s: a stranger's packet came in", name)
			}
			l.w.Run(wait)
			got, want := l.ask(s, 1, 0), !poisons || wait > 30*time.Second
			if got.Port() == 0 || (got.Port() == 40000) != want {
				t.Errorf("%s, %v after an early packet: mapping %v", name, wait, got)
			}
			if l.ask(s, 1, 1).Port() != 40000 {
				t.Errorf("%s: the port is poisoned for others, too", name)
			}
			if !l.arrives(l.servers[1][0], got) {
				t.Errorf("%s: the mapping's own remote is shut out", name)
			}
		}
	}
	// Each further early packet prolongs it.
	l := newLab(t, mustPreset(t, "linux"), 1)
	s := l.socket(40000)
	seen := l.ask(s, 0, 0)
	for range 4 {
		l.arrives(l.servers[1][0], seen)
		l.w.Run(20 * time.Second)
	}
	if l.ask(s, 1, 0).Port() == 40000 {
		t.Error("four early packets, the last 20 s ago, poison nothing")
	}
}

// Early packets fill the table, as on Linux, and never more than it.
func TestPoisonedPortsAreBounded(t *testing.T) {
	c := mustPreset(t, "linux").NATs[0]
	c.Table = 50
	l := newLab(t, preset(c), 1)
	seen := l.ask(l.socket(40000), 0, 0)
	for i := range 200 {
		l.servers[1][0].send(netip.AddrPortFrom(seen.Addr(), uint16(1000+i)), []byte("!"), 0, false)
	}
	l.settle()
	table := l.site.NAT.table
	if n := len(table.strays) + len(table.byInside); n != 50 {
		t.Errorf("%d entries in a table of 50", n)
	}
	if l.ask(l.socket(40002), 0, 0).IsValid() {
		t.Error("a new flow found room")
	}
	l.w.Run(31 * time.Second)
	if !l.ask(l.socket(40004), 0, 0).IsValid() {
		t.Error("no room after the early packets' time")
	}
}

// The two transports of a NAT with rules of its own for TCP share nothing.
func TestTCPRulesApart(t *testing.T) {
	p := preset(NATConfig{
		Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: PortPolicy{Kind: Sequential},
		TCP: &Rules{EndpointIndependent, AddressDependent, PortPolicy{Kind: Random}},
	})
	fresh := func() *lab { return newLab(t, p, 1) }
	got := fmt.Sprint(fresh().mapping(), " ", fresh().filtering(), " ", fresh().tcpMapping(), " ", fresh().tcpFiltering())
	if want := "APD APD EI AD"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A mapping keeps its permissions however many there are, and no more than that.
func TestAMappingHasManyFlows(t *testing.T) {
	const n = 1000
	l := newLab(t, mustPreset(t, "port-restricted-cone"), 1)
	s := l.socket(40000)
	got := 0
	s.receive = func(*Packet) { got++ }
	server := l.servers[0][0].host
	for round := range 3 {
		var remotes []*socket
		for i := range n {
			r := bind(t, server, uint16(10_000+n*round+i))
			remotes = append(remotes, r)
			s.send(r.local, nil, 0, false)
		}
		l.settle()
		for _, r := range remotes {
			r.send(netip.AddrPortFrom(l.site.NAT.Addrs()[0], 40000), nil, 0, false)
		}
		l.settle()
		if got != n*(round+1) {
			t.Fatalf("round %d: %d answers of %d came in", round, got-n*round, n)
		}
		l.w.Run(time.Minute)
		l.ask(s, 1, 1) // keeps the mapping
		l.w.Run(time.Minute)
	}
	for _, m := range l.site.NAT.table.byInside {
		if len(m.flows) > 2*n {
			t.Errorf("%d flows are kept", len(m.flows))
		}
	}
}
