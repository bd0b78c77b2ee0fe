package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// How long the writer waits after a failure: twice as long after each, and up to half as
// long again, so that programs that lost one database do not come back to it at once.
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 30 * time.Second
)

// writer is the one goroutine that writes.
type writer struct {
	*Store
	batch   []stats.Event
	look    *panes
	version uint64 // of the history, up to which it is written

	flushAt time.Time // when the events that wait are written; zero: none do
	saveAt  time.Time // when panes and the history are
	cleanAt time.Time // when old rows are deleted

	rollFrom int64 // the hour, in ns, before which nothing can be added up for now

	broken   parts            // what failed when it was done last
	suspects map[stats.ID]int // how often an event was refused beside others that were not
	amiss    int              // times in a row that a statement for events failed

	failed   int       // times in a row
	retryAt  time.Time // when to try again
	toldAt   time.Time // when OnError was called last
	untold   int       // failures since
	closing  bool      // that the store is being closed has been seen
	patience *time.Timer
}

// parts are those of what is written.
type parts struct{ events, save bool }

func newWriter(s *Store) *writer {
	now := time.Now()
	w := &writer{
		Store: s, batch: make([]stats.Event, 0, s.cfg.BatchSize), look: newPanes(s.cfg.Recorder, s.cfg.PaneMemory),
		saveAt: now.Add(s.cfg.SaveInterval), cleanAt: now, suspects: make(map[stats.ID]int),
		patience: time.NewTimer(time.Hour),
	}
	_, w.version = s.history.Changes(0) // what is restored is written
	return w
}

// task is what there is to do at once.
type task struct {
	events, save, clean bool
	waiters             []*waiter
}

func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	defer w.patience.Stop()
	for {
		t, at := w.next(time.Now())
		if t.events || t.save || t.clean {
			err := w.do(ctx, t)
			w.account(t, err)
			if w.closing && (err == nil || ctx.Err() != nil) {
				w.end(err)
				return
			}
			continue
		}
		w.patience.Reset(time.Until(at))
		select {
		case <-w.wake:
		case <-w.patience.C:
		case <-ctx.Done(): // of Close
			if w.closing { // and rests, for the database has failed
				w.end(*w.lastError.Load())
				return
			}
		}
	}
}

// next returns what there is to do now, or when there will be something.
func (w *writer) next(now time.Time) (t task, at time.Time) {
	waiting, _, _ := w.queue.counts()
	urgent := false // all is to be written at once
	w.mu.Lock()
	if w.Store.closing && !w.closing {
		w.closing, w.failed, w.retryAt = true, 0, time.Time{}
	}
	resting := w.failed > 0 && now.Before(w.retryAt)
	for _, one := range w.waiters {
		urgent = urgent || !one.tried || !resting
	}
	urgent = urgent || w.closing && !resting
	if urgent {
		t.waiters, w.waiters = w.waiters, nil
	}
	w.mu.Unlock()

	switch {
	case waiting == 0:
		w.flushAt = time.Time{}
	case w.flushAt.IsZero():
		w.flushAt = now.Add(w.cfg.FlushInterval)
	}
	due := func(at time.Time) bool { return !now.Before(at) }
	switch {
	case urgent:
		t.events, t.save, t.clean = true, true, !w.closing && due(w.cleanAt)
		return t, now
	case resting && (w.broken.events || w.closing):
		return t, w.retryAt
	case resting: // for panes or the history, of which events know nothing
		at = w.retryAt
	default:
		t.clean = due(w.cleanAt)
		t.save = due(w.saveAt) || t.clean // panes that wait come before those of the same time are added up
		at = w.saveAt
		if w.cleanAt.Before(at) {
			at = w.cleanAt
		}
	}
	t.events = waiting >= w.cfg.BatchSize || waiting > 0 && due(w.flushAt)
	if waiting > 0 && w.flushAt.Before(at) {
		at = w.flushAt
	}
	return t, at
}

// do does a task, each part of it whatever became of the others: where the disk is full,
// what is deleted makes room. That nothing could be deleted is no failure to write.
func (w *writer) do(ctx context.Context, t task) error {
	var failed [3]error
	if t.events {
		failed[0] = w.writeEvents(ctx)
		w.broken.events = failed[0] != nil
	}
	if t.save {
		w.saveAt = time.Now().Add(w.cfg.SaveInterval)
		failed[1], failed[2] = w.writePanes(ctx), w.writeHistory(ctx)
		w.broken.save = failed[1] != nil || failed[2] != nil
	}
	if t.clean {
		w.clean(ctx)
	}
	return errors.Join(failed[:]...)
}

// writeEvents writes the events that wait, but not those that come meanwhile.
func (w *writer) writeEvents(ctx context.Context) error {
	waiting, _, _ := w.queue.counts()
	for waiting > 0 {
		w.batch = w.queue.peek(w.batch)
		n := len(w.batch)
		var added int64
		amiss := false
		err := w.inTx(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
			added, err = addEvents(ctx, tx, w.cfg.Dialect, w.batch, w.cfg.Now())
			amiss = err != nil && ctx.Err() == nil
			return err
		})
		if amiss {
			w.amiss++
		}
		if amiss && w.amiss > siftAfter {
			if err := w.siftBatch(ctx); err != nil {
				return err
			}
			waiting -= n
			continue
		}
		if err != nil {
			return fmt.Errorf("writing events: %w", err)
		}
		w.clear()
		w.queue.remove(n)
		w.written.Add(uint64(added))
		w.duplicates.Add(uint64(n) - uint64(added))
		waiting -= n
	}
	w.flushAt = time.Time{}
	if len(w.suspects) == 0 {
		w.amiss = 0
	}
	return nil
}

// mostRefused is how many panes are tried that the database refuses, before all others wait
// with them.
const mostRefused = 8

// writePanes writes the panes that have changed. One that the database refuses waits, until
// it has waited for too long, and holds up no others.
func (w *writer) writePanes(ctx context.Context) error {
	w.panesDropped.Add(uint64(w.look.look(w.cfg.Now())))
	var refused error
	first, atOnce := 0, 4 // not many, for they may be large
	for first < len(w.look.waiting) {
		n := chunk(min(len(w.look.waiting)-first, atOnce))
		amiss := false
		err := w.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			err := w.look.add(ctx, tx, w.cfg.Dialect, w.cfg.Run, first, n, w.cfg.Now())
			amiss = err != nil && ctx.Err() == nil
			return err
		})
		switch {
		case err == nil:
			w.look.written(first, n)
			w.panes.Add(uint64(n))
			continue
		case amiss && atOnce > 1:
			atOnce = 1 // it may be one alone that is refused
			continue
		}
		refused = fmt.Errorf("writing panes: %w", err)
		if first++; !amiss || first == mostRefused {
			return refused
		}
	}
	return refused
}

// historyBatch is how many entries of the history are written in one transaction: of the
// 16,384 that there may be, too many for one that is to be short.
const historyBatch = 1024

// writeHistory writes the entries of the history that have changed.
func (w *writer) writeHistory(ctx context.Context) error {
	changed, version := w.history.Changes(w.version)
	if len(changed) == 0 {
		return nil
	}
	for some := range slices.Chunk(changed, historyBatch) {
		err := w.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			return addEntries(ctx, tx, w.cfg.Dialect, w.history.Owner(), some)
		})
		if err != nil {
			return fmt.Errorf("writing the history: %w", err)
		}
		w.entries.Add(uint64(len(some)))
	}
	w.version = version
	return nil
}

// clean deletes old rows, and adds up old panes, some at a time.
func (w *writer) clean(ctx context.Context) {
	var (
		deleted int64
		more    bool
	)
	err := w.inTx(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		deleted, more, err = clean(ctx, tx, &w.cfg, w.cfg.Now())
		return err
	})
	if err != nil {
		w.cleanAt = time.Now().Add(cleanAgain)
		w.fail(fmt.Errorf("deleting old rows: %w", err))
		return
	}
	w.deleted.Add(uint64(deleted))
	if len(w.look.waiting) == 0 {
		var panes int
		err = w.inTx(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
			panes, err = roll(ctx, tx, w.cfg.Dialect, w.rollFrom, w.cfg.Now())
			return err
		})
		var spoilt *spoiltError
		if errors.As(err, &spoilt) { // what cannot be read stays, and stops nothing
			w.rollFrom = spoilt.hour + int64(rollInto)
			w.fail(fmt.Errorf("adding up old panes: %w", err))
			return
		}
		if err != nil {
			w.cleanAt = time.Now().Add(cleanAgain)
			w.fail(fmt.Errorf("adding up old panes: %w", err))
			return
		}
		w.rolled.Add(uint64(panes))
		more = more || panes > 0
	}
	if !more {
		w.cleanAt, w.rollFrom = time.Now().Add(cleanInterval), 0
	}
}

// inTx runs f in a transaction, which takes Config.Timeout at most.
func (w *writer) inTx(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := w.cfg.Dialect.wait(ctx, conn); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(ctx, tx); err != nil {
		tx.Rollback()
		return err
	}
	return tx.Commit()
}

// account notes what became of a task.
func (w *writer) account(t task, err error) {
	if err == nil {
		if w.broken == (parts{}) {
			w.failed = 0
			w.lastError.Store(nil)
		}
		for _, one := range t.waiters {
			close(one.done)
		}
		return
	}
	w.mu.Lock()
	for _, one := range t.waiters {
		if one.tried = true; !one.gone {
			w.waiters = append(w.waiters, one)
		}
	}
	w.mu.Unlock()
	wait := min(firstWait<<min(w.failed, 10), lastWait)
	w.retryAt = time.Now().Add(wait + rand.N(wait/2+1))
	w.failed++
	w.fail(err)
}

func (w *writer) fail(err error) {
	w.failures.Add(1)
	w.lastError.Store(&err)
	w.tell(time.Now(), err)
}

// tell calls OnError, but not too often.
func (w *writer) tell(now time.Time, err error) {
	w.untold++
	if w.cfg.OnError == nil || !w.toldAt.IsZero() && now.Sub(w.toldAt) < w.cfg.ErrorInterval {
		return
	}
	waiting, _, dropped := w.queue.counts()
	err = fmt.Errorf("sqlstore: %w (%d failures since this was told last; %d events wait, %d were dropped in all)", err, w.untold, waiting, dropped)
	w.toldAt, w.untold = now, 0
	w.cfg.OnError(err)
}

// end leaves behind what could not be written.
func (w *writer) end(err error) {
	if err == nil {
		return
	}
	lost := &LostError{Panes: len(w.look.waiting), Err: err}
	lost.Events, _, _ = w.queue.counts()
	changed, _ := w.history.Changes(w.version)
	lost.History = len(changed)
	w.mu.Lock()
	w.lost = lost
	w.mu.Unlock()
}
