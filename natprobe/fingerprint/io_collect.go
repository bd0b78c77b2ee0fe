package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
)

// Result is what Collect learned of one candidate.
type Result struct {
	Addr     netip.Addr
	Vector   Vector
	Sent     int            // echo requests
	Answered int            // of these
	Masked   [NumDims]error // why a dimension is masked, by Dim; nil where it is known
}

// Collect probes the candidates by ICMP echo, many at a time, and returns a result
// for each, in the order given and without repetitions. TTLDelta and ICMPEchoRate are
// measured; the other dimensions cannot be seen from outside, and are what
// cfg.Observe tells, or masked.
//
// Silence of a candidate counts as an echo rate of 0 only if some other of its
// address family answered: else the silence may be this network's own. Put an
// address that is known to answer among the candidates. Where the system grants no
// ping sockets, both dimensions are masked and the reason is os.ErrPermission.
//
// A candidate that failed is no error. When ctx ends first, the results are what was
// learned until then, and the error wraps ctx's. Something unusable in the arguments
// is a *ConfigError; cfg may be nil. All goroutines have ended on return.
func Collect(ctx context.Context, candidates []netip.Addr, cfg *Config) ([]Result, error) {
	c, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	addrs, err := checkCandidates(candidates)
	if err != nil {
		return nil, err
	}

	results := make([]Result, len(addrs))
	for i, a := range addrs {
		results[i].Addr = a
	}
	var workers sync.WaitGroup
	slots := make(chan struct{}, c.Parallel)
	start := newPacer(c)
	defer start.stop()
	begun := 0
	for begun < len(results) && start.wait(ctx) {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue // to wait, which says so
		}
		r := &results[begun]
		begun++
		workers.Go(func() {
			c.probe(ctx, r)
			<-slots
		})
	}
	workers.Wait()
	for i := range results[begun:] {
		for d := range Dim(NumDims) {
			results[begun+i].Masked[d] = ctx.Err()
		}
	}
	judgeSilence(results)
	if err := ctx.Err(); err != nil {
		if cut := interrupted(results, err); cut > 0 {
			return results, fmt.Errorf("fingerprint: %d of %d candidates were not probed to the end: %w", cut, len(results), err)
		}
	}
	return results, nil
}

// interrupted counts the results that lack a dimension because of err.
func interrupted(results []Result, err error) (n int) {
	for i := range results {
		for _, why := range results[i].Masked {
			if errors.Is(why, err) {
				n++
				break
			}
		}
	}
	return n
}

// judgeSilence masks an echo rate of 0 where nothing shows that answers could have
// come.
func judgeSilence(results []Result) {
	var heard [2]bool // IPv4, IPv6
	family := func(r *Result) int {
		if r.Addr.Is4() {
			return 0
		}
		return 1
	}
	for i := range results {
		if results[i].Answered > 0 {
			heard[family(&results[i])] = true
		}
	}
	for i := range results {
		r := &results[i]
		if rate, ok := r.Vector.Get(ICMPEchoRate); ok && rate == 0 && r.Sent > 0 && !heard[family(r)] {
			r.Vector.Mask(ICMPEchoRate)
			r.Masked[ICMPEchoRate] = ErrNoControl
		}
	}
}

// probe fills in r, within the cap for one candidate.
func (c *Config) probe(parent context.Context, r *Result) {
	ctx, cancel := context.WithTimeout(parent, c.Timeout)
	defer cancel()

	var observed Vector
	why := ErrNotObserved
	var observer sync.WaitGroup
	if c.Observe != nil {
		observer.Go(func() {
			v, err := c.Observe(ctx, r.Addr)
			if observed = v; err != nil {
				observed, why = Vector{}, err
			}
		})
	}
	run := echoRun{requests: c.Requests, gap: c.Gap, deadline: time.Now().Add(c.Timeout)}
	err := c.echo(ctx, r.Addr, &run)
	if ended := parent.Err(); ended != nil && run.answered < c.Requests {
		err = ended
	}
	observer.Wait()
	if err == nil && len(run.sent) == 0 {
		err = fmt.Errorf("fingerprint: opening the way to %v took all of %v: %w", r.Addr, c.Timeout, context.DeadlineExceeded)
	}

	r.Sent, r.Answered = len(run.sent), run.answered
	if delta, ok := run.ttlDelta(); ok {
		r.set(TTLDelta, delta)
	} else if err != nil {
		r.Masked[TTLDelta] = err
	} else if run.answered > 0 {
		r.Masked[TTLDelta] = ErrNoTTL
	} else {
		r.Masked[TTLDelta] = ErrNoAnswer
	}
	if rate, ok := run.rate(); ok && err == nil {
		r.set(ICMPEchoRate, rate)
	} else {
		r.Masked[ICMPEchoRate] = err
	}
	r.Vector.Merge(observed)
	for d := range Dim(NumDims) {
		if _, ok := r.Vector.Get(d); ok {
			r.Masked[d] = nil
		} else if r.Masked[d] == nil {
			r.Masked[d] = why
		}
	}
}

func (r *Result) set(d Dim, x float64) {
	if err := r.Vector.Set(d, x); err != nil {
		r.Masked[d] = err
	}
}

// echo runs run over a socket of its own.
func (c *Config) echo(ctx context.Context, addr netip.Addr, run *echoRun) error {
	conn, err := c.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // wakes Receive
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	for {
		now := time.Now()
		seq, due, wake, done := run.next(now)
		if done {
			return nil
		}
		if due {
			if err := conn.Send(seq); err != nil { // it did not leave, so nobody was silent
				return fmt.Errorf("fingerprint: echo request to %v: %w", addr, err)
			}
			run.requested(now)
			continue
		}
		if err := conn.SetReadDeadline(wake); err != nil {
			return fmt.Errorf("fingerprint: read deadline towards %v: %w", addr, err)
		}
		if ctx.Err() != nil { // looked at after the deadline was set: from here on it wakes Receive
			return nil // the caller knows whether that is the cap or the caller's own end
		}
		seq, ttl, err := conn.Receive()
		switch {
		case err == nil:
			run.replied(time.Now(), seq, ttl)
		case !errors.Is(err, os.ErrDeadlineExceeded) && !netio.IsTransient(err):
			return fmt.Errorf("fingerprint: echo reply of %v: %w", addr, err)
		}
	}
}

// pacer spaces the starts of probes, so that their requests keep to the rate.
type pacer struct {
	space time.Duration
	next  time.Time
	timer *time.Timer
}

func newPacer(c Config) *pacer {
	p := &pacer{timer: time.NewTimer(0)}
	if c.RequestsPerSecond > 0 {
		p.space = time.Duration(c.Requests) * time.Second / time.Duration(c.RequestsPerSecond)
	}
	return p
}

// wait returns when the next probe may start; false when ctx ended.
func (p *pacer) wait(ctx context.Context) bool {
	p.timer.Reset(time.Until(p.next))
	select {
	case <-ctx.Done():
		return false
	case <-p.timer.C:
	}
	p.next = time.Now().Add(p.space)
	return ctx.Err() == nil
}

func (p *pacer) stop() { p.timer.Stop() }
