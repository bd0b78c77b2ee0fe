package sqlstore

import (
	"database/sql"
	"database/sql/driver"
)

// MemoryDB returns the tests' database in memory, for the example.
func MemoryDB() *sql.DB {
	return sql.OpenDB(&fake{writing: make(chan struct{}, 1), events: map[string][]driver.Value{}, panes: map[string][]driver.Value{}, history: map[string][]driver.Value{}})
}
