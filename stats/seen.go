package stats

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// seen remembers the IDs of the events of the panes that still take some, so that an event
// that comes twice counts once. It is locked by whoever calls its methods, and until the
// event is counted.
type seen struct {
	mu     sync.Mutex
	limit  int       // IDs for each pane
	panes  []seenIDs // by pane number, modulo
	last   *seenIDs  // that at was asked for
	moved  int64     // the last pane that was given an event from the future
	ledger Ledger    // of what is not noted elsewhere
}

// seenIDs are those of a pane.
type seenIDs struct {
	number int64
	tagSet
}

func newSeen(panes, limit int) *seen {
	s := &seen{limit: limit, panes: make([]seenIDs, panes)}
	s.last = &s.panes[0]
	return s
}

// note reports whether an event is new, and remembers it. One from the future was given the
// present pane instead of its own; as long as there is one, its twin may come with any time,
// so all panes are looked through.
func (s *seen) note(tag uint64, pane, present int64, moved bool) bool {
	ids := s.at(pane)
	if moved {
		s.moved = present
	}
	if open := present - int64(len(s.panes)) + 1; s.moved >= open {
		for i := range s.panes {
			if other := &s.panes[i]; other != ids && other.number >= open && other.has(tag) {
				s.ledger.Duplicates++
				return false
			}
		}
	}
	switch {
	case ids.n >= s.limit:
		if ids.has(tag) {
			s.ledger.Duplicates++
			return false
		}
		s.ledger.Unchecked++
	case !ids.add(tag):
		s.ledger.Duplicates++
		return false
	}
	s.ledger.Recorded++
	return true
}

// at returns the IDs of a pane, which takes the place of one that takes events no more.
func (s *seen) at(pane int64) *seenIDs {
	if s.last.number == pane {
		return s.last
	}
	s.last = &s.panes[uint64(pane)%uint64(len(s.panes))]
	if s.last.number < pane {
		s.last.clear()
		s.last.number = pane
	}
	return s.last
}

// tagOf returns what stands for an ID: a hash, of which two IDs have the same with a chance
// of 2^-64, so that a new event is taken for one of a million others with one of 5e-14. Nobody
// can choose IDs that have the same, or that all meet in one place, without knowing the seed.
func tagOf(id ID, seed uint64) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:])^seed, 0x9e3779b97f4a7c15^seed<<1)
	h := hi ^ lo ^ binary.LittleEndian.Uint64(id[8:])
	hi, lo = bits.Mul64(h^seed>>7, 0xbf58476d1ce4e5b9)
	return max(1, hi^lo)
}
