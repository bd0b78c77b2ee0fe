package natprobe_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
)

// lifetimes measures to the end.
func (w *world) lifetimes(limit time.Duration) (natprobe.Lifetime, time.Duration) {
	w.t.Helper()
	m, err := natprobe.NewLifetimeProbe(capable[0], limit, &natprobe.DiscoveryConfig{
		Secrets: w.Secrets("lifetime"), Rand: rand.New(rand.NewPCG(w.Seed(), 8)),
	})
	w.check(err)
	var l natprobe.Lifetime
	done := false
	run, err := simnet.Run(w.site.Host, m, simnet.RunOptions{}, func(_ time.Time, e natprobe.LifetimeEvent) {
		l, done = e.Lifetime, done || e.Last
	})
	w.check(err)
	start := w.Now()
	run.Do(m.Start)
	if !w.RunUntil(2*time.Hour, func() bool { return done }) {
		w.t.Fatalf("seed %d: the measurement does not end", w.Seed())
	}
	return l, w.Now().Sub(start)
}

// within tells whether an estimate is within a tenth of the truth.
func within(got natprobe.Lifespan, want time.Duration) bool {
	return (got.Estimate()-want).Abs() <= want/10 && got.Low <= want && want <= got.High
}

// TestLifetimes: found within a tenth, with both refresh directions right.
func TestLifetimes(t *testing.T) {
	var table strings.Builder
	for _, loss := range []float64{0, 0.05} {
		for _, truth := range []time.Duration{10, 30, 60, 120, 300} {
			for _, inbound := range []bool{false, true} {
				truth := truth * time.Second
				nat := simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Idle: truth, InboundRefresh: inbound}
				if inbound {
					nat.Mapping, nat.Ports.Kind = simnet.AddressAndPortDependent, simnet.Random
				}
				w := newWorld(t, 1, simnet.Preset{NATs: []simnet.NATConfig{nat}}, simnet.Link{Delay: oneWay, Loss: loss})
				l, took := w.lifetimes(6 * time.Minute)
				fmt.Fprintf(&table, "truth %v, inbound %v, loss %v: %v, in %v\n", truth, inbound, loss, l, took.Round(time.Second))
				if !within(l.Answered, truth) || !within(l.Solitary, truth) || !within(l.Stream, truth) {
					t.Errorf("truth %v: %v", truth, l)
				}
				want := natprobe.No
				if inbound {
					want = natprobe.Yes
				}
				if l.RefreshOut != natprobe.Yes || l.RefreshIn != want {
					t.Errorf("truth %v, inbound %v: %v", truth, inbound, l)
				}
				if took > 3*truth+30*time.Second {
					t.Errorf("truth %v: took %v", truth, took)
				}
			}
		}
	}
	t.Log("\n" + table.String())
}

// TestLifetimesOfLinux: 30 s, and 120 s for streams.
func TestLifetimesOfLinux(t *testing.T) {
	w := newWorld(t, 1, preset(t, "linux"), path)
	l, took := w.lifetimes(3 * time.Minute)
	if !within(l.Solitary, 30*time.Second) || !within(l.Answered, 30*time.Second) || !within(l.Stream, 120*time.Second) ||
		l.RefreshOut != natprobe.Yes || l.RefreshIn != natprobe.Yes {
		t.Errorf("%v, after %v", l, took)
	}
}

func TestLifetimesThatCannotBeMeasured(t *testing.T) {
	w := newWorld(t, 1, preset(t, "port-restricted-cone"), path)
	w.server.SetFaults(stund.Faults{Refuse: 420})
	if l, took := w.lifetimes(time.Minute); !strings.Contains(l.Reason, "420") || l.Answered != (natprobe.Lifespan{}) || took > 5*time.Second {
		t.Errorf("refused: %v, after %v", l, took)
	}
	w = newWorld(t, 1, preset(t, "udp-blocked"), path)
	if l, took := w.lifetimes(time.Minute); !strings.Contains(l.Reason, "does not answer") || took > 10*time.Second {
		t.Errorf("blocked: %v, after %v", l, took)
	}
	// A mapping that outlives the measurement.
	w = newWorld(t, 1, preset(t, "open"), path)
	l, took := w.lifetimes(20 * time.Second)
	if l.Answered.Low < 20*time.Second || l.Answered.High != 0 || took > 45*time.Second {
		t.Errorf("no NAT: %v, after %v", l, took)
	}
	for _, limit := range []time.Duration{0, -1, time.Second, 2 * time.Hour} {
		if _, err := natprobe.NewLifetimeProbe(capable[0], limit, nil); err == nil {
			t.Errorf("limit %v: no error", limit)
		}
	}
}
