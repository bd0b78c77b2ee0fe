package stats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// handClock is a clock that tests turn. It is not for concurrent use.
type handClock struct{ at time.Time }

func (c *handClock) now() time.Time { return c.at }

func newHandClock() *handClock { return &handClock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func stick(t *testing.T, s Sticky, key, arm string, ttl time.Duration) string {
	t.Helper()
	got, err := s.Assign(t.Context(), key, arm, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// What was stored first stays, for as long as was said then.
func TestMemorySticky(t *testing.T) {
	c := newHandClock()
	m := &MemorySticky{Now: c.now}
	want := func(arm, got string) {
		t.Helper()
		if got != arm {
			t.Errorf("%q, want %q", got, arm)
		}
	}
	want("a", stick(t, m, "pair", "a", time.Hour))
	want("b", stick(t, m, "other pair", "b", 2*time.Hour))
	want("a", stick(t, m, "pair", "b", time.Hour))
	c.at = c.at.Add(time.Hour - 1)
	want("a", stick(t, m, "pair", "b", time.Hour)) // which lengthens nothing
	c.at = c.at.Add(1)
	want("b", stick(t, m, "pair", "b", time.Hour))
	want("b", stick(t, m, "other pair", "a", time.Hour))
}

// Of too many pairs those go first whose time ends soonest, and no more is kept.
func TestMemoryStickyBounded(t *testing.T) {
	c := newHandClock()
	m := &MemorySticky{Most: 100, Now: c.now}
	stick(t, m, "long", "a", 1000*time.Hour)
	for i := range 10_000 {
		c.at = c.at.Add(time.Second)
		stick(t, m, fmt.Sprint(i), "a", time.Hour)
		if len(m.arms) > 100 || len(m.arms) != len(m.expiry) {
			t.Fatalf("%d arms, %d times are kept", len(m.arms), len(m.expiry))
		}
	}
	if got := stick(t, m, "long", "b", time.Hour); got != "a" {
		t.Errorf("what was to be kept longest is %q", got)
	}
	if got := stick(t, m, "9999", "b", time.Hour); got != "a" {
		t.Errorf("the last one is %q", got)
	}
	if got := stick(t, m, "9000", "b", time.Hour); got != "b" {
		t.Errorf("one of long ago is still there, as %q", got)
	}
}

func TestMemoryStickyRefuses(t *testing.T) {
	m := new(MemorySticky)
	if got, err := m.Assign(t.Context(), "pair", "a", 0); err == nil {
		t.Errorf("kept %q for no time", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := m.Assign(ctx, "pair", "a", time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%q, %v with an ended context", got, err)
	}
	if got := stick(t, m, "pair", "b", time.Hour); got != "b" {
		t.Errorf("what was refused has been kept: %q", got)
	}
}

// All who ask at once get the same.
func TestMemoryStickyConcurrent(t *testing.T) {
	m := new(MemorySticky)
	var all sync.WaitGroup
	got := make([]string, 64)
	for i := range got {
		all.Go(func() { got[i], _ = m.Assign(t.Context(), "pair", fmt.Sprint(i), time.Hour) })
	}
	all.Wait()
	for i := range got {
		if got[i] != got[0] || got[i] == "" {
			t.Fatalf("arms %q", got)
		}
	}
}
