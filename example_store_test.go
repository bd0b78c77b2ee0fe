package bradawl_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/sqlstore"
)

// A program that keeps what became of its connections in a file, and begins the next one
// with what worked. With the driver modernc.org/sqlite, say, db is what
// sql.Open("sqlite", "stats.db") returns.
func remember(ctx context.Context, db *sql.DB, id *bradawl.Identity, peer bradawl.PeerID) error {
	recorder, err := stats.NewRecorder(stats.Config{})
	if err != nil {
		return err
	}
	store, err := sqlstore.Open(ctx, db, sqlstore.Config{Recorder: recorder, HistorySecret: id.Bytes()})
	if err != nil {
		return err
	}
	defer store.Close() // writes what waits
	s, err := bradawl.New(ctx, bradawl.Config{
		Identity: id, Signaler: &rendezvous.Signaler{URL: "wss://rendezvous.example/"},
		Record: store.Record, History: store.History(), Memory: store.History(),
	})
	if err != nil {
		return err
	}
	defer s.Close() // hands over the last events
	if _, err := s.Dial(ctx, peer); err != nil {
		return err
	}
	// A month, whatever process counted it.
	month, err := store.Between(ctx, time.Now().AddDate(0, -1, 0), time.Now())
	if err != nil {
		return err
	}
	fmt.Print(month.Table().Text())
	return nil
}

// Statistics that outlast the program: see package sqlstore.
func Example_statistics() {
	var (
		db   *sql.DB // of sql.Open
		id   *bradawl.Identity
		peer bradawl.PeerID
	)
	if err := remember(context.Background(), db, id, peer); err != nil {
		fmt.Println(err)
	}
}
