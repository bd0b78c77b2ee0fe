package stats

// tagSet is a set of tags. A tag is looked for in one line of memory, from a place in it that
// the tag says, and in the next line only where that is full: so counting an event waits for
// memory once, and a set may be three quarters full.
type tagSet struct {
	places []uint64 // a power of two of them; 0 is an empty one
	n      int
}

// tagLine is how many tags a line of memory has: of 64 bytes on most processors.
const tagLine = 8

// find returns the place of a tag, or the empty one where it would be.
func (s *tagSet) find(tag uint64) (place int, found bool) {
	mask := uint64(len(s.places) - 1)
	line := tag & mask &^ (tagLine - 1)
	for ; ; line = (line + tagLine) & mask {
		for i := range uint64(tagLine) {
			at := line | (tag+i)&(tagLine-1)
			switch s.places[at] {
			case tag:
				return int(at), true
			case 0:
				return int(at), false
			}
		}
	}
}

// has reports whether a tag is there.
func (s *tagSet) has(tag uint64) bool {
	if s.n == 0 {
		return false
	}
	_, found := s.find(tag)
	return found
}

// add adds a tag, and reports whether it is new.
func (s *tagSet) add(tag uint64) bool {
	if 4*(s.n+1) > 3*len(s.places) {
		s.grow()
	}
	at, found := s.find(tag)
	if !found {
		s.places[at] = tag
		s.n++
	}
	return !found
}

func (s *tagSet) grow() {
	was := s.places
	s.places = make([]uint64, max(2*tagLine, 2*len(was)))
	for _, tag := range was {
		if tag != 0 {
			at, _ := s.find(tag)
			s.places[at] = tag
		}
	}
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
