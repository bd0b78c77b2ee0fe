package simnet

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// errorsAt collects the ICMP errors that a host gets, as they get to it.
func errorsAt(w *World, h *Host) *[]Packet {
	var all []Packet
	w.OnTrace(func(e TraceEvent) {
		if e.What == "recv" && e.Where == h.Name() && e.Packet.Proto == ICMP {
			all = append(all, *e.Packet.clone())
		}
	})
	return &all
}

// single is the one error that there must be.
func single(t *testing.T, all *[]Packet) Packet {
	t.Helper()
	if len(*all) != 1 {
		t.Fatalf("%d errors, want one", len(*all))
	}
	p := (*all)[0]
	*all = nil
	return p
}

// want checks who complains to h, of what, and that the packet quoted is one that the
// host knows.
func (p Packet) want(t *testing.T, from netip.Addr, kind ErrorKind, src, dst netip.AddrPort) {
	t.Helper()
	if p.Error.Kind != kind || p.Src.Addr() != from || p.Error.Src != src || p.Error.Dst != dst || p.Dst.Addr() != src.Addr() {
		t.Errorf("%v complains to %v: %v about %v -> %v\nwant %v: %v about %v -> %v", p.Src.Addr(), p.Dst.Addr(), p.Error.Kind, p.Error.Src, p.Error.Dst, from, kind, src, dst)
	}
}

// Each hop of a nested NAT answers a packet whose time has come, and the ones in
// between give the error the addresses that its receiver knows.
func TestTTLExceededHopByHop(t *testing.T) {
	for _, proto := range []Proto{UDP, TCP} {
		w := New(1)
		w.Internet().SetHops(3)
		site, err := w.AddSite("site", "cgnat", Link{})
		if err != nil {
			t.Fatal(err)
		}
		server := w.AddHost("server", w.Internet(), Link{})
		got := errorsAt(w, site.Host)
		src, dst := at(site.Host, 5000), at(server, 6000)
		for ttl, from := range []string{1: "192.168.0.1", 2: "100.64.0.1", 3: "192.0.2.254", 4: "192.0.2.254", 5: "192.0.2.254"} {
			if ttl == 0 {
				continue
			}
			site.output(&Packet{Proto: proto, Src: src, Dst: dst, TTL: uint8(ttl), Segment: Segment{Flags: SYN}})
			w.Run(time.Second)
			single(t, got).want(t, netip.MustParseAddr(from), TTLExceeded, src, dst)
		}
		if proto == UDP {
			site.output(&Packet{Proto: proto, Src: src, Dst: dst, TTL: 6})
			w.Run(time.Second)
			single(t, got).want(t, server.Addr(), PortUnreachable, src, dst)
		}
	}
}

// The same on the way in: the server hears from the site's public address only.
func TestTTLExceededOnTheWayIn(t *testing.T) {
	l := newLab(t, mustPreset(t, "cgnat"), 1)
	s, server := l.socket(40000), l.servers[0][0]
	seen := l.ask(s, 0, 0)
	got := errorsAt(l.w, server.host)
	for ttl := 1; ttl <= 2; ttl++ {
		server.send(seen, []byte("!"), ttl, false)
		l.settle()
		single(t, got).want(t, l.site.NAT.Addrs()[0], TTLExceeded, server.local, seen)
	}
	server.send(seen, []byte("!"), 3, false)
	if l.settle(); len(*got) > 0 || len(l.got) != 1 {
		t.Errorf("TTL 3: %d errors, %d arrived", len(*got), len(l.got))
	}
}

func TestPortUnreachableThroughNATs(t *testing.T) {
	for _, name := range []string{"open", "firewall", "full-cone", "symmetric-random", "linux", "cgnat"} {
		l := newLab(t, mustPreset(t, name), 1)
		s := l.socket(40000)
		got := errorsAt(l.w, l.site.Host)
		closed := at(l.servers[0][0].host, 9)
		l.say(s, closed, "?")
		single(t, got).want(t, closed.Addr(), PortUnreachable, s.local, closed)
		// And out again: the port inside is closed while the mapping lives.
		seen := l.ask(s, 0, 0)
		s.close()
		got = errorsAt(l.w, l.servers[0][0].host)
		l.say(l.servers[0][0], seen, "!")
		single(t, got).want(t, seen.Addr(), PortUnreachable, l.servers[0][0].local, seen)
	}
}

// An error about a packet that never went through is for nobody.
func TestErrorsAboutNoMappingAreDropped(t *testing.T) {
	l := newLab(t, mustPreset(t, "symmetric-random"), 1)
	s := l.socket(40000)
	seen := l.ask(s, 0, 0)
	got := errorsAt(l.w, l.site.Host)
	server := l.servers[1][0]
	for _, e := range []Error{
		{Proto: UDP, Src: seen, Dst: server.local}, // the mapping is towards another server
		{Proto: TCP, Src: seen, Dst: l.servers[0][0].local},
		{Proto: UDP, Src: netip.AddrPortFrom(seen.Addr(), seen.Port()^1), Dst: l.servers[0][0].local},
	} {
		server.host.output(&Packet{Proto: ICMP, Src: netip.AddrPortFrom(server.host.Addr(), 0), Dst: netip.AddrPortFrom(seen.Addr(), 0), TTL: 64, Error: &e})
		if l.settle(); len(*got) > 0 {
			t.Errorf("%v came in", e)
			*got = nil
		}
	}
	// An error ends nothing and refreshes nothing.
	e := Error{Proto: UDP, Src: seen, Dst: l.servers[0][0].local}
	l.w.Run(100 * time.Second)
	server.host.output(&Packet{Proto: ICMP, Src: netip.AddrPortFrom(server.host.Addr(), 0), Dst: netip.AddrPortFrom(seen.Addr(), 0), TTL: 64, Error: &e})
	if l.settle(); len(*got) != 1 || !l.arrives(l.servers[0][0], seen) {
		t.Errorf("%d errors came in, or the mapping died of one", len(*got))
	}
	l.w.Run(21 * time.Second)
	if l.arrives(l.servers[0][0], seen) {
		t.Error("an error refreshed the mapping")
	}
}

func TestHostUnreachable(t *testing.T) {
	l := newLab(t, mustPreset(t, "full-cone"), 1)
	s := l.socket(40000)
	got := errorsAt(l.w, l.site.Host)
	nobody := netip.MustParseAddrPort("192.168.0.77:5")
	l.say(s, nobody, "?")
	single(t, got).want(t, l.site.LAN().speaker(nobody.Addr()), HostUnreachable, s.local, nobody)
	gateway := netip.MustParseAddrPort("192.168.0.1:5")
	l.say(s, gateway, "?")
	single(t, got).want(t, gateway.Addr(), PortUnreachable, s.local, gateway)
	// The host goes away while its mapping lives.
	seen := l.ask(s, 0, 0)
	l.site.Iface().SetUp(false)
	got = errorsAt(l.w, l.servers[0][0].host)
	l.say(l.servers[0][0], seen, "!")
	single(t, got).want(t, seen.Addr(), HostUnreachable, l.servers[0][0].local, seen)
}

// A firewall translates nothing: the router behind it is who it is.
func TestErrorsThroughAFirewall(t *testing.T) {
	l := newLab(t, mustPreset(t, "firewall"), 1)
	s := l.socket(40000)
	l.ask(s, 0, 0)
	l.site.Iface().SetUp(false)
	got := errorsAt(l.w, l.servers[0][0].host)
	l.say(l.servers[0][0], s.local, "!")
	single(t, got).want(t, l.site.LAN().speaker(s.local.Addr()), HostUnreachable, l.servers[0][0].local, s.local)
}

// What the administrator forbids, or the table has no room for, is told to who asks
// for it inside, where the NAT is configured to; strangers hear what it is made to say.
func TestAdministrativelyProhibited(t *testing.T) {
	for _, tell := range []bool{false, true} {
		for _, c := range []NATConfig{
			{BlockUDP: true}, {Only443: true}, {Table: 1}, {Ports: PortPolicy{Kind: Sequential, Low: 5000, High: 5000}}, {},
		} {
			c.Prohibit = tell
			l := newLab(t, preset(c), 1)
			l.ask(l.socket(39999), 0, 0)
			s := l.socket(40000)
			got := errorsAt(l.w, l.site.Host)
			passes := l.ask(s, 0, 0).IsValid()
			switch free := c == (NATConfig{Prohibit: tell}); {
			case free != passes:
				t.Errorf("%+v: passes %v", c, passes)
			case !passes && tell:
				single(t, got).want(t, netip.MustParseAddr("192.168.0.1"), AdminProhibited, s.local, l.servers[0][0].local)
			case len(*got) > 0:
				t.Errorf("%+v: told although not configured to", c)
			}
		}
	}
	for answer, want := range map[Answer]ErrorKind{Unreachable: PortUnreachable, Prohibited: AdminProhibited} {
		for _, firewall := range []bool{false, true} {
			l := newLab(t, preset(NATConfig{Filtering: AddressAndPortDependent, StrayUDP: answer, Firewall: firewall}), 1)
			seen := l.ask(l.socket(40000), 0, 0)
			server := l.servers[1][1]
			got := errorsAt(l.w, server.host)
			l.say(server, seen, "!")
			from := seen.Addr()
			if firewall && answer == Prohibited {
				from = router4
			}
			single(t, got).want(t, from, want, server.local, seen)
		}
	}
}

// A packet that may not be fragmented is told the MTU it met, from either side of a
// NAT and on either link; one that may is lost without a word.
func TestPacketTooBig(t *testing.T) {
	for _, name := range []string{"open", "firewall", "port-restricted-cone", "cgnat"} {
		for _, df := range []bool{true, false} {
			l := newLab(t, mustPreset(t, name), 1)
			s, server := l.socket(40000), l.servers[0][0]
			seen := l.ask(s, 0, 0)
			access := l.site.Iface()
			if l.site.NAT != nil {
				access = l.site.NAT.Iface()
			}
			for _, side := range []struct {
				name     string
				from     *socket
				to       netip.AddrPort
				up, down Link
			}{
				{"out", s, server.local, Link{MTU: 1280}, Link{}},
				{"in", server, seen, Link{}, Link{MTU: 1280}},
			} {
				access.SetLink(side.up, side.down)
				got := errorsAt(l.w, side.from.host)
				for size, fits := range map[int]bool{1280 - 28: true, 1281 - 28: false} {
					l.seen, l.got = netip.AddrPort{}, nil
					side.from.send(side.to, []byte(strings.Repeat("x", size)), 0, df)
					l.settle()
					if arrived := l.seen.IsValid() || len(l.got) > 0; arrived != fits {
						t.Errorf("%s, %s: %d bytes arrive: %v", name, side.name, size, arrived)
					}
					if fits || !df {
						if len(*got) > 0 {
							t.Errorf("%s, %s, DF %v: an error for %d bytes", name, side.name, df, size)
						}
						continue
					}
					p := single(t, got)
					p.want(t, p.Src.Addr(), PacketTooBig, side.from.local, side.to)
					if p.Error.MTU != 1280 {
						t.Errorf("MTU %d", p.Error.MTU)
					}
				}
			}
		}
	}
}

// An error about a hairpinned packet takes the same way back (RFC 5508 REQ 7).
func TestErrorsHairpin(t *testing.T) {
	l := newLab(t, mustPreset(t, "full-cone"), 1)
	a, b := l.socket(40000), l.socket(40002)
	seenB := l.ask(b, 0, 0)
	b.close()
	got := errorsAt(l.w, l.site.Host)
	l.say(a, seenB, "!")
	single(t, got).want(t, seenB.Addr(), PortUnreachable, a.local, seenB)
}

// A sender hears of what its own link does not take, but not while it sends: it may be
// a machine that is being drained.
func TestErrorsComeAfterTheSend(t *testing.T) {
	l := newLab(t, mustPreset(t, "open"), 1)
	s := l.socket(40000)
	heard := false
	s.failed = func(*Error) { heard = true }
	if err := s.send(l.servers[0][0].local, make([]byte, 1473), 0, true); err != nil || heard {
		t.Errorf("error %v, heard %v before the send returned", err, heard)
	}
	if l.settle(); !heard {
		t.Error("not heard at all")
	}
}
