package natsbus

import (
	"context"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// Fleet is what the aggregators of all shards had stored at one moment.
type Fleet struct {
	recorders []*stats.Recorder
	// Missing are the shards that have no state yet.
	Missing []int
}

// Read loads what all aggregators have stored; cfg.Recorder's Window, Hop and Lateness must
// be theirs. The error is a *ConfigError, NATS's, or ctx's.
func Read(ctx context.Context, cfg Config, recorder stats.Config) (*Fleet, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s, err := cfg.open(ctx)
	if err != nil {
		return nil, err
	}
	f := new(Fleet)
	for shard := range cfg.Shards {
		_, state, err := s.load(ctx, &cfg, shard)
		if err != nil {
			return nil, err
		}
		if state == nil {
			f.Missing = append(f.Missing, shard)
			continue
		}
		r, err := stats.RestoreState(recorder, state)
		if err != nil {
			return nil, fmt.Errorf("natsbus: shard %d: %w", shard, err)
		}
		f.recorders = append(f.recorders, r)
	}
	return f, nil
}

// Snapshot is the present window of the whole fleet.
func (f *Fleet) Snapshot() *stats.Snapshot { return f.sum((*stats.Recorder).Snapshot) }

// Total is all that the fleet has counted.
func (f *Fleet) Total() *stats.Snapshot { return f.sum((*stats.Recorder).Total) }

// Between is stats.Recorder.Between of the whole fleet.
func (f *Fleet) Between(from, to time.Time) *stats.Snapshot {
	return f.sum(func(r *stats.Recorder) *stats.Snapshot { return r.Between(from, to) })
}

// Ledger accounts for all events that the aggregators were given.
func (f *Fleet) Ledger() stats.Ledger {
	var l stats.Ledger
	for _, r := range f.recorders {
		l.Merge(r.Ledger())
	}
	return l
}

func (f *Fleet) sum(of func(*stats.Recorder) *stats.Snapshot) *stats.Snapshot {
	sum := new(stats.Snapshot)
	for _, r := range f.recorders {
		sum.Merge(of(r))
	}
	return sum
}
