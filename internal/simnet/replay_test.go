package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// everything is a world with all presets in it, subscribers of a shared carrier NAT,
// TCP and UDP of everybody with everybody, errors, and all that can happen to a
// network; it runs for three minutes.
func everything(t *testing.T, seed uint64, tell func(TraceEvent)) *World {
	w := New(seed)
	w.OnTrace(tell)
	w.Internet().SetHops(4)
	luck := w.Rand("everything")
	link := func() Link {
		return Link{
			Delay: 5*time.Millisecond + time.Duration(luck.IntN(50))*time.Millisecond, Jitter: 5 * time.Millisecond,
			Loss: .03, Duplicate: .02, Reorder: .05, Rate: 2_000_000,
		}
	}
	server := w.AddHost("server", w.Internet(), link(), addrs("192.0.2.1", "2001:db8:53::1")...)
	shared, err := w.AddNAT("shared", w.Internet(), carrier, link())
	if err != nil {
		t.Fatal(err)
	}
	var sites []*Site
	for i, name := range append(PresetNames(), "port-restricted-cone", "linux", "symmetric-random") {
		on := w.Internet()
		if i >= len(PresetNames()) {
			on = shared.Inside()
		}
		s, err := on.AddSite(fmt.Sprint(name, i), name, link())
		if err != nil {
			t.Fatal(err)
		}
		sites = append(sites, s)
	}
	if _, err := server.tcp.listen(at(server, 443), false, func(c *tcpConn) {
		e := &end{c: c}
		c.on = e.events()
		c.write(payload(10_000), true)
		w.After(5*time.Second, c.close)
	}); err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		talk(t, w, s, server, luck)
	}
	for range 50 {
		s := sites[luck.IntN(len(sites))]
		w.After(time.Duration(luck.Int64N(int64(2*time.Minute))), func() { befall(w, s, luck) })
	}
	w.Run(3 * time.Minute)
	return w
}

// talk makes a site send to the server and to whoever the server has seen last, and
// download over TCP, again and again.
func talk(t *testing.T, w *World, s *Site, server *Host, luck *rand.Rand) {
	udp := bind(t, s.Host, 5000)
	echo, err := server.bind(at(server, uint16(6000+luck.IntN(1000))))
	if err != nil {
		return
	}
	last := at(server, 6000)
	echo.receive = func(p *Packet) {
		last = p.Src
		echo.send(p.Src, p.Data, 0, false)
	}
	udp.failed = func(e *Error) { udp.send(echo.local, []byte(e.Error()), 0, false) }
	var again func()
	again = func() {
		targets := []netip.AddrPort{echo.local, last, at(server, 9), at(s.Host, 9)}
		for _, to := range targets {
			udp.send(to, payload(luck.IntN(1400)), luck.IntN(12), luck.IntN(2) == 0)
		}
		var e end
		if c, err := s.tcp.dial(netip.AddrPort{}, at(server, 443), false, quietEvents()); err == nil {
			e.c = c
			c.on = e.events()
			w.After(4*time.Second, func() { c.write([]byte("still here"), true) })
		}
		if c, err := s.tcp.dial(at(s.Host, 7000), last, true, quietEvents()); err == nil {
			w.After(3*time.Second, c.close)
		}
		w.After(time.Duration(luck.Int64N(int64(30*time.Second))), again)
	}
	w.After(0, again)
}

// befall does to a site one of the things that happen to networks.
func befall(w *World, s *Site, luck *rand.Rand) {
	access := s.Iface()
	if s.NAT != nil {
		access = s.NAT.Iface()
	}
	switch n := luck.IntN(7); {
	case n == 0:
		access.SetUp(false)
		w.After(2*time.Second, func() { access.SetUp(true) })
	case n == 1:
		access.SetLink(Link{Delay: access.up.Delay, Down: true}, access.down.Link)
		w.After(2*time.Second, func() { access.SetLink(access.down.Link, access.down.Link) })
	case n == 2:
		small := Link{Delay: 30 * time.Millisecond, Rate: 500_000, MTU: 1280}
		access.SetLink(small, small)
	case n == 3:
		for _, from := range access.Addrs() {
			w.Internet().SetBlackhole(from, netip.MustParseAddr("192.0.2.1"), true)
		}
	case s.NAT == nil || s.NAT.table.Firewall:
	case n == 4:
		s.NAT.Reboot(time.Second)
	case n == 5:
		if a, err := access.net.assign(false); err == nil {
			access.SetAddrs(a)
		}
	default:
		s.NAT.SetBlockUDP(true)
	}
}

// One seed gives one trace, whatever the machine, and another seed another.
func TestReplay(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	hashes := map[string]uint64{}
	for seed := range uint64(4) {
		var first string
		for _, procs := range []int{1, 2, 8} {
			runtime.GOMAXPROCS(procs)
			hash := everything(t, seed, nil).TraceHash()
			if first == "" {
				first = hash
			}
			if hash != first {
				t.Errorf("seed %d: trace %s at GOMAXPROCS %d, %s before", seed, hash, procs, first)
			}
		}
		if other, taken := hashes[first]; taken {
			t.Errorf("seeds %d and %d give one trace", seed, other)
		}
		hashes[first] = seed
	}
}

// The world of the replay test is as rich as it claims to be.
func TestEverythingHappens(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(4) {
		everything(t, seed, func(e TraceEvent) {
			switch {
			case e.What == "in" || e.What == "out":
				seen[e.Packet.Proto.String()+" "+e.What]++
			case e.What == "drop":
				seen["drop "+e.Reason]++
			case e.What == "mapping":
				what, _, _ := strings.Cut(e.Reason, " ")
				seen["mapping "+what]++
			case e.What == "recv" && e.Packet.Error != nil:
				seen["error "+e.Packet.Error.Kind.String()]++
			default:
				seen[e.What]++
			}
		})
	}
	for _, what := range []string{
		"udp in", "tcp in", "icmp in", "udp out", "tcp out", "icmp out", "drop loss", "drop TTL exceeded", "drop no mapping", "drop filtered",
		"drop no connection", "drop UDP blocked", "drop offline", "drop interface down", "drop link down", "drop black hole", "drop queue full",
		"drop bigger than the link's MTU", "drop no hairpin", "error port unreachable", "error time to live exceeded", "error packet too big",
		"mapping new", "mapping expired", "reboot",
	} {
		if seen[what] == 0 {
			t.Errorf("%q never happened; what did: %v", what, seen)
		}
	}
}
