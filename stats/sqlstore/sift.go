package sqlstore

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// A table that somebody has given a trigger, a constraint or partitions may refuse an event
// for ever, and all others of its batch with it. So a batch that fails again and again is
// taken apart, and an event that is refused alone, several times, beside others that are
// taken, is let go.
const (
	siftAfter  = 2  // failures in a row of statements
	refuseAt   = 3  // times that an event is refused beside others
	mostAmiss  = 64 // events that are tried alone while none is taken
	roomNeeded = 64 << 10
)

// sifted is what became of a batch that was taken apart.
type sifted struct {
	added   int64
	taken   int
	refused []stats.Event
	err     error // why the last of refused was
}

// siftEvents inserts those of some events that the database takes. The error is the
// database's, if it takes none of them, or has no room for them.
func siftEvents(ctx context.Context, tx *sql.Tx, d Dialect, events []stats.Event, now time.Time) (s sifted, err error) {
	if err := s.sift(ctx, tx, d, events, now); err != nil {
		return s, err
	}
	switch {
	case s.taken == 0:
		return s, s.err
	case len(s.refused) > 0:
		// Where the disk is full, rows that find a place on a page that is there are taken.
		return s, errors.Join(hasRoom(ctx, tx, d), undo(ctx, tx))
	}
	return s, nil
}

func (s *sifted) sift(ctx context.Context, tx *sql.Tx, d Dialect, events []stats.Event, now time.Time) error {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT bradawl`); err != nil {
		return err
	}
	added, refused := addEvents(ctx, tx, d, events, now)
	if refused == nil {
		s.added, s.taken = s.added+added, s.taken+len(events)
		_, err := tx.ExecContext(ctx, `RELEASE SAVEPOINT bradawl`)
		return err
	}
	if err := undo(ctx, tx); err != nil {
		return errors.Join(refused, err) // it is not about the event
	}
	if len(events) == 1 {
		s.refused, s.err = append(s.refused, events[0]), refused
		if s.taken == 0 && len(s.refused) == mostAmiss {
			return refused
		}
		return nil
	}
	half := len(events) / 2
	if err := s.sift(ctx, tx, d, events[:half], now); err != nil {
		return err
	}
	return s.sift(ctx, tx, d, events[half:], now)
}

// undo undoes what was done since the savepoint, and ends that.
func undo(ctx context.Context, tx *sql.Tx) error {
	for _, statement := range [...]string{`ROLLBACK TO SAVEPOINT bradawl`, `RELEASE SAVEPOINT bradawl`} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// hasRoom returns an error if the database has no room for many events, after a savepoint
// that is to be undone.
func hasRoom(ctx context.Context, tx *sql.Tx, d Dialect) error {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT bradawl`); err != nil {
		return err
	}
	filler := make([]byte, roomNeeded)
	crand.Read(filler) // does not fail; what is all alike would be compressed
	_, err := tx.ExecContext(ctx, d.sql(`INSERT INTO bradawl_meta (name, value) VALUES (?, ?)`), "room", filler)
	return err
}

// siftBatch writes the batch event by event as far as need be. What is refused waits again,
// behind the others, unless it is let go. It returns an error while something is refused.
func (w *writer) siftBatch(ctx context.Context) error {
	var s sifted
	err := w.inTx(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		s, err = siftEvents(ctx, tx, w.cfg.Dialect, w.batch, w.cfg.Now())
		return err
	})
	if err != nil {
		return fmt.Errorf("writing events: %w", err)
	}
	again := s.refused[:0]
	w.clear(s.refused...)
	for _, e := range s.refused {
		if w.suspects[e.ID]++; w.suspects[e.ID] < refuseAt {
			again = append(again, e)
			continue
		}
		delete(w.suspects, e.ID)
		w.refused.Add(1)
		w.fail(fmt.Errorf("event %v is refused, while others are not, and is passed over: %w", e.ID, s.err))
	}
	w.queue.remove(len(w.batch), again...)
	w.written.Add(uint64(s.added))
	w.duplicates.Add(uint64(s.taken) - uint64(s.added))
	if len(again) > 0 {
		return fmt.Errorf("writing events: %w", s.err)
	}
	return nil
}

// clear clears the events of the batch of suspicion, but for some that are refused.
func (w *writer) clear(refused ...stats.Event) {
	if len(w.suspects) == 0 {
		return
	}
	for _, e := range w.batch {
		if !slices.ContainsFunc(refused, func(r stats.Event) bool { return r.ID == e.ID }) {
			delete(w.suspects, e.ID)
		}
	}
}
