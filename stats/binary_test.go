package stats

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is sent to collectors, byte for byte: a change here breaks them.
func TestBinaryGolden(t *testing.T) {
	for _, test := range []struct {
		event Event
		want  string
	}{
		{punched(), "01" + strings.Repeat("e1", 16) + strings.Repeat("5e", 16) + "aec1cae3b733" + "03010506050104" + "c0c407" + "25" +
			"09636f6e74726f6c2d32" + "09707265646963746564" + "0c66726f6d5f686973746f7279"},
		{failed(), "01" + strings.Repeat("01", 16) + strings.Repeat("02", 16) + "00" + "02030000000000" + "80ade204" + "00" + "000000"},
	} {
		got, err := test.event.MarshalBinary()
		if err != nil || hex.EncodeToString(got) != test.want {
			t.Errorf("%x, %v; want\n%s", got, err, test.want)
		}
		var back Event
		if err := back.UnmarshalBinary(append(got, "what a newer version has"...)); err != nil {
			t.Fatal(err)
		}
		asJSON, _ := json.Marshal(test.event)
		if again, _ := json.Marshal(back); !bytes.Equal(asJSON, again) {
			t.Errorf("%s, want %s", again, asJSON)
		}
	}
}

func TestBinaryBroken(t *testing.T) {
	good, err := punched().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		var e Event
		var wrong *EventError
		if err := e.UnmarshalBinary(good[:n]); !errors.As(err, &wrong) || e != (Event{}) {
			t.Errorf("%d bytes of %d: %v, %+v", n, len(good), err, e)
		}
	}
	for what, data := range map[string][]byte{
		"version": append([]byte{2}, good[1:]...),
		"many":    make([]byte, MaxEvent+1),
		"stage":   append(slices.Concat(good[:39], []byte{99}), good[40:]...),
		"word":    append(slices.Clone(good[:len(good)-12]), "From-History"...),
	} {
		var e Event
		if err := e.UnmarshalBinary(data); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := (Event{}).AppendBinary(nil); err == nil {
		t.Error("an event without anything is written")
	}
}

// Whatever is read is valid and is read back as the same, and its JSON says the same.
func FuzzEventBinary(f *testing.F) {
	for _, e := range []Event{punched(), failed()} {
		b, err := e.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var e, back, viaJSON Event
		if err := e.UnmarshalBinary(data); err != nil {
			if e != (Event{}) {
				t.Errorf("%v, and the event is %+v", err, e)
			}
			return
		}
		b, err := e.MarshalBinary()
		if err != nil {
			t.Fatalf("%+v is not valid: %v", e, err)
		}
		if err := back.UnmarshalBinary(b); err != nil || back != e {
			t.Errorf("%x: read back as %+v, %v; want %+v", b, back, err, e)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &viaJSON); err != nil || viaJSON != e {
			t.Errorf("%s: read back as %+v, %v; want %+v", text, viaJSON, err, e)
		}
	})
}

// filled returns a recorder with something of everything.
func filled(t testing.TB, seed uint64, cfg Config) (*Recorder, *clock) {
	r, c := testRecorder(t, cfg)
	rnd := rand.New(rand.NewPCG(seed, 9))
	for range 3000 {
		c.t = c.t.Add(time.Duration(rnd.ExpFloat64() * 3e8))
		e := anyEvent(rnd, 3)
		e.Time = c.t.Add(-time.Duration(rnd.ExpFloat64() * 2e10))
		r.Record(e)
	}
	return r, c
}

func TestSnapshotBinary(t *testing.T) {
	r, _ := filled(t, 1, Config{})
	want := r.Snapshot()
	data, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	got := new(Snapshot)
	if err := got.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	again, _ := got.MarshalBinary()
	if !bytes.Equal(again, data) || !got.From.Equal(want.From) || !got.To.Equal(want.To) {
		t.Error("it is not read back as it was")
	}
	if a, b := asJSON(t, want), asJSON(t, got); a != b {
		t.Errorf("%s, want %s", b, a)
	}
	t.Logf("%d cells and %d ways in %d bytes", len(want.Cells), len(want.Ways), len(data))
	rnd := rand.New(rand.NewPCG(4, 4))
	for range 500 {
		if err := new(Snapshot).UnmarshalBinary(data[:rnd.IntN(len(data))]); err == nil {
			t.Fatal("a part is taken for the whole")
		}
	}
	twice := *want
	twice.Cells = append(slices.Clone(want.Cells), want.Cells[0])
	data, _ = twice.MarshalBinary()
	if err := new(Snapshot).UnmarshalBinary(data); err == nil || !strings.Contains(err.Error(), "order") {
		t.Errorf("cells out of order: %v", err)
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A state is for recorders of the same panes, and whole.
func TestState(t *testing.T) {
	r, c := filled(t, 2, Config{})
	state := r.AppendState(nil)
	same, err := RestoreState(Config{Now: c.now}, state)
	if err != nil {
		t.Fatal(err)
	}
	if asJSON(t, same.Snapshot()) != asJSON(t, r.Snapshot()) || asJSON(t, same.Total()) != asJSON(t, r.Total()) || same.Ledger() != r.Ledger() {
		t.Error("the restored recorder tells something else")
	}
	small, err := RestoreState(Config{Now: c.now, MaxCells: 10}, state)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := small.Total().By(ByStage, ByPair), r.Total().By(ByStage, ByPair); !reflect.DeepEqual(counts(a), counts(b)) {
		t.Errorf("with little room: %+v, want %+v", counts(a), counts(b))
	}
	if got, want := small.Ledger().Overflown, lost(r.Total(), small.Total()); got != want || want == 0 {
		t.Errorf("there was no room for %d, want %d", got, want)
	}
	var wrong *ConfigError
	if _, err := RestoreState(Config{Lateness: time.Hour}, state); !errors.As(err, &wrong) {
		t.Errorf("another lateness: %v", err)
	}
	rnd := rand.New(rand.NewPCG(4, 4))
	for range 200 {
		if _, err := RestoreState(Config{Now: c.now}, state[:rnd.IntN(len(state))]); err == nil {
			t.Fatal("a part is taken for the whole")
		}
	}
	if _, err := RestoreState(Config{}, []byte("hello")); err == nil || !strings.Contains(err.Error(), "no state") {
		t.Errorf("something else: %v", err)
	}
}

// lost counts the events in cells and ways of one snapshot that another one does not tell apart.
func lost(from, to *Snapshot) (n uint64) {
	cells, ways := make(map[Key]bool), make(map[Way]bool)
	for i := range to.Cells {
		cells[to.Cells[i].Key] = true
	}
	for i := range to.Ways {
		ways[to.Ways[i].Way] = true
	}
	for i := range from.Cells {
		if c := &from.Cells[i]; !cells[c.Key] {
			n += c.Events()
		}
	}
	for i := range from.Ways {
		if w := &from.Ways[i]; !ways[w.Way] {
			n += w.Events()
		}
	}
	return n
}

func counts(cells []Cell) (all []Count) {
	for i := range cells {
		all = append(all, cells[i].Count)
	}
	return all
}

// No bytes do harm, and what is taken is written back as something that is taken.
func FuzzSnapshot(f *testing.F) {
	r, c := testRecorder(f, Config{})
	e := punched()
	e.Time = c.t
	r.Record(e)
	data, _ := r.Snapshot().MarshalBinary()
	f.Add(data)
	f.Add(r.AppendState(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Snapshot
		if s.UnmarshalBinary(data) == nil {
			again, _ := s.MarshalBinary()
			if err := new(Snapshot).UnmarshalBinary(again); err != nil {
				t.Errorf("%x: %v", again, err)
			}
			s.Merge(&s)
			asJSON(t, &s)
			asJSON(t, s.Table())
		}
		if r, err := RestoreState(Config{Now: func() time.Time { return epoch }}, data); err == nil {
			r.Snapshot()
			r.Total()
			r.Record(punched())
		}
	})
}
