package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/nats-io/nats.go/jetstream"
)

// AggregatorConfig is how an Aggregator works, beside the Config.
type AggregatorConfig struct {
	Config
	// Shard is which one it counts, 0 to Config.Shards-1.
	Shard int
	// Recorder is how it counts. All of a prefix must have the same Window, Hop and Lateness.
	Recorder stats.Config
	// Every is how often the state is stored, if there is something new. What was counted
	// since is counted again after a crash, from the stream. 0: 5 seconds.
	Every time.Duration
	// OnError is told what goes wrong and is tried again: NATS is away, say. nil: nobody is.
	// It is called on the Aggregator's goroutine and must not block.
	OnError func(error)
}

// Aggregator counts the events of one shard. All methods are safe for several goroutines.
type Aggregator struct {
	cfg      AggregatorConfig
	store    *store
	recorder *stats.Recorder
	flush    chan chan error
	cancel   context.CancelFunc
	done     chan struct{}

	mu  sync.Mutex
	err error // why it has ended

	// Of the goroutine:
	counted  uint64   // the last message that was counted
	saved    uint64   // of the state that is stored
	revision uint64   // of the shard's record
	object   string   // where the state is
	unsure   []record // those of which it is not known whether they are stored
}

// record is what a shard's bucket says: which message its state has counted last.
type record struct {
	Sequence uint64 `json:"sequence"`
	Object   string `json:"object"`
}

// NewAggregator loads the shard's state and begins to count. The error is a *ConfigError or
// that of NATS. Close it.
func NewAggregator(ctx context.Context, cfg AggregatorConfig) (*Aggregator, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Shard < 0 || cfg.Shard >= cfg.Shards {
		return nil, &ConfigError{"Shard", fmt.Sprintf("%d is out of range; give 0 to %d", cfg.Shard, cfg.Shards-1)}
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Every < 0 {
		return nil, &ConfigError{"Every", fmt.Sprintf("%v is negative; give a time, or 0 for 5 s", cfg.Every)}
	}
	s, err := cfg.open(ctx)
	if err != nil {
		return nil, err
	}
	a := &Aggregator{cfg: cfg, store: s, flush: make(chan chan error), done: make(chan struct{})}
	at, state, err := s.load(ctx, &cfg.Config, cfg.Shard)
	if err != nil {
		return nil, err
	}
	a.revision, a.object, a.counted, a.saved = at.revision, at.Object, at.Sequence, at.Sequence
	if state == nil {
		a.recorder, err = stats.NewRecorder(cfg.Recorder)
	} else {
		a.recorder, err = stats.RestoreState(cfg.Recorder, state)
	}
	if err != nil {
		return nil, err
	}
	consumer, err := s.js.OrderedConsumer(ctx, cfg.stream(), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{cfg.subject(cfg.Shard)}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: a.counted + 1,
	})
	if err != nil {
		return nil, fmt.Errorf("natsbus: reading the stream %s: %w", cfg.stream(), err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("natsbus: reading the stream %s: %w", cfg.stream(), err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	arrived := make(chan jetstream.Msg)
	go a.receive(run, messages, arrived)
	go a.run(run, messages, arrived)
	return a, nil
}

// loaded is a shard's record with its revision; 0: there is none.
type loaded struct {
	record
	revision uint64
}

// load returns a shard's record and state; nil: there is none yet.
func (s *store) load(ctx context.Context, cfg *Config, shard int) (at loaded, state []byte, err error) {
	// Between the two requests, the aggregator may have put another state in place.
	for range 10 {
		entry, err := s.shards.Get(ctx, cfg.key(shard))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return loaded{}, nil, nil
		}
		if err != nil {
			return loaded{}, nil, fmt.Errorf("natsbus: shard %d: %w", shard, err)
		}
		if err := json.Unmarshal(entry.Value(), &at.record); err != nil {
			return loaded{}, nil, fmt.Errorf("natsbus: shard %d: its record is spoiled: %w", shard, err)
		}
		at.revision = entry.Revision()
		state, err = s.states.GetBytes(ctx, at.Object)
		if err == nil {
			return at, state, nil
		}
		if !errors.Is(err, jetstream.ErrObjectNotFound) {
			return loaded{}, nil, fmt.Errorf("natsbus: shard %d: %w", shard, err)
		}
	}
	return loaded{}, nil, fmt.Errorf("natsbus: shard %d: its state %q is gone; delete its record in the bucket %s to begin anew", shard, at.Object, cfg.bucket())
}

// Recorder is what the Aggregator counts with: to be looked at, not to be recorded into.
func (a *Aggregator) Recorder() *stats.Recorder { return a.recorder }

// Err returns why the Aggregator has ended; nil: it has not.
func (a *Aggregator) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Done is closed when the Aggregator has ended, by Close or because it was replaced.
func (a *Aggregator) Done() <-chan struct{} { return a.done }

// Flush stores the state now. The error is NATS's, ctx's, or that of Err after the end.
func (a *Aggregator) Flush(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case a.flush <- answer:
	case <-a.done:
		return a.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-a.done:
		return a.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stores the state, as long as ctx allows, and ends the Aggregator. What is not stored
// is counted by the next one.
func (a *Aggregator) Close(ctx context.Context) error {
	err := a.Flush(ctx)
	a.cancel()
	<-a.done
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// receive hands on messages until the iterator is stopped.
func (a *Aggregator) receive(ctx context.Context, messages jetstream.MessagesContext, to chan<- jetstream.Msg) {
	defer close(to)
	for {
		m, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return
		}
		if err != nil {
			a.report(err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			continue
		}
		select {
		case to <- m:
		case <-ctx.Done():
			return
		}
	}
}

func (a *Aggregator) run(ctx context.Context, messages jetstream.MessagesContext, arrived <-chan jetstream.Msg) {
	why := ErrClosed
	defer func() {
		messages.Stop()
		a.cancel()
		for range arrived { // until its goroutine has ended
		}
		a.mu.Lock()
		a.err = why
		a.mu.Unlock()
		close(a.done)
	}()
	tick := time.NewTicker(a.cfg.Every)
	defer tick.Stop()
	for {
		var answer chan error
		select {
		case <-ctx.Done():
			return
		case m, ok := <-arrived:
			if !ok {
				return
			}
			a.count(m)
			continue
		case <-tick.C:
		case answer = <-a.flush:
		}
		err := a.save(ctx)
		if answer != nil {
			answer <- err
		} else if err != nil && ctx.Err() == nil {
			a.report(err)
		}
		if errors.Is(err, ErrReplaced) {
			why = err
			return
		}
	}
}

// count counts a message, unless it is one that was.
func (a *Aggregator) count(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Stream <= a.counted {
		return
	}
	a.counted = meta.Sequence.Stream
	var e stats.Event
	if err := e.UnmarshalBinary(m.Data()); err != nil {
		e = stats.Event{} // which counts as invalid
	}
	a.recorder.Record(e)
}

// save stores the state, if it is new: first the state, under a name of its own, and then,
// if nobody else has, the record that says that it counts.
func (a *Aggregator) save(ctx context.Context) error {
	if a.counted == a.saved && a.revision != 0 {
		return nil // nothing is new
	}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	id, err := stats.NewID(nil)
	if err != nil {
		return err
	}
	next := record{a.counted, fmt.Sprintf("%s.%s", a.cfg.key(a.cfg.Shard), id)}
	if _, err := a.store.states.PutBytes(ctx, next.Object, a.recorder.AppendState(nil)); err != nil {
		return fmt.Errorf("natsbus: shard %d: storing its state: %w", a.cfg.Shard, err)
	}
	value, err := json.Marshal(next)
	if err != nil {
		return err
	}
	a.unsure = append(a.unsure, next)
	// Revision 0 says that there must be no record.
	revision, err := a.store.shards.Update(ctx, a.cfg.key(a.cfg.Shard), value, a.revision)
	if err != nil {
		return a.look(ctx, err)
	}
	a.stored(ctx, next, revision)
	return nil
}

// look finds out what became of a record that may not have been stored: NATS may have taken
// it, or one before it, and its answer got lost.
func (a *Aggregator) look(ctx context.Context, cause error) error {
	entry, err := a.store.shards.Get(ctx, a.cfg.key(a.cfg.Shard))
	if err != nil || entry.Revision() == a.revision {
		return fmt.Errorf("natsbus: shard %d: storing its record: %w", a.cfg.Shard, cause)
	}
	var is record
	if json.Unmarshal(entry.Value(), &is) != nil || !slices.Contains(a.unsure, is) {
		a.forget(ctx, "")
		return fmt.Errorf("%w: shard %d", ErrReplaced, a.cfg.Shard)
	}
	a.stored(ctx, is, entry.Revision())
	if is.Sequence != a.counted {
		return fmt.Errorf("natsbus: shard %d: storing its record: %w", a.cfg.Shard, cause) // an earlier one was taken
	}
	return nil
}

// stored takes in that a record is.
func (a *Aggregator) stored(ctx context.Context, is record, revision uint64) {
	if a.object != "" {
		a.unsure = append(a.unsure, record{Object: a.object})
	}
	a.object, a.revision, a.saved = is.Object, revision, is.Sequence
	a.forget(ctx, is.Object)
}

// forget deletes the states that are not needed any more. One that stays takes room, and
// nothing else.
func (a *Aggregator) forget(ctx context.Context, but string) {
	for _, of := range a.unsure {
		if of.Object != but {
			_ = a.store.states.Delete(ctx, of.Object)
		}
	}
	a.unsure = nil
}

func (a *Aggregator) report(err error) {
	if a.cfg.OnError != nil {
		a.cfg.OnError(err)
	}
}
