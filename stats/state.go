package stats

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// AppendState appends all that the recorder knows to b: totals, panes, which events it has
// counted, and its ledger, so that one in another process can go on in its place by
// RestoreState. It is of one moment; who needs to know what exactly is in it calls Record and
// AppendState from one goroutine.
func (r *Recorder) AppendState(b []byte) []byte {
	r.lockSeen()
	present := r.lockShards(r.present())
	first := present - r.set.kept() + 1
	past := newCollector(r, 0, 0)
	panes := make([]*collector, r.set.kept())
	for i := range panes {
		panes[i] = newCollector(r, first+int64(i), first+int64(i)+1)
	}
	r.show(func(s *series) {
		past.past(s)
		for _, p := range s.panes {
			panes[p.number-first].add(s.key, p.Tally)
		}
		panes[present-first].add(s.key, s.present)
	})
	ledger, tags := r.ledger(), r.tags(present)
	r.unlockSeen()
	b = append(b, binaryVersion, formState)
	for _, n := range [...]int64{r.set.hop, r.set.window, r.set.late, present} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.BigEndian.AppendUint64(b, r.seed)
	for _, n := range ledger.fields() {
		b = binary.AppendUvarint(b, *n)
	}
	b, _ = past.snapshot().AppendBinary(b)
	for _, c := range panes {
		b, _ = c.snapshot().AppendBinary(b)
	}
	for _, of := range tags {
		b = binary.AppendUvarint(b, uint64(len(of)))
		for _, tag := range of {
			b = binary.BigEndian.AppendUint64(b, tag)
		}
	}
	return b
}

// tags returns the tags of the events of the panes that are open, pane by pane, with all IDs
// locked.
func (r *Recorder) tags(present int64) [][]uint64 {
	open := present - r.set.late
	all := make([][]uint64, r.set.late+1)
	for _, s := range r.seen {
		for i := range s.panes {
			of := &s.panes[i]
			if of.n == 0 || of.number < open || of.number > present {
				continue
			}
			into := &all[of.number-open]
			*into = slices.Grow(*into, of.n)
			for _, tag := range of.places {
				if tag != 0 {
					*into = append(*into, tag)
				}
			}
		}
	}
	return all
}

// fields returns what a ledger has, in the order in which states have it.
func (l *Ledger) fields() [7]*uint64 {
	return [...]*uint64{&l.Recorded, &l.Duplicates, &l.Late, &l.Invalid, &l.Clamped, &l.Unchecked, &l.Overflown}
}

// RestoreState returns a recorder that goes on from a state. Its Hop, Window and Lateness
// must be those of the state; for the rest, the Config may be another: what it has no room
// for becomes Other.
func RestoreState(cfg Config, state []byte) (*Recorder, error) {
	r, err := NewRecorder(cfg)
	if err != nil {
		return nil, err
	}
	in := reader{rest: state}
	if err := in.version(formState, "state of a recorder"); err != nil {
		return nil, err
	}
	hop, window, late, saved := in.uvarint(), in.uvarint(), in.uvarint(), in.uvarint()
	if hop != uint64(r.set.hop) || window != uint64(r.set.window) || late != uint64(r.set.late) {
		return nil, badConfig("Hop", "the state has hops of %v, %d to a window and %d of lateness, this has %v, %d and %d; give the same Hop, Window and Lateness",
			time.Duration(hop), window, late, time.Duration(r.set.hop), r.set.window, r.set.late)
	}
	if saved > math.MaxInt64/hop {
		return nil, fmt.Errorf("stats: state of a recorder: pane %d is beyond all time", saved)
	}
	present := int64(saved)
	if seed := in.bytes(8); seed != nil {
		r.seed = binary.BigEndian.Uint64(seed)
	}
	var l Ledger
	for _, n := range l.fields() {
		*n = in.uvarint()
	}
	past, err := in.snapshot()
	if err != nil {
		return nil, err
	}
	for _, s := range r.shards {
		s.now = present
	}
	l.Overflown += r.load(past, func(_ *shard, of *series, t *Tally) { of.past.Merge(t) })
	for pane := present - r.set.kept() + 1; pane <= present && !in.failed; pane++ {
		got, err := in.snapshot()
		if err != nil {
			return nil, err
		}
		overflown := r.load(got, func(s *shard, of *series, t *Tally) { s.load(of, t, max(0, pane)) })
		if pane >= present-r.set.late { // the past has the others, too
			l.Overflown += overflown
		}
	}
	for pane := present - r.set.late; pane <= present && !in.failed; pane++ {
		r.loadTags(&in, max(0, pane), present)
	}
	if in.failed || len(in.rest) > 0 {
		return nil, fmt.Errorf("stats: state of a recorder: it is cut off, or has %d bytes too many", len(in.rest))
	}
	r.late.Store(l.Late)
	r.invalid.Store(l.Invalid)
	l.Late, l.Invalid = 0, 0
	r.seen[0].ledger = l
	return r, nil
}

// load gives the tallies of a snapshot to their series, and returns how many events were in
// those that there was no room for.
func (r *Recorder) load(from *Snapshot, put func(s *shard, of *series, t *Tally)) (overflown uint64) {
	give := func(key packed, t *Tally) {
		of := r.shard(key).of(key)
		if of == nil {
			overflown += t.Events()
			key = key.overflow()
			of = r.shard(key).of(key)
		}
		put(r.shard(key), of, t)
	}
	for i := range from.Cells {
		c := &from.Cells[i]
		e := Event{
			Stage: c.Stage, LocalNAT: c.Local, RemoteNAT: c.Remote, Pair: c.Pair, Protocol: c.Protocol, IPVersion: c.IPVersion,
		}
		give(packKey(&e, r.groups.number(c.Group)), &c.Tally)
	}
	for i := range from.Ways {
		w := &from.Ways[i]
		give(packWay(&Event{Stage: w.Stage}, r.words.number(w.Lane), r.words.number(w.Reason)), &w.Tally)
	}
	return overflown
}

// loadTags takes in which events of a pane were counted.
func (r *Recorder) loadTags(in *reader, pane, present int64) {
	for range in.count(8) {
		b := in.bytes(8)
		if b == nil {
			return
		}
		if tag := binary.BigEndian.Uint64(b); tag != 0 {
			s := r.seen[tag>>60%numShards]
			if ids := s.at(pane); ids.n < s.limit && ids.add(tag) {
				s.moved = present // it is not known whether one of them was
			}
		}
	}
}
