package sqlstore

import (
	"context"
	"database/sql"
	"time"
)

// busyTimeout is how long a connection waits for another writer of a SQLite file.
const busyTimeout = `PRAGMA busy_timeout = 5000`

// waitForWriters makes a connection of SQLite wait for other writers, unless the program has
// said how long it shall.
func waitForWriters(ctx context.Context, conn *sql.Conn) error {
	var ms int64
	if err := conn.QueryRowContext(ctx, `PRAGMA busy_timeout`).Scan(&ms); err != nil || ms != 0 {
		return err
	}
	_, err := conn.ExecContext(ctx, busyTimeout)
	return err
}

// useWAL switches a file of SQLite to write-ahead logging where nobody chose another journal.
func useWAL(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := waitForWriters(ctx, conn); err != nil {
		return err
	}
	// Others that open the file may be switching it just now, and SQLite does not wait for them:
	// the busy timeout is not for this lock.
	for tries := 0; ; tries++ {
		var mode string
		err := conn.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode)
		if err == nil && mode == "delete" {
			// Where it cannot be, SQLite says which mode it left it in; either will do.
			err = conn.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode)
		}
		if err == nil || tries == walTries {
			return err
		}
		wait := time.NewTimer(walPause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return err
		}
	}
}

// walPause and walTries are how often it is tried again: for two seconds.
const (
	walPause = 50 * time.Millisecond
	walTries = 40
)
