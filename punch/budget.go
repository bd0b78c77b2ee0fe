package punch

import (
	"math"
	"time"
)

// Budget is what an attempt at hard NATs may cost this side. The zero value has the
// defaults; Polite is for networks whose routers are small. A negative number is none,
// or no limit where that is said.
type Budget struct {
	// Sockets is how many are open at once, at most. Default 256.
	Sockets int
	// Probes is how many leave in one attempt, at most. Default 1,600.
	Probes int
	// Entries is how many entries of the NAT that are not replied to are made in one
	// attempt, at most. Default 1,600.
	Entries int
	// Rate is how many packets leave in a second, over all lanes. Default 400; negative: 1.
	Rate int
	// Table is how many entries the NAT is known to have room for: no more than half of
	// them are taken. 0: unknown.
	Table int
	// Cooldown is the time from one attempt to the next behind the same NAT. Default 60 s;
	// negative: none.
	Cooldown time.Duration
	// Least is the chance of success that the next second must have for a lane to go on,
	// 0 to 1. Default 0.01; negative: none.
	Least float64
}

// Polite is the budget for small routers: half the rate, and what leaves room in a NAT with
// 2,000 entries.
var Polite = Budget{Sockets: 128, Probes: 600, Entries: 600, Rate: 200}

// What a budget may be at most: one NAT has no more ports than this, and no one's network
// is to be used at a higher rate.
const (
	maxBudget = AllPorts
	maxRate   = 10_000
)

// Check says what in a budget cannot be meant, as a *ConfigError; nil: all can.
func (b Budget) Check() error {
	for _, f := range [...]struct {
		name string
		n    int
		most int
		why  string
	}{
		{"Budget.Sockets", b.Sockets, maxBudget, "is more than a NAT has ports; at most 64512"},
		{"Budget.Probes", b.Probes, maxBudget, "is more than a NAT has ports; at most 64512"},
		{"Budget.Entries", b.Entries, maxBudget, "is more than a NAT has ports; at most 64512"},
		{"Budget.Rate", b.Rate, maxRate, "a second would be a flood; at most 10000"},
	} {
		if f.n > f.most {
			return badConfig(f.name, f.n, f.why)
		}
	}
	if b.Table < 0 {
		return badConfig("Budget.Table", b.Table, "entries are no table; leave it 0 where it is not known")
	}
	if math.IsNaN(b.Least) || b.Least > 1 {
		return badConfig("Budget.Least", b.Least, "is no chance; want 0 to 1")
	}
	return nil
}

// WithDefaults fills in what is left out, leaves -1 of what is negative, and bounds what
// Check does not let pass.
func (b Budget) WithDefaults() Budget {
	fill := func(v *int, def, most int) {
		if *v == 0 {
			*v = def
		}
		*v = min(max(*v, -1), most)
	}
	fill(&b.Sockets, 256, maxBudget)
	fill(&b.Probes, 1600, maxBudget)
	fill(&b.Entries, 1600, maxBudget)
	fill(&b.Rate, 400, maxRate)
	b.Rate = max(b.Rate, 1)
	b.Table = max(b.Table, 0)
	if b.Cooldown == 0 {
		b.Cooldown = time.Minute
	}
	b.Cooldown = max(b.Cooldown, -1)
	if b.Least == 0 || math.IsNaN(b.Least) {
		b.Least = 0.01
	}
	b.Least = min(max(b.Least, -1), 1)
	return b
}

// Within returns what both budgets allow: the lesser of each number, and the greater Least.
// Two sides that plan with it plan alike, each from its own side. Entries then takes Table
// in; Cooldown is b's, for each side waits by itself.
func (b Budget) Within(o Budget) Budget {
	b, o = b.WithDefaults(), o.WithDefaults()
	b.Sockets, b.Probes, b.Rate = min(b.Sockets, o.Sockets), min(b.Probes, o.Probes), min(b.Rate, o.Rate)
	if b.Entries = min(b.entries(), o.entries()); b.Entries == 0 {
		b.Entries = -1 // for 0 is the default
	}
	b.Table, b.Least = 0, max(b.Least, o.Least)
	return b
}

// entries is how many there may be, in view of the table.
func (b Budget) entries() int {
	n := max(b.Entries, 0)
	if b.Table > 0 {
		n = min(n, b.Table/2)
	}
	return n
}

// tries is how many packets may go to addresses that were not sent to before.
func (b Budget) tries() int { return min(max(b.Probes, 0), b.entries()) }

// most is how many sockets may be opened and sent from.
func (b Budget) most() int { return min(max(b.Sockets, 0), b.tries()) }
