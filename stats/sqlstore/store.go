package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// Store keeps events, panes and a history in a database. Its methods are safe for several
// goroutines. The database remains the program's: Close does not close it.
type Store struct {
	db      *sql.DB
	cfg     Config
	history *stats.History
	queue   queue
	counters

	wake   chan struct{} // the writer has something to look at
	done   chan struct{} // the writer has ended
	cancel context.CancelFunc
	once   sync.Once

	mu      sync.Mutex
	waiters []*waiter // Flush, that is
	closing bool
	lost    error // of Close
}

// waiter waits for all that was recorded before it came to be written.
type waiter struct {
	done  chan struct{}
	tried bool // at once, although the database had failed
	gone  bool // Flush has returned
}

type counters struct {
	written, duplicates, refused, invalid, panes, panesDropped, entries, deleted, rolled, failures atomic.Uint64
	lastError                                                                                      atomic.Pointer[error]
}

// Counts is what became of what a store was given.
type Counts struct {
	// Accepted is how many events were put into the queue: all of Written, Duplicates, Refused
	// and Waiting. Of others, Dropped found the queue full or the store closed, and Invalid were
	// none.
	Accepted, Dropped, Invalid uint64
	// Written is how many events were added to the database, and Duplicates how many were
	// there already.
	Written, Duplicates uint64
	// Refused is how many events were passed over because the database refused them again and
	// again while it took others, as a trigger or a missing partition does.
	Refused uint64
	Waiting int // in the queue

	Panes        uint64 // written, each time that one was
	PanesDropped uint64 // for which there was no room, or no more time, while the database failed
	Rolled       uint64 // panes that became part of an hour
	History      uint64 // entries written
	Deleted      uint64 // rows that were older than they are to be kept

	Failures uint64 // of the database
	Err      error  // the last of them, until all that is to be written can be again
}

// Open makes the tables that a store needs, or brings them up to date, loads the history,
// and starts to keep what it is given. ctx is for that alone. Errors are a *ConfigError, a
// *SchemaError where the tables are of a later version, or the database's.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if db == nil {
		return nil, &ConfigError{Field: "db", Reason: "there is no database: it is nil; give what sql.Open returned"}
	}
	if cfg.Run.IsZero() {
		if cfg.Run, err = stats.NewID(nil); err != nil {
			return nil, err
		}
	}
	if setJournal := speeches[cfg.Dialect].setJournal; setJournal != nil && !cfg.NoWAL {
		if err := setJournal(ctx, db); err != nil {
			return nil, fmt.Errorf("sqlstore: setting the journal of the %v database: %w", cfg.Dialect, err)
		}
	}
	if err := migrate(ctx, db, cfg.Dialect, migrations); err != nil {
		var later *SchemaError
		if errors.As(err, &later) {
			return nil, later
		}
		return nil, fmt.Errorf("sqlstore: preparing the tables of the %v database: %w", cfg.Dialect, err)
	}
	history, spoilt, err := loadHistory(ctx, db, cfg.Dialect, cfg.HistorySecret, cfg.Now())
	if err != nil {
		return nil, fmt.Errorf("sqlstore: loading the history: %w", err)
	}
	if spoilt != nil && cfg.OnError != nil {
		cfg.OnError(fmt.Errorf("sqlstore: loading the history: %w", spoilt))
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{
		db: db, cfg: cfg, history: history, queue: queue{limit: cfg.Queue},
		wake: make(chan struct{}, 1), done: make(chan struct{}), cancel: cancel,
	}
	go newWriter(s).run(run)
	return s, nil
}

// History returns the history that is kept, for a session's Config.History and Memory.
func (s *Store) History() *stats.History { return s.history }

// Record gives an event to the Recorder, if there is one, and to the queue. It does not
// block, and fits as a session's Config.Record. An event that finds the queue full is
// dropped, not one that waits already; it and one that is not valid are counted.
func (s *Store) Record(e stats.Event) {
	if s.cfg.Recorder != nil {
		s.cfg.Recorder.Record(e)
	}
	if e.Validate() != nil {
		s.invalid.Add(1)
		return
	}
	if waiting, ok := s.queue.put(&e); ok && (waiting == 1 || waiting == s.cfg.BatchSize) {
		s.rouse()
	}
}

// rouse makes the writer look whether there is something to do.
func (s *Store) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Flush returns nil once all that was recorded before is in the database: events, what they
// changed in panes, and outcomes in the history. Where the database fails, it waits until it
// is back, or ctx is done, and then tells both.
func (s *Store) Flush(ctx context.Context) error {
	w := &waiter{done: make(chan struct{})}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	s.rouse()
	select {
	case <-w.done:
		return nil
	case <-s.done:
	case <-ctx.Done():
		select {
		case <-w.done:
			return nil
		default:
		}
		s.mu.Lock()
		w.gone = true
		s.waiters = slices.DeleteFunc(s.waiters, func(other *waiter) bool { return other == w })
		s.mu.Unlock()
		if last := s.lastError.Load(); last != nil {
			return fmt.Errorf("sqlstore: not all is written: %w (%w)", ctx.Err(), *last)
		}
		return fmt.Errorf("sqlstore: not all is written: %w", ctx.Err())
	}
	select {
	case <-w.done:
		return nil
	default:
		return ErrClosed
	}
}

// Counts returns what has become of what the store was given so far.
func (s *Store) Counts() Counts {
	// What was written is read before what was accepted, so that it is never more.
	c := Counts{
		Written: s.written.Load(), Duplicates: s.duplicates.Load(), Refused: s.refused.Load(), Invalid: s.invalid.Load(), Panes: s.panes.Load(),
		PanesDropped: s.panesDropped.Load(), History: s.entries.Load(), Deleted: s.deleted.Load(), Rolled: s.rolled.Load(), Failures: s.failures.Load(),
	}
	c.Waiting, c.Accepted, c.Dropped = s.queue.counts()
	if last := s.lastError.Load(); last != nil {
		c.Err = *last
	}
	return c
}

// Close writes what waits, for Config.CloseTimeout at most, and ends the store. It returns a
// *LostError if something could not be written, and ErrClosed when it is called again.
// Events that are recorded later are counted as dropped.
func (s *Store) Close() error {
	err := ErrClosed
	s.once.Do(func() {
		s.queue.close()
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		limit := time.AfterFunc(max(0, s.cfg.CloseTimeout), s.cancel)
		s.rouse()
		<-s.done
		limit.Stop()
		s.cancel()
		s.mu.Lock()
		err = s.lost
		s.mu.Unlock()
	})
	return err
}
