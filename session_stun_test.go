package bradawl_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
)

// second is a STUN server that, like the first, has one address: only both together tell how a
// NAT maps.
const second = "198.51.100.7"

func addSecond(t *testing.T) func(*internet) {
	return func(w *internet) {
		addrs := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(second), 3478)}
		m, err := stund.NewMachine(addrs, 0, 1)
		check(t, err)
		_, err = simnet.Run(w.AddHost("second", w.Internet(), simnet.Link{}, addrs[0].Addr()), m, simnet.RunOptions{Sockets: addrs}, nil)
		check(t, err)
	}
}

// mapping is what a session knows of how its NAT maps.
func mapping(s *bradawl.Session) natprobe.Mapping {
	r, _ := s.NAT()
	return r.Profile().Mapping
}

// TestServersThatAreNamedLater: what one STUN server does not tell of the NAT is found out when
// the signalling has named another one.
func TestServersThatAreNamedLater(t *testing.T) {
	simulateIn(t, presetsOf(t, "symmetric-sequential", "open"), addSecond(t), func(cfg *bradawl.Config) {
		cfg.Signaler = &late{naming{cfg.Signaler.(*hub), []string{second + ":3478"}, nil}} // after 10 s
	}, func(t *testing.T, w *internet) {
		pass(8 * time.Second)
		if _, ok := w.ends[0].NAT(); !ok || mapping(w.ends[0]) != natprobe.MappingUnknown {
			t.Fatalf("one server tells that the mapping is %v", mapping(w.ends[0]))
		}
		awaits(t, 10*time.Second, "the mapping is known", func() bool { return mapping(w.ends[0]) == natprobe.MappingAddressDependent })
	})
}
