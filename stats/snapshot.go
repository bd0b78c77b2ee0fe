package stats

import (
	"slices"
	"time"
)

// Snapshot is what was counted from one moment to another. Snapshots of several recorders
// for the same time add up to that of all (Merge), as do those of one recorder for times
// that follow each other. It is a value of its own, not safe for concurrent changes.
type Snapshot struct {
	From, To time.Time // events of [From, To)
	Cells    []Cell    // by key, in its order, none empty
	Ways     []WayCell // by way, in its order, none empty
}

// WayCell is the events of one Way.
type WayCell struct {
	Way
	Tally
}

// Merge adds what another snapshot has. From and To become those of both together.
func (s *Snapshot) Merge(o *Snapshot) {
	if len(s.Cells)+len(s.Ways) == 0 && s.From.IsZero() {
		s.From, s.To = o.From, o.To
	}
	if o.From.Before(s.From) {
		s.From = o.From
	}
	if o.To.After(s.To) {
		s.To = o.To
	}
	s.Cells = mergeSorted(s.Cells, o.Cells, func(a, b *Cell) int { return a.Key.compare(b.Key) }, func(c *Cell) *Tally { return &c.Tally })
	s.Ways = mergeSorted(s.Ways, o.Ways, func(a, b *WayCell) int { return a.Way.compare(b.Way) }, func(w *WayCell) *Tally { return &w.Tally })
}

// mergeSorted returns the elements of two lists in order, those of the same key added up.
// Nothing that it returns shares memory with b.
func mergeSorted[C any](a, b []C, compare func(a, b *C) int, tally func(*C) *Tally) []C {
	both := make([]C, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		order := -1
		switch {
		case len(a) == 0:
			order = 1
		case len(b) > 0:
			order = compare(&a[0], &b[0])
		}
		if order <= 0 {
			both, a = append(both, a[0]), a[1:]
		} else {
			both = append(both, b[0])
			t := tally(&both[len(both)-1])
			t.Latency.data = slices.Clone(t.Latency.data)
		}
		if order == 0 {
			tally(&both[len(both)-1]).Merge(tally(&b[0]))
		}
		if order >= 0 {
			b = b[1:]
		}
	}
	return both
}

// By sums the cells up by some dimensions: one cell for each of their values that there
// are, in order, with the other fields of its key zero. Without dimensions, one of all.
func (s *Snapshot) By(dimensions ...Dimension) []Cell {
	var (
		at  = make(map[Key]int)
		got []Cell
	)
	for i := range s.Cells {
		key := s.Cells[i].only(dimensions)
		j, known := at[key]
		if !known {
			j = len(got)
			at[key] = j
			got = append(got, Cell{Key: key})
		}
		got[j].Merge(&s.Cells[i].Tally)
	}
	slices.SortFunc(got, func(a, b Cell) int { return a.Key.compare(b.Key) })
	return got
}

// Outcome is what became of sessions. Direct, Relayed and Failed add up to Attempts.
type Outcome struct {
	Key       // the dimensions that were asked for
	Attempts  uint64
	Direct    uint64 // got a direct path, at once or after a relay had carried data
	Relayed   uint64 // had a relayed path alone
	Failed    uint64 // had none
	Upgraded  uint64 // of Direct: after a relay
	Unreached uint64 // came to no check, because the peer was offline, say; no attempts
	Cancelled uint64 // were given up; no attempts

	Connect Tally // of the stage connect: latencies until the first path that carried data
}

// DirectRate is the share of the attempts that got a direct path.
func (o *Outcome) DirectRate() Rate { return Rate{o.Direct, o.Attempts} }

// RelayRate is the share of the attempts that had a relayed path alone.
func (o *Outcome) RelayRate() Rate { return Rate{o.Relayed, o.Attempts} }

// FailureRate is the share of the attempts that had no path.
func (o *Outcome) FailureRate() Rate { return Rate{o.Failed, o.Attempts} }

// Outcomes tells what became of the sessions, by dimensions among ByLocal, ByRemote and
// ByGroup, which all stages of a session have in common; by others it is summed up.
//
// A session is an attempt if its stage connect came to a check and was not cancelled. It is
// direct if its path was, or if its stage upgrade succeeded. A session whose connect is of
// an earlier time and whose upgrade is of this one does not count.
func (s *Snapshot) Outcomes(dimensions ...Dimension) []Outcome {
	by := slices.DeleteFunc(slices.Clone(dimensions), func(d Dimension) bool { return d != ByLocal && d != ByRemote && d != ByGroup })
	var (
		at  = make(map[Key]int)
		got []Outcome
	)
	for i := range s.Cells {
		c := &s.Cells[i]
		if c.Stage != StageConnect && c.Stage != StageUpgrade {
			continue
		}
		key := c.only(by)
		j, known := at[key]
		if !known {
			j = len(got)
			at[key] = j
			got = append(got, Outcome{Key: key})
		}
		o := &got[j]
		if c.Stage == StageUpgrade {
			o.Upgraded += c.Succeeded
			continue
		}
		o.Connect.Merge(&c.Tally)
		if c.Pair == PairRelay {
			o.Relayed += c.Succeeded
		} else {
			o.Direct += c.Succeeded
		}
	}
	for i := range got {
		o := &got[i]
		o.Attempts, o.Failed = o.Connect.Attempts(), o.Connect.Failed+o.Connect.TimedOut
		o.Unreached, o.Cancelled = o.Connect.Unreached, o.Connect.Cancelled
		o.Upgraded = min(o.Upgraded, o.Relayed)
		o.Relayed -= o.Upgraded
		o.Direct += o.Upgraded
	}
	got = slices.DeleteFunc(got, func(o Outcome) bool { return o.Connect.Events() == 0 })
	slices.SortFunc(got, func(a, b Outcome) int { return a.Key.compare(b.Key) })
	return got
}
