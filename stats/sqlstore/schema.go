package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"
)

// migrations are the statements that bring the tables from each version to the next; the
// first ones make version 1. What was released is not changed: a change is a new version.
var migrations = [][]string{
	{
		`CREATE TABLE bradawl_meta (name TEXT PRIMARY KEY, value BLOB NOT NULL)`,

		`CREATE TABLE bradawl_events (
			event_id BLOB NOT NULL UNIQUE, session_id BLOB NOT NULL, time_ms BIGINT NOT NULL, ab_group TEXT NOT NULL,
			stage TEXT NOT NULL, status TEXT NOT NULL, latency_us BIGINT NOT NULL, local_nat TEXT NOT NULL, remote_nat TEXT NOT NULL,
			pair TEXT NOT NULL, protocol TEXT NOT NULL, ip_version INTEGER NOT NULL, tries INTEGER NOT NULL, lane TEXT NOT NULL,
			reason TEXT NOT NULL, stored_ms BIGINT NOT NULL)`,
		`CREATE INDEX bradawl_events_time ON bradawl_events (time_ms)`,
		`CREATE INDEX bradawl_events_stored ON bradawl_events (stored_ms)`,

		`CREATE TABLE bradawl_panes (
			start_ns BIGINT NOT NULL, hop_ns BIGINT NOT NULL, run BLOB NOT NULL, snapshot BLOB NOT NULL, stored_ms BIGINT NOT NULL,
			PRIMARY KEY (start_ns, hop_ns, run))`,

		`CREATE TABLE bradawl_history (
			owner TEXT NOT NULL, entry TEXT NOT NULL, last_ms BIGINT NOT NULL, outcomes BLOB NOT NULL, PRIMARY KEY (owner, entry))`,
		`CREATE INDEX bradawl_history_last ON bradawl_history (last_ms)`,
	},
}

// migrationLock is the number of PostgreSQL's advisory lock that migrations hold: "bradawl".
const migrationLock = 0x62726164_61776c

// migrate brings the tables up to the last of the versions, in one transaction, of which
// there is one at a time however many programs open the database.
func migrate(ctx context.Context, db *sql.DB, d Dialect, versions [][]string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := waitForWriters(ctx, conn, d); err != nil {
		return err
	}
	// database/sql has no way to begin a transaction of SQLite that locks from the start.
	begin := "BEGIN"
	if d == SQLite {
		begin = "BEGIN IMMEDIATE"
	}
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return err
	}
	end := "COMMIT"
	if err = migrateIn(ctx, conn, d, versions); err != nil {
		end = "ROLLBACK"
	}
	if _, endErr := conn.ExecContext(context.WithoutCancel(ctx), end); endErr != nil {
		conn.Raw(func(any) error { return driver.ErrBadConn }) // nobody shall find it within a transaction
		if err == nil {
			err = endErr
		}
	}
	return err
}

func migrateIn(ctx context.Context, conn *sql.Conn, d Dialect, versions [][]string) error {
	exec := func(statement string, args ...any) error {
		_, err := conn.ExecContext(ctx, d.sql(statement), args...)
		return err
	}
	if d == PostgreSQL {
		if err := exec(`SELECT pg_advisory_xact_lock(?)`, int64(migrationLock)); err != nil {
			return err
		}
	}
	if err := exec(`CREATE TABLE IF NOT EXISTS bradawl_schema (version INTEGER NOT NULL PRIMARY KEY)`); err != nil {
		return err
	}
	var have int
	if err := conn.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM bradawl_schema`).Scan(&have); err != nil {
		return err
	}
	if have > len(versions) {
		return &SchemaError{Have: have, Known: len(versions)}
	}
	for i := have; i < len(versions); i++ {
		for _, statement := range versions[i] {
			if err := exec(statement); err != nil {
				return fmt.Errorf("bringing the tables to version %d: %w", i+1, err)
			}
		}
		if err := exec(`INSERT INTO bradawl_schema (version) VALUES (?)`, i+1); err != nil {
			return err
		}
	}
	return nil
}

// busyTimeout is how long a connection waits for another writer of a SQLite file.
const busyTimeout = `PRAGMA busy_timeout = 5000`

// waitForWriters makes a connection of SQLite wait for other writers, unless the program has
// said how long it shall.
func waitForWriters(ctx context.Context, conn *sql.Conn, d Dialect) error {
	if d != SQLite {
		return nil
	}
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
	if err := waitForWriters(ctx, conn, SQLite); err != nil {
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
