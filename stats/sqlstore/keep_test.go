package sqlstore

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

func newRecorder(t testing.TB, cfg stats.Config) *stats.Recorder {
	t.Helper()
	r, err := stats.NewRecorder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// same reports whether two snapshots have the same cells and ways.
func same(a, b *stats.Snapshot) bool {
	one, two := *a, *b
	one.From, one.To, two.From, two.To = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	x, _ := one.AppendBinary(nil)
	y, _ := two.AppendBinary(nil)
	return bytes.Equal(x, y)
}

// What a recorder counted, late events too, is read back for any span as a recorder of all
// has it, from two runs of which one died, whatever the database did in between.
func TestPanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		begin := time.Now().Truncate(30 * time.Second)
		all := newRecorder(t, stats.Config{Window: time.Hour})
		n := 0
		for range 2 {
			s := open(t, db, Config{Recorder: newRecorder(t, stats.Config{}), SaveInterval: 7 * time.Second})
			for range 2000 {
				n++
				e := event(n, time.Now().Add(-time.Duration(n*n%100)*time.Second)) // late ones too, and of the first run
				s.Record(e)
				all.Record(e)
				switch n % 1000 {
				case 300:
					f.failing(func(context.Context, string) error { return errLost })
				case 700: // later than the recorder's panes last
					f.failing(nil)
				}
				time.Sleep(1100 * time.Millisecond)
			}
			flush(t, s)
			s.cancel() // as by a kill
			s.Close()
		}
		for _, span := range [][2]time.Duration{{0, 30}, {60, 90}, {3000, 3030}, {900, 1500}, {2100, 2400}, {-1000, 9000}} {
			from, to := begin.Add(span[0]*time.Second), begin.Add(span[1]*time.Second)
			s := open(t, db, Config{})
			got, err := s.Between(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			if !got.From.Equal(from) || !got.To.Equal(to) {
				t.Errorf("%v to %v, want %v to %v", got.From, got.To, from, to)
			}
			if from.Before(time.Now().Add(-time.Hour)) && span[0] >= 0 {
				continue // the recorder of all has let go of it
			}
			want := all.Between(from, to)
			if span[0] < 0 {
				want = all.Total()
			}
			if !same(got, want) {
				t.Errorf("%v: %+v, want %+v", span, got.By(), want.By())
			}
		}
		if all.Ledger().Recorded != 4000 {
			t.Errorf("%+v", all.Ledger())
		}
		if s := open(t, db, Config{}); s.Counts().PanesDropped != 0 {
			t.Error("panes were dropped")
		}
	})
}

// A run that goes on from the state of another revises the other's panes and does not add
// to them.
func TestPanesOfOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, db := newFake(t)
		run, err := stats.NewID(nil)
		if err != nil {
			t.Fatal(err)
		}
		recorder := newRecorder(t, stats.Config{})
		for n := range 3 {
			s := open(t, db, Config{Recorder: recorder, Run: run})
			s.Record(event(n, time.Now()))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if recorder, err = stats.RestoreState(stats.Config{}, recorder.AppendState(nil)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := open(t, db, Config{}).Between(t.Context(), time.Unix(0, 0), time.Now().Add(time.Hour))
		if err != nil || got.By()[0].Events() != 3 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// What waits while the database is lost is bounded.
func TestPanesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{Recorder: newRecorder(t, stats.Config{}), PaneMemory: 64 << 10, Queue: 500})
		f.failing(func(context.Context, string) error { return errLost })
		for n := range 12_000 {
			s.Record(event(n, time.Now()))
			time.Sleep(time.Second)
		}
		f.failing(nil)
		flush(t, s)
		size := 0
		for _, row := range f.panes {
			size += len(row[3].([]byte))
		}
		if c := s.Counts(); size > 64<<10 || size < 60<<10 || c.PanesDropped < 10 || c.PanesDropped+c.Panes < 12_000/30 {
			t.Errorf("%d bytes, %+v", size, c)
		}
	})
}

// A pane that the database refuses holds up no others and no events, and is told of for as
// long as it waits.
func TestPaneIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{Recorder: newRecorder(t, stats.Config{}), FlushInterval: 10 * time.Millisecond})
		synctest.Wait()
		bad := time.Now().Truncate(30 * time.Second).UnixNano()
		f.mu.Lock()
		f.refuse = bad
		f.mu.Unlock()
		for n := range 30 {
			s.Record(event(n, time.Now()))
			time.Sleep(30 * time.Second)
		}
		time.Sleep(time.Minute)
		s.Record(event(30, time.Now()))
		time.Sleep(time.Second)
		synctest.Wait()
		if f.stored() != 31 {
			t.Errorf("%d events", f.stored())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if c := s.Counts(); len(f.panes) != 30 || !errors.Is(c.Err, errLost) || c.PanesDropped != 0 {
			t.Errorf("%d panes, %d events, %+v", len(f.panes), f.stored(), c)
		}
		time.Sleep(25 * time.Hour)
		flush(t, s)
		if c := s.Counts(); c.PanesDropped != 1 || c.Err != nil {
			t.Errorf("a day later: %+v", c)
		}
		all, err := s.Between(t.Context(), time.Time{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)) // of all time
		if err != nil || len(all.Cells) == 0 || all.By()[0].Events() != 30 {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

// A history goes on where it was, under its secret alone; only what changed is written.
func TestHistoryIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		home := netip.MustParseAddr("203.0.113.7")
		quality := func(s *Store) string {
			q, known := s.History().Quality("home", home, time.Now())
			r, knows := s.History().Recall("networks", "predicted", time.Now())
			return fmt.Sprintf("%.2f %v, %.2f %v", q, known, r, knows)
		}
		s := open(t, db, Config{})
		synctest.Wait() // until it has looked for what is old
		for n := range 40 {
			s.History().Record("home", home, n%4 > 0, time.Now())
			s.History().Record("home", netip.AddrFrom4([4]byte{198, 18, 0, byte(n)}), true, time.Now())
			s.History().Remember("networks", "predicted", n%2 > 0, time.Now())
		}
		time.Sleep(10 * time.Second) // SaveInterval
		synctest.Wait()
		if c := s.Counts(); c.History != 42 || len(f.history) != 42 {
			t.Errorf("%+v", c)
		}
		s.History().Record("home", home, true, time.Now())
		want := quality(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if c := s.Counts(); c.History != 43 {
			t.Errorf("%+v", c)
		}
		s = open(t, db, Config{})
		if got := quality(s); got != want || !strings.Contains(got, "0.75 true, 0.50 true") {
			t.Errorf("%s, want %s", got, want)
		}
		flush(t, s)
		if c := s.Counts(); c.History != 0 {
			t.Errorf("what was loaded was written again: %+v", c)
		}
		other := open(t, db, Config{HistorySecret: []byte("another's secret")})
		if got := quality(other); got != "0.50 false, 0.50 false" {
			t.Errorf("under another secret: %s", got)
		}
		f.mu.Lock()
		for key := range f.history {
			f.history[key][3] = []byte("spoilt")
			break
		}
		f.mu.Unlock()
		var told error
		if spoilt := open(t, db, Config{OnError: func(err error) { told = err }}); told == nil || len(spoilt.History().Entries()) != 41 {
			t.Errorf("a spoilt row: %v, %d entries", told, len(spoilt.History().Entries()))
		}
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if got := quality(open(t, db, Config{})); got != "0.50 false, 0.50 false" || len(f.history) != 0 {
			t.Errorf("a day later %s, and %d rows", got, len(f.history))
		}
	})
}

// Of a large history no transaction writes more than a part.
func TestHistoryInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{})
		for n := range 3000 {
			s.History().Remember(fmt.Sprint(n%500), fmt.Sprint("lane-", n/500), true, time.Now())
		}
		statements, most := 0, 0
		f.failing(func(_ context.Context, step string) error {
			switch {
			case step == "begin":
				statements = 0
			case strings.HasPrefix(step, "INSERT INTO bradawl_history"):
				statements++
				most = max(most, statements)
			}
			return nil
		})
		flush(t, s)
		// The writer may have begun before; what a part then lacks of whole statements goes by
		// smaller ones, of powers of two.
		if c := s.Counts(); len(f.history) != 3000 || c.History != 3000 || most > historyBatch/maxRows+bits.Len(maxRows)-2 {
			t.Errorf("%d rows, %d statements at once, %+v", len(f.history), most, c)
		}
	})
}

// What is old goes, some at a time, and events are written in between.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{KeepEvents: 48 * time.Hour, KeepPanes: -1, Recorder: newRecorder(t, stats.Config{})})
		for n := range 3500 {
			s.Record(event(n, time.Unix(0, 0).Add(time.Duration(n)*time.Hour))) // its own time does not matter
		}
		s.Record(event(9000, time.Now()))
		flush(t, s)
		time.Sleep(47 * time.Hour)
		s.Record(event(4000, time.Now().AddDate(5000, 0, 0)))
		flush(t, s)
		if f.stored() != 3502 {
			t.Errorf("%d are left of what is not old", f.stored())
		}
		time.Sleep(2*time.Hour + time.Minute)
		synctest.Wait()
		if c := s.Counts(); f.stored() != 1 || c.Deleted != 3501 || len(f.panes) == 0 {
			t.Errorf("%d are left, %d panes, %+v", f.stored(), len(f.panes), c)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if f.stored() != 0 {
			t.Errorf("%d are left", f.stored())
		}
	})
}

// That old rows cannot be deleted is told, and keeps nothing from being written.
func TestRetentionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		var told error
		s := open(t, db, Config{OnError: func(err error) { told = err }})
		synctest.Wait()
		f.failing(func(_ context.Context, step string) error {
			if strings.HasPrefix(step, "DELETE") {
				return errLost
			}
			return nil
		})
		time.Sleep(2 * time.Hour)
		s.Record(event(1, time.Now()))
		time.Sleep(time.Second)
		synctest.Wait()
		if c := s.Counts(); f.stored() != 1 || c.Failures < 50 || c.Failures > 70 || !errors.Is(told, errLost) {
			t.Errorf("%d stored, %+v, %v", f.stored(), c, told)
		}
	})
}

// Migrations go forward from wherever the tables are, whole or not at all, and never touch
// tables of a later version.
func TestMigrations(t *testing.T) {
	f, db := newFake(t)
	steps := [][]string{{"CREATE one", "CREATE two"}, {"CREATE three"}, {"CREATE four", "CREATE five"}}
	f.failing(func(_ context.Context, step string) error {
		if step == "CREATE two" {
			return errLost
		}
		return nil
	})
	if err := migrate(t.Context(), db, SQLite, steps[:1]); !errors.Is(err, errLost) || f.version != 0 || len(f.created) != 0 {
		t.Errorf("%v: version %d, %q", err, f.version, f.created)
	}
	f.failing(nil)
	for version, want := range []string{"", "CREATE one CREATE two", "CREATE three", "CREATE four CREATE five"} {
		for range 2 {
			f.created = nil
			if err := migrate(t.Context(), db, SQLite, steps[:version]); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(f.created, " "); !strings.HasSuffix(got, want) || f.version != int64(version) {
				t.Errorf("version %d: %q", f.version, got)
			}
			want = ""
		}
	}
	f.created = nil
	var later *SchemaError
	if err := migrate(t.Context(), db, SQLite, steps[:2]); !errors.As(err, &later) || later.Have != 3 || later.Known != 2 || len(f.created) != 0 {
		t.Errorf("%v, %q", err, f.created)
	}
	f.version = 99
	if _, err := Open(t.Context(), db, Config{}); !errors.As(err, &later) || !strings.Contains(err.Error(), "update the program") {
		t.Error(err)
	}
	f.version = 0
	f.failing(func(context.Context, string) error { return errLost })
	if _, err := Open(t.Context(), db, Config{}); !errors.Is(err, errLost) {
		t.Error(err)
	}
}

// No statement has anything of an event in its text, and each has its parameters.
func TestStatementsAreConstant(t *testing.T) {
	f, db := newFake(t)
	seen := map[string]bool{}
	f.failing(func(_ context.Context, step string) error { seen[step] = true; return nil })
	s := open(t, db, Config{HistorySecret: []byte("a secret that is known")})
	for n := range 1000 {
		e := event(n, time.Now())
		e.Lane = fmt.Sprint("lane-", n)
		s.Record(e)
		s.History().Record("home'); DROP TABLE bradawl_events; --", netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), true, time.Now())
		if n%37 == 0 {
			flush(t, s)
		}
	}
	flush(t, s)
	for statement := range seen {
		if strings.ContainsAny(statement, `'"`) || strings.Contains(statement, "lane-") || strings.Contains(statement, "DROP") {
			t.Error(statement)
		}
	}
	if len(seen) < 10 || len(seen) > 50 {
		t.Errorf("%d statements", len(seen))
	}
	if got := PostgreSQL.sql("SELECT BLOB ? WHERE ? > ?"); got != "SELECT BYTEA $1 WHERE $2 > $3" {
		t.Error(got)
	}
	if got := (rows{"I", 2, " T"}).sql(PostgreSQL, 2); got != "I VALUES ($1, $2), ($3, $4) T" {
		t.Error(got)
	}
}

// A row that somebody has spoilt is told of, and the others are read.
func TestSpoiltRows(t *testing.T) {
	f, db := newFake(t)
	s := open(t, db, Config{Recorder: newRecorder(t, stats.Config{})})
	at := time.Now()
	for n := range 9 {
		s.Record(event(n, at.Add(time.Duration(n)*time.Millisecond)))
	}
	flush(t, s)
	for i, spoil := range []func(row []driver.Value){
		func(row []driver.Value) { row[0] = []byte("short") }, func(row []driver.Value) { row[4] = "guess" },
		func(row []driver.Value) { row[13] = "no word" }, func(row []driver.Value) { row[6] = int64(-1) },
	} {
		id := event(2*i, at).ID
		f.mu.Lock()
		spoil(f.events[keyOf(id[:])])
		f.mu.Unlock()
	}
	good, bad := 0, 0
	for _, err := range s.Events(t.Context(), at.Add(-time.Second), at.Add(time.Second)) {
		if err != nil {
			bad++
		} else {
			good++
		}
	}
	if good != 5 || bad != 4 {
		t.Errorf("%d good and %d bad", good, bad)
	}
	for _, row := range f.panes {
		row[3] = row[3].([]byte)[:5]
	}
	if _, err := s.Between(t.Context(), at.Add(-time.Hour), at.Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "the pane of") {
		t.Error(err)
	}
	f.failing(func(context.Context, string) error { return errLost })
	if _, err := s.Between(t.Context(), at, at); !errors.Is(err, errLost) {
		t.Error(err)
	}
	for _, err := range s.Events(t.Context(), at, at) {
		if !errors.Is(err, errLost) {
			t.Error(err)
		}
	}
	f.failing(nil)
}

// BenchmarkBetween reads what is kept of 400 days: hours, and the panes of two days.
func BenchmarkBetween(b *testing.B) {
	f, db := newFake(b)
	s := open(b, db, Config{Now: func() time.Time { return time.Unix(1, 0) }}) // nothing is old
	recorder := newRecorder(b, stats.Config{})
	at := time.Now().Add(-time.Minute)
	for n := range 100 {
		e := event(n, at)
		e.LocalNAT = natprobe.Type(n % 3)
		recorder.Record(e)
	}
	snapshot := recorder.Snapshot()
	body, _ := snapshot.AppendBinary(nil)
	const panes = 398*24 + 2*24*120
	f.mu.Lock()
	for n := range panes {
		row := []driver.Value{int64(n), int64(0), []byte("run"), body, int64(0)}
		f.panes[keyOf(row[0])] = row
	}
	f.mu.Unlock()
	for b.Loop() {
		got, err := s.Between(b.Context(), time.Unix(0, 0), time.Unix(1e9, 0))
		if err != nil || got.By()[0].Events() != 100*panes {
			b.Fatal(got.By(), err)
		}
	}
	b.ReportMetric(float64(len(snapshot.Cells)), "cells")
	b.ReportMetric(float64(len(body)), "B/pane")
}
