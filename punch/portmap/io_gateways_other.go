//go:build !linux

package portmap

import "net/netip"

// guesses is whether gateways are guessed, because the system does not tell its routes.
const guesses = true

// routers6 are the next hops of the default routes of IPv6: not known here.
func routers6() map[string]netip.Addr { return nil }
