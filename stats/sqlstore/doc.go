// Package sqlstore keeps what package stats knows in a database of SQL: every event, the
// panes of a Recorder with their sketches, and a History. SQLite and PostgreSQL are spoken
// to through a *sql.DB that the program opens, with the driver that it likes; this package
// imports none.
//
//	db, err := sql.Open("sqlite", "file:stats.db?_pragma=busy_timeout(5000)")
//	...
//	store, err := sqlstore.Open(ctx, db, sqlstore.Config{})
//	...
//	defer store.Close()
//	session, err := bradawl.New(ctx, bradawl.Config{Record: store.Record, History: store.History(), Memory: store.History()})
//
// # What never happens
//
// Nothing that a connection calls waits for the database: [Store.Record] puts an event into
// a bounded queue, the history is in memory, and one goroutine writes. Where the database is
// lost or full, it tries again, ever more seldom up to every 30 seconds, and goes on once it
// is back; meanwhile the queue fills, and events that find it full are dropped and counted.
// No event is written twice, for its ID is unique in the database, and none in part. One that
// the database refuses again and again while it takes others, for somebody gave the table a
// trigger, say, is passed over and counted.
//
// An event is safe once [Store.Flush] has returned nil, or after Config.FlushInterval if
// nothing failed: of a process that is killed, what was younger is lost.
//
// # SQLite
//
// The store switches a file to write-ahead logging (Config.NoWAL), by which readers and the
// writer do not wait for each other, and lets its own connections wait for 5 seconds for
// another writer unless the program has chosen a time (PRAGMA busy_timeout). What else
// matters is the program's choice: with "PRAGMA synchronous = NORMAL" a commit does not wait
// for the disk, so that the last ones can be lost, whole, when the power fails, but not when
// the process is killed; "PRAGMA max_page_count" limits the file. A database in memory is one
// for each connection: call db.SetMaxOpenConns(1). Space of what was deleted is used again;
// VACUUM gives it back.
//
// # Tables
//
// bradawl_events has a row for each event, in columns that are named as in its JSON, so that
// SQL can ask what it wants: times are milliseconds since 1970, latencies microseconds, IDs
// 16 bytes, and what does not apply is empty or 0.
//
//	SELECT local_nat, status, COUNT(*) FROM bradawl_events WHERE stage = 'connect' GROUP BY local_nat, status
//
// bradawl_panes has a pane of one recorder in one row: its times, and the snapshot in the
// binary form of package stats. One row for each pane and not for each of its cells, because
// a pane is revised as a whole when late events come, in one statement that cannot be half
// done; because sketches are merged by package stats and not by SQL; and because SQL that
// counts has the events. Panes that are two days old are added up by the hour.
//
// bradawl_history has hashes and no addresses, under a secret: [Config.HistorySecret].
package sqlstore
