package sqlstore

import (
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

// String returns the dialect's name.
func (d Dialect) String() string {
	if d == PostgreSQL {
		return "PostgreSQL"
	}
	return "SQLite"
}

// sql returns a statement in the dialect. Statements are constants of this package in which
// ? stands for a parameter and BLOB for bytes: values go in as parameters, never as text.
func (d Dialect) sql(statement string) string {
	if d != PostgreSQL {
		return statement
	}
	statement = strings.ReplaceAll(statement, "BLOB", "BYTEA")
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
