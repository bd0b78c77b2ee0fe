package stats

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

var manyEvents = flag.Int("events", 50_000, "events of the test against known truth")

// clock is a Config.Now that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func testRecorder(t testing.TB, cfg Config) (*Recorder, *clock) {
	t.Helper()
	c := &clock{epoch}
	cfg.Now = c.now
	r, err := NewRecorder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

// truth is a recorder that keeps every event and sums them up when it is asked.
type truth struct {
	hop, late int64
	seen      map[ID]int64 // pane
	panes     []int64
	events    []Event
	ledger    Ledger
}

func (tr *truth) record(e Event, now time.Time) {
	present, pane := now.UnixNano()/tr.hop, e.Time.UnixNano()/tr.hop
	switch {
	case e.Validate() != nil:
		tr.ledger.Invalid++
	case pane < present-tr.late:
		tr.ledger.Late++
	case tr.seen[e.ID] >= present-tr.late && tr.seen[e.ID] > 0: // else nobody knows any more
		tr.ledger.Duplicates++
		if pane > present {
			tr.ledger.Clamped++
		}
	default:
		tr.ledger.Recorded++
		if pane > present {
			tr.ledger.Clamped++
		}
		tr.seen[e.ID] = min(pane, present)
		tr.panes = append(tr.panes, min(pane, present))
		tr.events = append(tr.events, e)
	}
}

// cells sums up the panes from first on and before end.
func (tr *truth) cells(first, end int64) (map[Key]*Tally, map[Way]*Tally) {
	keys, ways := make(map[Key]*Tally), make(map[Way]*Tally)
	for i := range tr.events {
		e := &tr.events[i]
		if tr.panes[i] < first || tr.panes[i] >= end {
			continue
		}
		key := Key{e.Stage, e.LocalNAT, e.RemoteNAT, e.Pair, e.Protocol, e.IPVersion, e.Group}
		if keys[key] == nil {
			keys[key] = new(Tally)
		}
		addTruth(keys[key], e)
		if way := (Way{e.Stage, e.Lane, e.Reason}); e.Lane+e.Reason != "" {
			if ways[way] == nil {
				ways[way] = new(Tally)
			}
			addTruth(ways[way], e)
		}
	}
	return keys, ways
}

func addTruth(t *Tally, e *Event) {
	switch e.Status {
	case StatusSuccess:
		t.Succeeded++
		t.micros += float64(e.Latency.Microseconds())
		t.Latency.Add(e.Latency)
	case StatusCancelled:
		t.Cancelled++
	case StatusFail:
		if e.Stage == StageConnect && e.Tries == 0 {
			t.Unreached++
		} else {
			t.Failed++
		}
	case StatusTimeOut:
		if e.Stage == StageConnect && e.Tries == 0 {
			t.Unreached++
		} else {
			t.TimedOut++
		}
	}
}

func (tr *truth) check(t *testing.T, what string, got *Snapshot, first, end int64) {
	t.Helper()
	keys, ways := tr.cells(first, end)
	same := func(a, b *Tally) bool {
		return b != nil && a.Count == b.Count && a.micros == b.micros && equalBins(&a.Latency, &b.Latency)
	}
	for i := range got.Cells {
		if c := &got.Cells[i]; !same(&c.Tally, keys[c.Key]) {
			t.Fatalf("%s: cell %+v is %+v, want %+v", what, c.Key, c.Count, keys[c.Key])
		}
		if i > 0 && got.Cells[i-1].Key.compare(got.Cells[i].Key) >= 0 {
			t.Fatalf("%s: cell %d is out of order", what, i)
		}
	}
	for i := range got.Ways {
		if w := &got.Ways[i]; !same(&w.Tally, ways[w.Way]) {
			t.Fatalf("%s: way %+v is %+v, want %+v", what, w.Way, w.Count, ways[w.Way])
		}
	}
	if len(got.Cells) != len(keys) || len(got.Ways) != len(ways) {
		t.Fatalf("%s: %d cells and %d ways, want %d and %d", what, len(got.Cells), len(got.Ways), len(keys), len(ways))
	}
}

// A recorder tells what one would that keeps every event: windows, panes, totals and the
// ledger, with events that come late, twice, from the future and spoiled, and over pauses.
func TestAgainstTruth(t *testing.T) {
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		cfg := []Config{{}, {Window: time.Minute, Hop: 10 * time.Second, Lateness: 3 * time.Minute}, {Lateness: -1}}[seed%3]
		r, c := testRecorder(t, cfg)
		tr := &truth{hop: r.set.hop, late: r.set.late, seen: make(map[ID]int64)}
		var before []Event
		for step := range 6000 {
			c.t = c.t.Add(time.Duration(rnd.ExpFloat64() * 4e8))
			if rnd.IntN(1500) == 0 {
				c.t = c.t.Add(time.Duration(rnd.IntN(20)) * time.Minute) // nobody had anything to tell
			}
			e := anyEvent(rnd, 3)
			e.Time = c.t.Add(-time.Duration(rnd.ExpFloat64() * 4e10))
			switch rnd.IntN(12) {
			case 0:
				e.Time = c.t.Add(time.Duration(rnd.Int64N(int64(time.Hour))))
			case 1:
				e.Latency = -1
			case 2:
				if e.Status != StatusSuccess {
					e.Tries = 0
				}
			case 3:
				e.Status, e.Pair, e.Protocol, e.IPVersion = StatusCancelled, 0, 0, 0
			case 4, 5:
				if len(before) > 0 {
					e = before[len(before)-1-rnd.IntN(min(50, len(before)))]
				}
			}
			before = append(before, e)
			r.Record(e)
			tr.record(e, c.t)
			if rnd.IntN(400) > 0 && step < 5999 {
				continue
			}
			present := c.t.UnixNano() / r.set.hop
			tr.check(t, "the window", r.Snapshot(), present-r.set.window+1, present+1)
			tr.check(t, "the total", r.Total(), 0, present+1)
			first := present - rnd.Int64N(r.set.kept())
			end := first + 1 + rnd.Int64N(5)
			got := r.Between(time.Unix(0, first*r.set.hop), time.Unix(0, end*r.set.hop))
			tr.check(t, "some panes", got, first, min(end, present+1))
			sum := new(Snapshot)
			for pane := present - r.set.window + 1; pane <= present; pane++ {
				sum.Merge(r.Between(time.Unix(0, pane*r.set.hop), time.Unix(0, (pane+1)*r.set.hop)))
			}
			tr.check(t, "the sum of the panes", sum, present-r.set.window+1, present+1)
			if r.Ledger() != tr.ledger || r.Ledger().Given() != uint64(len(before)) {
				t.Fatalf("seed %d: %+v, want %+v, of %d", seed, r.Ledger(), tr.ledger, len(before))
			}
			if rnd.IntN(3) == 0 { // another process goes on
				state := r.AppendState(nil)
				cfg.Now = c.now
				next, err := RestoreState(cfg, state)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				r = next
			}
		}
		if l := r.Ledger(); l.Late == 0 || l.Duplicates == 0 || l.Clamped == 0 || l.Invalid == 0 {
			t.Errorf("seed %d: not all were tried: %+v", seed, l)
		}
	}
}

// Of many events with a known truth, rates and means are exact, quantiles within 1 %, and
// every duplicate and late one is accounted for. More by -events.
func TestKnownTruth(t *testing.T) {
	const classes = 4
	type class struct {
		succeeded, failed uint64
		micros            float64
		all               []time.Duration
	}
	var (
		rnd           = rand.New(rand.NewPCG(7, 7))
		r, c          = testRecorder(t, Config{Window: 24 * time.Hour, Hop: time.Minute, MaxIDs: *manyEvents})
		want          [classes]class
		twice, tooOld uint64
		pace          = 20 * time.Hour / time.Duration(*manyEvents)
	)
	for range *manyEvents {
		c.t = c.t.Add(pace)
		k := rnd.IntN(classes)
		e := anyEvent(rnd, 0)
		e.Stage, e.Lane, e.Reason, e.Tries, e.Time = StageConnect, "plain", "", 1, c.t
		e.LocalNAT, e.RemoteNAT = natprobe.TypeFullCone+natprobe.Type(k), natprobe.TypeFullCone
		if rnd.Float64() < 0.6+0.1*float64(k) {
			e.Status, e.Pair, e.Protocol, e.IPVersion = StatusSuccess, PairSrflx, ProtocolUDP, 4
			e.Latency = time.Duration(1e8*math.Exp(rnd.NormFloat64()*0.3*float64(k+1))) * time.Nanosecond / 1000 * 1000
			want[k].succeeded++
			want[k].micros += float64(e.Latency.Microseconds())
			want[k].all = append(want[k].all, e.Latency)
		} else {
			e.Status, e.Pair, e.Protocol, e.IPVersion = StatusTimeOut, 0, 0, 0
			want[k].failed++
		}
		r.Record(e)
		switch rnd.IntN(20) {
		case 0:
			twice++
			r.Record(e)
		case 1:
			tooOld++
			e.Time = c.t.Add(-time.Hour)
			r.Record(e)
		}
	}
	if l := r.Ledger(); l != (Ledger{Recorded: uint64(*manyEvents), Duplicates: twice, Late: tooOld}) {
		t.Errorf("%+v, want %d recorded, %d twice, %d late", l, *manyEvents, twice, tooOld)
	}
	worst := 0.0
	for i, cell := range r.Snapshot().By(ByLocal) {
		w := &want[i]
		if cell.Succeeded != w.succeeded || cell.TimedOut != w.failed {
			t.Errorf("class %d: %+v, want %d and %d", i, cell.Count, w.succeeded, w.failed)
		}
		if mean := time.Duration(math.Round(w.micros / float64(w.succeeded) * 1000)); cell.Mean() != mean {
			t.Errorf("class %d: mean %v, want %v", i, cell.Mean(), mean)
		}
		slices.Sort(w.all)
		for _, q := range []float64{0.5, 0.95, 0.99, 0.999} {
			got, truth := cell.Latency.Quantile(q), w.all[int(q*float64(len(w.all)-1))]
			worst = max(worst, math.Abs(float64(got-truth))/float64(truth))
		}
	}
	if worst > 0.01 {
		t.Errorf("a quantile is off by %.2f %%", 100*worst)
	}
	t.Logf("%d events: the worst quantile is off by %.3f %%; %d came twice, %d late", *manyEvents, 100*worst, twice, tooOld)
}

// Whatever labels arrive, so many are told apart and no more, and the sums stay true.
func TestManyLabels(t *testing.T) {
	r, c := testRecorder(t, Config{MaxCells: 100, MaxIDs: 5000, Groups: []string{"blue"}, Words: []string{"our_own"}})
	rnd := rand.New(rand.NewPCG(2, 2))
	const n = 50_000
	relayed := uint64(0)
	for i := range n {
		e := anyEvent(rnd, 0)
		e.Time, e.Group, e.Reason = c.t, testWord(i), testWord(n+i)
		if e.Stage == StageConnect && e.Status == StatusSuccess {
			e.Pair = PairSrflx + PairKind(i%2)*(PairRelay-PairSrflx)
			relayed += uint64(i % 2)
		}
		r.Record(e)
	}
	e := anyEvent(rnd, 0)
	e.Time, e.Group, e.Reason, e.Stage, e.Pair, e.Protocol, e.IPVersion = c.t, "blue", "our_own", StageGather, 0, 0, 0
	r.Record(e)
	s := r.Snapshot()
	if len(s.Cells)+len(s.Ways) > 100+60 {
		t.Errorf("%d cells and %d ways", len(s.Cells), len(s.Ways))
	}
	events, ways := uint64(0), uint64(0)
	for i := range s.Cells {
		events += s.Cells[i].Events()
	}
	for i := range s.Ways {
		ways += s.Ways[i].Events()
	}
	var got uint64
	for _, c := range s.By(ByStage, ByPair) {
		if c.Stage == StageConnect && c.Pair == PairRelay {
			got = c.Succeeded
		}
	}
	if events != n+1 || ways != n+1 || got != relayed {
		t.Errorf("%d events, %d by ways, %d relayed; want %d, %d and %d", events, ways, got, n+1, n+1, relayed)
	}
	if l := r.Ledger(); l.Recorded != n+1 || l.Overflown == 0 || l.Unchecked != n+1-l.recordedIDs(r) {
		t.Errorf("%+v", l)
	}
	if len(r.groups.words()) > MaxGroups+2 || len(r.words.words()) > MaxWords+2 {
		t.Errorf("%d groups, %d words", len(r.groups.words()), len(r.words.words()))
	}
	if r.groups.number("blue") == otherWord || r.words.number("our_own") == otherWord || r.words.number("birthday") == otherWord {
		t.Error("words that were known from the start are Other")
	}
}

func testWord(i int) string { return fmt.Sprintf("w%d", i) }

// recordedIDs is how many IDs a recorder remembers.
func (Ledger) recordedIDs(r *Recorder) (n uint64) {
	for _, s := range r.seen {
		for i := range s.panes {
			n += uint64(s.panes[i].n)
		}
	}
	return n
}

// Clocks that show no time of ours, on either side, do no harm, and all is accounted for.
func TestClocks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	years := []int{1, 1969, 1970, 2026, 2262, 2263, 5000, 9999}
	for _, ours := range years {
		r, c := testRecorder(t, Config{})
		c.t = time.Date(ours, 7, 1, 0, 0, 0, 0, time.UTC)
		given := uint64(0)
		for _, theirs := range years {
			e := anyEvent(rnd, 0)
			e.Time = time.Date(theirs, 7, 1, 0, 0, 1, 0, time.UTC)
			r.Record(e)
			r.Record(e)
			given += 2
			c.t = c.t.Add(time.Second)
			if theirs > ours && theirs >= 1970 && ours < 2263 && theirs < 2263 && r.Ledger().Clamped == 0 {
				t.Errorf("our year is %d, theirs %d: not counted as of now: %+v", ours, theirs, r.Ledger())
			}
		}
		l := r.Ledger()
		if all := r.Total().By()[0]; l.Given() != given || all.Events() != l.Recorded || l.Duplicates < l.Recorded {
			t.Errorf("our year is %d: %+v, and %d events in all", ours, l, all.Events())
		}
		r.Between(time.Time{}, time.Unix(1<<40, 0))
		r.Snapshot()
		if _, err := RestoreState(Config{Now: c.now}, r.AppendState(nil)); err != nil {
			t.Errorf("our year is %d: %v", ours, err)
		}
	}
}

// A state is of one moment, however time passes and whoever looks meanwhile: nothing counts
// twice in the recorder that goes on.
func TestStateWhileTimePasses(t *testing.T) {
	start := time.Now()
	// A pane of a millisecond closes about as often as somebody looks.
	cfg := Config{Hop: time.Millisecond, Window: 5 * time.Millisecond, Lateness: time.Millisecond, Now: func() time.Time { return epoch.Add(time.Since(start)) }}
	r, err := NewRecorder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r.Snapshot()
			}
		}
	})
	rnd := rand.New(rand.NewPCG(6, 6))
	for range 300 {
		e := anyEvent(rnd, 0)
		e.Time = cfg.Now()
		r.Record(e)
		next, err := RestoreState(cfg, r.AppendState(nil))
		if err != nil {
			t.Fatal(err)
		}
		if all := next.Total().By()[0]; all.Events() != r.Ledger().Recorded {
			t.Fatalf("%d events in the state, %d recorded", all.Events(), r.Ledger().Recorded)
		}
	}
	close(done)
	looking.Wait()
}

// Several goroutines record while others look; nothing gets lost.
func TestConcurrent(t *testing.T) {
	r, err := NewRecorder(Config{Hop: 10 * time.Millisecond, Window: 100 * time.Millisecond, Lateness: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	const each, workers = 5000, 4
	var wg, looking sync.WaitGroup
	done := make(chan struct{})
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r.Snapshot()
				r.Total()
				r.Ledger()
				r.AppendState(nil)
			}
		}
	})
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 3))
			for range each {
				e := anyEvent(rnd, 2)
				e.Time = time.Now()
				r.Record(e)
			}
		})
	}
	wg.Wait()
	close(done)
	looking.Wait()
	all := r.Total().By()
	if l := r.Ledger(); l.Recorded != each*workers || len(all) != 1 || all[0].Events() != each*workers {
		t.Errorf("%+v, %+v", l, all)
	}
}

func TestConfig(t *testing.T) {
	for field, cfg := range map[string]Config{
		"Hop":      {Hop: time.Microsecond},
		"Window":   {Window: 45 * time.Second},
		"Lateness": {Hop: time.Millisecond, Window: time.Second, Lateness: time.Hour},
		"MaxCells": {MaxCells: -1},
		"Groups":   {Groups: []string{"no word"}},
		"Words":    {Words: make([]string, MaxWords)},
	} {
		var wrong *ConfigError
		if _, err := NewRecorder(cfg); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%+v: %v, want something of %s", cfg, err, field)
		}
	}
	for window, want := range map[time.Duration]string{ // each says what would do
		-1:                       "-1ns is shorter than the hop, 30s; give one hop or more, or 0 for 5 minutes",
		45 * time.Second:         "45s is no multiple of the hop, 30s; give 30s, or another Hop",
		time.Duration(1<<63 - 1): "; give 2562047h47m0s, or another Hop",
	} {
		if _, err := NewRecorder(Config{Window: window}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("window %v: %v, want %q", window, err, want)
		}
	}
	if _, err := NewRecorder(Config{Window: 1000 * time.Hour, Hop: time.Second}); err == nil {
		t.Error("3,600,000 panes")
	}
}
