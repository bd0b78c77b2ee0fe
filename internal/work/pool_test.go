package work

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoolRunsAtMostWorkersAtOnceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Workers: 3, Queue: 20})
		var mu sync.Mutex
		var order []int
		now, most := 0, 0
		began := time.Now()
		for i := range 23 {
			err := p.Submit(t.Context(), func(context.Context) {
				mu.Lock()
				now++
				most = max(most, now)
				order = append(order, i)
				mu.Unlock()
				// Staggered, so that workers come free one after another and the
				// order in which they take work shows.
				time.Sleep(time.Second + time.Duration(i%3)*time.Millisecond)
				mu.Lock()
				now--
				mu.Unlock()
			})
			if err != nil {
				t.Fatalf("submission %d: %v", i, err)
			}
			synctest.Wait()
		}
		p.ended.Wait()
		took := time.Since(began).Round(time.Second)
		if most != 3 {
			t.Errorf("%d pieces of work at once, want 3", most)
		}
		if len(order) != 23 || !slices.IsSorted(order) {
			t.Errorf("called in the order %v, want 0 to 22", order)
		}
		if took != 8*time.Second {
			t.Errorf("23 seconds of work by 3 workers took %v, want 8 s", took)
		}
	})
}

func TestPoolRefusesWhatItCannotHold(t *testing.T) {
	tests := []struct {
		name   string
		cfg    PoolConfig
		want   int // accepted before the first refusal
		queued int
	}{
		{"zero value", PoolConfig{}, 2*runtime.GOMAXPROCS(0) + 1000, 1000},
		{"both given", PoolConfig{Workers: 2, Queue: 5}, 7, 5},
		{"no queue", PoolConfig{Workers: 4, Queue: -1}, 4, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPool(tt.cfg)
				defer p.Close()
				release := make(chan struct{})
				var called atomic.Int32
				work := func(context.Context) { <-release; called.Add(1) }
				accepted := 0
				var full *PoolFullError
				for {
					err := p.Submit(t.Context(), work)
					if errors.As(err, &full) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					accepted++
				}
				if accepted != tt.want || full.Queue != tt.queued || full.Workers != tt.want-tt.queued {
					t.Errorf("refused after %d with %+v, want %d with a queue of %d", accepted, *full, tt.want, tt.queued)
				}
				for _, word := range []string{"full", "try again later"} {
					if !strings.Contains(full.Error(), word) {
						t.Errorf("%q does not say %q", full, word)
					}
				}
				close(release)
				synctest.Wait()
				if int(called.Load()) != accepted {
					t.Errorf("called %d of %d", called.Load(), accepted)
				}
				if err := p.Submit(t.Context(), work); err != nil {
					t.Errorf("an emptied pool refuses: %v", err)
				}
			})
		})
	}
}

// The bubble fails if a goroutine is left, and nobody calls Close.
func TestPoolHasNoGoroutineWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Workers: 4})
		for range 100 {
			if err := p.Submit(t.Context(), func(context.Context) { time.Sleep(time.Second) }); err != nil {
				t.Fatal(err)
			}
		}
		p.ended.Wait()
		if p.busy != 0 || len(p.running) != 0 || p.waiting != nil {
			t.Errorf("idle with %d workers, %d running, %d waiting", p.busy, len(p.running), len(p.waiting))
		}
	})
}

func TestPoolSubmittersCostNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Workers: 2})
		before := runtime.NumGoroutine()
		for range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if err := p.Submit(ctx, func(ctx context.Context) { <-ctx.Done() }); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if more := runtime.NumGoroutine() - before; more > 2 {
			t.Errorf("500 submissions to 2 workers cost %d goroutines", more)
		}
		p.Close()
	})
}

func TestPoolCloseEndsEverythingFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Workers: 2, Queue: 3})
		var causes []error
		var mu sync.Mutex
		work := func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second) // ends a while after it was told to
			mu.Lock()
			defer mu.Unlock()
			causes = append(causes, context.Cause(ctx))
		}
		for range 5 {
			if err := p.Submit(t.Context(), work); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		closing := make(chan int, 2)
		for range 2 { // a second Close waits as well
			go func() {
				p.Close()
				mu.Lock()
				defer mu.Unlock()
				closing <- len(causes)
			}()
		}
		for range 2 {
			if n := <-closing; n != 5 {
				t.Errorf("Close returned after %d of 5 pieces of work had ended", n)
			}
		}
		for _, cause := range causes {
			if !errors.Is(cause, ErrPoolClosed) {
				t.Errorf("cause %v, want %v", cause, ErrPoolClosed)
			}
		}
		if err := p.Submit(t.Context(), work); !errors.Is(err, ErrPoolClosed) {
			t.Errorf("after Close: %v, want %v", err, ErrPoolClosed)
		}
	})
}

func TestPoolContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Workers: 1})
		defer p.Close()
		why := errors.New("the peer has left")
		type key struct{}

		running, endRunning := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		var got []error
		var value any
		if err := p.Submit(running, func(ctx context.Context) {
			value = ctx.Value(key{})
			<-ctx.Done()
			got = append(got, context.Cause(ctx))
		}); err != nil {
			t.Fatal(err)
		}
		waiting, endWaiting := context.WithCancelCause(t.Context())
		if err := p.Submit(waiting, func(ctx context.Context) { got = append(got, context.Cause(ctx)) }); err != nil {
			t.Fatal(err)
		}
		endWaiting(why) // while it waits: called all the same, when the worker is free
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("called beside the only worker: %v", got)
		}
		endRunning(why)
		synctest.Wait()
		if len(got) != 2 || got[0] != why || got[1] != why || value != "value" {
			t.Errorf("causes %v, value %v; want the submitter's twice, and its value", got, value)
		}
		if err := p.Submit(waiting, func(context.Context) { t.Error("called with a context that was done before") }); err != why {
			t.Errorf("a context that is done: %v, want its cause", err)
		}
		var none context.Context
		if err := p.Submit(none, func(context.Context) {}); err == nil || !strings.Contains(err.Error(), "nil") {
			t.Errorf("nil context: %v", err)
		}
		if err := p.Submit(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "nil") {
			t.Errorf("nil function: %v", err)
		}
		synctest.Wait()
	})
}

// Work that ends its goroutine must not take a worker from those that wait.
func TestPoolOutlivesGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(PoolConfig{Workers: 1, Queue: 10})
		called := 0
		for range 11 {
			if err := p.Submit(t.Context(), func(context.Context) { called++; runtime.Goexit() }); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if called != 11 {
			t.Errorf("called %d of 11", called)
		}
		p.Close()
	})
}

// TestPoolLetsPanicsThrough runs itself in a process that a panic may end.
func TestPoolLetsPanicsThrough(t *testing.T) {
	const flag = "BRADAWL_TEST_POOL_PANIC"
	if os.Getenv(flag) != "" {
		p := NewPool(PoolConfig{})
		_ = p.Submit(t.Context(), func(context.Context) { panic("a bug in the work") })
		<-t.Context().Done() // not before the time is up that the parent gives
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program, "-test.run=^TestPoolLetsPanicsThrough$", "-test.timeout=20s")
	child.Env = append(os.Environ(), flag+"=1")
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: a bug in the work") {
		t.Errorf("error %v, output:\n%s\nwant a process that the panic ended", err, out)
	}
}

func TestPoolUnderLoad(t *testing.T) {
	p := NewPool(PoolConfig{Workers: 4, Queue: 16})
	var accepted, called atomic.Int64
	var submitters sync.WaitGroup
	for range 8 {
		submitters.Go(func() {
			for range 2000 {
				err := p.Submit(t.Context(), func(context.Context) { called.Add(1) })
				var full *PoolFullError
				switch {
				case err == nil:
					if accepted.Add(1) == 2000 {
						submitters.Go(p.Close)
					}
				case errors.As(err, &full):
					runtime.Gosched()
				case errors.Is(err, ErrPoolClosed):
					return
				default:
					t.Error(err)
				}
			}
		})
	}
	submitters.Wait()
	p.Close()
	if accepted.Load() != called.Load() {
		t.Errorf("called %d of %d that were accepted", called.Load(), accepted.Load())
	}
}
