package bradawl

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// TestMappingsThatEnd: NATs that end a mapping when it has a certain age, in use or not.
// The first three times cost a few seconds each; then the end is known beforehand, and
// nothing is lost by it.
func TestMappingsThatEnd(t *testing.T) {
	age, run := 20*time.Minute, 2*time.Hour
	if *seeds > 20 {
		age, run = time.Hour, 24*time.Hour
	}
	ends := func(c *simnet.NATConfig) { c.Absolute = age }
	for _, r := range []struct {
		name string
		with []func(*worldOptions)
	}{
		{"one NAT", []func(*worldOptions){behind(randomCone(ends), randomCone())}},
		{"both NATs", []func(*worldOptions){behind(randomCone(ends), randomCone(ends))}},
		{"one NAT, no relay", []func(*worldOptions){noTURN, behind(randomCone(ends), randomCone())}},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "", "", r.with...)
			w.connect(PathDirect)
			w.keep()
			began := w.Now()
			const every = 2 * time.Second
			w.chat(run, every)
			w.Run(10 * time.Second)
			total := w.ledger.settle()
			gap, late := &figure{name: "gap", limit: 7 * time.Second}, 0
			for _, p := range w.peers {
				var lost time.Duration
				for _, m := range p.sent {
					if m.delivered > 0 {
						if lost > 0 {
							gap.add(lost)
						}
						lost = 0
						continue
					}
					lost += every
					if m.at.Sub(began) > 4*age {
						late++
					}
				}
			}
			if len(gap.got) == 0 || late > 0 {
				w.fail("%d gaps, %d datagrams lost after the fourth end; %v", len(gap.got), late, total)
			}
			for _, p := range w.peers {
				if n := len(p.ice.Pairs(p.conns[p.conn].agent)); n > 30 {
					t.Errorf("%s has %d pairs of addresses at the end", p.name, n)
				}
			}
			report(t, r.name, total, gap)
		})
	}
}
