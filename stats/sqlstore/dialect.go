package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// Dialect is the SQL that a database speaks.
type Dialect uint8

// The dialects.
const (
	SQLite     Dialect = iota // 3.24 and later
	PostgreSQL                // 9.5 and later
)

// speech is all in which the dialects differ.
type speech struct {
	name     string
	blob     string // the type of bytes
	numbered bool   // parameters are $1, $2 and so on, and not ?

	begin       string // begins the transaction of a migration
	lockSchema  string // has it wait for other migrations; ? is the lock's number; "": begin does
	lockPanes   string // the same for a transaction that rolls up, and other roll-ups
	parsesAgain bool   // drivers parse each time what is not prepared, however often it comes

	setJournal func(context.Context, *sql.DB) error   // makes a database fit for a store; nil: it is
	patient    func(context.Context, *sql.Conn) error // has a connection wait for other writers; nil: it does
}

var speeches = [...]speech{
	SQLite: {
		name: "SQLite", blob: "BLOB",
		// database/sql has no way to begin a transaction of SQLite that locks from the start.
		begin: `BEGIN IMMEDIATE`,
		// There is no row of that name: a statement that would write locks the whole file.
		lockPanes:   `UPDATE bradawl_meta SET value = value WHERE name = ?`,
		parsesAgain: true,
		setJournal:  useWAL, patient: waitForWriters,
	},
	PostgreSQL: {
		name: "PostgreSQL", blob: "BYTEA", numbered: true,
		begin: `BEGIN`, lockSchema: `SELECT pg_advisory_xact_lock(?)`, lockPanes: `SELECT pg_advisory_xact_lock(?)`,
	},
}

// The numbers of locks. The first is "bradawl".
const (
	schemaLock = 0x62726164_61776c
	panesLock  = schemaLock + 1
)

func (d Dialect) known() bool { return int(d) < len(speeches) }

// String returns the dialect's name.
func (d Dialect) String() string {
	if !d.known() {
		return fmt.Sprintf("Dialect(%d)", uint8(d))
	}
	return speeches[d].name
}

// sql returns a statement in the dialect. Statements are constants of this package in which
// ? stands for a parameter and BLOB for bytes: values go in as parameters, never as text.
func (d Dialect) sql(statement string) string {
	statement = strings.ReplaceAll(statement, "BLOB", speeches[d].blob)
	if !speeches[d].numbered {
		return statement
	}
	var b strings.Builder
	n := 0
	for _, c := range statement {
		if c != '?' {
			b.WriteRune(c)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// wait has a connection wait for other writers.
func (d Dialect) wait(ctx context.Context, conn *sql.Conn) error {
	if patient := speeches[d].patient; patient != nil {
		return patient(ctx, conn)
	}
	return nil
}

// rows is an INSERT of several rows at once.
type rows struct {
	into    string // up to VALUES
	columns int
	then    string // after the values
}

// maxRows is how many rows one statement has at most: enough that the round trip and the
// parsing do not count, and with 16 columns no more parameters than any SQLite takes.
const maxRows = 32

// sql returns the statement for n rows.
func (r rows) sql(d Dialect, n int) string {
	row := "(" + strings.Repeat("?, ", r.columns-1) + "?)"
	return d.sql(r.into + " VALUES " + strings.Repeat(row+", ", n-1) + row + r.then)
}

// chunk returns how many of n rows to insert next: powers of two, so that there are few
// different statements, which drivers prepare once and keep.
func chunk(n int) int {
	size := maxRows
	for size > n {
		size /= 2
	}
	return size
}
