package icetimes

import (
	"slices"
	"testing"
	"time"
)

// pion v2 waits half a second, a second and two seconds before it accepts a pair of these
// kinds. Ours, which waits for nothing, is done by then.
func TestOursIsThereBeforePionAccepts(t *testing.T) {
	servers := newServers(t)
	for _, kind := range []Kind{SrflxOnly, Prflx, RelayOnly} {
		t.Run(kind.String(), func(t *testing.T) {
			var all []time.Duration
			for range 5 {
				all = append(all, once(t, bradawl{}, kind, servers))
			}
			slices.Sort(all)
			theirs := once(t, pion{"pion-v2", newPion2}, kind, servers)
			if all[2] >= theirs {
				t.Errorf("ours: %v, pion v2: %v", all, theirs)
			}
		})
	}
}
