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

// rollLock is the number of PostgreSQL's advisory lock that a roll-up holds.
const rollLock = migrationLock + 1

// roll adds up the panes of the earliest hour that has some, and returns how many there
// were. There may be more hours if there were any.
func roll(ctx context.Context, tx *sql.Tx, d Dialect, now time.Time) (panes int64, err error) {
	// One at a time: what is read here must not be added up by somebody else meanwhile.
	lock, arg := `UPDATE bradawl_meta SET value = value WHERE name = ?`, any("") // locks all of SQLite
	if d == PostgreSQL {
		lock, arg = `SELECT pg_advisory_xact_lock(?)`, int64(rollLock)
	}
	if _, err := tx.ExecContext(ctx, d.sql(lock), arg); err != nil {
		return 0, err
	}
	var earliest sql.NullInt64
	before := now.Add(-rollAfter).Truncate(rollInto).UnixNano()
	err = tx.QueryRowContext(ctx, d.sql(`SELECT MIN(start_ns) FROM bradawl_panes WHERE hop_ns < ? AND start_ns < ?`), int64(rollInto), before).Scan(&earliest)
	if err != nil || !earliest.Valid {
		return 0, err
	}
	hour := earliest.Int64 / int64(rollInto) * int64(rollInto)
	sum, err := sumOf(ctx, tx, d, hour)
	if err != nil {
		return 0, err
	}
	result, err := tx.ExecContext(ctx, d.sql(`DELETE FROM bradawl_panes WHERE start_ns >= ? AND start_ns < ? AND hop_ns < ?`), hour, hour+int64(rollInto), int64(rollInto))
	if err != nil {
		return 0, err
	}
	body, _ := sum.AppendBinary(nil)
	if _, err := tx.ExecContext(ctx, paneRows.sql(d, 1), hour, int64(rollInto), rolled[:], body, now.UnixMilli()); err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// sumOf adds up the panes of an hour, and the sum that there is already.
func sumOf(ctx context.Context, tx *sql.Tx, d Dialect, hour int64) (*stats.Snapshot, error) {
	rows, err := tx.QueryContext(ctx, d.sql(`SELECT snapshot FROM bradawl_panes WHERE start_ns >= ? AND start_ns < ? AND (hop_ns < ? OR run = ?)`),
		hour, hour+int64(rollInto), int64(rollInto), rolled[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	sum := new(stats.Snapshot)
	for rows.Next() {
		var (
			body sql.RawBytes
			one  stats.Snapshot
		)
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		if err := one.UnmarshalBinary(body); err != nil {
			return nil, fmt.Errorf("a pane of the hour of %v: %w", time.Unix(0, hour).UTC(), err)
		}
		sum.Merge(&one)
	}
	sum.From, sum.To = time.Unix(0, hour), time.Unix(0, hour+int64(rollInto))
	return sum, rows.Err()
}
