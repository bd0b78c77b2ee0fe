package stats

import (
	"slices"
	"time"
)

// Snapshot returns what was counted in the present window: the pane that is not over yet
// and those before it. It is of one moment.
func (r *Recorder) Snapshot() *Snapshot {
	return r.look((*collector).window, func(present int64) (first, end int64) {
		return present - r.set.window + 1, present + 1
	})
}

// Between returns what was counted in the panes that begin at from or later and before to,
// as far as they are kept: those of a window, and of the lateness before it. Any of them
// that is not older than the lateness may still change.
func (r *Recorder) Between(from, to time.Time) *Snapshot {
	return r.look((*collector).panes, func(present int64) (first, end int64) {
		return max(r.set.from(from), present-r.set.kept()+1), min(r.set.from(to), present+1)
	})
}

// from returns the number of the first pane that begins at a time or later.
func (s *settings) from(t time.Time) int64 {
	pane := s.paneOf(t)
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
	return r.look((*collector).total, func(present int64) (first, end int64) { return 0, present + 1 })
}

// look shows a method of a collector all series as they are at one moment, and returns what
// it collected; span tells which panes it is of when the time has come to one. What comes to
// be counted meanwhile waits, but not for series that were shown.
func (r *Recorder) look(see func(*collector, *series), span func(present int64) (first, end int64)) *Snapshot {
	present := r.lockShards(r.present()) // a shard may have come further than the clock said
	first, end := span(present)
	c := newCollector(r, first, end)
	n := 0
	for _, s := range r.shards {
		n += len(s.series)
	}
	c.got = make([]collected, 0, n)
	r.show(func(s *series) { see(c, s) })
	return c.snapshot()
}

// show shows a function all series, which are locked, and unlocks them.
func (r *Recorder) show(see func(*series)) {
	for _, s := range r.shards {
		for _, of := range s.series {
			s.advance(of)
			see(of)
		}
		s.mu.Unlock()
	}
}

// collector makes a snapshot of series.
type collector struct {
	r          *Recorder
	first, end int64 // the panes: from one number to before another
	out        Snapshot
	got        []collected
	parts      []*Tally
	data       []byte // for sketches
	piece      int    // how long the last piece of it was
}

type collected struct {
	key packed
	Tally
}

func newCollector(r *Recorder, first, end int64) *collector {
	end = max(first, end)
	return &collector{r: r, first: first, end: end, out: Snapshot{
		From: time.Unix(0, first*r.set.hop).UTC(), To: time.Unix(0, end*r.set.hop).UTC(),
	}}
}

// window adds what a series has in the present window.
func (c *collector) window(s *series) { c.add(s.key, &s.window, s.present) }

// panes adds what a series has in the panes.
func (c *collector) panes(s *series) {
	c.parts = s.appendPanes(c.parts[:0], c.first, c.end)
	c.add(s.key, c.parts...)
}

// past adds what a series has of panes that are open no more.
func (c *collector) past(s *series) { c.until(s, s.now-c.r.set.late) }

// total adds all that a series has.
func (c *collector) total(s *series) { c.until(s, s.now+1) }

// until adds what a series has of panes before one that is not settled.
func (c *collector) until(s *series, end int64) {
	c.parts = s.appendPanes(append(c.parts[:0], &s.past), s.now-c.r.set.unsettled()+1, end)
	c.add(s.key, c.parts...)
}

// appendPanes appends the tallies of the panes from one number to before another.
func (s *series) appendPanes(parts []*Tally, first, end int64) []*Tally {
	for _, p := range s.between(first, end) {
		parts = append(parts, p.Tally)
	}
	if s.now >= first && s.now < end {
		parts = append(parts, s.present)
	}
	return parts
}

// add adds the sum of some tallies, unless it is nothing.
func (c *collector) add(key packed, parts ...*Tally) {
	c.got = append(c.got, collected{key: key})
	sum := &c.got[len(c.got)-1]
	for _, t := range parts {
		sum.Count.add(t.Count)
		sum.micros += t.micros
	}
	if sum.Events() == 0 {
		c.got = c.got[:len(c.got)-1]
		return
	}
	sum.Latency = c.room(parts)
	for _, t := range parts {
		sum.Latency.Merge(&t.Latency)
	}
}

// room returns an empty sketch that the sum of those of some tallies fits in, with memory out
// of a large piece.
func (c *collector) room(parts []*Tally) Sketch {
	n, form := uint64(0), uint8(listed)
	for _, t := range parts {
		n, form = n+t.Latency.n, max(form, t.Latency.form)
	}
	if form == listed && n <= maxListed {
		return Sketch{data: c.carve(2 * int(n))[:0]}
	}
	first, end := sketchBins, 0
	for _, t := range parts {
		if t.Latency.n > 0 {
			from, to := t.Latency.span()
			first, end = min(first, from), max(end, to)
		}
	}
	if end == 0 {
		return Sketch{}
	}
	form = max(form, narrow)
	return Sketch{first: uint16(first), form: form, data: c.carve((end - first) * int(form))}
}

// carve returns so many zero bytes, which nobody else has.
func (c *collector) carve(n int) []byte {
	if n > len(c.data) {
		c.piece = min(64<<10, 2*c.piece+512)
		c.data = make([]byte, max(n, c.piece))
	}
	got := c.data[:n:n]
	c.data = c.data[n:]
	return got
}

// snapshot puts in order what was collected. It sorts numbers: what a cell comes by, and
// below that, where it is.
func (c *collector) snapshot() *Snapshot {
	groups, words := c.r.groups.now.Load(), c.r.words.now.Load()
	groupRanks, wordRanks := groups.ranks(), words.ranks()
	const placeBits = 24 // more than maxCells has, and what packed.rank leaves
	var cells, ways []uint64
	cells = make([]uint64, 0, len(c.got))
	for i := range c.got {
		switch key := c.got[i].key; {
		case key&wayBit == 0:
			cells = append(cells, key.rank(groupRanks)<<placeBits|uint64(i))
		default:
			ways = append(ways, key.rank(wordRanks)<<placeBits|uint64(i))
		}
	}
	slices.Sort(cells)
	slices.Sort(ways)
	c.out.Cells = make([]Cell, len(cells))
	for i, at := range cells {
		from := &c.got[at&(1<<placeBits-1)]
		c.out.Cells[i] = Cell{from.key.key(groups.words), from.Tally}
	}
	c.out.Ways = make([]WayCell, len(ways))
	for i, at := range ways {
		from := &c.got[at&(1<<placeBits-1)]
		c.out.Ways[i] = WayCell{from.key.way(words.words), from.Tally}
	}
	return &c.out
}
