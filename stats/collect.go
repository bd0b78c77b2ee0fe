package stats

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Snapshot returns what was counted in the present window: the pane that is not over yet
// and those before it.
func (r *Recorder) Snapshot() *Snapshot {
	present := r.present()
	c := newCollector(r, present-r.set.window+1, present+1)
	for _, s := range r.shards {
		s.mu.Lock()
		s.advance(present)
		c.reserve(s)
		present := s.present()
		for key, of := range s.series {
			c.copy(key, &of.window, present[key])
		}
		s.mu.Unlock()
	}
	return c.snapshot()
}

// Between returns what was counted in the panes that begin at from or later and before to,
// as far as they are kept: those of a window, and of the lateness before it. Any of them
// that is not older than the lateness may still change.
func (r *Recorder) Between(from, to time.Time) *Snapshot {
	present := r.present()
	c := newCollector(r, max(r.set.from(from), present-r.set.kept()+1), min(r.set.from(to), present+1))
	for _, s := range r.shards {
		s.mu.Lock()
		s.advance(present)
		c.panes(s)
		s.mu.Unlock()
	}
	return c.snapshot()
}

// from returns the number of the first pane that begins at a time or later.
func (s *settings) from(t time.Time) int64 {
	pane := s.pane(t)
	if time.Unix(0, pane*s.hop).Before(t) {
		pane++
	}
	return pane
}

// Hop is how long a pane is.
func (r *Recorder) Hop() time.Duration { return time.Duration(r.set.hop) }

// Window is how long a window is.
func (r *Recorder) Window() time.Duration { return time.Duration(r.set.hop * r.set.window) }

// Total returns what was counted since the recorder was made, whatever its time. Its cells
// only grow.
func (r *Recorder) Total() *Snapshot {
	present := r.present()
	c := newCollector(r, 0, present+1)
	for _, s := range r.shards {
		s.mu.Lock()
		s.advance(present)
		c.past(s)
		c.first, c.end = s.now-s.late, s.now+1
		c.panes(s)
		s.mu.Unlock()
	}
	return c.snapshot()
}

// collector makes a snapshot out of packed keys.
type collector struct {
	r          *Recorder
	first, end int64 // the panes: from one number to before another

	out  Snapshot
	at   map[packed]int // of merged ones, in got
	got  []collected
	bins []uint32 // where the bins of copied ones are
}

type collected struct {
	key packed
	Tally
}

func newCollector(r *Recorder, first, end int64) *collector {
	end = max(first, end)
	return &collector{r: r, first: first, end: end, at: make(map[packed]int), out: Snapshot{
		From: time.Unix(0, first*r.set.hop).UTC(), To: time.Unix(0, end*r.set.hop).UTC(),
	}}
}

// panes adds what a shard has in the panes.
func (c *collector) panes(s *shard) {
	for i := range s.panes {
		if p := &s.panes[i]; p.number >= c.first && p.number < c.end {
			for key, cell := range p.cells {
				c.merge(key, &cell.Tally)
			}
		}
	}
}

// past adds what a shard has of panes that are open no more.
func (c *collector) past(s *shard) {
	for key, of := range s.series {
		c.merge(key, &of.past)
	}
}

// reserve makes room for all that copy will take from a shard.
func (c *collector) reserve(s *shard) {
	bins, present := 0, s.present()
	for key, of := range s.series {
		var now *Sketch
		if cell := present[key]; cell != nil {
			now = &cell.Latency
		}
		first, end := span2(&of.window.Latency, now)
		bins += end - first
	}
	c.bins = make([]uint32, 0, bins)
	c.got = slices.Grow(c.got, len(s.series))
}

// copy takes the tallies of a key that it was not given before.
func (c *collector) copy(key packed, earlier *Tally, present *paneCell) {
	n := earlier.Events()
	if present != nil {
		n += present.Events()
	}
	if n == 0 {
		return
	}
	c.got = append(c.got, collected{key: key})
	got := &c.got[len(c.got)-1]
	got.Count, got.micros = earlier.Count, earlier.micros
	var now *Sketch
	if present != nil {
		now = &present.Latency
		got.Count.add(present.Count)
		got.micros += present.micros
	}
	first, end := span2(&earlier.Latency, now)
	from := len(c.bins)
	c.bins = c.bins[:from+end-first]
	got.Latency = Sketch{first, c.bins[from:len(c.bins):len(c.bins)], earlier.Latency.n}
	if earlier.Latency.n > 0 {
		copy(got.Latency.bins[earlier.Latency.first-first:], earlier.Latency.bins)
	}
	if now != nil {
		got.Latency.Merge(now)
	}
}

// span2 returns the bins that two sketches have together; the second may be nil.
func span2(a, b *Sketch) (first, end int) {
	if a.n > 0 {
		first, end = a.first, a.first+len(a.bins)
	}
	if b != nil && b.n > 0 {
		if a.n == 0 {
			first = b.first
		}
		first, end = min(first, b.first), max(end, b.first+len(b.bins))
	}
	return first, end
}

func (c *collector) merge(key packed, t *Tally) {
	if t.Events() == 0 {
		return
	}
	i, known := c.at[key]
	if !known {
		i = len(c.got)
		c.at[key] = i
		c.got = append(c.got, collected{key: key})
	}
	c.got[i].Merge(t)
}

// snapshot puts in order what was collected. It sorts keys and not tallies, which are large.
func (c *collector) snapshot() *Snapshot {
	groups, words := c.r.groups.words(), c.r.words.words()
	type place struct {
		key packed
		at  int32
	}
	order := make([]place, len(c.got))
	ways := 0
	for i := range c.got {
		order[i] = place{c.got[i].key, int32(i)}
		if c.got[i].key&wayBit != 0 {
			ways++
		}
	}
	slices.SortFunc(order, func(a, b place) int {
		if a.key>>16 == b.key>>16 && a.key&wayBit == 0 {
			return strings.Compare(groups[uint16(a.key)], groups[uint16(b.key)])
		}
		return cmp.Compare(a.key, b.key) // ways come last
	})
	c.out.Cells = make([]Cell, len(order)-ways)
	for i := range c.out.Cells {
		of := &c.out.Cells[i]
		of.Key, of.Tally = order[i].key.key(groups), c.got[order[i].at].Tally
	}
	c.out.Ways = make([]WayCell, ways)
	for i := range c.out.Ways {
		of, from := &c.out.Ways[i], order[len(order)-ways+i]
		of.Way, of.Tally = from.key.way(words), c.got[from.at].Tally
	}
	slices.SortFunc(c.out.Ways, func(a, b WayCell) int { return a.Way.compare(b.Way) })
	return &c.out
}
