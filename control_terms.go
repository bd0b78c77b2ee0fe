package bradawl

import (
	"slices"
	"time"

	"github.com/bradawl/bradawl/punch"
)

// What two sides plan by, so that both plan the same: the profiles of the NATs, what the
// routers have mapped, and the lesser of the two budgets. Each tells the other its own.

// terms are what the peer has told for that, beside its profile.
type terms struct {
	budget punch.Budget
	mapped bool      // a router has mapped a port to it
	news   time.Time // when either side's router was last heard to have mapped one
}

// budgetTerms is what peers are told of a budget: sockets, probes, entries, the rate and the
// least chance; nil: the default one. Later versions may add numbers behind.
func budgetTerms(b punch.Budget) []float64 {
	write := func(b punch.Budget) []float64 {
		b = b.Within(b)
		return []float64{float64(b.Sockets), float64(b.Probes), float64(b.Entries), float64(b.Rate), b.Least}
	}
	all := write(b)
	if slices.Equal(all, write(punch.Budget{})) {
		return nil
	}
	return all
}

// budgetOf reads what budgetTerms wrote. It may say anything: no number is more than none, or
// than one that is bounded anyway.
func budgetOf(all []float64) (b punch.Budget) {
	for i, to := range [...]*int{&b.Sockets, &b.Probes, &b.Entries, &b.Rate} {
		if i < len(all) {
			if *to = int(min(max(all[i], -1), punch.AllPorts)); *to == 0 {
				*to = -1 // for 0 is the default
			}
		}
	}
	if len(all) > 4 {
		if b.Least = min(all[4], 1); b.Least <= 0 {
			b.Least = -1
		}
	}
	return b
}

// allowed is what an attempt may cost this side: no more than either side's budget has.
func (k *link) allowed() punch.Budget { return k.lane.spend.budget.Within(k.lane.terms.budget) }
