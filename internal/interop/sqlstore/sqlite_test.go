package sqlstore_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/stats/sqlstore"
)

// sqliteFile is a file of SQLite that goes away with the test.
func sqliteFile(t testing.TB) string {
	return "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "stats.db"))
}

func openDB(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openStore(t testing.TB, db *sql.DB, cfg sqlstore.Config) *sqlstore.Store {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// patient has the test's own statements wait for the store's, which come from another
// connection.
func patient(file string) string { return file + "?_pragma=busy_timeout(5000)" }

func scalar[T any](t testing.TB, db *sql.DB, query string) (got T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return got
}

func TestSQLite(t *testing.T) {
	t.Run("use", func(t *testing.T) { use(t, "sqlite", patient(sqliteFile(t))) })
	t.Run("several at once", func(t *testing.T) { several(t, "sqlite", sqliteFile(t)) })
	t.Run("refusing", func(t *testing.T) {
		refusing(t, "sqlite", patient(sqliteFile(t)), `CREATE TRIGGER no BEFORE INSERT ON bradawl_events WHEN NEW.lane = 'poison' BEGIN SELECT RAISE(ABORT, 'no'); END`)
	})
	t.Run("in memory", func(t *testing.T) {
		db := openDB(t, "sqlite", ":memory:")
		db.SetMaxOpenConns(1)
		store := openStore(t, db, sqlstore.Config{})
		store.Record(event(1))
		flush(t, store)
		if found := checkEvents(t, store); len(found) != 1 {
			t.Errorf("%d events", len(found))
		}
	})
}

// Writers are killed during their writes.
func TestSQLiteKill(t *testing.T) {
	file := sqliteFile(t)
	killWriters(t, "sqlite", file)
	db := openDB(t, "sqlite", file)
	if got := scalar[string](t, db, "PRAGMA integrity_check"); got != "ok" {
		t.Error(got)
	}
}

// The store sets what it says, and leaves what the program has chosen.
func TestSQLiteSettings(t *testing.T) {
	for _, c := range []struct {
		what, source string
		cfg          sqlstore.Config
		journal      string
		busy         int
	}{
		{"nothing chosen", sqliteFile(t), sqlstore.Config{}, "wal", 5000},
		{"a time chosen", sqliteFile(t) + "?_pragma=busy_timeout(700)", sqlstore.Config{}, "wal", 700},
		{"a journal chosen", sqliteFile(t) + "?_pragma=journal_mode(truncate)", sqlstore.Config{}, "truncate", 5000},
		{"NoWAL", sqliteFile(t), sqlstore.Config{NoWAL: true}, "delete", 5000},
	} {
		db := openDB(t, "sqlite", c.source)
		db.SetMaxOpenConns(1) // so that it is the store's connection that is looked at
		store := openStore(t, db, c.cfg)
		store.Record(event(1))
		flush(t, store)
		if journal, busy := scalar[string](t, db, "PRAGMA journal_mode"), scalar[int](t, db, "PRAGMA busy_timeout"); journal != c.journal || busy != c.busy {
			t.Errorf("%s: %s and %d ms, want %s and %d", c.what, journal, busy, c.journal, c.busy)
		}
	}
}

// A full disk is told of and loses nothing that was accepted; when there is room again, all
// is written.
func TestSQLiteFull(t *testing.T) {
	db := openDB(t, "sqlite", sqliteFile(t))
	db.SetMaxOpenConns(1) // for the limit is the connection's
	told := make(chan error, 100)
	store := openStore(t, db, sqlstore.Config{Queue: 1000, OnError: func(err error) { told <- err }})
	store.Record(event(0))
	flush(t, store)
	pages := scalar[int](t, db, "PRAGMA page_count")
	scalar[int](t, db, "PRAGMA max_page_count = "+itoa(pages+5))
	n := 1
	for ; store.Counts().Dropped == 0; n++ { // Record does not wait
		store.Record(event(n))
	}
	if err := <-told; !strings.Contains(err.Error(), "full") {
		t.Error(err)
	}
	if found := checkEvents(t, store); !found[0] {
		t.Error("what was there is gone")
	}
	scalar[int](t, db, "PRAGMA max_page_count = 1000000")
	flush(t, store)
	c := store.Counts()
	if found := checkEvents(t, store); uint64(len(found)) != c.Accepted || c.Written != c.Accepted || c.Failures == 0 || c.Err != nil {
		t.Errorf("%d events, %+v", len(found), c)
	}
	if got := scalar[string](t, db, "PRAGMA integrity_check"); got != "ok" {
		t.Error(got)
	}
}
