package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
)

const (
	access    = 20 * time.Millisecond // between each peer and the internet, one way
	roundTrip = 4 * access            // between the peers
	dialLimit = 10 * time.Second      // for the first path
	// believe is how long a connection must have called itself impossible to make direct
	// until it is believed.
	believe = time.Second
	// typical is what a connection takes with all around it, on average and roughly.
	typical = 4500 * time.Millisecond
)

// job is one connection to try.
type job struct {
	pair [2]string
	run  int
}

// jobs are those of all pairs, the first run of each before the second of any, so that what
// there is after an interruption is of all kinds.
func (o options) jobs() []job {
	var all []job
	for run := range o.runs {
		for i, a := range o.nats {
			for _, b := range o.nats[i:] {
				all = append(all, job{[2]string{a, b}, run})
			}
		}
	}
	return all
}

// seed is a job's own: what else is measured does not change it.
func (j job) seed(base uint64) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, base, j.pair, j.run)
	return h.Sum64()
}

// outcome is what became of one connection.
type outcome struct {
	job
	usable  time.Duration // from the dial to the first path; 0: there was none
	direct  time.Duration // from the dial to the first direct path; 0: there was none
	way     string        // of that: see wayOf
	packets [2]int        // that each peer sent from the dial on, but to the rendezvous
	why     string        // it is not direct
	took    time.Duration // with all around it

	err         error // it could not be tried
	interrupted bool
}

// sweep runs the jobs, so many at a time, until ctx ends.
func sweep(ctx context.Context, o options, jobs []job, results chan<- outcome) {
	next := make(chan job)
	var wg sync.WaitGroup
	for range min(o.parallel, len(jobs)) {
		wg.Go(func() {
			for j := range next {
				began := time.Now()
				r := o.try(ctx, j)
				r.interrupted = ctx.Err() != nil
				r.took = time.Since(began)
				results <- r
			}
		})
	}
	for _, j := range jobs {
		select {
		case next <- j:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
}

// try makes a world for a job, and has its peers connect.
func (o options) try(ctx context.Context, j job) outcome {
	r := outcome{job: j}
	sim, err := simworld.Open(ctx, simworld.Config{
		Seed: j.seed(o.seed), NATs: j.pair, Link: simnet.Link{Delay: access, Loss: 1 - math.Sqrt(1-o.loss)},
		Session: func(_ int, cfg *bradawl.Config) { cfg.Timeout = dialLimit },
	})
	if err != nil {
		r.err = err
		return r
	}
	defer sim.Close()
	if r.err = sim.Settle(ctx); r.err != nil {
		return r
	}
	w := &world{World: sim}
	from := j.run % 2 // each side dials every other time
	w.count()
	w.connect(ctx, from, o.timeout, &r)
	r.packets = w.counted()
	return r
}

// world is a simulated one with two sessions, whose packets are counted.
type world struct {
	*simworld.World
	sent [2]int // guarded by the world's lock
}

// count counts packets from now on.
func (w *world) count() {
	w.OnTrace(func(e simnet.TraceEvent) {
		if e.What != "send" || e.Packet.Dst.Addr() == w.Meet {
			return
		}
		for i, name := range simworld.Peers {
			if e.Where == name {
				w.sent[i]++
			}
		}
	})
}

// counted ends that.
func (w *world) counted() [2]int {
	w.OnTrace(nil)
	return w.sent
}

// connect has one end dial the other, and sees what comes of it.
func (w *world) connect(ctx context.Context, from int, patience time.Duration, r *outcome) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	conn, err := w.Ends[from].Dial(ctx, w.Ends[1-from].ID())
	if err != nil {
		// That there is no path is an outcome; anything else is not.
		if tried, ok := errors.AsType[*bradawl.PathsError](err); ok {
			r.why = tried.Why
		} else {
			r.err = err
		}
		return
	}
	r.usable = time.Since(began)
	direct := make(chan time.Time, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range conn.Paths(ctx) {
			if p.Kind == bradawl.PathDirect {
				direct <- time.Now()
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	enough := time.NewTimer(patience - r.usable)
	defer enough.Stop()
	ask := time.NewTicker(believe / 4)
	defer ask.Stop()
	var hopeless time.Time // since when it is
	for {
		select {
		case at := <-direct:
			r.direct = at.Sub(began)
			r.way = wayOf(conn.Explain(), w.answered(ctx, 1-from))
			return
		case now := <-ask.C:
			if !conn.Explain().Infeasible {
				hopeless = time.Time{}
			} else if hopeless.IsZero() {
				hopeless = now
			}
			if conn.Err() == nil && (hopeless.IsZero() || now.Sub(hopeless) < believe) {
				continue
			}
		case <-enough.C:
		case <-ctx.Done():
		}
		r.why = conn.Explain().Why
		if err := conn.Err(); err != nil {
			r.why = err.Error()
		}
		return
	}
}

// answered is what the side that was dialled says of the connection; the zero value if that
// has none yet.
func (w *world) answered(ctx context.Context, end int) bradawl.Explanation {
	ctx, cancel := context.WithTimeout(ctx, roundTrip)
	defer cancel()
	conn, err := w.Ends[end].Accept(ctx)
	if err != nil {
		return bradawl.Explanation{}
	}
	return conn.Explain()
}

// wayOf is in a word how a direct path came about: the lane by which either side opened the way
// between NATs that ordinary checks do not get through, else "udp" or "tcp". ours is of the side
// whose path it is.
func wayOf(ours, theirs bradawl.Explanation) string {
	way := ours.Path.Protocol
	for _, l := range slices.Concat(theirs.Lanes, ours.Lanes) {
		if l.State == bradawl.LaneOpened && l.Kind.OverTCP() == (ours.Path.Protocol == "tcp") {
			way = l.Kind.String()
		}
	}
	return way
}
