package simnet

import (
	"net/netip"
	"testing"
	"time"
)

// exchange sends from a to b and tells whether b hears it, and from whom.
func exchange(w *World, a, b *socket, to netip.AddrPort) (from netip.AddrPort) {
	keep := b.receive
	defer func() { b.receive = keep }()
	b.receive = func(p *Packet) { from = p.Src }
	a.send(to, []byte("x"), 0, false)
	w.Run(time.Second)
	return from
}

// Several subscribers share a carrier's NAT, each behind a home NAT of his own: they
// have the carrier's address outside, a block of ports each, and reach each other by
// its hairpin alone.
func TestSubscribersShareACarrierNAT(t *testing.T) {
	for _, hairpin := range []bool{true, false} {
		w := New(1)
		c := carrier
		c.Hairpin = hairpin
		nat, err := w.AddNAT("carrier", w.Internet(), c, Link{Delay: access})
		if err != nil {
			t.Fatal(err)
		}
		server := bind(t, w.AddHost("server", w.Internet(), Link{}), 3478)
		var socks [3]*socket
		var seen [3]netip.AddrPort
		for i, name := range []string{"alice", "bob", "carol"} {
			site, err := nat.Inside().AddSite(name, "port-restricted-cone", Link{Delay: access})
			if err != nil {
				t.Fatal(err)
			}
			home := site.NAT.Addrs()[0]
			if !netip.MustParsePrefix("100.64.0.0/10").Contains(home) {
				t.Errorf("the home NAT of %s has %v outside", name, home)
			}
			socks[i] = bind(t, site.Host, 5000)
			seen[i] = exchange(w, socks[i], server, server.local)
			if seen[i].Addr() != nat.Addrs()[0] {
				t.Errorf("%s is seen as %v", name, seen[i])
			}
			for j := range i {
				if seen[i] == seen[j] || (seen[i].Port()-1024)/2048 == (seen[j].Port()-1024)/2048 {
					t.Errorf("%v and %v are in one block", seen[i], seen[j])
				}
			}
		}
		exchange(w, socks[0], socks[1], seen[1])
		got := exchange(w, socks[1], socks[0], seen[0])
		if want := map[bool]netip.AddrPort{true: seen[1]}[hairpin]; got != want {
			t.Errorf("hairpin %v: bob reaches alice as %v, want %v", hairpin, got, want)
		}
	}
}

// Two hosts on one LAN reach each other directly, by outside addresses only where the
// NAT hairpins, and never share an outside endpoint.
func TestTwoHostsOnOneLAN(t *testing.T) {
	for name, hairpins := range map[string]bool{"port-restricted-cone": false, "hairpin": true, "firewall": false} {
		w := New(1)
		site, err := w.AddSite("alice", name, Link{Delay: access})
		if err != nil {
			t.Fatal(err)
		}
		bob := w.AddHost("bob", site.LAN(), Link{})
		server := bind(t, w.AddHost("server", w.Internet(), Link{}), 3478)
		a, b := bind(t, site.Host, 5000), bind(t, bob, 5000)
		seenA, seenB := exchange(w, a, server, server.local), exchange(w, b, server, server.local)
		if !seenA.IsValid() || seenA == seenB {
			t.Errorf("%s: seen as %v and %v", name, seenA, seenB)
		}
		if got := exchange(w, a, b, b.local); got != a.local {
			t.Errorf("%s: on the LAN bob sees %v", name, got)
		}
		if name == "firewall" {
			continue
		}
		exchange(w, a, b, seenB)
		if got := exchange(w, b, a, seenA); (got == seenB) != hairpins || got.IsValid() != hairpins {
			t.Errorf("%s: by outside addresses alice sees %v, want %v: %v", name, got, seenB, hairpins)
		}
	}
}

// A host with both families has its private address translated and its public one
// left alone, but filtered.
func TestDualStack(t *testing.T) {
	w := New(1)
	sites := [2]*Site{}
	var v4, v6 [2]*socket
	for i, name := range []string{"alice", "bob"} {
		var err error
		if sites[i], err = w.AddSite(name, "dual-stack", Link{Delay: access}); err != nil {
			t.Fatal(err)
		}
		all := sites[i].Addrs()
		if len(all) != 2 || !all[0].Is4() || !all[1].Is6() {
			t.Fatalf("addresses %v", all)
		}
		v4[i] = bind(t, sites[i].Host, 5000)
		if v6[i], err = sites[i].bind(netip.AddrPortFrom(all[1], 5000)); err != nil {
			t.Fatal(err)
		}
	}
	server := w.AddHost("server", w.Internet(), Link{}, addrs("192.0.2.1", "2001:db8:53::1")...)
	s4 := bind(t, server, 3478)
	s6, err := server.bind(netip.MustParseAddrPort("[2001:db8:53::1]:3478"))
	if err != nil {
		t.Fatal(err)
	}
	if got := exchange(w, v4[0], s4, s4.local); got.Addr() != sites[0].NAT.Addrs()[0] {
		t.Errorf("IPv4 is seen as %v", got)
	}
	if got := exchange(w, v6[0], s6, s6.local); got != v6[0].local {
		t.Errorf("IPv6 is seen as %v", got)
	}
	if got := exchange(w, s6, v6[0], v6[0].local); !got.IsValid() {
		t.Error("the answer over IPv6 is lost")
	}
	if got := exchange(w, v6[0], v6[1], v6[1].local); got.IsValid() {
		t.Error("the firewall lets a stranger in")
	}
	if got := exchange(w, v6[1], v6[0], v6[0].local); got != v6[1].local {
		t.Errorf("punched over IPv6, alice sees %v", got)
	}
	// Errors know IPv6, too.
	got := errorsAt(w, sites[0].Host)
	for _, ttl := range []int{1, 2} {
		closed := netip.MustParseAddrPort("[2001:db8:53::1]:9")
		v6[0].send(closed, nil, ttl, false)
		w.Run(time.Second)
		p := single(t, got)
		if ttl == 1 {
			p.want(t, sites[0].LAN().speaker(closed.Addr()), TTLExceeded, v6[0].local, closed)
		} else {
			p.want(t, closed.Addr(), PortUnreachable, v6[0].local, closed)
		}
	}
	sites[0].Firewall6.Iface().SetLink(Link{MTU: 1280}, Link{MTU: 1280})
	v6[0].send(s6.local, make([]byte, 1281-48), 0, false)
	w.Run(time.Second)
	single(t, got).want(t, router6, PacketTooBig, v6[0].local, s6.local) // routers do not fragment IPv6
}

// Addresses do not run into each other in worlds of many sites.
func TestManySitesHaveAddressesOfTheirOwn(t *testing.T) {
	w := New(1)
	seen := map[netip.Addr]string{}
	claim := func(a netip.Addr, who string) {
		if old := seen[a]; old != "" || !a.IsValid() {
			t.Fatalf("%v belongs to %s and %s", a, old, who)
		}
		seen[a] = who
	}
	for i := range 250 {
		for _, preset := range []string{"open", "firewall", "full-cone", "dual-stack"} {
			site, err := w.AddSite(string(rune('a'+i)), preset, Link{})
			if err != nil {
				t.Fatal(err)
			}
			if site.NAT == nil || preset == "firewall" {
				claim(site.Addr(), preset)
			} else {
				claim(site.NAT.Addrs()[0], preset)
			}
			if preset == "dual-stack" {
				claim(site.Addrs()[1], preset)
			}
		}
	}
	mixed := New(1)
	named := mixed.AddHost("named", mixed.Internet(), Link{}, addrs("203.0.113.2")...)
	for range 3 {
		if h := mixed.AddHost("unnamed", mixed.Internet(), Link{}); h.Addr() == named.Addr() {
			t.Errorf("%v is given out twice", h.Addr())
		}
	}
	lan := New(1)
	nat, err := lan.AddNAT("nat", lan.Internet(), NATConfig{Inside: netip.MustParsePrefix("10.0.0.0/29")}, Link{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		lan.AddHost(string(rune('a'+i)), nat.Inside(), Link{})
	}
	if _, err := nat.Inside().AddSite("one too many", "full-cone", Link{}); err == nil {
		t.Error("a /29 holds more than five hosts and its gateway")
	}
}
