package feed_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/feed"
)

var errOver = errors.New("over")

// take takes what waits.
func take(t *testing.T, f *feed.Feed[int]) (all []int, missed int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		e, n, err := f.Next(ctx, errOver)
		if err != nil {
			return all, missed
		}
		all, missed = append(all, e), missed+n
	}
}

func TestTheLastEventsWait(t *testing.T) {
	f := feed.New[int](3)
	for i := range 5 {
		f.Push(i)
	}
	if e, missed, err := f.Next(t.Context(), errOver); e != 2 || missed != 2 || err != nil {
		t.Fatalf("%d after %d, %v; want 2 after 2", e, missed, err)
	}
	f.Push(5)
	if all, missed := take(t, f); len(all) != 3 || all[0] != 3 || all[2] != 5 || missed != 0 {
		t.Fatalf("%v after %d missed, want 3 to 5", all, missed)
	}
	for i := range 4 {
		f.Push(i)
	}
	if all, missed := take(t, f); len(all) != 3 || all[0] != 1 || missed != 1 {
		t.Fatalf("%v after %d missed, want 1 to 3 after 1", all, missed)
	}
}

func TestWhatWaitsOutlivesClose(t *testing.T) {
	f := feed.New[int](3)
	f.Push(1)
	f.Close()
	f.Push(2)
	if e, _, err := f.Next(t.Context(), errOver); e != 1 || err != nil {
		t.Fatalf("%d, %v; want 1", e, err)
	}
	for range 2 {
		if e, _, err := f.Next(t.Context(), errOver); err != errOver {
			t.Fatalf("%d, %v; want %v", e, err, errOver)
		}
	}
	f.Close()
}

func TestNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			what string
			do   func(f *feed.Feed[int], cancel func(error))
			want error
		}{
			{"an event", func(f *feed.Feed[int], _ func(error)) { f.Push(7) }, nil},
			{"the end", func(f *feed.Feed[int], _ func(error)) { f.Close() }, errOver},
			{"its context", func(_ *feed.Feed[int], cancel func(error)) { cancel(errors.ErrUnsupported) }, errors.ErrUnsupported},
		} {
			f := feed.New[int](1)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { c.do(f, cancel) })
			began := time.Now()
			if _, _, err := f.Next(ctx, errOver); err != c.want || time.Since(began) != time.Second {
				t.Errorf("%s: %v after %v, want %v", c.what, err, time.Since(began), c.want)
			}
			cancel(nil)
		}
	})
}

// Whoever asks for Changed before it looks misses no change, and many can wait for one.
func TestChanged(t *testing.T) {
	f := feed.New[int](1)
	first := f.Changed()
	select {
	case <-first:
		t.Fatal("nothing has changed")
	default:
	}
	f.Push(1)
	<-first
	second, same := f.Changed(), f.Changed()
	f.Push(2)
	<-second
	<-same
	third := f.Changed()
	f.Close()
	<-third
}

// Each event is taken once, in order for each who takes, or counted as missed.
func TestManyTakeAndTell(t *testing.T) {
	f := feed.New[int](16)
	const tellers, each, takers = 4, 500, 4
	var mu sync.Mutex
	seen, lost := map[int]int{}, 0
	var told, taken sync.WaitGroup
	for range takers {
		taken.Go(func() {
			var last [tellers]int // of each teller, counted from 1
			for {
				e, missed, err := f.Next(t.Context(), errOver)
				if err != nil {
					return
				}
				if teller, n := e/each, e%each+1; n <= last[teller] {
					t.Errorf("event %d of teller %d comes after %d", n, teller, last[teller])
				} else {
					last[teller] = n
				}
				mu.Lock()
				seen[e]++
				lost += missed
				mu.Unlock()
			}
		})
	}
	for i := range tellers {
		told.Go(func() {
			for n := range each {
				f.Push(i*each + n)
			}
		})
	}
	told.Wait()
	f.Close()
	taken.Wait()
	for e, n := range seen {
		if n != 1 {
			t.Errorf("event %d was taken %d times", e, n)
		}
	}
	if len(seen)+lost != tellers*each {
		t.Errorf("%d taken and %d missed of %d", len(seen), lost, tellers*each)
	}
}

func TestEventsCostLittle(t *testing.T) {
	f := feed.New[int](4)
	for i := range 4 {
		f.Push(i)
	}
	if n := testing.AllocsPerRun(1000, func() { f.Push(1) }); n >= 1 {
		t.Errorf("%v allocations for an event that nobody waits for", n)
	}
}
