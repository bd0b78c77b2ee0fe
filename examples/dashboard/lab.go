package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// kind is a kind of NAT: a preset of simnet, and how many of a thousand detectors are
// behind it, which is an assumption and nobody's count.
type kind struct {
	preset string
	share  int
}

var kinds = []kind{
	{"port-restricted-cone", 330}, {"symmetric-preserving", 150}, {"cgnat", 130}, {"full-cone", 90}, {"symmetric-random", 80},
	{"restricted-cone", 60}, {"symmetric-sequential", 50}, {"open", 40}, {"symmetric-block", 30}, {"udp-blocked", 30}, {"firewall", 10},
}

const (
	delay  = 20 * time.Millisecond // between each peer and the internet
	first  = 10 * time.Second      // what a connection is given for its first path
	settle = 33 * time.Second      // and until sessions have recorded what became of it
	keep   = 8                     // attempts of each two kinds and group that are drawn from
)

// experiment is about what an attempt against hard NATs may cost.
var experiment = stats.Experiment{
	Name: "budget", Arms: []stats.Arm{{Name: "default"}, {Name: "polite"}}, Guards: []stats.Guard{{Name: "failed"}},
}

// groups are its arms.
var groups = [2]struct {
	name   string
	budget punch.Budget
}{{experiment.Group("default"), punch.Budget{}}, {experiment.Group("polite"), punch.Polite}}

// attempt is the events of one side of a connection.
type attempt []stats.Event

// meeting is whose attempts are kept together.
type meeting struct {
	local, remote, group int
}

// lab measures what NATs are, and what becomes of connections between them.
type lab struct {
	seed   uint64
	stderr io.Writer // is told of the first world that fails, in a line
	failed sync.Once
	counts *stats.Recorder // what the ends that dialled have recorded, each once

	mu       sync.Mutex
	types    map[int]natprobe.Type // of kinds, as sessions have found
	attempts map[meeting][]attempt
}

func newLab(seed uint64, stderr io.Writer) (*lab, error) {
	counts, err := stats.NewRecorder(stats.Config{Groups: experiment.Groups()})
	return &lab{seed: seed, stderr: stderr, counts: counts, types: make(map[int]natprobe.Type), attempts: make(map[meeting][]attempt)}, err
}

// run makes worlds until ctx ends: so many at a time until each two kinds have met, then one
// at a time.
func (l *lab) run(ctx context.Context, parallel int) {
	for round := 0; ctx.Err() == nil; round++ {
		next := make(chan meeting)
		var workers sync.WaitGroup
		for range parallel {
			workers.Go(func() {
				for m := range next {
					if err := l.meet(ctx, m, round); err != nil && ctx.Err() == nil {
						l.failed.Do(func() {
							fmt.Fprintf(l.stderr, "dashboard: what becomes of %s and %s is not known, as for others perhaps: %v\n", kinds[m.local].preset, kinds[m.remote].preset, err)
						})
					}
				}
			})
		}
		for _, m := range l.plan(round) {
			select {
			case next <- m:
				continue
			case <-ctx.Done():
			}
			break
		}
		close(next)
		workers.Wait()
		parallel = 1
	}
}

// plan is the meetings of a round, each two kinds once, the frequent ones first. Who dials,
// and by which group, changes from round to round.
func (l *lab) plan(round int) (all []meeting) {
	for sum := range 2*len(kinds) - 1 {
		for a := range kinds {
			b := sum - a
			if b < a || b >= len(kinds) {
				continue
			}
			m := meeting{a, b, (a + b + round) % len(groups)}
			if round/len(groups)%2 == 1 {
				m.local, m.remote = b, a
			}
			all = append(all, m)
		}
	}
	return all
}

// meet makes a world in which one end dials the other, and keeps what both record.
func (l *lab) meet(ctx context.Context, m meeting, round int) error {
	h := fnv.New64a()
	fmt.Fprint(h, l.seed, m, round)
	var (
		mu     sync.Mutex
		events [2]attempt
	)
	w, err := simworld.Open(ctx, simworld.Config{
		Seed: h.Sum64(), NATs: [2]string{kinds[m.local].preset, kinds[m.remote].preset}, Link: simnet.Link{Delay: delay},
		Session: func(end int, cfg *bradawl.Config) {
			cfg.Timeout, cfg.Budget = first, groups[m.group].budget
			cfg.Record = func(e stats.Event) {
				e.Group = groups[m.group].name
				mu.Lock()
				defer mu.Unlock()
				events[end] = append(events[end], e)
			}
		},
	})
	if err != nil {
		return err
	}
	types, err := connect(ctx, w)
	w.Close() // after which nothing is recorded
	if err != nil || ctx.Err() != nil {
		return err
	}
	for _, e := range events[0] {
		l.counts.Record(e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for end, k := range [2]int{m.local, m.remote} {
		l.types[k] = types[end]
		of := meeting{k, m.local + m.remote - k, m.group}
		if len(events[end]) == 0 {
			continue
		}
		if old := l.attempts[of]; len(old) >= keep {
			l.attempts[of] = append(old[:0:0], old[1:]...)
		}
		l.attempts[of] = append(l.attempts[of], events[end])
	}
	return nil
}

// verdicts is what the meetings mean, not what the fleet makes of them: that draws the same
// ones again and again. Each two kinds meet by either group in turn, so the groups differ in
// nothing else.
func (l *lab) verdicts() []json.Marshaler {
	var results []stats.ArmResult
	for _, o := range l.counts.Total().Outcomes(stats.ByGroup) {
		if arm, ok := experiment.ArmOf(o.Group); ok {
			results = append(results, stats.ArmResult{Arm: arm, Rate: o.DirectRate(), Guards: map[string]stats.Rate{"failed": o.FailureRate()}})
		}
	}
	verdict, err := experiment.Judge(results)
	if err != nil {
		return nil // which it does not come to
	}
	return []json.Marshaler{verdict}
}

// connect has one end dial the other, and waits until there is nothing more to come of it.
func connect(ctx context.Context, w *simworld.World) (types [2]natprobe.Type, err error) {
	if err := w.Settle(ctx); err != nil {
		return types, err
	}
	for i, s := range w.Ends {
		if report, known := s.NAT(); known {
			types[i] = report.Type
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	conn, err := w.Ends[0].Dial(ctx, w.Ends[1].ID())
	if err != nil {
		if _, tried := errors.AsType[*bradawl.PathsError](err); tried {
			return types, nil // which is an outcome
		}
		return types, err
	}
	for p := range conn.Paths(ctx) {
		if p.Kind == bradawl.PathDirect {
			// The other side may be about to see it.
			select {
			case <-time.After(w.RoundTrip()):
			case <-ctx.Done():
			}
			break
		}
	}
	return types, nil
}

// measured is what sessions behind a kind have found that it is.
func (l *lab) measured(k int) natprobe.Type {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.types[k]
}

// draw returns one of the attempts between two kinds, of either group; nil: there are none
// yet.
func (l *lab) draw(r *rand.Rand, local, remote int) attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	group := r.IntN(len(groups))
	all := l.attempts[meeting{local, remote, group}]
	if len(all) == 0 {
		all = l.attempts[meeting{local, remote, 1 - group}]
	}
	if len(all) == 0 {
		return nil
	}
	return all[r.IntN(len(all))]
}
