package stats

import (
	"encoding/binary"
	"math"
	"slices"
)

// The bins of a Sketch. Most sketches hold a few latencies, of one cell in one pane, and those
// that hold many have few in each bin; so each takes the least of three forms that it fits
// in, and goes to the next one when it must: a list of its latencies' bins, in any order; a
// byte for each bin from the first that is taken to the last; four bytes for each.

const (
	listed = 0 // two bytes for each latency
	narrow = 1 // a byte for each bin
	wide   = 4 // four bytes for each bin
)

// maxListed is how many latencies are listed at most: about as many as fit in the bytes that
// the narrow form takes.
const maxListed = 32

// tops are the highest bits of eight bytes. Where they are clear in two words, the words'
// bytes can be added at once.
const tops = 0x8080808080808080

// list returns the bins of a sketch that is listed, in no order.
func (s *Sketch) list() (bins [maxListed]uint16, n int) {
	for ; 2*n < len(s.data); n++ {
		bins[n] = binary.LittleEndian.Uint16(s.data[2*n:])
	}
	return bins, n
}

// size is how many bins the narrow and the wide form have.
func (s *Sketch) size() int {
	if s.form == wide {
		return len(s.data) / wide
	}
	return len(s.data)
}

// at returns how many latencies a bin has, in the narrow and the wide form; i is its place.
func (s *Sketch) at(i int) uint32 {
	if s.form == narrow {
		return uint32(s.data[i])
	}
	return binary.LittleEndian.Uint32(s.data[i*wide:])
}

// put adds to the bin of a place, and to nothing else, in the narrow and the wide form. It
// returns how many latencies the bin could not take.
func (s *Sketch) put(i int, n uint32) (lost uint32) {
	if s.form == narrow {
		if sum := uint64(s.data[i]) + uint64(n); sum <= math.MaxUint8 {
			s.data[i] = uint8(sum)
			return 0
		}
		s.widen()
	}
	at := s.data[i*wide:]
	was := binary.LittleEndian.Uint32(at)
	lost = n - min(n, math.MaxUint32-was)
	binary.LittleEndian.PutUint32(at, was+n-lost)
	return lost
}

// addBin counts n latencies in a bin.
func (s *Sketch) addBin(bin int, n uint32) {
	if s.form == listed {
		if s.n+uint64(n) <= maxListed {
			for range n {
				s.data = binary.LittleEndian.AppendUint16(s.data, uint16(bin))
			}
			s.n += uint64(n)
			return
		}
		s.spread()
	}
	s.reach(bin, bin+1)
	s.n += uint64(n - s.put(bin-int(s.first), n))
}

// spread leaves the listed form for the narrow one.
func (s *Sketch) spread() {
	bins, n := s.list()
	first, end := s.span()
	s.form, s.data = narrow, s.data[:0]
	if n > 0 {
		s.reach(first, end)
	}
	for _, bin := range bins[:n] {
		s.data[bin-s.first]++
	}
}

// widen leaves the narrow form for the wide one. Going down, it overwrites nothing that it
// has not read.
func (s *Sketch) widen() {
	n := len(s.data)
	s.form, s.data = wide, slices.Grow(s.data, (wide-1)*n)[:wide*n]
	for i := n - 1; i >= 0; i-- {
		binary.LittleEndian.PutUint32(s.data[i*wide:], uint32(s.data[i]))
	}
}

// reach makes room for the bins from first to before end, in the narrow and the wide form.
func (s *Sketch) reach(first, end int) {
	const slack = 8 // bins made at once on either side, where the next latencies will be
	from, size := int(s.first), s.size()
	if first >= from && end <= from+size {
		return
	}
	if size == 0 {
		from = max(0, first-slack)
		s.first = uint16(from)
	}
	if first < from {
		less := max(0, first-slack)
		more, was := (from-less)*int(s.form), len(s.data)
		s.resize(was + more)
		copy(s.data[more:], s.data[:was])
		clear(s.data[:more])
		s.first, from = uint16(less), less
	}
	if end > from+s.size() {
		s.resize((min(sketchBins, end+slack) - from) * int(s.form))
	}
}

// resize makes the data n bytes long; what is new of it is zero.
func (s *Sketch) resize(n int) {
	was := len(s.data)
	s.data = slices.Grow(s.data, n-was)[:n]
	clear(s.data[was:])
}

// Merge adds what another sketch has.
func (s *Sketch) Merge(o *Sketch) {
	switch {
	case o.n == 0:
		return
	case o.form != listed:
		s.mergeBins(o)
	case s.form == listed && s.n+o.n <= maxListed:
		s.data = append(s.data, o.data...)
		s.n += o.n
	default:
		bins, n := o.list()
		for _, bin := range bins[:n] {
			s.addBin(int(bin), 1)
		}
	}
}

// mergeBins adds what a sketch has that is not listed: where both are narrow, eight bins at a
// time as long as none has many.
func (s *Sketch) mergeBins(o *Sketch) {
	if s.form == listed {
		s.spread()
	}
	s.reach(int(o.first), int(o.first)+o.size())
	from, i := int(o.first)-int(s.first), 0
	if s.form == narrow && o.form == narrow {
		into := s.data[from:][:len(o.data)]
		for ; i+8 <= len(into); i += 8 {
			a, b := binary.LittleEndian.Uint64(into[i:]), binary.LittleEndian.Uint64(o.data[i:])
			if (a|b)&tops != 0 {
				break
			}
			binary.LittleEndian.PutUint64(into[i:], a+b)
		}
	}
	s.n += o.n
	for size := o.size(); i < size; i++ {
		if n := o.at(i); n > 0 {
			s.n -= uint64(s.put(from+i, n))
		}
	}
}

// subtract takes away what was merged before.
func (s *Sketch) subtract(o *Sketch) {
	if o.form == listed {
		bins, n := o.list()
		for _, bin := range bins[:n] {
			s.take(int(bin), 1)
		}
		return
	}
	for i := range o.size() {
		if n := o.at(i); n > 0 {
			s.take(int(o.first)+i, n)
		}
	}
}

// take takes n latencies out of a bin, or as many as it has.
func (s *Sketch) take(bin int, n uint32) {
	if s.form == listed {
		for i := 0; i < len(s.data) && n > 0; {
			if int(binary.LittleEndian.Uint16(s.data[i:])) != bin {
				i += 2
				continue
			}
			last := len(s.data) - 2
			copy(s.data[i:], s.data[last:])
			s.data = s.data[:last]
			s.n--
			n--
		}
		return
	}
	i := bin - int(s.first)
	if i < 0 || i >= s.size() {
		return
	}
	n = min(n, s.at(i))
	s.n -= uint64(n)
	if s.form == narrow {
		s.data[i] -= uint8(n)
	} else {
		binary.LittleEndian.PutUint32(s.data[i*wide:], s.at(i)-n)
	}
}

// reset makes the sketch empty and keeps its memory.
func (s *Sketch) reset() { *s = Sketch{data: s.data[:0]} }

// each calls yield for each bin that has latencies, in rising order, with its number and how
// many there are, until yield returns false.
func (s *Sketch) each(yield func(bin int, n uint32) bool) {
	if s.form == listed {
		bins, n := s.list()
		slices.Sort(bins[:n])
		for i := 0; i < n; {
			same := i + 1
			for same < n && bins[same] == bins[i] {
				same++
			}
			if !yield(int(bins[i]), uint32(same-i)) {
				return
			}
			i = same
		}
		return
	}
	for i := range s.size() {
		if n := s.at(i); n > 0 && !yield(int(s.first)+i, n) {
			return
		}
	}
}

// span returns the first bin that the sketch may have something in, and the one after the
// last; of an empty one, some after all and 0.
func (s *Sketch) span() (first, end int) {
	if s.form != listed {
		return int(s.first), int(s.first) + s.size()
	}
	first = sketchBins
	for i := 0; i < len(s.data); i += 2 {
		bin := int(binary.LittleEndian.Uint16(s.data[i:]))
		first, end = min(first, bin), max(end, bin+1)
	}
	return first, end
}
