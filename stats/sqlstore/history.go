package sqlstore

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/decay"
	"github.com/bradawl/bradawl/stats"
)

// historyRows adds entries, or puts them in the place of earlier ones: of several programs
// with one secret, whose outcome is the latest is right, unless it is later by a day (in ms),
// decay.Window, which says that a clock was wrong then.
var historyRows = rows{
	into:    `INSERT INTO bradawl_history (owner, entry, last_ms, outcomes)`,
	columns: 4,
	then: ` ON CONFLICT (owner, entry) DO UPDATE SET last_ms = excluded.last_ms, outcomes = excluded.outcomes
		WHERE excluded.last_ms >= bradawl_history.last_ms OR excluded.last_ms < bradawl_history.last_ms - 86400000`,
}

// mostEntries is how many a History has room for.
const mostEntries = stats.MaxHistoryNetworks*stats.MaxHistoryRemotes + stats.MaxHistoryPairs*stats.MaxHistoryLanes

// loadHistory makes a History of what is in the database. Rows that are spoilt are passed
// over, and told by the second error.
func loadHistory(ctx context.Context, db *sql.DB, d Dialect, secret []byte, now time.Time) (h *stats.History, spoilt, err error) {
	if secret == nil {
		if secret, err = secretOf(ctx, db, d); err != nil {
			return nil, nil, err
		}
	}
	if h, err = stats.NewHistory(secret); err != nil {
		return nil, nil, err
	}
	rows, err := db.QueryContext(ctx, d.sql(`SELECT entry, last_ms, outcomes FROM bradawl_history WHERE owner = ? AND last_ms > ? ORDER BY last_ms DESC LIMIT ?`),
		h.Owner(), now.Add(-decay.Window).UnixMilli(), mostEntries)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var entries []stats.HistoryEntry
	for rows.Next() {
		var (
			e  stats.HistoryEntry
			ms int64
		)
		if err := rows.Scan(&e.Key, &ms, &e.Outcomes); err != nil {
			return nil, nil, err
		}
		e.Last = time.UnixMilli(ms)
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	slices.Reverse(entries) // the latest last
	return h, h.Restore(entries), nil
}

// secretOf returns the secret that is kept in the database, and makes it if there is none.
func secretOf(ctx context.Context, db *sql.DB, d Dialect) (secret []byte, err error) {
	fresh := make([]byte, 32)
	crand.Read(fresh) // does not fail
	if _, err := db.ExecContext(ctx, d.sql(`INSERT INTO bradawl_meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`), "history_secret", fresh); err != nil {
		return nil, err
	}
	if err := db.QueryRowContext(ctx, d.sql(`SELECT value FROM bradawl_meta WHERE name = ?`), "history_secret").Scan(&secret); err != nil {
		return nil, err
	}
	if len(secret) < 16 {
		return nil, fmt.Errorf("the history's secret in bradawl_meta has %d bytes; delete its row, and the history begins anew", len(secret))
	}
	return secret, nil
}

// addEntries writes entries of a history.
func addEntries(ctx context.Context, tx *sql.Tx, d Dialect, owner string, entries []stats.HistoryEntry) error {
	var args []any
	for len(entries) > 0 {
		n := chunk(len(entries))
		args = args[:0]
		for _, e := range entries[:n] {
			args = append(args, owner, e.Key, e.Last.UnixMilli(), e.Outcomes)
		}
		if _, err := tx.ExecContext(ctx, historyRows.sql(d, n), args...); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}
