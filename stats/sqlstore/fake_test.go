package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fake is a database that knows the statements of this package and no others, in maps. What
// a transaction did is there once it is committed.
type fake struct {
	mu      sync.Mutex
	version int64
	created []string
	events  map[string][]driver.Value // by ID: the row
	panes   map[string][]driver.Value // by start, hop and run
	history map[string][]driver.Value // by owner and entry
	refuse  driver.Value              // the start of panes that are refused
	secret  []byte
	writing chan struct{} // is full while there is a transaction, of which there is one at a time

	// fail is asked before each step, "begin", "commit", "committed" (it is, but its end is
	// not told), or a statement. What it returns is the step's error.
	fail func(ctx context.Context, step string) error
}

var errLost = errors.New("the database is lost")

// newFake returns the fake and a pool of connections to it, which is closed with the test.
func newFake(t testing.TB) (*fake, *sql.DB) {
	f := &fake{writing: make(chan struct{}, 1), events: map[string][]driver.Value{}, panes: map[string][]driver.Value{}, history: map[string][]driver.Value{}}
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	return f, db
}

func (f *fake) Connect(context.Context) (driver.Conn, error) { return &fakeConn{f: f}, nil }
func (f *fake) Driver() driver.Driver                        { return nil }

// failing sets what fails from now on.
func (f *fake) failing(fail func(ctx context.Context, step string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *fake) step(ctx context.Context, step string) error {
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	if fail == nil {
		return ctx.Err()
	}
	return fail(ctx, step)
}

func (f *fake) stored() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.events)
}

type fakeConn struct {
	f      *fake
	inTx   bool
	staged []func()
}

func (c *fakeConn) Prepare(query string) (driver.Stmt, error) { return fakeStmt{c, query}, nil }
func (c *fakeConn) Close() error                              { return nil }
func (c *fakeConn) Begin() (driver.Tx, error)                 { return nil, errors.New("without a context") }
func (c *fakeConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if err := c.f.step(ctx, "begin"); err != nil {
		return nil, err
	}
	select {
	case c.f.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.inTx, c.staged = true, nil
	return c, nil
}

func (c *fakeConn) Commit() error {
	if err := c.f.step(context.Background(), "commit"); err != nil {
		return errors.Join(err, c.Rollback())
	}
	c.f.mu.Lock()
	for _, do := range c.staged {
		do()
	}
	c.f.mu.Unlock()
	c.Rollback() // of nothing any more
	return c.f.step(context.Background(), "committed")
}

func (c *fakeConn) Rollback() error {
	c.inTx, c.staged = false, nil
	<-c.f.writing
	return nil
}

func values(args []driver.NamedValue) (all []driver.Value) {
	for _, a := range args {
		v := a.Value
		if b, ok := v.([]byte); ok {
			v = slices.Clone(b)
		}
		all = append(all, v)
	}
	return all
}

func keyOf(values ...driver.Value) string { return fmt.Sprintf("%v", values) }

func (c *fakeConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	f, all := c.f, values(args)
	if err := f.step(ctx, query); err != nil {
		return nil, err
	}
	if n := strings.Count(query, "?"); n != len(all) {
		return nil, fmt.Errorf("%d parameters for %d places", len(all), n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var affected int64
	do := func(change func()) {
		if c.inTx {
			c.staged = append(c.staged, change)
		} else {
			change()
		}
	}
	prefix := func(p string) bool { return strings.HasPrefix(query, p) }
	switch {
	case prefix("BEGIN"):
		c.inTx, c.staged = true, nil
	case query == "COMMIT":
		for _, do := range c.staged {
			do()
		}
		c.inTx, c.staged = false, nil
	case query == "ROLLBACK":
		c.inTx, c.staged = false, nil
	case prefix("CREATE"):
		do(func() { f.created = append(f.created, query) })
	case prefix("INSERT INTO bradawl_schema"):
		do(func() { f.version = all[0].(int64) })
	case prefix("INSERT INTO bradawl_meta"):
		do(func() {
			if f.secret == nil {
				f.secret = all[1].([]byte)
			}
		})
	case prefix("INSERT INTO bradawl_events"):
		fresh := map[string]bool{}
		for row := range slices.Chunk(all, eventRows.columns) {
			key := keyOf(row[0])
			if _, known := f.events[key]; !known && !fresh[key] {
				fresh[key] = true
				affected++
				do(func() { f.events[key] = row })
			}
		}
	case prefix("INSERT INTO bradawl_panes"):
		for row := range slices.Chunk(all, paneRows.columns) {
			if row[0] == f.refuse {
				return nil, errLost
			}
			affected++
			do(func() { f.panes[keyOf(row[:3]...)] = row })
		}
	case prefix("INSERT INTO bradawl_history"):
		for row := range slices.Chunk(all, historyRows.columns) {
			affected++
			do(func() {
				if was := f.history[keyOf(row[:2]...)]; was == nil || was[2].(int64) <= row[2].(int64) || was[2].(int64)-row[2].(int64) > 86400000 {
					f.history[keyOf(row[:2]...)] = row
				}
			})
		}
	case prefix("DELETE FROM bradawl_events"):
		affected = remove(do, f.events, all, eventRows.columns-1)
	case prefix("DELETE FROM bradawl_panes WHERE start_ns"):
		for key, row := range f.panes {
			if inHour(row, all) && row[1].(int64) < all[2].(int64) && byKey(row, all[3:]) <= 0 {
				affected++
				do(func() { delete(f.panes, key) })
			}
		}
	case prefix("DELETE FROM bradawl_panes"):
		affected = remove(do, f.panes, all, 0)
	case prefix("DELETE FROM bradawl_history"):
		affected = remove(do, f.history, all, 2)
	case prefix("PRAGMA"), prefix("UPDATE bradawl_meta"):
	default:
		return nil, fmt.Errorf("no such statement: %s", query)
	}
	return driver.RowsAffected(affected), nil
}

// remove takes away the rows whose column is less than the first argument, as many as the
// second says.
func remove(do func(func()), table map[string][]driver.Value, args []driver.Value, column int) (n int64) {
	for key, row := range table {
		if row[column].(int64) < args[0].(int64) && n < args[1].(int64) {
			n++
			do(func() { delete(table, key) })
		}
	}
	return n
}

func (c *fakeConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	f, all := c.f, values(args)
	if err := f.step(ctx, query); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var got fakeRows
	prefix := func(p string) bool { return strings.HasPrefix(query, p) }
	switch {
	case prefix("PRAGMA busy_timeout"):
		got.add(int64(0))
	case prefix("PRAGMA journal_mode = WAL"):
		got.add("wal")
	case prefix("PRAGMA journal_mode"):
		got.add("delete")
	case prefix("SELECT COALESCE(MAX(version)"):
		got.add(f.version)
	case prefix("SELECT value FROM bradawl_meta"):
		got.add(f.secret)
	case prefix("SELECT entry"):
		for _, row := range sorted(f.history) {
			if row[0] == all[0] && row[2].(int64) > all[1].(int64) {
				got.add(row[1], row[2], row[3])
			}
		}
		slices.SortStableFunc(got.rows, func(a, b []driver.Value) int { return int(b[1].(int64) - a[1].(int64)) })
	case prefix("SELECT MIN(start_ns)"):
		got.add(nil)
		for _, row := range f.panes {
			if at := row[0].(int64); row[1].(int64) < all[0].(int64) && at >= all[1].(int64) && at < all[2].(int64) && (got.rows[0][0] == nil || at < got.rows[0][0].(int64)) {
				got.rows[0][0] = at
			}
		}
	case prefix("SELECT start_ns, hop_ns, run, snapshot FROM bradawl_panes WHERE start_ns ="):
		if row := f.panes[keyOf(all[:3]...)]; row != nil {
			got.add(row[:4]...)
		}
	case prefix("SELECT start_ns, hop_ns"):
		for _, row := range f.panes {
			if inHour(row, all) && row[1].(int64) < all[2].(int64) {
				got.add(row[:4]...)
			}
		}
		slices.SortFunc(got.rows, byKey)
		got.rows = got.rows[:min(len(got.rows), int(all[3].(int64)))]
	case prefix("SELECT start_ns"):
		for _, row := range sorted(f.panes) {
			if at := row[0].(int64); at >= all[0].(int64) && at < all[1].(int64) {
				got.add(row[0], row[3])
			}
		}
	case prefix("SELECT event_id"):
		for _, row := range sorted(f.events) {
			if at := row[2].(int64); at >= all[0].(int64) && at < all[1].(int64) {
				got.add(row[:15]...)
			}
		}
		slices.SortFunc(got.rows, func(a, b []driver.Value) int {
			return cmp.Or(cmp.Compare(a[2].(int64), b[2].(int64)), bytes.Compare(a[0].([]byte), b[0].([]byte)))
		})
	default:
		return nil, fmt.Errorf("no such query: %s", query)
	}
	return &got, nil
}

func inHour(pane, args []driver.Value) bool {
	return pane[0].(int64) >= args[0].(int64) && pane[0].(int64) < args[1].(int64)
}

// byKey is the order of panes' keys.
func byKey(a, b []driver.Value) int {
	return cmp.Or(cmp.Compare(a[0].(int64), b[0].(int64)), cmp.Compare(a[1].(int64), b[1].(int64)), bytes.Compare(a[2].([]byte), b[2].([]byte)))
}

func sorted(table map[string][]driver.Value) (rows [][]driver.Value) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		rows = append(rows, table[key])
	}
	return rows
}

type fakeRows struct{ rows [][]driver.Value }

func (r *fakeRows) add(row ...driver.Value) { r.rows = append(r.rows, row) }
func (r *fakeRows) Close() error            { return nil }
func (r *fakeRows) Columns() []string {
	if len(r.rows) == 0 {
		return nil
	}
	return make([]string, len(r.rows[0]))
}

func (r *fakeRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

type fakeStmt struct {
	c     *fakeConn
	query string
}

func (s fakeStmt) Close() error  { return nil }
func (s fakeStmt) NumInput() int { return -1 }
func (s fakeStmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("without a context")
}
func (s fakeStmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("without a context")
}
func (s fakeStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.query, args)
}
