package stats

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// The panes of the windows. Time is cut into panes, one for each hop, numbered from 1970 on.
// An event belongs to the pane of its own time, not of its arrival. A window is some panes in
// a row, up to the present one, and hops by one of them. A pane is open, that is, takes
// events, until lateness has passed after its end.

// span is how many panes there are of each sort.
type span struct {
	window int64 // in a window
	late   int64 // open, beside the present one
}

// kept is how many panes are kept, so that windows that still change can be told.
func (s span) kept() int64 { return s.window + s.late }

// unsettled is how many panes can still change, or are in the present window.
func (s span) unsettled() int64 { return max(s.window, s.late+1) }

// series is what is counted of one packed key. The sum of a window's earlier panes is kept up
// to date by adding each pane when it is over and taking it away when it leaves, so that
// counting an event touches one tally, and asking for the window adds two. Time passes for a
// series when somebody counts or looks. What counting needs is first in memory.
type series struct {
	key     packed
	now     int64  // the number of the present pane
	present *Tally // of it
	panes   []pane
	window  Tally // over the earlier panes of the present window
	past    Tally // over all panes that are settled
}

// pane is what a pane that is kept, but is not the present one, has of a packed key. In a
// series they are in order.
type pane struct {
	number int64
	*Tally
}

// place returns where a pane is among the panes, or would be.
func (s *series) place(number int64) int {
	i, _ := slices.BinarySearchFunc(s.panes, number, func(p pane, number int64) int { return cmp.Compare(p.number, number) })
	return i
}

// between returns the panes from one number to before another.
func (s *series) between(first, end int64) []pane {
	i := s.place(first)
	return s.panes[i:max(i, s.place(end))]
}

// shard counts some of the packed keys: which ones is a matter of their hash.
type shard struct {
	span
	number int
	room   *atomic.Int64 // for new keys, of all shards

	mu     sync.Mutex
	now    int64 // the present pane
	series []*series
	places []slot   // the same, to be found by their keys
	ahead  []series // memory for further ones
	free   []*Tally // of panes that were forgotten, empty
}

// slot is where a series is found: the key beside it, so that a wrong one is passed by
// without a look at it. The zero value is an empty one.
type slot struct {
	key    packed
	series *series
}

func newShard(number int, s span, room *atomic.Int64) *shard {
	return &shard{number: number, span: s, room: room, places: make([]slot, 16)}
}

// of returns the series of a key; nil if there is no room for a new key.
func (s *shard) of(key packed) *series {
	mask := uint64(len(s.places) - 1)
	i := key.hash() / numShards & mask
	for ; s.places[i].series != nil; i = (i + 1) & mask {
		if s.places[i].key == key {
			return s.places[i].series
		}
	}
	if key != key.overflow() && s.room.Add(-1) < 0 {
		s.room.Add(1)
		return nil
	}
	return s.found(key)
}

// found begins the series of a key that has none.
func (s *shard) found(key packed) *series {
	if len(s.ahead) == 0 {
		s.ahead = make([]series, min(64, 1+len(s.series)))
	}
	of := &s.ahead[0]
	s.ahead = s.ahead[1:]
	of.key, of.now, of.present = key, s.now, s.take()
	s.series = append(s.series, of)
	again := s.series[len(s.series)-1:]
	if 2*len(s.series) > len(s.places) {
		s.places = make([]slot, 2*len(s.places))
		again = s.series
	}
	mask := uint64(len(s.places) - 1)
	for _, of := range again {
		i := of.key.hash() / numShards & mask
		for s.places[i].series != nil {
			i = (i + 1) & mask
		}
		s.places[i] = slot{of.key, of}
	}
	return of
}

// add counts an event of a pane.
func (s *shard) add(of *series, e *Event, bin int, number int64) {
	number = max(number, s.now-s.late) // by a hair's breadth too late
	s.tally(of, number).add(e, bin)
	if s.earlier(number) {
		of.window.add(e, bin)
	}
}

// load adds a tally of a pane that is kept, and, if it is open no more, takes it away from
// the past, which has it too.
func (s *shard) load(of *series, t *Tally, number int64) {
	s.tally(of, number).Merge(t)
	if s.earlier(number) {
		of.window.Merge(t)
	}
	if number > s.now-s.unsettled() && number < s.now-s.late {
		of.past.subtract(t)
	}
}

// earlier reports whether a pane is one of the present window's, but not the present one.
func (s *shard) earlier(number int64) bool { return number > s.now-s.window && number != s.now }

// tally returns what a pane has of a series, to be added to.
func (s *shard) tally(of *series, number int64) *Tally {
	s.advance(of)
	if number == s.now {
		return of.present
	}
	i := of.place(number)
	if i == len(of.panes) || of.panes[i].number != number {
		of.panes = slices.Insert(of.panes, i, pane{number, s.take()})
	}
	return of.panes[i].Tally
}

// take returns an empty tally for a pane, with memory for its first latencies beside it: most
// have no more.
func (s *shard) take() *Tally {
	last := len(s.free) - 1
	if last < 0 {
		of := new(struct {
			Tally
			first [40]byte // makes two lines of memory of it
		})
		of.Latency.data = of.first[:0]
		return &of.Tally
	}
	t := s.free[last]
	s.free = s.free[:last]
	return t
}

// pass makes a pane the present one, if it is later.
func (s *shard) pass(to int64) { s.now = max(s.now, to) }

// maxKept is how many bytes a tally's sketch may have to be used again: what the longest list
// has grown to.
const maxKept = 3 * maxListed

// advance lets the time pass for a series that has passed for its shard.
func (s *shard) advance(of *series) {
	from, to := of.now, s.now
	if from == to {
		return
	}
	of.now = to
	for _, p := range of.between(from-s.window+1, to-s.window+1) {
		of.window.subtract(p.Tally)
	}
	if of.present.Events() > 0 {
		if from > to-s.window {
			of.window.Merge(of.present)
		}
		of.panes = append(of.panes, pane{from, of.present})
		of.present = s.take()
	}
	for _, p := range of.between(from-s.unsettled()+1, to-s.unsettled()+1) {
		of.past.Merge(p.Tally)
	}
	forgotten := of.place(to - s.kept() + 1)
	for _, p := range of.panes[:forgotten] {
		// No more than have been of use, and none that was of a busy series: its memory would
		// come to the quiet ones.
		if len(s.free) <= len(s.series) && cap(p.Latency.data) <= maxKept {
			p.reset()
			s.free = append(s.free, p.Tally)
		}
	}
	of.panes = slices.Delete(of.panes, 0, forgotten)
}
