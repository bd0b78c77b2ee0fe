package sqlstore

import (
	"context"
	"database/sql"
	"encoding"
	"fmt"
	"iter"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// eventRows adds events; one whose ID is there is passed over.
var eventRows = rows{
	into: `INSERT INTO bradawl_events (event_id, session_id, time_ms, ab_group, stage, status, latency_us, local_nat, remote_nat,
		pair, protocol, ip_version, tries, lane, reason, stored_ms)`,
	columns: 16,
	then:    ` ON CONFLICT (event_id) DO NOTHING`,
}

// addEvents inserts events and returns how many were new.
func addEvents(ctx context.Context, tx *sql.Tx, d Dialect, events []stats.Event, now time.Time) (added int64, err error) {
	exec := func(n int, args []any) (sql.Result, error) { return tx.ExecContext(ctx, eventRows.sql(d, n), args...) }
	if speeches[d].parsesAgain && len(events) >= 2*maxRows {
		full, err := tx.PrepareContext(ctx, eventRows.sql(d, maxRows))
		if err != nil {
			return 0, err
		}
		defer full.Close()
		one := exec
		exec = func(n int, args []any) (sql.Result, error) {
			if n == maxRows {
				return full.ExecContext(ctx, args...)
			}
			return one(n, args)
		}
	}
	var args []any
	for len(events) > 0 {
		n := chunk(len(events))
		args = args[:0]
		for i := range events[:n] {
			e := &events[i]
			args = append(args, e.ID[:], e.Session[:], e.Time.UnixMilli(), e.Group, e.Stage.String(), e.Status.String(), e.Latency.Microseconds(),
				e.LocalNAT.String(), e.RemoteNAT.String(), e.Pair.String(), e.Protocol.String(), e.IPVersion, e.Tries, e.Lane, e.Reason, now.UnixMilli())
		}
		result, err := exec(n, args)
		if err != nil {
			return added, err
		}
		of, err := result.RowsAffected()
		if err != nil {
			return added, err
		}
		added += of
		events = events[n:]
	}
	return added, nil
}

// Events returns the events of [from, to) by their own time, in its order, with their time
// in milliseconds and their latency in microseconds. An error is the last thing that it
// yields, but for that of a row which somebody else has spoilt. While it runs it holds a
// connection of the database.
func (s *Store) Events(ctx context.Context, from, to time.Time) iter.Seq2[stats.Event, error] {
	return func(yield func(stats.Event, error) bool) {
		rows, err := s.db.QueryContext(ctx, s.cfg.Dialect.sql(`SELECT event_id, session_id, time_ms, ab_group, stage, status, latency_us,
			local_nat, remote_nat, pair, protocol, ip_version, tries, lane, reason
			FROM bradawl_events WHERE time_ms >= ? AND time_ms < ? ORDER BY time_ms, event_id`), from.UnixMilli(), to.UnixMilli())
		if err != nil {
			yield(stats.Event{}, fmt.Errorf("sqlstore: reading events: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			e, err := scanEvent(rows)
			if err != nil {
				err = fmt.Errorf("sqlstore: reading an event: %w", err)
			}
			if !yield(e, err) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(stats.Event{}, fmt.Errorf("sqlstore: reading events: %w", err))
		}
	}
}

func scanEvent(rows *sql.Rows) (stats.Event, error) {
	var (
		e                                            stats.Event
		id, session                                  []byte
		ms, us                                       int64
		stage, status, local, remote, pair, protocol []byte
	)
	if err := rows.Scan(&id, &session, &ms, &e.Group, &stage, &status, &us, &local, &remote, &pair, &protocol,
		&e.IPVersion, &e.Tries, &e.Lane, &e.Reason); err != nil {
		return stats.Event{}, err
	}
	if len(id) != len(e.ID) || len(session) != len(e.Session) {
		return stats.Event{}, fmt.Errorf("IDs of %d and %d bytes; want %d", len(id), len(session), len(e.ID))
	}
	copy(e.ID[:], id)
	copy(e.Session[:], session)
	e.Time, e.Latency = time.UnixMilli(ms).UTC(), time.Duration(us)*time.Microsecond
	for _, word := range [...]struct {
		text []byte
		into encoding.TextUnmarshaler
	}{{stage, &e.Stage}, {status, &e.Status}, {local, &e.LocalNAT}, {remote, &e.RemoteNAT}, {pair, &e.Pair}, {protocol, &e.Protocol}} {
		if len(word.text) == 0 {
			continue
		}
		if err := word.into.UnmarshalText(word.text); err != nil {
			return stats.Event{}, err
		}
	}
	if err := e.Validate(); err != nil {
		return stats.Event{}, err
	}
	return e, nil
}
