package punch

import "time"

// Budget is what an attempt at hard NATs may cost this side. The zero value has the
// defaults; Polite is for networks whose routers are small.
type Budget struct {
	// Sockets is how many are open at once, at most. Default 256.
	Sockets int
	// Probes is how many leave in one attempt, at most. Default 1,600.
	Probes int
	// Entries is how many entries of the NAT that are not replied to are made in one
	// attempt, at most. Default 1,600.
	Entries int
	// Rate is how many packets leave in a second, over all lanes. Default 400.
	Rate int
	// Table is how many entries the NAT is known to have room for: no more than half of
	// them are taken. 0: unknown.
	Table int
	// Cooldown is the time from one attempt to the next behind the same NAT. Default 60 s.
	Cooldown time.Duration
	// Least is the chance of success that the next second must have for a lane to go on,
	// 0 to 1. Default 0.01.
	Least float64
}

// Polite is the budget for small routers: half the rate, and what leaves room in a NAT with
// 2,000 entries.
var Polite = Budget{Sockets: 128, Probes: 600, Entries: 600, Rate: 200}
