package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
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

// migrate brings the tables up to the last of the versions, in one transaction, of which
// there is one at a time however many programs open the database.
func migrate(ctx context.Context, db *sql.DB, d Dialect, versions [][]string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := d.wait(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, speeches[d].begin); err != nil {
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
	if lock := speeches[d].lockSchema; lock != "" {
		if err := exec(lock, int64(schemaLock)); err != nil {
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
