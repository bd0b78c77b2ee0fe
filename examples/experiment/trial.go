package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// trial is the experiment as a collector sees it. Sessions' events are all that it knows of.
type trial struct {
	o         options
	collector *stats.Recorder
	meet      func(ctx context.Context, pair int) ([]stats.Event, error) // world; another in tests

	mu      sync.Mutex // for progress
	done    int        // pairs
	verdict stats.Verdict
}

// lateness is until when events count: those of a pair wait for the pairs before it.
const lateness = 10 * time.Minute

func newTrial(o options) (*trial, error) {
	collector, err := stats.NewRecorder(stats.Config{Groups: o.experiment.Groups(), Lateness: lateness})
	if err != nil {
		return nil, err
	}
	t := &trial{o: o, collector: collector}
	t.meet = t.world
	t.verdict, err = o.experiment.Judge(nil)
	return t, err
}

// met is what came of a pair.
type met struct {
	pair   int
	events []stats.Event // of both ends
	err    error         // it could not be tried
}

// run has pairs meet, so many at a time, until there is a verdict about each arm, or there are
// no more, or ctx ends. The error says which pair could not be tried.
//
// What pairs have recorded is taken in their order, whichever is done first: of those that are
// under way at a look, the ones that fail would be missing, for failing takes longest.
func (t *trial) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next, results := make(chan int), make(chan met)
	var workers sync.WaitGroup
	for range min(t.o.parallel, t.o.pairs) {
		workers.Go(func() {
			for pair := range next {
				events, err := t.meet(ctx, pair)
				results <- met{pair, events, err}
			}
		})
	}
	go func() {
		defer close(results)
		defer workers.Wait()
		defer close(next)
		for pair := range t.o.pairs {
			select {
			case next <- pair:
			case <-ctx.Done():
				return
			}
		}
	}()
	var failed error
	early := make(map[int]met)
	for m := range results {
		early[m.pair] = m
		for m, ok := early[t.done]; ok && ctx.Err() == nil; m, ok = early[t.done] {
			delete(early, t.done)
			if m.err == nil {
				m.err = t.take(m.events)
			}
			if m.err != nil {
				failed = fmt.Errorf("pair %d could not be tried: %w", m.pair+1, m.err)
			}
			if failed != nil || decided(t.verdict) {
				cancel() // the others are under way in vain
			}
		}
	}
	return failed
}

// take counts what a pair has recorded, and looks at what that means.
func (t *trial) take(events []stats.Event) error {
	for _, e := range events {
		t.collector.Record(e)
	}
	verdict, err := t.o.experiment.Judge(t.results())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done++
	t.verdict = verdict
	return err
}

// outcomes are those of the arms that have any.
func (t *trial) outcomes() (all []stats.Outcome) {
	for _, o := range t.collector.Total().Outcomes(stats.ByGroup) {
		if _, ok := t.o.experiment.ArmOf(o.Group); ok { // the end that does not count is of none
			all = append(all, o)
		}
	}
	return all
}

func (t *trial) results() (all []stats.ArmResult) {
	for _, o := range t.outcomes() {
		arm, _ := t.o.experiment.ArmOf(o.Group)
		all = append(all, stats.ArmResult{
			Arm: arm, Rate: o.DirectRate(), Guards: map[string]stats.Rate{"failed": o.FailureRate()},
		})
	}
	return all
}

// decided reports whether there is nothing more to find out.
func decided(v stats.Verdict) bool {
	if v.Decision == stats.DecisionInvalid {
		return true
	}
	for _, arm := range v.Arms {
		if arm.Decision == stats.DecisionTooFew || arm.Decision == stats.DecisionUndecided {
			return false
		}
	}
	return true
}
