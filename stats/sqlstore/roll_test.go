package sqlstore

import (
	"context"
	"database/sql/driver"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// After two days there is a row for each hour that had events, whoever counted them, and no
// event is lost or there twice, whatever failed meanwhile and whatever comes late.
func TestRollUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		all := newRecorder(t, stats.Config{})
		begin := time.Now().Truncate(time.Hour)
		var stores []*Store
		for range 2 {
			stores = append(stores, open(t, db, Config{Recorder: newRecorder(t, stats.Config{}), SaveInterval: time.Minute}))
		}
		n := 0
		record := func(hours int) {
			for range hours * 30 {
				n++
				e := event(n, time.Now())
				stores[n%2].Record(e)
				all.Record(e)
				time.Sleep(2 * time.Minute)
			}
		}
		check := func(what string, rows func(hours, others int) bool) {
			t.Helper()
			for _, s := range stores {
				flush(t, s)
			}
			got, err := stores[0].Between(t.Context(), begin, time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if !same(got, all.Total()) {
				t.Errorf("%s: %+v, want %+v; %+v", what, got.By()[0].Count, all.Total().By()[0].Count, all.Ledger())
			}
			hours, others := 0, 0
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, row := range f.panes {
				if row[1] == int64(time.Hour) {
					hours++
				} else {
					others++
				}
			}
			if !rows(hours, others) {
				t.Errorf("%s: %d rows of hours and %d others", what, hours, others)
			}
		}
		record(47)
		check("before it begins", func(hours, others int) bool { return hours == 0 && others > 47*25 })
		var steps atomic.Int64
		f.failing(func(_ context.Context, step string) error {
			if strings.HasPrefix(step, "DELETE FROM bradawl_panes WHERE start_ns") || step == "committed" {
				if steps.Add(1)%3 == 0 {
					return errLost
				}
			}
			return nil
		})
		record(20)
		check("when it runs", func(hours, others int) bool { return hours >= 17 && hours <= 20 && others > 47*25 })
		f.failing(nil)
		// What one of them counted now is written half a day later.
		f.failing(func(context.Context, string) error { return errLost })
		record(12)
		f.failing(nil)
		time.Sleep(60 * time.Hour)
		check("when all is old", func(hours, others int) bool { return hours == 47+20+12 && others == 0 })
		hour := begin.Add(5 * time.Hour)
		got, err := stores[0].Between(t.Context(), hour, hour.Add(time.Hour))
		if err != nil || got.By()[0].Events() != 30 {
			t.Errorf("%+v %v", got.By(), err)
		}
		if a, b := stores[0].Counts(), stores[1].Counts(); a.PanesDropped+b.PanesDropped != 0 || a.Rolled+b.Rolled == 0 {
			t.Errorf("%+v and %+v", a, b)
		}
		// What waits for longer than a day is let go, for it might be counted twice.
		f.failing(func(context.Context, string) error { return errLost })
		was := all.Total()
		record(2)
		time.Sleep(30 * time.Hour)
		f.failing(nil)
		flush(t, stores[0])
		flush(t, stores[1])
		if got, err := stores[0].Between(t.Context(), begin, time.Now()); err != nil || !same(got, was) || stores[0].Counts().PanesDropped == 0 {
			t.Errorf("%+v, want %+v, %v, %+v", got.By(), was.By(), err, stores[0].Counts())
		}
	})
}

// A recorder with a window of days that goes on in the next process does not bring its old
// panes again, which are part of an hour by then.
func TestRollUpOfARestoredRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, db := newFake(t)
		long := stats.Config{Window: 100 * time.Hour, Hop: 10 * time.Minute}
		recorder, begin := newRecorder(t, long), time.Now()
		s := open(t, db, Config{Recorder: recorder, Run: stats.ID{1}})
		for n := range 5 {
			s.Record(event(n, time.Now()))
			time.Sleep(12 * time.Hour)
		}
		flush(t, s)
		if s.Counts().Rolled == 0 {
			t.Fatal("nothing was added up")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		recorder, err := stats.RestoreState(long, recorder.AppendState(nil))
		if err != nil {
			t.Fatal(err)
		}
		s = open(t, db, Config{Recorder: recorder, Run: stats.ID{1}})
		s.Record(event(5, time.Now()))
		flush(t, s)
		if got, err := s.Between(t.Context(), begin.Add(-time.Hour), time.Now().Add(time.Hour)); err != nil || got.By()[0].Events() != 6 {
			t.Errorf("%d events of 6, %v", got.By()[0].Events(), err)
		}
	})
}

// However many recorders there were in an hour, and whatever became of a pane: no transaction
// adds up more than some, and hours that can be read are added up.
func TestRollUpOfManyAndSpoilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		recorder := newRecorder(t, stats.Config{})
		recorder.Record(event(1, time.Now()))
		body, _ := recorder.Snapshot().AppendBinary(nil)
		first := time.Now().Add(-100 * time.Hour).Truncate(time.Hour)
		const many = 2*rollRows + 7
		for n := range many + 2 {
			run, start := stats.ID{1, byte(n >> 8), byte(n)}, first
			row := []driver.Value{start.UnixNano(), int64(30 * time.Second), run[:], body, int64(0)}
			switch n {
			case many:
				row[0], row[3] = start.Add(time.Hour).UnixNano(), []byte("spoilt")
			case many + 1:
				row[0] = start.Add(2 * time.Hour).UnixNano()
			}
			f.panes[keyOf(row[:3]...)] = row
		}
		var most atomic.Int64
		f.failing(func(_ context.Context, step string) error {
			if strings.HasPrefix(step, "DELETE FROM bradawl_panes WHERE start_ns") {
				most.Add(1)
			}
			return nil
		})
		var told []error
		s := open(t, db, Config{OnError: func(err error) { told = append(told, err) }})
		time.Sleep(time.Minute)
		synctest.Wait()
		if c := s.Counts(); c.Rolled != many+1 || most.Load() != 4 || c.Failures != 1 {
			t.Errorf("%+v, in %d transactions", c, most.Load())
		}
		if len(told) != 1 || !strings.Contains(told[0].Error(), "a pane of the hour of "+first.Add(time.Hour).UTC().String()) {
			t.Error(told)
		}
		for hour, want := range []uint64{many, 0, 1} {
			at := first.Add(time.Duration(hour) * time.Hour)
			got, err := s.Between(t.Context(), at, at.Add(time.Hour))
			if (err != nil) != (want == 0) || err == nil && got.By()[0].Events() != want {
				t.Errorf("hour %d: %+v, %v", hour, got, err)
			}
		}
		if len(f.panes) != 3 {
			t.Errorf("%d rows", len(f.panes))
		}
	})
}
