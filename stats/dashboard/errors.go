package dashboard

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is what a Client returns after its Close.
	ErrClosed = errors.New("dashboard: the client is closed")
	// ErrRefused is in the errors of a Client that the dashboard does not accept: its token,
	// or the name that it calls the dashboard by, is not among those of the Config there.
	ErrRefused = errors.New("the dashboard refuses us; see Tokens and Hosts of its Config")
)

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value (never a secret) and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "dashboard: " + e.Field + ": " + e.Reason }

func badConfig(field, format string, args ...any) *ConfigError {
	return &ConfigError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// ReportError says that a report cannot be used.
type ReportError struct {
	Field  string // which of its fields, by its name in JSON; "": it is no JSON of the right form
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ReportError) Error() string {
	if e.Field == "" {
		return "dashboard: report: " + e.Reason
	}
	return "dashboard: report: " + e.Field + ": " + e.Reason
}

func badReport(field, format string, args ...any) *ReportError {
	return &ReportError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// cut keeps hostile text from filling a log.
func cut(text string) string {
	const most = 120
	if len(text) > most {
		return text[:most-3] + "..."
	}
	return text
}
