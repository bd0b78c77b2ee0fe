package sqlstore_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/bradawl/bradawl/stats/sqlstore"
)

// BenchmarkSQLite writes events through a store, and beside it what a program would do by
// hand: a prepared INSERT for each, 500 in a transaction, in a file of the same settings
// with the same tables. raw/store above 1 says that the store is faster.
func BenchmarkSQLite(b *testing.B) {
	const events = 10_000
	settings := "?_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=busy_timeout(5000)"
	store := openStore(b, openDB(b, "sqlite", sqliteFile(b)+settings), sqlstore.Config{Queue: events})
	raw := openDB(b, "sqlite", sqliteFile(b)+settings)
	openStore(b, raw, sqlstore.Config{}).Close() // makes the tables
	var byStore, byHand time.Duration
	n := 0
	for b.Loop() {
		began := time.Now()
		for i := range events {
			store.Record(event(n + i))
		}
		flush(b, store)
		byStore += time.Since(began)
		began = time.Now()
		for i := 0; i < events; i += 500 {
			insert(b, raw, n+i, 500)
		}
		byHand += time.Since(began)
		n += events
	}
	if c := store.Counts(); c.Written != uint64(n) {
		b.Fatalf("%+v", c)
	}
	b.ReportMetric(float64(n)/byStore.Seconds(), "events/s")
	b.ReportMetric(float64(n)/byHand.Seconds(), "raw-events/s")
	b.ReportMetric(byHand.Seconds()/byStore.Seconds(), "raw/store")
}

func insert(b *testing.B, db *sql.DB, from, n int) {
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback()
	statement, err := tx.Prepare(`INSERT INTO bradawl_events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		b.Fatal(err)
	}
	defer statement.Close()
	for i := range n {
		e := event(from + i)
		if _, err := statement.Exec(e.ID[:], e.Session[:], e.Time.UnixMilli(), e.Group, e.Stage.String(), e.Status.String(), e.Latency.Microseconds(),
			e.LocalNAT.String(), e.RemoteNAT.String(), e.Pair.String(), e.Protocol.String(), e.IPVersion, e.Tries, e.Lane, e.Reason, 1); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}
