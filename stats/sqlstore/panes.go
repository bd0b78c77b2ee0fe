package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// paneRows adds panes, or revises them.
var paneRows = rows{
	into:    `INSERT INTO bradawl_panes (start_ns, hop_ns, run, snapshot, stored_ms)`,
	columns: 5,
	then:    ` ON CONFLICT (start_ns, hop_ns, run) DO UPDATE SET snapshot = excluded.snapshot, stored_ms = excluded.stored_ms`,
}

// panes is what is known of a recorder's panes, by the goroutine that writes alone.
type panes struct {
	recorder *stats.Recorder
	hop      int64            // ns, as all times here
	late     int64            // how far back panes can still change
	first    int64            // the start of the first pane that may have changed since it was looked at
	recorded uint64           // by the recorder in all, when it was last looked at
	again    bool             // something had been recorded since the time before
	saved    map[int64]uint64 // how much each pane had counted when it was last looked at, by its start
	waiting  []pane           // to be written, by their start
	size     int              // of waiting, bytes
	limit    int
}

type pane struct {
	start    int64 // ns
	snapshot []byte
}

func newPanes(r *stats.Recorder, limit int) *panes {
	p := &panes{recorder: r, limit: limit, saved: make(map[int64]uint64)}
	if r != nil {
		all := r.Between(time.Unix(0, 0), time.Unix(0, 1<<62)) // that it has
		p.hop, p.late, p.first = int64(r.Hop()), int64(all.To.Sub(all.From)-r.Window()), all.From.UnixNano()
	}
	return p
}

// look takes in the panes that have changed since, the present one too, and lets go of those
// that have waited for too long. It returns how many are lost by that or by lack of room.
func (p *panes) look(now time.Time) (dropped int) {
	if p.recorder == nil {
		return 0
	}
	for len(p.waiting) > 0 && p.waiting[0].start < now.Add(-waitAtMost).UnixNano() {
		p.written(0, 1)
		dropped++
	}
	// What is recorded at this moment is in the ledger before it is in its pane; hence once more.
	recorded := p.recorder.Ledger().Recorded
	changed := recorded != p.recorded
	if !changed && !p.again {
		return dropped
	}
	p.recorded, p.again = recorded, changed
	present := now.UnixNano() / p.hop * p.hop
	first := p.first
	if p.hop < int64(rollInto) { // what a recorder had of before may be part of an hour by now
		first = max(first, now.Add(-waitAtMost).UnixNano()/p.hop*p.hop)
	}
	for start := range p.saved {
		if start < first {
			delete(p.saved, start)
		}
	}
	p.first = max(first, present-p.late)
	for start := first; start <= present; start += p.hop {
		snapshot := p.recorder.Between(time.Unix(0, start), time.Unix(0, start+p.hop))
		n := uint64(0)
		for i := range snapshot.Cells {
			n += snapshot.Cells[i].Events()
		}
		for i := range snapshot.Ways { // which get their part of an event a moment later
			n += snapshot.Ways[i].Events()
		}
		if n == 0 || n == p.saved[start] {
			continue // nothing is ever taken away, so nothing has changed
		}
		p.saved[start] = n
		body, _ := snapshot.AppendBinary(nil)
		dropped += p.wait(pane{start, body})
	}
	return dropped
}

// wait adds a pane to those that wait, in place of its earlier state.
func (p *panes) wait(add pane) (dropped int) {
	if i := slices.IndexFunc(p.waiting, func(w pane) bool { return w.start == add.start }); i >= 0 {
		p.size -= len(p.waiting[i].snapshot)
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.waiting = append(p.waiting, add)
	p.size += len(add.snapshot)
	slices.SortFunc(p.waiting, func(a, b pane) int { return cmp.Compare(a.start, b.start) })
	for p.size > p.limit && len(p.waiting) > 1 {
		p.size -= len(p.waiting[0].snapshot)
		p.waiting = slices.Delete(p.waiting, 0, 1)
		dropped++
	}
	return dropped
}

// add writes n of the panes that wait, from one on.
func (p *panes) add(ctx context.Context, tx *sql.Tx, d Dialect, run stats.ID, first, n int, now time.Time) error {
	var args []any
	for _, w := range p.waiting[first : first+n] {
		args = append(args, w.start, p.hop, run[:], w.snapshot, now.UnixMilli())
	}
	_, err := tx.ExecContext(ctx, paneRows.sql(d, n), args...)
	return err
}

// written takes away n of the panes that waited, from one on.
func (p *panes) written(first, n int) {
	for _, w := range p.waiting[first : first+n] {
		p.size -= len(w.snapshot)
	}
	p.waiting = slices.Delete(p.waiting, first, first+n)
}

// nanos is a time's nanoseconds since 1970, or the nearest that there are.
func nanos(t time.Time) int64 {
	switch s := t.Unix(); {
	case s <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Between returns what the recorders that keep their panes in this database counted in the
// panes that begin at from or later and before to, all together, as of the last time they
// wrote. It has the bounds that were asked for. What is older than two days was added up by
// the hour, and begins with the hour. While it runs it holds a connection of the database.
func (s *Store) Between(ctx context.Context, from, to time.Time) (*stats.Snapshot, error) {
	rows, err := s.db.QueryContext(ctx, s.cfg.Dialect.sql(`SELECT start_ns, snapshot FROM bradawl_panes WHERE start_ns >= ? AND start_ns < ? ORDER BY start_ns`),
		nanos(from), nanos(to))
	if err != nil {
		return nil, fmt.Errorf("sqlstore: reading panes: %w", err)
	}
	defer rows.Close()
	sum := new(stats.Snapshot)
	for rows.Next() {
		var (
			start int64
			body  sql.RawBytes
			one   stats.Snapshot
		)
		if err := rows.Scan(&start, &body); err != nil {
			return nil, fmt.Errorf("sqlstore: reading panes: %w", err)
		}
		if err := one.UnmarshalBinary(body); err != nil {
			return nil, fmt.Errorf("sqlstore: the pane of %v: %w", time.Unix(0, start).UTC(), err)
		}
		sum.Merge(&one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sqlstore: reading panes: %w", err)
	}
	sum.From, sum.To = from, to
	return sum, nil
}
