package sqlstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/sqlstore"
)

func itoa(n int) string { return strconv.Itoa(n) }

func newRecorder(t testing.TB, now func() time.Time) *stats.Recorder {
	t.Helper()
	r, err := stats.NewRecorder(stats.Config{Now: now, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// use goes through all that a store does.
func use(t *testing.T, driver, source string) {
	db := openDB(t, driver, source)
	now := epoch.Add(20 * time.Second)
	var clock sync.Mutex
	cfg := sqlstore.Config{Dialect: dialect(driver), HistorySecret: []byte("a secret of the test's"), Now: func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		return now
	}}
	set := func(to time.Time) {
		clock.Lock()
		defer clock.Unlock()
		now = to
	}
	cfg.OnError = func(err error) { t.Error(err) }
	cfg.Recorder = newRecorder(t, cfg.Now)
	cfg.Run = stats.ID{1} // for it is given to one store after the other
	store := openStore(t, db, cfg)

	// Events, twice each, and as columns.
	const events = 5000
	for n := range 2 * events {
		store.Record(event(n % events))
		if n%events == events-1 {
			flush(t, store)
		}
	}
	if c := store.Counts(); c.Written != events || c.Duplicates != events || c.Err != nil {
		t.Errorf("%+v", c)
	}
	if found := checkEvents(t, store); len(found) != events {
		t.Errorf("%d events", len(found))
	}
	if n := scalar[int](t, db, `SELECT COUNT(*) FROM bradawl_events WHERE stage = 'connect' AND status = 'success' AND pair = 'srflx' AND latency_us >= 0 AND local_nat = 'full_cone'`); n != events*3/4 {
		t.Errorf("%d events by SQL", n)
	}

	// Panes, one of which is revised by late events.
	late := event(1)
	late.ID[3]++
	set(epoch.Add(70 * time.Second))
	store.Record(late)
	flush(t, store)
	for _, span := range [][2]time.Duration{{0, 1}, {1, 2}, {0, 60}, {-30, 30}} {
		from, to := epoch.Add(span[0]*time.Second), epoch.Add(span[1]*time.Second)
		got, err := store.Between(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		want := cfg.Recorder.Between(from, to)
		want.From, want.To = from, to
		a, _ := got.AppendBinary(nil)
		b, _ := want.AppendBinary(nil)
		if !bytes.Equal(a, b) {
			t.Errorf("%v: %+v, want %+v", span, got.By(), want.By())
		}
	}
	if n := scalar[int](t, db, `SELECT COUNT(*) FROM bradawl_panes`); n != 1 {
		t.Errorf("%d panes", n)
	}

	// A history that goes on in the next process.
	for n := range 300 {
		store.History().Record("home", netip.AddrFrom4([4]byte{198, 18, 0, byte(n)}), n%3 > 0, cfg.Now())
		store.History().Remember(fmt.Sprint("pair-", n), "birthday", n%2 > 0, cfg.Now())
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, db, cfg)
	if n := len(again.History().Entries()); n != 556 {
		t.Errorf("%d entries", n)
	}
	for n := range 44 {
		addr := netip.AddrFrom4([4]byte{198, 18, 0, byte(n)})
		a, known := store.History().Quality("home", addr, cfg.Now())
		b, knows := again.History().Quality("home", addr, cfg.Now())
		c, recalled := again.History().Recall(fmt.Sprint("pair-", n), "birthday", cfg.Now())
		if a != b || !known || !knows || !recalled || c == 0.5 {
			t.Errorf("%v: %v %v, want %v %v; %v %v", addr, b, knows, a, known, c, recalled)
		}
	}

	// A clock that was ahead by years, and was then set right, has not made it deaf.
	far := netip.AddrFrom4([4]byte{198, 19, 0, 1})
	again.History().Record("away", far, true, epoch.AddDate(50, 0, 0))
	flush(t, again)
	again.History().Record("away", far, false, cfg.Now())
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	again = openStore(t, db, cfg)
	if q, known := again.History().Quality("away", far, cfg.Now()); q != 0.25 || !known {
		t.Fatalf("after a clock 50 years ahead: %v %v, want one failure", q, known)
	}

	// Many others keep panes of an hour, too.
	const others = 1100
	body, _ := cfg.Recorder.Snapshot().AppendBinary(nil)
	insert := `INSERT INTO bradawl_panes VALUES (?, ?, ?, ?, ?)`
	if driver == "pgx" {
		insert = `INSERT INTO bradawl_panes VALUES ($1, $2, $3, $4, $5)`
	}
	if driver == "sqlite" { // whose connections the store makes wait for each other, but not ours
		db.SetMaxOpenConns(1)
	}
	for n := range others {
		run := stats.ID{9, byte(n >> 8), byte(n)}
		if _, err := db.Exec(insert, epoch.Add(time.Duration(n%7)*time.Minute).UnixNano(), int64(time.Minute), run[:], body, 1); err != nil {
			t.Fatal(err)
		}
	}
	inAll := uint64(others+1) * cfg.Recorder.Total().By()[0].Events()

	// What is old goes.
	flush(t, again) // after which it looks for nothing old for an hour
	set(epoch.AddDate(0, 0, 31))
	again.Close()
	again = openStore(t, db, cfg)
	flushUntil(t, again, func(c sqlstore.Counts) bool { return c.Deleted >= events+1+557 })
	if n := scalar[int](t, db, `SELECT (SELECT COUNT(*) FROM bradawl_events) + (SELECT COUNT(*) FROM bradawl_history)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	flushUntil(t, again, func(c sqlstore.Counts) bool { return c.Rolled >= others+1 })
	hour, err := again.Between(t.Context(), epoch.Truncate(time.Hour), epoch.AddDate(1, 0, 0))
	if n := scalar[int](t, db, `SELECT COUNT(*) FROM bradawl_panes WHERE hop_ns = 3600000000000`); n != 1 || err != nil || hour.By()[0].Events() != inAll {
		t.Errorf("%d panes are left, %+v, %v", n, hour.By(), err)
	}

	// Tables of a later version are left alone.
	if _, err := db.Exec(`INSERT INTO bradawl_schema (version) VALUES (1000)`); err != nil {
		t.Fatal(err)
	}
	var later *sqlstore.SchemaError
	if _, err := sqlstore.Open(t.Context(), db, cfg); !errors.As(err, &later) || later.Have != 1000 {
		t.Error(err)
	}
}

// several has processes, so to say, make the tables and write the same events at once.
func several(t *testing.T, driver, source string) {
	const events = 2000
	var wg sync.WaitGroup
	var written [4]uint64
	for i := range written {
		wg.Go(func() {
			db := openDB(t, driver, source)
			store, err := sqlstore.Open(t.Context(), db, sqlstore.Config{Dialect: dialect(driver)})
			if err != nil {
				t.Error(err)
				return
			}
			for n := range events {
				store.Record(event((n*7 + i*500) % events))
			}
			if err := store.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			c := store.Counts()
			written[i] = c.Written
			if c.Written+c.Duplicates != events {
				t.Errorf("%+v", c)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	store := openStore(t, openDB(t, driver, source), sqlstore.Config{Dialect: dialect(driver)})
	if found := checkEvents(t, store); len(found) != events || written[0]+written[1]+written[2]+written[3] < events {
		t.Errorf("%d events, written %v", len(found), written)
	}
}

// flushUntil gives the store turns until it has done what it does between events.
func flushUntil(t *testing.T, store *sqlstore.Store, done func(sqlstore.Counts) bool) {
	t.Helper()
	for n := 0; !done(store.Counts()); n++ {
		if n > 1000 {
			t.Fatalf("not done in %d turns: %+v", n, store.Counts())
		}
		flush(t, store)
	}
}

// refusing has the database refuse some events, by what somebody has done to its table: the
// others are written all the same, and those are counted, not waited for.
func refusing(t *testing.T, driver, source string, statements ...string) {
	db := openDB(t, driver, source)
	store := openStore(t, db, sqlstore.Config{Dialect: dialect(driver)})
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	const events = 300
	refused := map[int]bool{3: true, 4: true, 250: true}
	for n := range events {
		e := event(n)
		if refused[n] {
			e.Lane = "poison"
		}
		store.Record(e)
	}
	for n := events; store.Counts().Refused < uint64(len(refused)); n++ { // others come all the time
		if n > events+1000 {
			t.Fatalf("%+v", store.Counts())
		}
		store.Record(event(n))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_ = store.Flush(ctx)
		cancel()
	}
	flush(t, store)
	c := store.Counts()
	if found := checkEvents(t, store); uint64(len(found)) != c.Written || c.Written+3 != c.Accepted || c.Refused != 3 || c.Duplicates != 0 || found[3] || found[4] || found[250] {
		t.Errorf("%d events, %+v", len(found), c)
	}
}
