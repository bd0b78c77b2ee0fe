package simnet

import (
	"net/netip"
	"testing"
	"time"
)

// What was granted lets strangers in, whatever the NAT else filters, until its time is
// over, for UDP and for TCP, and a firewall opens a pinhole likewise.
func TestGrantsAreOpenToAllUntilTheyEnd(t *testing.T) {
	for _, firewall := range []bool{false, true} {
		l := newLab(t, Preset{Name: "x", NATs: []NATConfig{{Firewall: firewall, Filtering: AddressAndPortDependent, Mapping: AddressAndPortDependent, Ports: PortPolicy{Kind: Random}}}}, 1)
		table := l.site.NAT.table
		if firewall {
			table = l.site.NATs[0].table
		}
		s := l.socket(5000)
		inside := netip.AddrPortFrom(l.site.Addr(), 5000)
		outside, ok := table.grant(l.w.now, UDP, inside, 6000, true, time.Minute)
		if want := uint16(6000); !ok || !firewall && outside.Port() != want || firewall && outside != inside {
			t.Fatalf("firewall %v: granted %v, %v", firewall, outside, ok)
		}
		knock := func() int {
			l.got = nil
			l.say(l.servers[0][0], outside, "knock")
			return len(l.got)
		}
		if knock() != 1 {
			t.Errorf("firewall %v: a stranger does not get in", firewall)
		}
		// What the host sends from there leaves by the mapping, to whomever.
		if a, b := l.ask(s, 0, 0), l.ask(s, 1, 1); a != outside || b != outside {
			t.Errorf("firewall %v: seen as %v and %v, want %v", firewall, a, b, outside)
		}
		l.w.Run(time.Minute)
		if knock() != 0 {
			t.Errorf("firewall %v: the mapping has not ended", firewall)
		}
	}
}

func TestGrantsDoNotCollide(t *testing.T) {
	l := newLab(t, Preset{Name: "x", NATs: []NATConfig{{}}}, 1)
	table := l.site.NAT.table
	s := l.socket(7000)
	l.ask(s, 0, 0) // a dynamic mapping that preserves its port
	other := netip.AddrPortFrom(l.site.Addr(), 7001)
	if got, ok := table.grant(l.w.now, UDP, other, 7000, true, time.Minute); ok {
		t.Errorf("granted %v, which is taken", got)
	}
	got, ok := table.grant(l.w.now, UDP, other, 7000, false, time.Minute)
	if !ok || got.Port() == 7000 {
		t.Errorf("granted %v, %v, want another port", got, ok)
	}
	if again, _ := table.grant(l.w.now, UDP, other, 7000, false, time.Minute); again != got {
		t.Errorf("renewed as %v, want %v", again, got)
	}
	table.revoke(l.w.now, UDP, other)
	if n := l.site.NAT.Statics(); n != 0 {
		t.Errorf("%d mappings after the end", n)
	}
	table.grant(l.w.now, UDP, other, 0, false, time.Minute)
	l.site.NAT.Reboot(0)
	if n := l.site.NAT.Statics(); n != 0 {
		t.Errorf("%d mappings after a reboot", n)
	}
}
