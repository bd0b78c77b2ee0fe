package work

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var breakerSeeds = flag.Uint64("breaker-seeds", 200, "how many random histories TestBreakerAgainstModel tries")

// breakerEpoch is when the virtual time of these tests begins.
var breakerEpoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A breakerStep is what happens to one target at a time after breakerEpoch.
type breakerStep struct {
	at   time.Duration
	do   string // "ok", "fail" (reports); "pass", "held", "trial" (what Allow must say)
	left time.Duration
}

func TestBreaker(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name  string
		cfg   BreakerConfig
		steps []breakerStep
	}{
		{"two failures do not open it", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {1 * s, "fail", 0}, {2 * s, "pass", 0}}},
		{"three do, for 30 s", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {1 * s, "fail", 0}, {2 * s, "fail", 0}, {2 * s, "held", 30 * s}, {31 * s, "held", 1 * s}, {32*s - 1, "held", 1}, {32 * s, "pass", 0}}},
		{"not if a success stands between", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {1 * s, "fail", 0}, {2 * s, "ok", 0}, {3 * s, "fail", 0}, {4 * s, "fail", 0}, {4 * s, "pass", 0}}},
		{"not under 60 % errors", BreakerConfig{}, []breakerStep{
			{0, "ok", 0}, {0, "ok", 0}, {0, "ok", 0}, {1 * s, "fail", 0}, {1 * s, "fail", 0}, {1 * s, "fail", 0}, {1 * s, "fail", 0}, {1 * s, "pass", 0}}},
		{"but at 60 %", BreakerConfig{}, []breakerStep{
			{0, "ok", 0}, {0, "ok", 0}, {1 * s, "fail", 0}, {1 * s, "fail", 0}, {1 * s, "fail", 0}, {1 * s, "held", 30 * s}}},
		{"successes leave the window", BreakerConfig{}, []breakerStep{
			{0, "ok", 0}, {0, "ok", 0}, {0, "ok", 0}, {60 * s, "fail", 0}, {60 * s, "fail", 0}, {60 * s, "fail", 0}, {60 * s, "held", 30 * s}}},
		{"and not sooner", BreakerConfig{}, []breakerStep{
			{0, "ok", 0}, {0, "ok", 0}, {0, "ok", 0}, {60*s - 1, "fail", 0}, {60*s - 1, "fail", 0}, {60*s - 1, "fail", 0}, {60*s - 1, "pass", 0}}},
		{"failures in a row leave it too", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {0, "fail", 0}, {60 * s, "fail", 0}, {60 * s, "pass", 0}, {61 * s, "fail", 0}, {61 * s, "fail", 0}, {61 * s, "held", 30 * s}}},
		{"one trial", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {0, "fail", 0}, {0, "fail", 0}, {30 * s, "pass", 0}, {30 * s, "trial", 30 * s}, {40 * s, "trial", 20 * s}}},
		{"a trial that succeeds closes it", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {0, "fail", 0}, {0, "fail", 0}, {30 * s, "pass", 0}, {31 * s, "ok", 0}, {31 * s, "pass", 0}, {31 * s, "pass", 0},
			{32 * s, "fail", 0}, {32 * s, "fail", 0}, {32 * s, "pass", 0}, {32 * s, "fail", 0}, {32 * s, "held", 30 * s}}},
		{"a trial that fails opens it anew", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {0, "fail", 0}, {0, "fail", 0}, {30 * s, "pass", 0}, {31 * s, "fail", 0}, {31 * s, "held", 30 * s}, {61 * s, "pass", 0}, {61 * s, "trial", 30 * s}}},
		{"a trial that nobody ends makes room for another", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {0, "fail", 0}, {0, "fail", 0}, {30 * s, "pass", 0}, {60*s - 1, "trial", 1}, {60 * s, "pass", 0}, {60 * s, "trial", 30 * s}}},
		{"attempts from before it opened count for nothing", BreakerConfig{}, []breakerStep{
			{0, "fail", 0}, {0, "fail", 0}, {0, "fail", 0}, {10 * s, "fail", 0}, {10 * s, "held", 20 * s}, {11 * s, "ok", 0}, {11 * s, "held", 19 * s}, {30 * s, "pass", 0}}},
		{"a clock that steps back", BreakerConfig{}, []breakerStep{
			{50 * s, "fail", 0}, {10 * s, "fail", 0}, {-400 * 24 * time.Hour, "fail", 0}, {0, "held", 80 * s}, {80 * s, "pass", 0}}},
		{"other numbers", BreakerConfig{Failures: 1, ErrorRate: 0.5, Window: 6 * s, OpenFor: s}, []breakerStep{
			{0, "ok", 0}, {0, "ok", 0}, {0, "fail", 0}, {0, "pass", 0}, {0, "fail", 0}, {0, "held", s}}},
		{"numbers that make no sense", BreakerConfig{Failures: -1, ErrorRate: math.NaN(), Window: 5, OpenFor: -1, Targets: -1}, []breakerStep{
			{0, "fail", 0}, {0, "fail", 0}, {0, "pass", 0}, {0, "fail", 0}, {0, "held", 30 * s}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBreaker[string](tt.cfg)
			for i, step := range tt.steps {
				now := breakerEpoch.Add(step.at)
				if step.do == "ok" || step.do == "fail" {
					b.Report(now, "turn.example.org", step.do == "ok")
					continue
				}
				err := b.Allow(now, "turn.example.org")
				var open *CircuitOpenError
				switch got := errors.As(err, &open); {
				case step.do == "pass" && err != nil:
					t.Fatalf("step %d at %v: %v, want it let through", i, step.at, err)
				case step.do == "pass":
				case !got:
					t.Fatalf("step %d at %v: %v, want a circuit that is open", i, step.at, err)
				case !open.Until.Equal(now.Add(step.left)) || open.Trial != (step.do == "trial") || open.Target != "turn.example.org":
					t.Fatalf("step %d at %v: %+v, want %s for %v", i, step.at, *open, step.do, step.left)
				}
			}
		})
	}
}

func TestCircuitOpenErrorSaysWhatAndWhen(t *testing.T) {
	target := netip.MustParseAddrPort("192.0.2.1:3478")
	b := NewBreaker[netip.AddrPort](BreakerConfig{})
	for range 3 {
		b.Report(breakerEpoch, target, false)
	}
	err := fmt.Errorf("dialling: %w", b.Allow(breakerEpoch, target))
	if !errors.Is(err, ErrCircuitOpen) {
		t.Errorf("%v is not ErrCircuitOpen", err)
	}
	if err := b.Allow(breakerEpoch, netip.MustParseAddrPort("192.0.2.1:3479")); err != nil {
		t.Errorf("another port: %v", err)
	}
	trial := &CircuitOpenError{Target: target, Until: breakerEpoch, Trial: true}
	for text, words := range map[string][]string{
		err.Error():   {"192.0.2.1:3478", "03:04:35", "circuit open", "use another"},
		trial.Error(): {"192.0.2.1:3478", "03:04:05", "trial"},
	} {
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("%q does not say %q", text, word)
			}
		}
	}
}

func TestBreakerForgets(t *testing.T) {
	b := NewBreaker[int](BreakerConfig{Targets: 4})
	at := func(sec int) time.Time { return breakerEpoch.Add(time.Duration(sec) * time.Second) }
	fail := func(sec, target, times int) {
		for range times {
			b.Report(at(sec), target, false)
		}
	}
	holds := func(sec, target int) bool { return b.Allow(at(sec), target) != nil }

	fail(0, 1, 3) // open
	fail(1, 2, 2)
	fail(2, 3, 3) // open
	fail(3, 4, 2)
	b.Report(at(4), 2, true)
	fail(5, 2, 2)  // 2 is now later than 4
	fail(6, 5, 1)  // forgets 4, the closed one without an outcome the longest
	fail(7, 4, 1)  // forgets 2
	fail(7, 2, 1)  // forgets 5
	fail(8, 2, 1)  // two in a row since it was forgotten
	fail(8, 99, 1) // forgets 4
	if holds(8, 2) || holds(8, 4) || holds(8, 5) {
		t.Error("a target that was forgotten is held back")
	}
	if !holds(8, 1) || !holds(8, 3) {
		t.Error("an open circuit was forgotten before a closed one")
	}
	fail(8, 2, 1)
	fail(8, 99, 2)
	fail(9, 6, 1) // all are open: forgets 1
	if holds(9, 1) || !holds(9, 2) || !holds(9, 3) || !holds(9, 99) {
		t.Error("with all circuits open, another one than the first was forgotten")
	}
	// 3 opened at 2 s: nobody asks for it after 32 s, and it gives way like a closed one.
	fail(33, 6, 1)
	fail(33, 7, 1)
	if b.circuits[3] != nil || b.circuits[6] == nil {
		t.Error("a circuit whose time is up keeps its place before one that is in use")
	}
	for target := range 100000 {
		b.Report(at(34), target, target%2 == 0)
		if err := b.Allow(at(34), -target); err != nil && target > 100 {
			t.Fatal(err)
		}
	}
	if len(b.circuits) > 4 {
		t.Errorf("%d targets, want at most 4", len(b.circuits))
	}
}

// A breakerModel says what a breaker should do, from all that ever happened.
type breakerModel struct {
	cfg      BreakerConfig
	begin    time.Time
	outcomes map[int][]outcome
	until    map[int]time.Time
	trial    map[int]bool
}

type outcome struct {
	at time.Time
	ok bool
}

func (m *breakerModel) allow(now time.Time, target int) (ok bool, until time.Time, trial bool) {
	until, open := m.until[target]
	switch {
	case !open:
		return true, time.Time{}, false
	case now.Before(until):
		return false, until, m.trial[target]
	}
	m.until[target], m.trial[target] = now.Add(m.cfg.OpenFor), true
	return true, time.Time{}, false
}

func (m *breakerModel) report(now time.Time, target int, ok bool) {
	_, open := m.until[target]
	switch {
	case open && !m.trial[target]:
		return
	case open && !ok:
		m.until[target], m.trial[target] = now.Add(m.cfg.OpenFor), false
		return
	case open:
		delete(m.until, target)
		delete(m.trial, target)
		m.outcomes[target] = nil
	}
	m.outcomes[target] = append(m.outcomes[target], outcome{now, ok})
	all := m.outcomes[target]
	step := m.cfg.Window / 6
	from := m.begin.Add(now.Sub(m.begin).Truncate(step) - 5*step) // the five sixths before the present one
	row, bad, total := 0, 0, 0
	for i := len(all) - 1; i >= 0 && !all[i].at.Before(from); i-- {
		total++
		if !all[i].ok {
			bad++
		}
	}
	// In a row: back to a success, or to a time when the window held nothing else.
	for i := len(all) - 1; i >= 0 && !all[i].ok; i-- {
		row++
		if i > 0 && all[i-1].at.Before(m.begin.Add(all[i].at.Sub(m.begin).Truncate(step)-5*step)) {
			break
		}
	}
	if row >= m.cfg.Failures && float64(bad)/float64(total) >= m.cfg.ErrorRate {
		m.until[target] = now.Add(m.cfg.OpenFor)
	}
}

func TestBreakerAgainstModel(t *testing.T) {
	opened, trials := 0, 0
	for seed := range *breakerSeeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := BreakerConfig{
			Failures:  1 + rng.IntN(5),
			ErrorRate: float64(1+rng.IntN(10)) / 10,
			Window:    time.Duration(1+rng.IntN(60)) * 6 * time.Second,
			OpenFor:   time.Duration(1+rng.IntN(60)) * time.Second,
		}
		b := NewBreaker[int](cfg)
		now := breakerEpoch
		if err := b.Allow(now, -1); err != nil { // the steps of windows are counted from here
			t.Fatal(err)
		}
		m := &breakerModel{cfg, now, map[int][]outcome{}, map[int]time.Time{}, map[int]bool{}}
		failing := rng.Float64()
		for step := range 2000 {
			switch rng.IntN(10) {
			case 0: // somewhere within the window, also at the borders of its steps
				now = now.Add(time.Duration(rng.IntN(7)) * cfg.Window / 6)
			case 1:
				now = now.Add(time.Duration(rng.Int64N(int64(cfg.OpenFor))))
			}
			target := rng.IntN(3)
			if rng.IntN(2) == 0 {
				ok := rng.Float64() > failing
				b.Report(now, target, ok)
				m.report(now, target, ok)
				continue
			}
			err := b.Allow(now, target)
			ok, until, trial := m.allow(now, target)
			var open *CircuitOpenError
			if errors.As(err, &open) {
				opened++
				if open.Trial {
					trials++
				}
			}
			if ok != (err == nil) || open != nil && (!open.Until.Equal(until) || open.Trial != trial) {
				t.Fatalf("seed %d, step %d, %+v: %v; the model says %v, until %v, trial %v", seed, step, cfg, err, ok, until, trial)
			}
		}
	}
	if opened == 0 || trials == 0 {
		t.Errorf("held back %d times, %d for a trial; want histories that see both", opened, trials)
	}
}

func BenchmarkBreaker(b *testing.B) {
	b.Run("allow and report", func(b *testing.B) {
		br := NewBreaker[netip.AddrPort](BreakerConfig{})
		target := netip.MustParseAddrPort("192.0.2.1:3478")
		b.ReportAllocs()
		for b.Loop() {
			if br.Allow(breakerEpoch, target) == nil {
				br.Report(breakerEpoch, target, true)
			}
		}
	})
	b.Run("a new target each time", func(b *testing.B) {
		br := NewBreaker[int](BreakerConfig{})
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			br.Report(breakerEpoch, i, false)
		}
	})
}
