package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/bradawl/bradawl/internal/decay"
)

const (
	cleanInterval = time.Hour
	cleanAgain    = time.Minute // after a failure
	cleanRows     = 1000        // deleted at once, so that no transaction takes long
)

// clean deletes rows that are older than they are to be kept, some of each table, and
// reports whether there may be more.
func clean(ctx context.Context, tx *sql.Tx, cfg *Config, now time.Time) (deleted int64, more bool, err error) {
	for _, table := range [...]struct {
		keep      time.Duration
		statement string
		unit      time.Duration
	}{
		{cfg.KeepEvents, `DELETE FROM bradawl_events WHERE event_id IN (SELECT event_id FROM bradawl_events WHERE stored_ms < ? ORDER BY stored_ms LIMIT ?)`, time.Millisecond},
		{cfg.KeepPanes, `DELETE FROM bradawl_panes WHERE (start_ns, hop_ns, run) IN (SELECT start_ns, hop_ns, run FROM bradawl_panes WHERE start_ns < ? ORDER BY start_ns LIMIT ?)`, time.Nanosecond},
		{decay.Window, `DELETE FROM bradawl_history WHERE (owner, entry) IN (SELECT owner, entry FROM bradawl_history WHERE last_ms < ? ORDER BY last_ms LIMIT ?)`, time.Millisecond},
	} {
		if table.keep < 0 {
			continue
		}
		before := now.Add(-table.keep).UnixNano() / int64(table.unit)
		result, err := tx.ExecContext(ctx, cfg.Dialect.sql(table.statement), before, cleanRows)
		if err != nil {
			return deleted, false, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return deleted, false, err
		}
		deleted += n
		more = more || n == cleanRows
	}
	return deleted, more, nil
}
