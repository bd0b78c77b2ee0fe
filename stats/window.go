package stats

import (
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

// series is what a shard knows of one packed key, for as long as it lives.
type series struct {
	window Tally // over the panes of the present window, but for the present one
	past   Tally // over all panes that are open no more
}

// paneCell is what a pane has of one packed key.
type paneCell struct {
	Tally
	series *series
}

type pane struct {
	number int64
	cells  map[packed]*paneCell
}

// shard counts some of the packed keys: which ones is a matter of their hash. The sum of a
// window's earlier panes is kept up to date by adding each pane when it is over and taking
// it away when it leaves, so that counting an event touches one tally, and asking for the
// window adds two.
type shard struct {
	span
	room *atomic.Int64 // for new keys, of all shards

	mu     sync.Mutex
	now    int64  // the present pane
	panes  []pane // by number, modulo
	series map[packed]*series
	free   []*paneCell
}

func newShard(s span, room *atomic.Int64) *shard {
	sh := &shard{span: s, room: room, panes: make([]pane, s.kept()), series: make(map[packed]*series)}
	for i := range sh.panes {
		sh.panes[i] = pane{number: -1, cells: make(map[packed]*paneCell)}
	}
	return sh
}

// add counts an event of a pane. false: there is no room for a new key.
func (s *shard) add(key packed, e *Event, bin int, pane, now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now)
	pane = max(pane, s.now-s.late) // by a hair's breadth too late
	cell := s.cell(key, pane)
	if cell == nil {
		return false
	}
	cell.add(e, bin)
	if pane > s.now-s.window && pane != s.now {
		cell.series.window.add(e, bin)
	}
	return true
}

// cell returns a pane's cell of a key; nil if there is no room for a new key.
func (s *shard) cell(key packed, number int64) *paneCell {
	p := &s.panes[int(number%int64(len(s.panes)))]
	p.number = number
	if cell := p.cells[key]; cell != nil {
		return cell
	}
	of := s.of(key)
	if of == nil {
		return nil
	}
	var cell *paneCell
	if last := len(s.free) - 1; last >= 0 {
		cell, s.free = s.free[last], s.free[:last]
	} else {
		cell = new(paneCell)
	}
	cell.series = of
	p.cells[key] = cell
	return cell
}

// of returns the series of a key; nil if there is no room for a new key.
func (s *shard) of(key packed) *series {
	of := s.series[key]
	if of == nil {
		if key != key.overflow() && s.room.Add(-1) < 0 {
			s.room.Add(1)
			return nil
		}
		of = new(series)
		s.series[key] = of
	}
	return of
}

// advance makes a pane the present one, if it is later.
func (s *shard) advance(to int64) {
	if to <= s.now {
		return
	}
	for i := range s.panes {
		p := &s.panes[i]
		if p.number < 0 {
			continue
		}
		enters := p.number == s.now && p.number > to-s.window
		leaves := p.number > s.now-s.window && p.number != s.now && p.number <= to-s.window
		closes := p.number >= s.now-s.late && p.number < to-s.late
		forgotten := p.number <= to-s.kept()
		if !enters && !leaves && !closes && !forgotten {
			continue
		}
		for key, cell := range p.cells { // sums do not depend on the order
			if enters {
				cell.series.window.Merge(&cell.Tally)
			}
			if leaves {
				cell.series.window.subtract(&cell.Tally)
			}
			if closes {
				cell.series.past.Merge(&cell.Tally)
			}
			if forgotten {
				s.recycle(cell)
				delete(p.cells, key)
			}
		}
		if forgotten {
			p.number = -1
		}
	}
	s.now = to
}

// present is the cells of the present pane.
func (s *shard) present() map[packed]*paneCell {
	if p := &s.panes[int(s.now%int64(len(s.panes)))]; p.number == s.now {
		return p.cells
	}
	return nil
}

// recycle keeps a cell for another pane, but not more of them than have been of use.
func (s *shard) recycle(cell *paneCell) {
	if len(s.free) <= 2*len(s.series) {
		cell.reset()
		cell.series = nil
		s.free = append(s.free, cell)
	}
}
