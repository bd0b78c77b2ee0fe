package bradawl_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/stats"
)

// book is where sessions record.
type book struct {
	mu     sync.Mutex
	events []stats.Event
}

func (b *book) Record(e stats.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// of is what one session has recorded, by stage.
func (b *book) of(t *testing.T, group string) map[stats.Stage]stats.Event {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[stats.Stage]stats.Event)
	var first stats.Event
	for _, e := range b.events {
		if e.Group != group {
			continue
		}
		if first.ID.IsZero() {
			first = e
		}
		if _, twice := all[e.Stage]; twice || e.Session != first.Session {
			t.Errorf("%+v beside %+v", e, all[e.Stage])
		}
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
		all[e.Stage] = e
	}
	return all
}

// TestRecord: what sessions record of a connection, by relays and over TCP. The sessions
// are closed by then, so that everything has been handed over.
func TestRecord(t *testing.T) {
	for _, c := range []struct {
		natA, natB string
		noTURN     bool
		want       map[stats.Stage]string // of the side that dials
	}{
		{natA: "symmetric-random", natB: "symmetric-random", want: map[stats.Stage]string{
			stats.StageGather: "success", stats.StageSignal: "success", stats.StageRelay: "success relay udp", stats.StageConnect: "success relay udp",
			stats.StagePunch: "time_out nat_unknown", stats.StageUpgrade: "time_out nat_unknown", // one server does not tell
		}},
		{natA: "udp-blocked", natB: "port-restricted-cone", noTURN: true, want: map[stats.Stage]string{
			stats.StageGather: "success", stats.StageSignal: "success",
			stats.StagePunch: "success srflx tcp tcp_simultaneous_open", stats.StageConnect: "success srflx tcp tcp_simultaneous_open",
		}},
	} {
		t.Run(c.natA+"/"+c.natB, func(t *testing.T) {
			var b book
			groups := []string{"a", "b"}
			simulate(t, c.natA, c.natB, func(cfg *bradawl.Config) {
				group := groups[0]
				groups = groups[1:]
				cfg.Record = func(e stats.Event) {
					e.Group = group
					b.Record(e)
				}
				if c.noTURN {
					cfg.TURN = nil
				}
			}, func(t *testing.T, w *internet) {
				conn, _ := w.meet(t)
				pass(20 * time.Second)
				check(t, conn.Close())
				if n := w.ends[0].Stats().Unrecorded; n != 0 {
					t.Errorf("%d events were dropped", n)
				}
			})
			got := b.of(t, "a")
			for stage, e := range got {
				text := strings.TrimSpace(strings.Join(slices.DeleteFunc([]string{
					e.Status.String(), e.Pair.String(), e.Protocol.String(), e.Lane, e.Reason,
				}, func(s string) bool { return s == "" }), " "))
				if text != c.want[stage] {
					t.Errorf("%v: %s, want %q", stage, text, c.want[stage])
				}
			}
			if len(got) != len(c.want) || len(b.of(t, "b")) < 4 {
				t.Errorf("%d stages, want %d; the other side has %d", len(got), len(c.want), len(b.of(t, "b")))
			}
		})
	}
}

// TestRecordIsSlow: whoever takes events slowly holds up nothing; what does not fit is
// dropped and counted, and Close hands over the rest.
func TestRecordIsSlow(t *testing.T) {
	h := newHub()
	cfg := onLoopback(h)
	held, got := make(chan struct{}), 0
	cfg.Record = func(stats.Event) {
		<-held
		got++
	}
	s, err := bradawl.New(t.Context(), cfg)
	check(t, err)
	nobody, err := bradawl.NewIdentity()
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dials := 0
	for ; s.Stats().Unrecorded == 0; dials++ {
		if _, err := s.Dial(ctx, nobody.ID()); !errors.Is(err, bradawl.ErrOffline) {
			t.Fatal(err)
		}
	}
	close(held)
	check(t, s.Close())
	lost := int(s.Stats().Unrecorded)
	if got+lost != 3*dials || got < 256 { // gather, signal, connect
		t.Errorf("%d dials, %d events recorded, %d lost", dials, got, lost)
	}
}
