package portmap

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// guesses is whether gateways are guessed, because the system does not tell its routes.
const guesses = false

// routers6 are the next hops of the default routes of IPv6, by interface, with the
// interface as zone where they are link-local.
func routers6() map[string]netip.Addr {
	b, err := os.ReadFile("/proc/thread-self/net/ipv6_route")
	if err != nil {
		return nil // no IPv6, or not for us to know
	}
	return parseRoutes6(string(b))
}

func parseRoutes6(table string) map[string]netip.Addr {
	routers := make(map[string]netip.Addr)
	metrics := make(map[string]uint64)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || f[1] != "00" || len(f[4]) != 32 {
			continue
		}
		var a [16]byte
		if _, err := hex.Decode(a[:], []byte(f[4])); err != nil || a == [16]byte{} {
			continue // it leads to the network itself, or nowhere
		}
		metric, err := strconv.ParseUint(f[5], 16, 32)
		if best, ok := metrics[f[9]]; err != nil || ok && best <= metric {
			continue
		}
		router := netip.AddrFrom16(a)
		if router.IsLinkLocalUnicast() {
			router = router.WithZone(f[9])
		}
		routers[f[9]], metrics[f[9]] = router, metric
	}
	return routers
}
