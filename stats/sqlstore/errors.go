package sqlstore

import (
	"errors"
	"fmt"
)

// ErrClosed is what Flush returns once the store is closed.
var ErrClosed = errors.New("sqlstore: the store is closed")

// ConfigError says that a field of a Config cannot be used.
type ConfigError struct {
	Field  string // which
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "sqlstore: Config." + e.Field + ": " + e.Reason }

func badConfig(field, format string, args ...any) *ConfigError {
	return &ConfigError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// SchemaError says that a later version of this package has changed the database's tables.
type SchemaError struct {
	Have  int // the version of the tables
	Known int // the latest version that this program knows
}

// Error names both versions and the remedy.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("sqlstore: the tables are of version %d, and this program knows versions up to %d; update the program, or give it another database", e.Have, e.Known)
}

// LostError says what a store could not write before it was closed.
type LostError struct {
	Events, Panes, History int   // how many
	Err                    error // why
}

// Error tells how much was lost, and why.
func (e *LostError) Error() string {
	return fmt.Sprintf("sqlstore: closed with %d events, %d panes and %d entries of the history not written: %v", e.Events, e.Panes, e.History, e.Err)
}

// Unwrap returns Err.
func (e *LostError) Unwrap() error { return e.Err }
