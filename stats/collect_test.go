package stats

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Whoever looks sees each event in its cell and in its way, or in neither; and in a state, in
// the ledger too.
func TestOneMoment(t *testing.T) {
	r, c := testRecorder(t, Config{Hop: time.Hour, Window: time.Hour})
	var recording sync.WaitGroup
	for w := range 3 {
		recording.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 12))
			for range 4000 {
				e := anyEvent(rnd, 2)
				e.Time, e.Reason = c.t, "unanswered"
				r.Record(e)
			}
		})
	}
	events := func(s *Snapshot) (cells, ways uint64) {
		for i := range s.Cells {
			cells += s.Cells[i].Events()
		}
		for i := range s.Ways {
			ways += s.Ways[i].Events()
		}
		return cells, ways
	}
	for last := uint64(0); last < 3*4000; {
		var s *Snapshot
		switch last % 3 {
		case 0:
			s = r.Snapshot()
		case 1:
			s = r.Total()
		default:
			next, err := RestoreState(Config{Hop: time.Hour, Window: time.Hour, Now: c.now}, r.AppendState(nil))
			if err != nil {
				t.Fatal(err)
			}
			s = next.Total()
			if cells, _ := events(s); next.Ledger() != (Ledger{Recorded: cells}) {
				t.Fatalf("%d events in a state whose ledger is %+v", cells, next.Ledger())
			}
		}
		cells, ways := events(s)
		if cells != ways || cells < last {
			t.Fatalf("%d events by cells, %d by ways, after %d", cells, ways, last)
		}
		last = cells
	}
	recording.Wait()
}

// Words that look alike have numbers of their own, and cells and ways the order of words and
// not of numbers.
func TestVocabulary(t *testing.T) {
	v := newVocabulary(300)
	numbers := make(map[uint16]string)
	for i := range 300 {
		word := testWord(1000 + i%10*100 + i/10)[:4] + "_" + testWord(i) + "_x"
		n := v.number(word)
		if was, taken := numbers[n]; taken || n == otherWord || v.number(word) != n || v.words()[n] != word {
			t.Fatalf("%q is number %d, as %q", word, n, was)
		}
		numbers[n] = word
	}
	if n := v.number("one_more"); n != otherWord {
		t.Errorf("one too many is number %d", n)
	}
	ranks := v.now.Load().ranks()
	for n, word := range v.words() {
		for m, other := range v.words() {
			if (word < other) != (ranks[n] < ranks[m]) {
				t.Fatalf("%q has rank %d, %q %d", word, ranks[n], other, ranks[m])
			}
		}
	}
}

// A look that a clock gone back, or another goroutine, made late is of the panes that the
// recorder has come to.
func TestLookAfterTheClock(t *testing.T) {
	r, c := testRecorder(t, Config{Hop: time.Minute, Window: time.Minute})
	e := anyEvent(rand.New(rand.NewPCG(1, 1)), 0)
	c.t = epoch.Add(time.Hour)
	e.Time = c.t
	r.Record(e)
	want := c.t.Truncate(time.Minute).Add(time.Minute)
	c.t = epoch
	for name, s := range map[string]*Snapshot{
		"Snapshot": r.Snapshot(), "Total": r.Total(), "Between": r.Between(epoch, epoch.Add(2*time.Hour)),
	} {
		if !s.To.Equal(want) || len(s.Cells) != 1 {
			t.Errorf("%s: until %v, with %d cells; want one, until %v", name, s.To, len(s.Cells), want)
		}
	}
}

// The memory of a busy cell's sketches does not come to the quiet ones.
func TestBusyMemory(t *testing.T) {
	r, c := testRecorder(t, Config{Hop: time.Minute, Window: time.Minute, Lateness: time.Minute})
	rnd := rand.New(rand.NewPCG(1, 2))
	kept, big := 0, 0
	for range 8 {
		for i := range 500 {
			e := anyEvent(rnd, 0)
			e.Time, e.Latency = c.t, time.Duration(rnd.Int64N(int64(time.Second))).Truncate(time.Microsecond)
			if i > 0 { // all others are of one cell
				e.Stage, e.Status, e.Reason, e.Lane = StageConnect, StatusSuccess, "", "plain"
				e.LocalNAT, e.RemoteNAT, e.Pair, e.Protocol, e.IPVersion = 1, 1, PairSrflx, ProtocolUDP, 4
			}
			r.Record(e)
		}
		c.t = c.t.Add(time.Minute)
		r.Snapshot()
		for _, s := range r.shards {
			for _, free := range s.free {
				kept++
				if cap(free.Latency.data) > maxKept {
					big++
				}
			}
		}
	}
	if l := r.Ledger(); l.Recorded != 8*500 || kept == 0 || big > 0 {
		t.Errorf("%d of %d tallies that are kept have much memory, of %+v", big, kept, l)
	}
}
