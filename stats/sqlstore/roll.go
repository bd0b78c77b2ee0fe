package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// Panes that nobody revises any more are added up by the hour, those of all runs together:
// otherwise a month would be 86,400 of them for each process. A pane waits for the database
// for a day at most (see panes.look), and is rolled up only after two: no revision can come
// after that and be counted beside what it revises, even where clocks differ by hours.
const (
	rollInto   = time.Hour
	rollAfter  = 48 * time.Hour
	waitAtMost = 24 * time.Hour
)

// rolled is the run of rows that are sums.
var rolled stats.ID

// rollRows is how many panes are added up in one transaction, so that none takes long.
const rollRows = 500

// spoiltError says that a pane of an hour cannot be read.
type spoiltError struct {
	hour int64
	err  error
}

func (e *spoiltError) Error() string {
	return fmt.Sprintf("a pane of the hour of %v, which is left as it is: %v", time.Unix(0, e.hour).UTC(), e.err)
}

// roll adds up panes of the earliest hour from a time on that has some, and returns how many
// there were. There may be more of them, and more hours, if there were any.
func roll(ctx context.Context, tx *sql.Tx, d Dialect, from int64, now time.Time) (panes int, err error) {
	// One at a time: what is read here must not be added up by somebody else meanwhile.
	if _, err := tx.ExecContext(ctx, d.sql(speeches[d].lockPanes), int64(panesLock)); err != nil {
		return 0, err
	}
	var earliest sql.NullInt64
	before := now.Add(-rollAfter).Truncate(rollInto).UnixNano()
	err = tx.QueryRowContext(ctx, d.sql(`SELECT MIN(start_ns) FROM bradawl_panes WHERE hop_ns < ? AND start_ns >= ? AND start_ns < ?`), int64(rollInto), from, before).Scan(&earliest)
	if err != nil || !earliest.Valid {
		return 0, err
	}
	hour := earliest.Int64 / int64(rollInto) * int64(rollInto)
	sum, last, err := sumOf(ctx, tx, d, hour)
	if err != nil {
		return 0, err
	}
	result, err := tx.ExecContext(ctx, d.sql(`DELETE FROM bradawl_panes WHERE start_ns >= ? AND start_ns < ? AND hop_ns < ? AND (start_ns, hop_ns, run) <= (?, ?, ?)`),
		hour, hour+int64(rollInto), int64(rollInto), last.start, last.hop, last.run)
	if err != nil {
		return 0, err
	}
	body, _ := sum.AppendBinary(nil)
	if _, err := tx.ExecContext(ctx, paneRows.sql(d, 1), hour, int64(rollInto), rolled[:], body, now.UnixMilli()); err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// paneKey is what a row of bradawl_panes is known by.
type paneKey struct {
	start, hop int64
	run        []byte
}

// sumOf adds up the first panes of an hour, in the order of their keys, and the sum that
// there is already. last is the key of the last one.
func sumOf(ctx context.Context, tx *sql.Tx, d Dialect, hour int64) (sum *stats.Snapshot, last paneKey, err error) {
	sum = new(stats.Snapshot)
	for _, part := range [...]struct {
		where string
		args  []any
	}{
		{`start_ns = ? AND hop_ns = ? AND run = ?`, []any{hour, int64(rollInto), rolled[:], 1}},
		{`start_ns >= ? AND start_ns < ? AND hop_ns < ?`, []any{hour, hour + int64(rollInto), int64(rollInto), rollRows}},
	} {
		rows, err := tx.QueryContext(ctx, d.sql(`SELECT start_ns, hop_ns, run, snapshot FROM bradawl_panes WHERE `+part.where+` ORDER BY start_ns, hop_ns, run LIMIT ?`), part.args...)
		if err != nil {
			return nil, last, err
		}
		if last, err = addUp(rows, sum, hour); err != nil {
			return nil, last, err
		}
	}
	sum.From, sum.To = time.Unix(0, hour), time.Unix(0, hour+int64(rollInto))
	return sum, last, nil
}

// addUp adds the panes of rows, which it closes, to a sum, and returns the key of the last.
func addUp(rows *sql.Rows, sum *stats.Snapshot, hour int64) (last paneKey, err error) {
	defer rows.Close()
	for rows.Next() {
		var (
			body sql.RawBytes
			one  stats.Snapshot
		)
		if err := rows.Scan(&last.start, &last.hop, &last.run, &body); err != nil {
			return last, err
		}
		if err := one.UnmarshalBinary(body); err != nil {
			return last, &spoiltError{hour, err}
		}
		sum.Merge(&one)
	}
	return last, rows.Err()
}
