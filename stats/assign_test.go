package stats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newAssigner(t *testing.T, cfg AssignerConfig) *Assigner {
	t.Helper()
	a, err := NewAssigner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func assign(t *testing.T, a *Assigner, peer string) Assignment {
	t.Helper()
	got, err := a.Assign(t.Context(), peer)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Of all sessions of all pairs of some peers, begun by either side and told by both, one a
// pair and day counts, and both ends are in the arm of the hash.
func TestAssignOnceAPairAndDay(t *testing.T) {
	c := newHandClock()
	x := lanes()
	names := []string{"alice", "bob", "carol", "dave"}
	var all []*Assigner
	for _, name := range names {
		all = append(all, newAssigner(t, AssignerConfig{Experiment: x, Self: name, Now: c.now}))
	}
	const days, times = 3, 4
	counted := map[string]int{}
	for range days {
		for range times {
			for i, self := range all {
				for j, peer := range names {
					if i == j {
						continue
					}
					got, want := assign(t, self, peer), arm(t, x, names[i], peer)
					if got.Arm != want || got.Err != nil || got.Group != "" && got.Group != "lanes-"+want {
						t.Errorf("%s and %s: %+v, want arm %s", names[i], peer, got, want)
					}
					if got.Group != "" {
						counted[min(names[i], peer)+" "+max(names[i], peer)]++
					}
				}
			}
		}
		c.at = c.at.Add(24 * time.Hour)
	}
	if len(counted) != 6 {
		t.Errorf("of 6 pairs, these count: %v", counted)
	}
	for pair, n := range counted {
		if n != days {
			t.Errorf("%s count %d times on %d days", pair, n, days)
		}
	}
	want := AssignerCounts{Counted: 2 * days, Theirs: 1 * days * times, Repeated: 2 * days * (times - 1)}
	if got := all[1].Counts(); got != want {
		t.Errorf("bob: %+v, want %+v", got, want)
	}
}

// The day is UTC's, wherever the clock is.
func TestAssignDay(t *testing.T) {
	zone := time.FixedZone("", -5*3600)
	c := &handClock{time.Date(2026, 3, 1, 18, 59, 59, 0, zone)} // a second before midnight in UTC
	a := newAssigner(t, AssignerConfig{Experiment: lanes(), Self: "alice", Now: c.now})
	for _, step := range []struct {
		to     time.Time
		counts bool
	}{
		{c.at, true},
		{c.at, false},
		{c.at.Add(time.Second), true},
		{c.at.Add(23 * time.Hour), false}, // past midnight of that zone
		{c.at, false},                     // put back over midnight
		{c.at.Add(2 * time.Second), false},
		{c.at.AddDate(50, 0, 0), true}, // far ahead
		{c.at, true},                   // and set right
		{c.at, false},
		{time.Unix(-1, 0), true}, // before any time of ours
		{time.Unix(0, 0), true},
	} {
		c.at = step.to
		if got := assign(t, a, "bob"); (got.Group != "") != step.counts {
			t.Errorf("at %v: %+v, want that it counts: %v", step.to.UTC(), got, step.counts)
		}
	}
}

// Memory has a bound: there is no room for some pairs on a day of many, and again on the next.
func TestAssignBounded(t *testing.T) {
	c := newHandClock()
	a := newAssigner(t, AssignerConfig{Experiment: lanes(), Self: "alice", MaxPairs: 10, Now: c.now})
	for day := range 2 {
		for round := range 2 {
			for i := range 1000 {
				got := assign(t, a, fmt.Sprint("peer", i))
				if counts := got.Group != ""; counts != (round == 0 && i < 10) || got.Arm == "" {
					t.Fatalf("day %d, round %d, peer %d: %+v", day, round, i, got)
				}
			}
		}
		c.at = c.at.Add(24 * time.Hour)
	}
	if got, want := a.Counts(), (AssignerCounts{Counted: 20, Repeated: 20, NoRoom: 3960}); got != want || len(a.seen) != 10 {
		t.Errorf("%+v, want %+v; %d pairs are remembered", got, want, len(a.seen))
	}
}

// A peer that was not there leaves the day's first session to come; one that records
// nothing leaves the counting to us.
func TestAssignForget(t *testing.T) {
	a := newAssigner(t, AssignerConfig{Experiment: lanes(), Self: "zoe", Alone: true, Now: newHandClock().now})
	first := assign(t, a, "alice")
	a.Forget("bob") // of whom nothing is known
	again := assign(t, a, "alice")
	a.Forget("alice")
	fresh := assign(t, a, "alice")
	if first.Group == "" || again.Group != "" || fresh.Group != first.Group {
		t.Errorf("%+v, %+v, and after Forget %+v", first, again, fresh)
	}
}

// Weights change, and pairs stay with both ends; without a store they would move.
func TestAssignSticky(t *testing.T) {
	c := newHandClock()
	before, after := lanes(), lanes()
	after.Arms = []Arm{{"control", 0}, {"early", 5}, {"late", -1}}
	store := &MemorySticky{Now: c.now}
	moved, stayed := 0, 0
	for i := range 300 {
		peer := fmt.Sprint("peer", i)
		old := assign(t, newAssigner(t, AssignerConfig{Experiment: before, Self: "alice", Sticky: store, TTL: time.Hour, Now: c.now}), peer)
		new := assign(t, newAssigner(t, AssignerConfig{Experiment: after, Self: peer, Sticky: store, TTL: time.Hour, Now: c.now}), "alice")
		if new.Arm != old.Arm || new.Err != nil || old.Err != nil {
			t.Fatalf("%s: %+v, then %+v", peer, old, new)
		}
		if arm(t, after, "alice", peer) != old.Arm {
			moved++
		} else {
			stayed++
		}
	}
	if moved < 100 || stayed < 20 {
		t.Errorf("the new weights move %d and leave %d: no trial", moved, stayed)
	}
	c.at = c.at.Add(time.Hour)
	late := newAssigner(t, AssignerConfig{Experiment: after, Self: "alice", Sticky: store, Now: c.now})
	for i := range 300 {
		peer := fmt.Sprint("peer", i)
		if got := assign(t, late, peer); got.Arm != arm(t, after, "alice", peer) {
			t.Errorf("after its time %s is in %q still", peer, got.Arm)
		}
	}
}

type stickyFunc func(ctx context.Context, key, arm string, ttl time.Duration) (string, error)

func (f stickyFunc) Assign(ctx context.Context, key, arm string, ttl time.Duration) (string, error) {
	return f(ctx, key, arm, ttl)
}

// A store that fails, hangs or tells nonsense stops nothing: the hash decides, the session
// does not count, and it is told why.
func TestAssignStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		for name, store := range map[string]stickyFunc{
			"fails":         func(context.Context, string, string, time.Duration) (string, error) { return "late", broken },
			"no such arm":   func(context.Context, string, string, time.Duration) (string, error) { return "\x00none", nil },
			"tells nothing": func(context.Context, string, string, time.Duration) (string, error) { return "", nil },
			"hangs": func(ctx context.Context, _, _ string, _ time.Duration) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			},
		} {
			works := false
			a := newAssigner(t, AssignerConfig{Experiment: lanes(), Self: "alice", Timeout: time.Second, Sticky: stickyFunc(
				func(ctx context.Context, key, arm string, ttl time.Duration) (string, error) {
					if works {
						return arm, nil
					}
					return store(ctx, key, arm, ttl)
				})})
			began := time.Now()
			got := assign(t, a, "bob")
			var sticky *StickyError
			if got.Arm != arm(t, lanes(), "alice", "bob") || got.Group != "" || !errors.As(got.Err, &sticky) {
				t.Errorf("%s: %+v", name, got)
			}
			if name == "fails" && !errors.Is(got.Err, broken) {
				t.Errorf("the store's error is lost: %v", got.Err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s: took %v", name, took)
			}
			works = true // too late for the pair's first session, in which the arm is not sure
			if got := assign(t, a, "bob"); got.Group != "" || got.Err != nil {
				t.Errorf("%s, then works: %+v", name, got)
			}
			if got, want := a.Counts(), (AssignerCounts{Failed: 1, Repeated: 1}); got != want {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
		}
	})
}

func TestAssignConcurrent(t *testing.T) {
	a := newAssigner(t, AssignerConfig{Experiment: lanes(), Self: "alice", Sticky: new(MemorySticky), Now: newHandClock().now})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 100 {
				if _, err := a.Assign(t.Context(), fmt.Sprint("peer", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got, want := a.Counts(), (AssignerCounts{Counted: 100, Repeated: 700}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAssignerConfig(t *testing.T) {
	for _, test := range []struct {
		field string
		spoil func(c *AssignerConfig)
	}{
		{"", func(c *AssignerConfig) {}},
		{"Experiment.Name", func(c *AssignerConfig) { c.Experiment.Name = "" }},
		{"Self", func(c *AssignerConfig) { c.Self = "" }},
		{"TTL", func(c *AssignerConfig) { c.TTL = -1 }},
		{"TTL", func(c *AssignerConfig) { c.TTL = 367 * 24 * time.Hour }},
		{"Timeout", func(c *AssignerConfig) { c.Timeout = time.Microsecond }},
		{"MaxPairs", func(c *AssignerConfig) { c.MaxPairs = -1 }},
		{"MaxPairs", func(c *AssignerConfig) { c.MaxPairs = 10_000_001 }},
	} {
		cfg := AssignerConfig{Experiment: lanes(), Self: "alice"}
		test.spoil(&cfg)
		_, err := NewAssigner(cfg)
		var wrong *ConfigError
		if errors.As(err, &wrong) != (test.field != "") || wrong != nil && wrong.Field != test.field {
			t.Errorf("%+v: %v, want %q", cfg, err, test.field)
		}
	}
	a := newAssigner(t, AssignerConfig{Experiment: lanes(), Self: "alice"})
	for _, peer := range []string{"", "alice"} {
		if got, err := a.Assign(t.Context(), peer); err == nil || got != (Assignment{}) {
			t.Errorf("a session with %q: %+v", peer, got)
		}
	}
}
