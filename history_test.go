package bradawl_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// A stats.History is both of what a session remembers by.
var (
	_ ice.History  = (*stats.History)(nil)
	_ punch.Memory = (*stats.History)(nil)
	_              = bradawl.Config{History: new(stats.History), Memory: new(stats.History)}
)

// It answers as the histories in memory do, whatever happened, and after it was kept and
// restored.
func TestHistoryAnswersAlike(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 9))
		var (
			paths ice.MemoryHistory
			lanes punch.LaneMemory
		)
		both, err := stats.NewHistory([]byte("a secret of the test's own"))
		if err != nil {
			t.Fatal(err)
		}
		networks := make([]string, 1+rng.IntN(ice.MaxHistoryNetworks+5))
		for i := range networks {
			networks[i] = fmt.Sprint("net-", i) // more than there is room for, sometimes
		}
		networks[0] = ""
		pair := func() string { return networks[rng.IntN(len(networks))] + fmt.Sprint("/", rng.IntN(20)) }
		lane := func() string { return punch.LaneKind(rng.IntN(9)).String() }
		remote := func() netip.Addr {
			a := netip.AddrFrom4([4]byte{198, 18, 0, byte(rng.IntN(256))})
			switch rng.IntN(12) {
			case 0:
				return netip.Addr{}
			case 1:
				return netip.AddrFrom16(a.As16()) // the same, mapped into IPv6
			case 2:
				return netip.MustParseAddr(fmt.Sprintf("fe80::%x%%eth%d", rng.IntN(20), rng.IntN(2)))
			case 3, 4, 5:
				return netip.AddrFrom4([4]byte{198, 19, 0, byte(rng.IntN(256))})
			}
			return a
		}
		at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		for step := range 3000 {
			if rng.IntN(400) == 0 {
				at = at.Add(time.Duration(rng.IntN(30)-3) * time.Hour) // set back, too
			}
			at = at.Add(time.Duration(rng.IntN(30)) * time.Second)
			network, to, between, by, ok := networks[rng.IntN(len(networks))], remote(), pair(), lane(), rng.IntN(3) > 0
			switch rng.IntN(4) {
			case 0:
				paths.Record(network, to, ok, at)
				both.Record(network, to, ok, at)
			case 1:
				lanes.Remember(between, by, ok, at)
				both.Remember(between, by, ok, at)
			case 2:
				a, known1 := paths.Quality(network, to, at)
				b, known2 := both.Quality(network, to, at)
				if math.Abs(a-b) > 1e-12 || known1 != known2 {
					t.Fatalf("seed %d, step %d: %q to %v: %v %v, want %v %v", seed, step, network, to, b, known2, a, known1)
				}
			case 3:
				a, known1 := lanes.Recall(between, by, at)
				b, known2 := both.Recall(between, by, at)
				if a != b || known1 != known2 {
					t.Fatalf("seed %d, step %d: %q by %s: %v %v, want %v %v", seed, step, between, by, b, known2, a, known1)
				}
			}
			if step%1000 == 999 {
				restored, err := stats.NewHistory([]byte("a secret of the test's own"))
				if err == nil {
					err = restored.Restore(both.Entries())
				}
				if err != nil {
					t.Fatal(err)
				}
				both = restored
			}
		}
	}
	if ice.MaxHistoryNetworks != stats.MaxHistoryNetworks || ice.MaxHistoryRemotes != stats.MaxHistoryRemotes || punch.MaxMemoryPairs != stats.MaxHistoryPairs {
		t.Error("the limits are not the same")
	}
}
