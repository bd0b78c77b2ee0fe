package sqlstore

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// event returns an event, another for each n.
func event(n int, at time.Time) stats.Event {
	e := stats.Event{
		Time: at.UTC().Truncate(time.Millisecond), Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: time.Duration(n%5000) * time.Millisecond,
		LocalNAT: natprobe.TypeFullCone, RemoteNAT: natprobe.Type(n % 5), Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: n % 9,
	}
	if n%4 == 0 {
		e.Status, e.Pair, e.Protocol, e.IPVersion, e.Reason, e.Group, e.Lane = stats.StatusTimeOut, 0, 0, 0, "no_answer", "b", "predicted"
	}
	binary.BigEndian.PutUint64(e.ID[:], uint64(n)+1)
	binary.BigEndian.PutUint64(e.Session[8:], uint64(n)+1)
	return e
}

func open(t testing.TB, db *sql.DB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func flush(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Events are written when a batch is full, when the first has waited, and by Flush; those
// that come twice once.
func TestEventsAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{BatchSize: 100, FlushInterval: 3 * time.Second})
		at := time.Now()
		want := 0
		check := func(what string) {
			t.Helper()
			synctest.Wait()
			if got := f.stored(); got != want {
				t.Fatalf("%s: %d events, want %d", what, got, want)
			}
		}
		record := func(n int) {
			for range n {
				want++
				s.Record(event(want, at))
			}
		}
		record(99)
		want -= 99
		check("before a batch is full")
		time.Sleep(2999 * time.Millisecond)
		check("before they have waited")
		want += 99
		time.Sleep(time.Millisecond)
		check("when they have waited")
		record(100)
		check("when a batch is full")
		record(7)
		flush(t, s)
		check("after Flush")
		for n := range want {
			s.Record(event(n+1, at))
		}
		s.Record(stats.Event{})
		flush(t, s)
		check("when all came again")
		c := s.Counts()
		if c.Written != uint64(want) || c.Duplicates != uint64(want) || c.Invalid != 1 || c.Accepted != 2*uint64(want) || c.Waiting != 0 || c.Dropped != 0 || c.Err != nil {
			t.Errorf("%+v", c)
		}
		n := 0
		for e, err := range s.Events(t.Context(), at.Add(-time.Minute), at.Add(time.Minute)) {
			n++
			if want := event(n, at); err != nil || e != want {
				t.Fatalf("%v %v, want %v", e, err, want)
			}
		}
		if n != want {
			t.Errorf("%d events were read", n)
		}
		for _, span := range [][2]time.Duration{{-time.Hour, 0}, {time.Millisecond, time.Hour}} {
			for range s.Events(t.Context(), at.Add(span[0]), at.Add(span[1])) {
				t.Fatalf("an event within %v", span)
			}
		}
		record(5)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		check("after Close")
		s.Record(event(999, at))
		if err := s.Flush(t.Context()); err != ErrClosed {
			t.Error(err)
		}
		if err := s.Close(); err != ErrClosed {
			t.Error(err)
		}
		if c := s.Counts(); c.Dropped != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// A database that is away for hours costs nothing but the events that there was no room for,
// is told of now and then, and is not hammered at; then all goes on.
func TestDatabaseLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		var told []error
		s := open(t, db, Config{BatchSize: 10, Queue: 1000, OnError: func(err error) { told = append(told, err) }})
		at := time.Now()
		for n := range 50 {
			s.Record(event(n, at))
		}
		flush(t, s)
		f.failing(func(context.Context, string) error { return errLost })
		for n := range 5000 {
			s.Record(event(50+n, at))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		c := s.Counts()
		if c.Waiting != 1000 || c.Dropped != 4000 || c.Accepted != 1050 || !errors.Is(c.Err, errLost) {
			t.Errorf("%+v", c)
		}
		if minutes := 5000 / 60; len(told) < minutes/2 || len(told) > minutes+1 {
			t.Errorf("told %d times in %d minutes", len(told), minutes)
		}
		if last := told[len(told)-1]; !errors.Is(last, errLost) || !strings.Contains(last.Error(), "1000 events wait") {
			t.Error(last)
		}
		// The waits are 250 ms, twice that and so on up to 30 s, and up to half as long again.
		if c.Failures < 5000/45 || c.Failures > 5000/30+10 {
			t.Errorf("%d tries in 5000 s", c.Failures)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errLost) {
			t.Errorf("Flush: %v", err)
		}
		synctest.Wait()
		if n := len(s.waiters); n != 0 {
			t.Errorf("%d wait after Flush has given up", n)
		}
		f.failing(nil)
		began := time.Now()
		flush(t, s) // tries at once
		if took := time.Since(began); took > 0 {
			t.Errorf("Flush took %v", took)
		}
		if c := s.Counts(); f.stored() != 1050 || c.Written != 1050 || c.Waiting != 0 || c.Err != nil {
			t.Errorf("%d stored, %+v", f.stored(), c)
		}
	})
}

// Without Flush too, it goes on by itself, within the longest wait.
func TestDatabaseIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{})
		f.failing(func(context.Context, string) error { return errLost })
		s.Record(event(1, time.Now()))
		time.Sleep(10 * time.Minute)
		f.failing(nil)
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if f.stored() != 1 {
			t.Error("not written")
		}
	})
}

// Where a commit is done but its answer is lost, nothing is there twice or missing.
func TestCommitWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{BatchSize: 10, HistorySecret: []byte("a secret that is known")})
		n := 0
		f.failing(func(_ context.Context, step string) error {
			if step == "committed" {
				if n++; n%2 == 1 {
					return errLost
				}
			}
			return nil
		})
		for n := range 95 {
			s.Record(event(n, time.Now()))
		}
		s.History().Remember("networks", "plain", true, time.Now())
		flush(t, s)
		c := s.Counts()
		if f.stored() != 95 || c.Written+c.Duplicates != 95 || c.Duplicates == 0 || len(f.history) != 1 {
			t.Errorf("%d stored, %+v", f.stored(), c)
		}
	})
}

// Close gives up when its time is over, whatever the database does.
func TestCloseIsLimited(t *testing.T) {
	for name, fail := range map[string]func(ctx context.Context, step string) error{
		"lost":  func(context.Context, string) error { return errLost },
		"hangs": func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, db := newFake(t)
				recorder, err := stats.NewRecorder(stats.Config{})
				if err != nil {
					t.Fatal(err)
				}
				s := open(t, db, Config{CloseTimeout: 4 * time.Second, Recorder: recorder})
				s.Record(event(1, time.Now()))
				flush(t, s)
				f.failing(fail)
				for n := range 30 {
					s.Record(event(n, time.Now()))
				}
				s.History().Remember("networks", "plain", true, time.Now())
				waits := make(chan error)
				go func() { waits <- s.Flush(context.Background()) }()
				time.Sleep(time.Minute)
				began := time.Now()
				err = s.Close()
				var lost *LostError
				if !errors.As(err, &lost) || lost.Events != 30 || lost.History != 1 || lost.Panes != 1 {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); took > 4*time.Second || name == "lost" && !errors.Is(err, errLost) {
					t.Errorf("took %v: %v", took, err)
				}
				if err := <-waits; err != ErrClosed {
					t.Errorf("Flush: %v", err)
				}
			})
		})
	}
}

// A database that comes back while Close waits gets all.
func TestCloseTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db := newFake(t)
		s := open(t, db, Config{})
		f.failing(func(context.Context, string) error { return errLost })
		s.Record(event(1, time.Now()))
		time.Sleep(10 * time.Minute)
		time.AfterFunc(time.Second, func() { f.failing(nil) })
		if err := s.Close(); err != nil || f.stored() != 1 {
			t.Errorf("%v, %d stored", err, f.stored())
		}
	})
}

func TestManyGoroutines(t *testing.T) {
	f, db := newFake(t)
	s := open(t, db, Config{Queue: 100_000})
	at := time.Now()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 500 {
				s.Record(event(1000*g+n, at))
				if n%100 == 99 {
					if err := s.Flush(t.Context()); err != nil {
						t.Error(err)
					}
					if c := s.Counts(); c.Written > c.Accepted || c.Written < uint64(n) {
						t.Errorf("%+v", c)
					}
				}
			}
		})
	}
	wg.Wait()
	if f.stored() != 2000 {
		t.Errorf("%d stored", f.stored())
	}
}

func TestConfigErrors(t *testing.T) {
	for field, cfg := range map[string]Config{
		"Dialect": {Dialect: 2}, "HistorySecret": {HistorySecret: []byte("short")}, "BatchSize": {BatchSize: 10_001}, "Queue": {Queue: 499},
		"PaneMemory": {PaneMemory: 1}, "FlushInterval": {FlushInterval: time.Nanosecond}, "SaveInterval": {SaveInterval: time.Hour},
		"Timeout": {Timeout: 2 * time.Minute}, "ErrorInterval": {ErrorInterval: -1},
	} {
		_, db := newFake(t)
		var wrong *ConfigError
		if _, err := Open(t.Context(), db, cfg); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	var wrong *ConfigError
	if _, err := Open(t.Context(), nil, Config{}); !errors.As(err, &wrong) || wrong.Field != "db" {
		t.Errorf("without a database: %v", err)
	}
}

// The queue is a ring that keeps its order however it grows and empties.
func TestQueue(t *testing.T) {
	q := queue{limit: 3000}
	batch := make([]stats.Event, 0, 70)
	next, first := 0, 0
	for step := range 400 {
		for range step % 90 {
			e := event(next, time.Unix(1e9, 0))
			if _, ok := q.put(&e); ok {
				next++
			}
		}
		batch = q.peek(batch)
		for i, e := range batch[:len(batch)*(step%4)/3] {
			if e != event(first+i, time.Unix(1e9, 0)) {
				t.Fatalf("step %d: place %d", step, i)
			}
		}
		n := len(batch) * (step % 4) / 3
		q.remove(n)
		first += n
	}
	// Some that are removed wait again, behind the others.
	one := q.peek(make([]stats.Event, 0, 3))
	q.remove(3, one[1], one[2])
	all := q.peek(make([]stats.Event, 0, 3000))
	if n := len(all); all[0] != event(first+3, time.Unix(1e9, 0)) || all[n-2] != one[1] || all[n-1] != one[2] || n != next-first-1 {
		t.Errorf("%d events, the last of which are %v and %v", n, all[n-2].ID, all[n-1].ID)
	}
	first++
	waiting, accepted, dropped := q.counts()
	if waiting != next-first || accepted != uint64(next) || dropped == 0 || fmt.Sprint(waiting) == "0" {
		t.Errorf("%d wait of %d, %d dropped", waiting, accepted, dropped)
	}
}

func BenchmarkQueue(b *testing.B) {
	q := queue{limit: 8192}
	batch := make([]stats.Event, 0, 500)
	e := event(1, time.Unix(1e9, 0))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		q.put(&e)
		if n%500 == 499 {
			q.remove(len(q.peek(batch)))
		}
	}
}
