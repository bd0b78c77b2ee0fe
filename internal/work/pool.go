package work

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// PoolConfig bounds a [Pool]. The zero value works.
type PoolConfig struct {
	// Workers is how many pieces of work run at once. Default: 2 x CPUs, as
	// runtime.GOMAXPROCS counts them.
	Workers int
	// Queue is how many more may wait. Default: 1000; negative: none.
	Queue int
}

const defaultPoolQueue = 1000

// ErrPoolClosed is what Submit returns after Close, and the cause (context.Cause) by
// which the contexts of work end that is under way when a pool closes.
var ErrPoolClosed = errors.New("work: the pool is closed")

// PoolFullError says that a pool took no more work: all workers are busy, and the
// queue is full.
type PoolFullError struct {
	Workers int // how many run at once
	Queue   int // how many wait
}

// Error names the bounds and the remedy.
func (e *PoolFullError) Error() string {
	return fmt.Sprintf("work: the pool is full: %d at work and %d waiting; try again later", e.Workers, e.Queue)
}

// Pool runs what must block, such as dialling, resolving a name or asking a relay for an
// address, on few goroutines, whoever and however many submit. A worker is started when
// there is work and none is free, and ends when none waits, so that an idle pool has no
// goroutine.
//
// All methods are safe for use by several goroutines.
type Pool struct {
	workers int
	limit   int // of waiting

	mu      sync.Mutex
	waiting []poolWork
	busy    int                                   // workers
	running map[*poolWork]context.CancelCauseFunc // the work under way, and what ends it
	closed  bool
	ended   sync.WaitGroup // counts busy
}

type poolWork struct {
	ctx context.Context
	run func(context.Context)
}

// NewPool returns a pool. It needs no start; Close ends it.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.Workers <= 0 {
		cfg.Workers = 2 * runtime.GOMAXPROCS(0)
	}
	switch {
	case cfg.Queue == 0:
		cfg.Queue = defaultPoolQueue
	case cfg.Queue < 0:
		cfg.Queue = 0
	}
	return &Pool{workers: cfg.Workers, limit: cfg.Queue, running: map[*poolWork]context.CancelCauseFunc{}}
}

// Submit has a worker call work, in the order in which work was submitted, and returns
// without waiting for it. What it accepted is called exactly once, with a context that
// ends with ctx and with the pool; where one of the two has ended before a worker was
// free, work is called all the same, with a context that is done, so that whoever waits
// for it hears of it. Work must return soon after its context is done. A panic in work
// is not caught.
//
// The error is a *[PoolFullError], [ErrPoolClosed], the cause of ctx if it is done
// already, or says that an argument is nil. Then work is not called.
func (p *Pool) Submit(ctx context.Context, work func(context.Context)) error {
	if ctx == nil || work == nil {
		return errors.New("work: Pool.Submit: nil context or function; give it both")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrPoolClosed
	case p.busy < p.workers:
		p.start(poolWork{ctx, work})
	case len(p.waiting) < p.limit:
		p.waiting = append(p.waiting, poolWork{ctx, work})
	default:
		return &PoolFullError{Workers: p.workers, Queue: p.limit}
	}
	return nil
}

// start has a new worker begin with w. The pool is locked.
func (p *Pool) start(w poolWork) {
	p.busy++
	p.ended.Add(1)
	go p.worker(w)
}

// worker calls w and then what waits, until nothing does.
func (p *Pool) worker(w poolWork) {
	defer p.ended.Done()
	for next := true; next; {
		p.call(w)
		p.mu.Lock()
		w, next = p.next()
		p.mu.Unlock()
	}
}

// next takes what waits for a worker, which ends if there is nothing. The pool is locked.
func (p *Pool) next() (poolWork, bool) {
	if len(p.waiting) == 0 {
		p.waiting = nil // its array, which appending and taking have moved along
		p.busy--
		return poolWork{}, false
	}
	w := p.waiting[0]
	p.waiting[0] = poolWork{}
	p.waiting = p.waiting[1:]
	return w, true
}

// call runs one piece of work with a context that Close can end.
func (p *Pool) call(w poolWork) {
	ctx, cancel := context.WithCancelCause(w.ctx)
	p.mu.Lock()
	if p.closed {
		cancel(ErrPoolClosed)
	}
	p.running[&w] = cancel
	p.mu.Unlock()

	returned := false
	defer func() {
		cancel(nil)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.running, &w)
		if returned {
			return
		}
		// It ended its goroutine (runtime.Goexit, as a test's FailNow does): another
		// worker goes on for this one.
		if next, ok := p.next(); ok {
			p.busy--
			p.start(next)
		}
	}()
	w.run(ctx)
	returned = true
}

// Close ends the contexts of all work, has what waits called with a context that is
// done, and returns after the last worker has ended. It must not be called by work. A
// second Close waits too and does nothing else.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for _, cancel := range p.running {
		cancel(ErrPoolClosed)
	}
	p.mu.Unlock()
	p.ended.Wait()
}
