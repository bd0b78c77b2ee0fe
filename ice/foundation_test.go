package ice

import (
	"net/netip"
	"testing"
)

func TestFoundation(t *testing.T) {
	var key [16]byte
	ip := netip.MustParseAddr
	one := func(typ CandidateType, base, server string, transport Transport) string {
		t.Helper()
		var s netip.Addr
		if server != "" {
			s = ip(server)
		}
		f := foundation(key, typ, ip(base), s, transport)
		if len(f) < 1 || len(f) > 32 || !iceChars(f) {
			t.Errorf("%q is no foundation", f)
		}
		return f
	}
	if one(ServerReflexive, "10.0.0.1", "192.0.2.1", UDP) != one(ServerReflexive, "::ffff:10.0.0.1", "::ffff:192.0.2.1", UDP) {
		t.Error("the mapped form of an address has another foundation")
	}
	seen := make(map[string]int)
	for range 2 { // the second time each must come back
		for _, typ := range []CandidateType{Host, ServerReflexive, PeerReflexive, Relay} {
			for _, base := range []string{"10.0.0.1", "10.0.0.2", "2001:db8::1", "fe80::1", "fe80::1%eth0", "fe80::1%eth1"} {
				for _, server := range []string{"", "192.0.2.1", "192.0.2.2", "10.0.0.1"} {
					for _, transport := range []Transport{UDP, TCP} {
						seen[one(typ, base, server, transport)]++
					}
				}
			}
		}
	}
	if len(seen) != 4*6*4*2 {
		t.Errorf("%d foundations for %d kinds of candidates", len(seen), 4*6*4*2)
	}
	for f, n := range seen {
		if n != 2 {
			t.Errorf("foundation %s came %d times", f, n)
		}
	}
	// Without the key nobody finds the address by trying all.
	before := one(Host, "10.0.0.1", "", UDP)
	key[15] = 1
	if one(Host, "10.0.0.1", "", UDP) == before {
		t.Error("the foundation does not depend on the key")
	}
}
