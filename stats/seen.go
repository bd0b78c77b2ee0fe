package stats

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// seen remembers the IDs of the events of the panes that still take some, so that an event
// that comes twice counts once.
type seen struct {
	mu      sync.Mutex
	limit   int      // IDs for each pane
	panes   []tagSet // by pane number, modulo
	numbers []int64  // of panes
	moved   int64    // the last pane that was given an event from the future
	ledger  Ledger   // of what only seen knows
}

func newSeen(panes, limit int) *seen {
	return &seen{limit: limit, panes: make([]tagSet, panes), numbers: make([]int64, panes)}
}

// note reports whether an event is new, and remembers it. One from the future was given the
// present pane instead of its own; as long as there is one, its twin may come with any time,
// so all panes are looked through.
func (s *seen) note(tag uint64, pane, present int64, moved bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.at(pane)
	if moved {
		s.moved = present
	}
	if open := present - int64(len(s.panes)) + 1; s.moved >= open {
		for i := range s.panes {
			if other := &s.panes[i]; other != set && s.numbers[i] >= open && other.has(tag) {
				s.ledger.Duplicates++
				return false
			}
		}
	}
	switch {
	case set.has(tag):
		s.ledger.Duplicates++
		return false
	case set.n >= s.limit:
		s.ledger.Unchecked++
	default:
		set.add(tag)
	}
	s.ledger.Recorded++
	return true
}

// at returns the set of a pane, which takes the place of one that takes events no more.
func (s *seen) at(pane int64) *tagSet {
	i := int(uint64(pane) % uint64(len(s.panes)))
	if s.numbers[i] < pane {
		s.panes[i].clear()
		s.numbers[i] = pane
	}
	return &s.panes[i]
}

// tagOf returns what stands for an ID: a hash, of which two IDs have the same with a chance
// of 2^-64, and nobody can choose IDs that do, or that all meet in one place, without
// knowing the seed.
func tagOf(id ID, seed uint64) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:])^seed, 0x9e3779b97f4a7c15^seed<<1)
	h := hi ^ lo ^ binary.LittleEndian.Uint64(id[8:])
	hi, lo = bits.Mul64(h^seed>>7, 0xbf58476d1ce4e5b9)
	return max(1, hi^lo)
}

// tagSet is a set of tags, found by linear probing. Zero is an empty place.
type tagSet struct {
	places []uint64 // a power of two of them, at most half of them taken
	n      int
}

func (s *tagSet) has(tag uint64) bool {
	if s.n == 0 {
		return false
	}
	mask := uint64(len(s.places) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		switch s.places[i] {
		case tag:
			return true
		case 0:
			return false
		}
	}
}

// add adds a tag that is not there.
func (s *tagSet) add(tag uint64) {
	if 2*(s.n+1) > len(s.places) {
		was := s.places
		s.places = make([]uint64, max(16, 2*len(was)))
		for _, tag := range was {
			if tag != 0 {
				s.put(tag)
			}
		}
	}
	s.put(tag)
	s.n++
}

func (s *tagSet) put(tag uint64) {
	mask := uint64(len(s.places) - 1)
	i := tag & mask
	for s.places[i] != 0 {
		i = (i + 1) & mask
	}
	s.places[i] = tag
}

// clear empties the set. What it held is about what it will hold, so it keeps its memory,
// unless it used little of it.
func (s *tagSet) clear() {
	if 8*s.n < len(s.places) {
		s.places = nil
	} else {
		clear(s.places)
	}
	s.n = 0
}
