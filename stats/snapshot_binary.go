package stats

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// Second bytes of binary forms: of what.
const (
	formSnapshot = 's'
	formState    = 'r'
)

// maxDecoded is how many cells or ways are read at most.
const maxDecoded = maxCells + 1000

// AppendBinary appends a form of the snapshot that has all of it, sketches too, to b: what
// one process sends another that merges snapshots. It does not fail.
func (s *Snapshot) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, binaryVersion, formSnapshot)
	b = binary.AppendVarint(b, s.From.UnixNano())
	b = binary.AppendVarint(b, s.To.UnixNano())
	b = binary.AppendUvarint(b, uint64(len(s.Cells)))
	for i := range s.Cells {
		c := &s.Cells[i]
		b = append(b, byte(c.Stage), byte(c.Local), byte(c.Remote), byte(c.Pair), byte(c.Protocol), byte(c.IPVersion))
		b = appendWord(b, c.Group)
		b = c.Tally.append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Ways)))
	for i := range s.Ways {
		w := &s.Ways[i]
		b = append(b, byte(w.Stage))
		b = appendWord(b, w.Lane)
		b = appendWord(b, w.Reason)
		b = w.Tally.append(b)
	}
	return b, nil
}

// MarshalBinary returns what AppendBinary appends.
func (s *Snapshot) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// UnmarshalBinary reads what AppendBinary wrote. Nothing of it is taken on trust: its keys
// must be in order, known and not twice there. On an error s is as it was.
func (s *Snapshot) UnmarshalBinary(data []byte) error {
	r := reader{rest: data}
	got, err := r.snapshot()
	if err != nil {
		return err
	}
	if len(r.rest) > 0 {
		return fmt.Errorf("stats: snapshot: %d bytes too many", len(r.rest))
	}
	*s = *got
	return nil
}

func (r *reader) snapshot() (*Snapshot, error) {
	if err := r.version(formSnapshot, "snapshot"); err != nil {
		return nil, err
	}
	s := &Snapshot{From: time.Unix(0, r.varint()).UTC(), To: time.Unix(0, r.varint()).UTC()}
	const leastCell, leastWay = 6 + 1 + leastTally, 1 + 2 + leastTally
	if n := r.count(leastCell); n <= maxDecoded {
		s.Cells = make([]Cell, n)
	}
	for i := range s.Cells {
		c := &s.Cells[i]
		c.Key = Key{
			Stage: Stage(r.byte()), Local: natprobe.Type(r.byte()), Remote: natprobe.Type(r.byte()), Pair: PairKind(r.byte()),
			Protocol: Protocol(r.byte()), IPVersion: int(r.byte()), Group: r.word(),
		}
		r.tally(&c.Tally)
		if r.failed || !c.Key.valid() || i > 0 && s.Cells[i-1].Key.compare(c.Key) >= 0 {
			return nil, fmt.Errorf("stats: snapshot: cell %d is cut off, out of order or none that there is", i)
		}
	}
	if n := r.count(leastWay); n <= maxDecoded {
		s.Ways = make([]WayCell, n)
	}
	for i := range s.Ways {
		w := &s.Ways[i]
		w.Way = Way{Stage: Stage(r.byte()), Lane: r.word(), Reason: r.word()}
		r.tally(&w.Tally)
		if r.failed || !w.Way.valid() || i > 0 && s.Ways[i-1].Way.compare(w.Way) >= 0 {
			return nil, fmt.Errorf("stats: snapshot: way %d is cut off, out of order or none that there is", i)
		}
	}
	if r.failed {
		return nil, fmt.Errorf("stats: snapshot: it is cut off")
	}
	return s, nil
}

// valid reports whether events can have the key, or a sum of cells.
func (k Key) valid() bool {
	return int(k.Stage) < len(stages) && k.Local <= natprobe.TypeUDPBlocked && k.Remote <= natprobe.TypeUDPBlocked &&
		int(k.Pair) < len(pairKinds) && int(k.Protocol) < len(protocols) && (k.IPVersion == 0 || k.IPVersion == 4 || k.IPVersion == 6) &&
		isWord(k.Group)
}

func (w Way) valid() bool { return int(w.Stage) < len(stages) && isWord(w.Lane) && isWord(w.Reason) }

// leastTally is how many bytes a tally has at least.
const leastTally = 5 + 8 + 2

func (t *Tally) append(b []byte) []byte {
	for _, n := range [...]uint64{t.Succeeded, t.Failed, t.TimedOut, t.Cancelled, t.Unreached} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(t.micros))
	return t.Latency.append(b)
}

// append appends the number of the first bin that has latencies, how many bins there are up
// to the last that has some, and what each of them has.
func (s *Sketch) append(b []byte) []byte {
	first, end := 0, 0
	for bin := range s.each {
		if end == 0 {
			first = bin
		}
		end = bin + 1
	}
	b = binary.AppendUvarint(b, uint64(first))
	b = binary.AppendUvarint(b, uint64(end-first))
	for bin, n := range s.each {
		for ; first < bin; first++ {
			b = append(b, 0)
		}
		b = binary.AppendUvarint(b, uint64(n))
		first++
	}
	return b
}

func (r *reader) tally(t *Tally) {
	t.Count = Count{r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()}
	t.micros = r.float()
	first, n := r.uvarint(), r.count(1)
	if first > uint64(sketchBins) || n > sketchBins-int(first) || !(t.micros >= 0) || math.IsInf(t.micros, 1) {
		r.failed = true
		return
	}
	t.Latency = Sketch{}
	for i := range n {
		count := r.uvarint()
		if count > math.MaxUint32 {
			r.failed = true
		}
		if count > 0 {
			t.Latency.addBin(int(first)+i, uint32(count))
		}
	}
}
