package sqlstore_test

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bradawl/bradawl/stats/sqlstore"
)

// killWriters has one writer after another killed, each of which records what the one before
// had not been told was written, and some that it had. Whatever was told is there once, and
// nothing in part.
func killWriters(t *testing.T, driver, source string) {
	rng := rand.New(rand.NewPCG(11, 1))
	last, told, flushes := 0, map[int]bool{}, map[int]bool{}
	counted := 0 // by the panes of all runs
	for range *rounds {
		first := max(0, last-rng.IntN(2*perFlush))
		for _, last = range runChild(t, driver, source, first, 1+rng.IntN(8), time.Duration(rng.IntN(4000))*time.Microsecond) {
			flushes[last/perFlush] = true
		}
		for n := first; n < last; n++ {
			told[n] = true
		}
		counted += last - first
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store, err := sqlstore.Open(t.Context(), db, sqlstore.Config{Dialect: dialect(driver), Now: func() time.Time { return epoch.Add(time.Minute) }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	found := checkEvents(t, store)
	for n := range told {
		if !found[n] {
			t.Errorf("event %d is missing", n)
		}
	}
	if len(told) < *rounds*perFlush/2 {
		t.Errorf("%d events in %d rounds", len(told), *rounds)
	}
	panes, err := store.Between(t.Context(), epoch, epoch.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if n := int(panes.By()[0].Events()); n < counted {
		t.Errorf("panes have %d events, want %d and more", n, counted)
	}
	for n := range flushes {
		where, remote := network(n)
		if _, known := store.History().Quality(where, remote, epoch.Add(time.Minute)); !known {
			t.Errorf("the outcome of flush %d is missing", n)
		}
	}
	t.Logf("%d events were told of, %d are there; %d in panes; %d entries of a history", len(told), len(found), panes.By()[0].Events(), len(store.History().Entries()))
}

// checkEvents returns which events there are, each once and whole.
func checkEvents(t *testing.T, store *sqlstore.Store) map[int]bool {
	t.Helper()
	found := map[int]bool{}
	for e, err := range store.Events(t.Context(), time.Unix(0, 0), epoch.AddDate(1, 0, 0)) {
		if err != nil {
			t.Fatal(err)
		}
		n, whole := number(e)
		if !whole || found[n] {
			t.Errorf("%+v: whole %v, there before %v", e, whole, found[n])
		}
		found[n] = true
	}
	return found
}

// flush flushes a store within a minute.
func flush(t testing.TB, store *sqlstore.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := store.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}
