package pionice

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
)

// mustPion is the candidate that pion would make for a text.
func mustPion(t testing.TB, text string) pion.Candidate {
	t.Helper()
	c, err := ice.ParseCandidate(text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ToPion(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	hostText  = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"
	srflxText = "candidate:2 1 udp 1694498815 198.51.100.7 6000 typ srflx raddr 192.0.2.1 rport 5001"
	peerText  = "candidate:3 1 udp 2130706431 203.0.113.4 7000 typ host"
)

func TestRecorderTellsWhatAndWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, peer := mustPion(t, hostText), mustPion(t, peerText)
		r := NewRecorder(RecorderConfig{Session: "caller"})
		began := time.Now()
		wait := func() { time.Sleep(10 * time.Millisecond) }
		wait()
		r.Candidate(host)
		wait()
		r.Candidate(mustPion(t, srflxText))
		r.State(pion.ConnectionStateChecking)
		wait()
		r.Candidate(nil)
		wait()
		r.Pair(host, peer)
		wait()
		r.State(pion.ConnectionStateConnected)
		wait()
		r.State(pion.ConnectionStateDisconnected)
		wait()
		r.State(pion.ConnectionStateConnected)

		var got []string
		for i, e := range r.Events() {
			if e.Number != i+1 || e.Session != "caller" || e.Err != nil || !e.Time.Equal(began.Add(e.After)) {
				t.Errorf("event %d: %+v", i+1, e)
			}
			got = append(got, strings.Join(strings.Fields(e.String()), " "))
		}
		want := []string{
			"10.000 ms gathered host udp 192.0.2.1:5000",
			"20.000 ms gathered srflx udp 198.51.100.7:6000",
			"20.000 ms state checking",
			"30.000 ms gathering_done",
			"40.000 ms pair host udp 192.0.2.1:5000 <-> host udp 203.0.113.4:7000",
			"50.000 ms state checking -> connected",
			"60.000 ms state connected -> disconnected",
			"70.000 ms state disconnected -> connected",
		}
		if !slices.Equal(got, want) {
			t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		at := func(ms time.Duration) time.Time { return began.Add(ms * time.Millisecond) }
		if times, want := r.Times(), (Times{Began: began, FirstCandidate: at(10), Checking: at(20), GatheringDone: at(30), PairSelected: at(40), Connected: at(50)}); times != want {
			t.Errorf("times %+v, want %+v", times, want)
		}
		if e := r.Events()[4]; e.Local.Foundation != "1" || e.Remote.Foundation != "3" {
			t.Errorf("the pair's candidates are %v and %v", e.Local, e.Remote)
		}
	})
}

func TestRecorderKeepsTheLatest(t *testing.T) {
	tests := []struct{ size, told, want, first int }{
		{0, 300, 256, 45}, {0, 256, 256, 1}, {0, 257, 256, 2}, {3, 2, 2, 1}, {3, 3, 3, 1}, {3, 4, 3, 2}, {3, 11, 3, 9}, {1, 5, 1, 5}, {-1, 5, 0, 0}, {3, 0, 0, 0},
	}
	for _, tt := range tests {
		told := 0
		r := NewRecorder(RecorderConfig{Events: tt.size, OnEvent: func(e Event) {
			if told++; e.Number != told {
				t.Errorf("OnEvent got event %d, want %d", e.Number, told)
			}
		}})
		for range tt.told {
			r.State(pion.ConnectionStateChecking)
		}
		events := r.Events()
		if len(events) != tt.want || r.Count() != tt.told || told != tt.told {
			t.Errorf("size %d, %d told: %d kept, %d counted, %d handed on; want %d kept", tt.size, tt.told, len(events), r.Count(), told, tt.want)
			continue
		}
		for i, e := range events {
			if e.Number != tt.first+i {
				t.Errorf("size %d, %d told: event %d is number %d, want %d", tt.size, tt.told, i, e.Number, tt.first+i)
			}
		}
		if len(events) > 0 {
			events[0].Number = -1 // a copy
			if r.Events()[0].Number == -1 {
				t.Error("Events hands out what the recorder keeps")
			}
		}
	}
}

func TestRecorderOnBadCandidates(t *testing.T) {
	r := NewRecorder(RecorderConfig{})
	r.Candidate((*pion.CandidateHost)(nil))
	r.Pair(mustPion(t, hostText), new(pion.CandidateRelay))
	r.Pair(nil, nil)
	r.State(pion.ConnectionState(99))
	events := r.Events()
	if len(events) != 4 {
		t.Fatalf("%d events, want 4", len(events))
	}
	for i, e := range events[:3] {
		var bad *ConvertError
		if !errors.As(e.Err, &bad) || !strings.Contains(e.String(), bad.Reason) {
			t.Errorf("event %d: %v, error %v; want a ConvertError that the text repeats", i, e, e.Err)
		}
	}
	if events[0].Kind != Gathered || events[1].Local.Foundation != "1" || events[3].State != "invalid" {
		t.Errorf("events %v", events)
	}
	if k := Kind(77).String(); k != "unknown" {
		t.Errorf("an unknown kind is %q", k)
	}
}

func TestNilRecorder(t *testing.T) {
	var r *Recorder
	r.Candidate(mustPion(t, hostText))
	r.Candidate(nil)
	r.Pair(nil, nil)
	r.State(pion.ConnectionStateNew)
	if r.Events() != nil || r.Count() != 0 || r.Times() != (Times{}) {
		t.Error("a nil recorder recorded something")
	}
	called := false
	OnICEConnectionStateChange(r, func(pion.ConnectionState) { called = true })(pion.ConnectionStateNew)
	if !called {
		t.Error("the application's handler was not called")
	}
}

func TestRecorderFromManyGoroutines(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]bool{}
	r := NewRecorder(RecorderConfig{Events: 50, OnEvent: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		seen[e.Number] = true
	}})
	host := mustPion(t, hostText)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				r.Candidate(host)
				r.State(pion.ConnectionStateChecking)
				r.Pair(host, host)
				if events := r.Events(); !slices.IsSortedFunc(events, func(a, b Event) int { return a.Number - b.Number }) {
					t.Error("events are not in order")
				}
				r.Times()
			}
		})
	}
	all.Wait()
	if r.Count() != 2400 || len(seen) != 2400 || len(r.Events()) != 50 {
		t.Errorf("%d counted, %d handed on, %d kept; want 2400, 2400, 50", r.Count(), len(seen), len(r.Events()))
	}
}
