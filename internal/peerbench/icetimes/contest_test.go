package icetimes

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"
)

// patience is how long one meeting may take. pion's slowest takes 2 s.
const patience = 20 * time.Second

func newServers(tb testing.TB) *Servers {
	tb.Helper()
	servers, err := NewServers()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := servers.Close(); err != nil {
			tb.Error(err)
		}
	})
	return servers
}

func once(tb testing.TB, c Contestant, kind Kind, servers *Servers) time.Duration {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	took, err := c.Connect(ctx, kind, servers)
	if err != nil {
		tb.Fatalf("%s, %v: %v", c.Name(), kind, err)
	}
	return took
}

// TestConnect has every contestant connect in every way, so that the benchmark can.
func TestConnect(t *testing.T) {
	servers := newServers(t)
	for _, c := range Contestants {
		for _, kind := range Kinds {
			t.Run(c.Name()+"/"+kind.String(), func(t *testing.T) {
				t.Parallel()
				t.Logf("connected within %v", once(t, c, kind, servers))
			})
		}
	}
}

// A meeting that cannot be ends with its context.
func TestConnectEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range Contestants {
		if took, err := c.Connect(ctx, Host, &Servers{}); err == nil {
			t.Errorf("%s: connected within %v", c.Name(), took)
		}
	}
}

// BenchmarkConnect tells the median and the 90th percentile of the time to both connected,
// and the median's ratio to the first contestant's.
func BenchmarkConnect(b *testing.B) {
	servers := newServers(b)
	for _, kind := range Kinds {
		medians := map[string]time.Duration{} // by the contestant; the latest counts
		for _, c := range Contestants {
			b.Run(kind.String()+"/"+c.Name(), func(b *testing.B) {
				var all []time.Duration
				for b.Loop() {
					all = append(all, once(b, c, kind, servers))
				}
				slices.Sort(all)
				at := func(part float64) time.Duration { return all[int(part*float64(len(all)-1))] }
				medians[c.Name()] = at(0.5)
				b.ReportMetric(0, "ns/op") // gathering and closing are part of that
				b.ReportMetric(at(0.5).Seconds()*1000, "ms/median")
				b.ReportMetric(at(0.9).Seconds()*1000, "ms/p90")
				first := cmp.Or(medians[Contestants[0].Name()], at(0.5)) // it may be filtered out
				b.ReportMetric(at(0.5).Seconds()/first.Seconds(), "x/first")
			})
		}
	}
}
