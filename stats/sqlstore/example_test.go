package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/sqlstore"
)

// keep records what others make, and prints the table of the last week, which is that of all
// who keep their panes in this database.
func keep(ctx context.Context, db *sql.DB, made <-chan stats.Event) error {
	recorder, err := stats.NewRecorder(stats.Config{})
	if err != nil {
		return err
	}
	store, err := sqlstore.Open(ctx, db, sqlstore.Config{
		Dialect: sqlstore.SQLite, Recorder: recorder, KeepEvents: 7 * 24 * time.Hour,
		OnError: func(err error) { fmt.Println(err) },
	})
	if err != nil {
		return err
	}
	defer store.Close()
	for e := range made {
		store.Record(e)
	}
	if err := store.Flush(ctx); err != nil {
		return err // says what the database said
	}
	week, err := store.Between(ctx, time.Now().AddDate(0, 0, -7), time.Now())
	if err != nil {
		return err
	}
	fmt.Print(week.Table().Text())
	return nil
}

// With a driver imported, db is what sql.Open returns.
func Example() {
	db := sqlstore.MemoryDB()
	defer db.Close()
	made := make(chan stats.Event, 1)
	id, err := stats.NewID(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	made <- stats.Event{
		ID: id, Session: id, Time: time.Now(), Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: 120 * time.Millisecond,
		LocalNAT: natprobe.TypeFullCone, Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 3,
	}
	close(made)
	if err := keep(context.Background(), db, made); err != nil {
		fmt.Println(err)
	}
	// Output:
	// NAT type  | attempts | P2P successes | relay fallback rate | mean latency
	// full-cone | 1        | 1             | 0.0 % *             | 120 ms
	// all       | 1        | 1             | 0.0 % *             | 120 ms
	// * fewer than 30 attempts
}
