package work_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/internal/work"
)

// A pool dials, and a breaker says whom not to dial again.
func Example_work() {
	pool := work.NewPool(work.PoolConfig{})
	breaker := work.NewBreaker[string](work.BreakerConfig{})
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	dial := func(context.Context) error { return errors.New("connection refused") }

	const target = "turn.example.org:3478"
	results := make(chan error)
	for range 4 {
		if err := breaker.Allow(now, target); err != nil {
			fmt.Println(err)
			break
		}
		err := pool.Submit(context.Background(), func(ctx context.Context) { results <- dial(ctx) })
		if err != nil {
			fmt.Println(err) // the pool is full or closed
			break
		}
		now = now.Add(time.Second)
		breaker.Report(now, target, <-results == nil)
	}
	pool.Close()
	// Output: turn.example.org:3478: circuit open until 12:00:33.000: it kept failing; use another target until then
}
