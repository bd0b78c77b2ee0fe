package simnet

import (
	"bytes"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

func TestNATReboot(t *testing.T) {
	for _, name := range []string{"full-cone", "symmetric-sequential", "symmetric-block", "linux", "cgnat"} {
		l := newLab(t, mustPreset(t, name), 1)
		s := l.socket(40000)
		before := l.ask(s, 0, 0)
		l.site.NAT.Reboot(10 * time.Second)
		if l.site.NAT.Mappings() != 0 || l.arrives(l.servers[0][0], before) {
			t.Errorf("%s: the table survives", name)
		}
		if l.ask(s, 0, 0).IsValid() {
			t.Errorf("%s: forwards while it restarts", name)
		}
		l.w.Run(10 * time.Second)
		after := l.ask(s, 0, 0)
		if !after.IsValid() {
			t.Fatalf("%s: does not come back", name)
		}
		// Linux preserves the port; the others have a new base.
		if far := abs(int(after.Port())-int(before.Port())) > 2; far != (name != "linux") {
			t.Errorf("%s: port %d before, %d after", name, before.Port(), after.Port())
		}
		if !l.arrives(l.servers[0][0], after) {
			t.Errorf("%s: no answers", name)
		}
	}
}

// A second reboot while the first lasts does not end early.
func TestRebootsOverlap(t *testing.T) {
	l := newLab(t, mustPreset(t, "full-cone"), 1)
	s := l.socket(40000)
	l.site.NAT.Reboot(10 * time.Second)
	l.w.Run(5 * time.Second)
	l.site.NAT.Reboot(10 * time.Second)
	l.w.Run(6 * time.Second)
	if l.ask(s, 0, 0).IsValid() {
		t.Error("back after 6 s of 10")
	}
	l.w.Run(5 * time.Second)
	if !l.ask(s, 0, 0).IsValid() {
		t.Error("not back after 11 s")
	}
}

func TestOutsideAddressChanges(t *testing.T) {
	l := newLab(t, mustPreset(t, "port-restricted-cone"), 1)
	s := l.socket(40000)
	before := l.ask(s, 0, 0)
	l.site.NAT.Iface().SetAddrs(addrs("203.0.113.99")...)
	if l.arrives(l.servers[0][0], before) {
		t.Error("the old address still works")
	}
	after := l.ask(s, 0, 0)
	if after != netip.MustParseAddrPort("203.0.113.99:40000") || !l.arrives(l.servers[0][0], after) {
		t.Errorf("seen as %v", after)
	}
	// What it keeps lives on.
	l.site.NAT.Iface().SetAddrs(addrs("203.0.113.98", "203.0.113.99")...)
	if !l.arrives(l.servers[0][0], after) || l.ask(s, 0, 0) != after {
		t.Error("a mapping of an address that was kept died")
	}
}

// A host that is given another address has a new mapping; the socket bound to the old
// address is of no use, one bound to none lives on.
func TestHostIsRenumbered(t *testing.T) {
	l := newLab(t, mustPreset(t, "full-cone"), 1)
	bound := l.socket(40000)
	loose, err := l.site.bind(netip.AddrPortFrom(netip.IPv4Unspecified(), 40001))
	if err != nil {
		t.Fatal(err)
	}
	before := l.ask(loose, 0, 0)
	l.site.Iface().SetAddrs(addrs("192.168.0.200")...)
	if err := bound.send(l.servers[0][0].local, nil, 0, false); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("send from the old address: %v", err)
	}
	after := l.ask(loose, 0, 0)
	if !after.IsValid() || after == before {
		t.Errorf("seen as %v, before as %v", after, before)
	}
	l.got = nil
	loose.receive = bound.receive
	if l.arrives(l.servers[0][0], before) || !l.arrives(l.servers[0][0], after) {
		t.Error("answers do not follow the new address")
	}
}

func TestInterfaceDownAndUp(t *testing.T) {
	w, a, b := pair(1, Link{Delay: access})
	sa, sb := bind(t, a, 5000), bind(t, b, 5000)
	if !exchange(w, sa, sb, sb.local).IsValid() {
		t.Fatal("no exchange")
	}
	a.Iface().SetUp(false)
	if err := sa.send(sb.local, nil, 0, false); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("send by an interface that is down: %v", err)
	}
	if exchange(w, sb, sa, sa.local).IsValid() {
		t.Error("received by an interface that is down")
	}
	a.Iface().SetUp(true)
	if !exchange(w, sa, sb, sb.local).IsValid() || !exchange(w, sb, sa, sa.local).IsValid() {
		t.Error("nothing passes although it is up again")
	}
	// What was under way when it went down, or lost its address, does not arrive.
	w.OnTrace(func(e TraceEvent) {
		if e.What == "recv" {
			t.Errorf("%v", e)
		}
	})
	for _, happens := range []func(){
		func() { a.Iface().SetUp(false) },
		func() { a.Iface().SetAddrs(addrs("192.0.2.77")...) },
	} {
		a.Iface().SetUp(true)
		sb.send(sa.local, nil, 0, false)
		w.Run(3 * access / 2)
		happens()
		w.Run(time.Second)
	}
}

// A host moves from its home's network to a carrier's: the old socket is dead, a new one
// lives, and unbound ones change over by themselves.
func TestHostMoves(t *testing.T) {
	w := New(1)
	site, err := w.AddSite("alice", "port-restricted-cone", Link{Delay: access})
	if err != nil {
		t.Fatal(err)
	}
	mobile, err := w.AddNAT("mobile", w.Internet(), carrier, Link{Delay: 3 * access})
	if err != nil {
		t.Fatal(err)
	}
	server := bind(t, w.AddHost("server", w.Internet(), Link{}), 3478)
	home := site.Iface()
	bound := bind(t, site.Host, 5000)
	loose, err := site.bind(netip.AddrPortFrom(netip.IPv4Unspecified(), 5001))
	if err != nil {
		t.Fatal(err)
	}
	before := exchange(w, loose, server, server.local)
	cell := site.AddIface(mobile.Inside(), Link{})
	if got := exchange(w, loose, server, server.local); got != before {
		t.Errorf("the second interface took over: seen as %v", got)
	}
	home.SetUp(false)
	if got := exchange(w, loose, server, server.local); got.Addr() != mobile.Addrs()[0] {
		t.Errorf("with the first interface down, seen as %v", got)
	}
	home.SetUp(true)
	site.RemoveIface(home)
	if err := bound.send(server.local, nil, 0, false); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("send from an address that is gone: %v", err)
	}
	after := exchange(w, loose, server, server.local)
	if after.Addr() != mobile.Addrs()[0] {
		t.Errorf("seen as %v, want the carrier", after)
	}
	if !exchange(w, server, loose, after).IsValid() {
		t.Error("no answers at the new address")
	}
	if exchange(w, server, loose, before).IsValid() {
		t.Error("answers at the old address")
	}
	if all := site.Addrs(); len(all) != 1 || all[0] != cell.Addrs()[0] {
		t.Errorf("addresses %v", all)
	}
}

func TestBlackHoles(t *testing.T) {
	w, a, b := pair(1, Link{Delay: access})
	c := w.AddHost("c", w.Internet(), Link{Delay: access})
	sa, sb, sc := bind(t, a, 1), bind(t, b, 1), bind(t, c, 1)
	check := func(what string, ab, ba bool) {
		t.Helper()
		if got := exchange(w, sa, sb, sb.local).IsValid(); got != ab {
			t.Errorf("%s: a to b %v", what, got)
		}
		if got := exchange(w, sb, sa, sa.local).IsValid(); got != ba {
			t.Errorf("%s: b to a %v", what, got)
		}
	}
	a.Iface().SetLink(Link{Down: true}, Link{})
	check("a's uplink", false, true)
	a.Iface().SetLink(Link{Down: true}, Link{Down: true})
	check("a's link", false, false)
	a.Iface().SetLink(Link{}, Link{})
	// Between two only: both still reach c.
	w.Internet().SetBlackhole(a.Addr(), b.Addr(), true)
	check("a to b", false, true)
	w.Internet().SetBlackhole(b.Addr(), a.Addr(), true)
	check("both", false, false)
	if !exchange(w, sa, sc, sc.local).IsValid() || !exchange(w, sb, sc, sc.local).IsValid() {
		t.Error("a black hole between two swallows what is for a third")
	}
	w.Internet().SetBlackhole(a.Addr(), b.Addr(), false)
	w.Internet().SetBlackhole(b.Addr(), a.Addr(), false)
	check("healed", true, true)
}

func TestUDPBlockedFromNowOn(t *testing.T) {
	l := newLab(t, mustPreset(t, "port-restricted-cone"), 1)
	s := l.socket(40000)
	seen := l.ask(s, 0, 0)
	l.site.NAT.SetBlockUDP(true)
	if l.ask(s, 0, 0).IsValid() || l.arrives(l.servers[0][0], seen) {
		t.Error("UDP passes")
	}
	if _, ok := l.connect(40000); !ok {
		t.Error("TCP does not pass")
	}
	l.site.NAT.SetBlockUDP(false)
	if l.ask(s, 0, 0) != seen {
		t.Error("UDP does not pass again")
	}
}

// What a link lets through a second can change at any time.
func TestRateChangesMidWay(t *testing.T) {
	w, a, b := pair(1, Link{})
	sa, sb := bind(t, a, 1), bind(t, b, 1)
	got := 0
	sb.receive = func(p *Packet) { got += p.size() }
	for _, rate := range []int{10_000_000, 100_000, 1_000_000} {
		a.Iface().SetLink(Link{Rate: rate, Queue: 20_000}, Link{})
		got = 0
		for range 1000 { // twice what the fastest takes
			sa.send(sb.local, make([]byte, 972), 0, false)
			w.Run(400 * time.Microsecond)
		}
		// The queue is full by now, and what it held of the old rate is not touched.
		w.Run(2 * time.Second)
		want := rate*4/10/8 + 20_000
		if got < want*95/100 || got > want*105/100 {
			t.Errorf("%d bytes in 0.4 s at %d bit/s and out of the queue, want about %d", got, rate, want)
		}
	}
}

// A connection survives that the path takes smaller packets from now on: it hears of
// it, through NATs as well (RFC 5382 REQ 9).
func TestMTUShrinksUnderAConnection(t *testing.T) {
	for _, name := range []string{"open", "firewall", "port-restricted-cone", "linux", "cgnat"} {
		l := newLab(t, mustPreset(t, name), 1)
		server := l.servers[0][0].host
		var x, y end
		if _, err := server.tcp.listen(at(server, 80), false, y.accept); err != nil {
			t.Fatal(err)
		}
		x.dial(t, l.site.Host, netip.AddrPort{}, at(server, 80))
		l.w.RunUntil(time.Second, func() bool { return x.connected && y.connected })
		x.c.write(payload(200_000), true)
		y.c.write(payload(100_000), true)
		l.w.RunUntil(time.Second, func() bool { return len(y.got) > 50_000 })
		small := Link{Delay: access, MTU: 1280}
		server.Iface().SetLink(small, small)
		if !l.w.RunUntil(3*time.Second, func() bool { return len(y.got) == 200_000 && len(x.got) == 100_000 }) {
			t.Errorf("%s: stuck at %d and %d bytes", name, len(y.got), len(x.got))
		}
		if !bytes.Equal(y.got, payload(200_000)) || !bytes.Equal(x.got, payload(100_000)) {
			t.Errorf("%s: the bytes are not those that were sent", name)
		}
	}
}
