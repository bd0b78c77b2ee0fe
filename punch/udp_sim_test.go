package punch_test

import (
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/punch"
)

var seeds = flag.Uint64("seeds", 40, "simulated worlds for each pair of NATs")

var cones = []string{"full-cone", "restricted-cone", "port-restricted-cone"}

// Every pair of cone NATs gets a direct path at 10 % loss, in each of the seeded
// worlds. Run it with -seeds=1000 -v for the table.
func TestConePairsGetThrough(t *testing.T) {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "a\tb\tdirect\tfrom pairing p50\tp99\tfrom offer p50\tp99\tagreed p99\tprobes p99\t")
	for i, a := range cones {
		for _, b := range cones[i:] {
			var paired, offered, agreed, probes []float64
			for seed := pairSeed(i, b); seed < pairSeed(i, b)+*seeds; seed++ {
				w := newWorld(t, seed, a, b, .10)
				if !w.settle(time.Minute) {
					t.Errorf("%s and %s: no direct path (seed %d)", a, b, seed)
					for _, p := range w.peers {
						t.Logf("%s: %v", p.site.Name(), p.events)
					}
					continue
				}
				w.sameSecretSamePair()
				from := w.peers[0].offered
				if w.peers[1].offered.After(from) {
					from = w.peers[1].offered
				}
				for _, p := range w.peers {
					e, _ := p.last(punch.UDPAgreed)
					paired = append(paired, inRTTs(p.valid.Sub(w.paired)))
					offered = append(offered, inRTTs(p.valid.Sub(from)))
					agreed = append(agreed, inRTTs(e.At.Sub(from)))
					probes = append(probes, float64(p.probes()))
				}
			}
			fmt.Fprintf(tw, "%s\t%s\t%d/%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t\n", a, b, len(paired)/2, *seeds,
				quantile(paired, .5), quantile(paired, .99), quantile(offered, .5), quantile(offered, .99), quantile(agreed, .99), quantile(probes, .99))
			// The aim is 3 signalling round trips from the pairing; a lost signalling segment alone costs 2 to 3.
			if p99 := quantile(offered, .99); p99 > 3 {
				t.Errorf("%s and %s: p99 %.2f RTTs from the offers to the first path, want at most 3", a, b, p99)
			}
		}
	}
	tw.Flush()
	t.Logf("%d worlds a pair; path and signalling RTT %v, 10 %% loss each way on the path; times in RTTs\n%s", *seeds, rtt, table.String())
}

// pairSeed gives each pair worlds of its own.
func pairSeed(i int, b string) uint64 {
	return uint64(i*len(cones)+slices.Index(cones, b)) * 1_000_000
}

func inRTTs(d time.Duration) float64 { return float64(d) / float64(rtt) }

func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

func (p *peer) probes() (n int) {
	for _, t := range p.punch.Report(p.Now(), nil).Tried {
		n += t.Tries
	}
	return n
}

// sameSecretSamePair checks that what both peers agreed upon is one pair: what one
// sends to is what the other is.
func (w *world) sameSecretSamePair() {
	w.t.Helper()
	a, _ := w.peers[0].last(punch.UDPAgreed)
	b, _ := w.peers[1].last(punch.UDPAgreed)
	if a.Path.Mapped != b.Path.Remote || b.Path.Mapped != a.Path.Remote {
		w.t.Errorf("peers use different pairs: %+v and %+v (seed %d)", a.Path, b.Path, w.Seed())
	}
	if a.Path.RTT <= 0 || b.Path.RTT <= 0 {
		w.t.Errorf("no round-trip time: %v and %v (seed %d)", a.Path.RTT, b.Path.RTT, w.Seed())
	}
}

// Without loss a path is usable one round trip after the offers, and agreed upon half
// to one and a half later.
func TestConePairsWithoutLossTakeOneRoundTrip(t *testing.T) {
	for _, a := range cones {
		for _, b := range cones {
			w := newWorld(t, 1, a, b, 0)
			if !w.settle(time.Minute) {
				t.Fatalf("%s and %s: no direct path", a, b)
			}
			for _, p := range w.peers {
				e, _ := p.last(punch.UDPAgreed)
				if d := p.valid.Sub(p.offered); d > rtt+10*time.Millisecond {
					t.Errorf("%s and %s: first path after %v, want %v", a, b, d, rtt)
				}
				if d := e.At.Sub(p.offered); d > 2*rtt+10*time.Millisecond {
					t.Errorf("%s and %s: agreed after %v, want at most %v", a, b, d, 2*rtt)
				}
			}
			w.sameSecretSamePair()
		}
	}
}

// Where one side maps by destination, the other learns its address from its probes,
// if its own filter lets these in: the one packet that easy pairs need.
func TestPeerReflexiveLearning(t *testing.T) {
	for _, c := range []struct {
		a, b    string
		through bool
	}{
		{"open", "symmetric-random", true},
		{"full-cone", "symmetric-random", true},
		{"full-cone", "symmetric-address", true},
		{"restricted-cone", "symmetric-sequential", true},
		{"restricted-cone", "symmetric-random", true},
		{"port-restricted-cone", "symmetric-random", false},
		{"symmetric-random", "symmetric-random", false},
		{"open", "firewall", true},
		{"firewall", "firewall", true},
		{"port-restricted-cone", "firewall", true},
		{"open", "udp-blocked", false},
	} {
		for seed := range uint64(20) {
			w := newWorld(t, seed, c.a, c.b, .05)
			if c.b == "udp-blocked" {
				w.peers[1].runner.Close()
				w.peers[1].After(0, func() { w.peers[1].join(nil) })
			}
			if got := w.settle(time.Minute); got != c.through {
				t.Errorf("%s and %s: direct is %v, want %v (seed %d)", c.a, c.b, got, c.through, seed)
				continue
			}
			if !c.through {
				continue
			}
			w.sameSecretSamePair()
			if e, _ := w.peers[0].last(punch.UDPAgreed); strings.HasPrefix(c.b, "symmetric") && !e.Path.Learned {
				t.Errorf("%s and %s: path %+v is not marked as learned (seed %d)", c.a, c.b, e.Path, seed)
			}
		}
	}
}

func TestFailureSaysWhatHappened(t *testing.T) {
	w := newWorld(t, 1, "port-restricted-cone", "symmetric-random", 0)
	w.settle(time.Minute)
	e, ok := w.peers[0].last(punch.UDPFailed)
	var report *punch.PathError
	if !ok || !errors.As(e.Err, &report) || !errors.Is(e.Err, punch.ErrSilent) {
		t.Fatalf("failed %v with %v", ok, e.Err)
	}
	if d := report.Elapsed; d != 10*time.Second {
		t.Errorf("gave up after %v, want the default 10 s", d)
	}
	// 0, 33, 66, 132, 265, 531, 1064, 2130 ms, then every 2 s: 4130, 6130, 8130.
	for _, tried := range report.Tried {
		if tried.Tries != 11 {
			t.Errorf("%s got %d probes in 10 s, want 11", tried.Remote, tried.Tries)
		}
	}
}

// One seed gives one trace, however many processors there are; another, another.
func TestWorldsReplay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	hash := func(seed uint64) string {
		w := newWorld(t, seed, "port-restricted-cone", "symmetric-random", .10)
		w.settle(time.Minute)
		return w.TraceHash()
	}
	first := hash(7)
	for _, n := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(n)
		if got := hash(7); got != first {
			t.Errorf("GOMAXPROCS %d: trace %s, want %s", n, got, first)
		}
	}
	if hash(8) == first {
		t.Error("seeds 7 and 8 give the same trace")
	}
}
