package stats

import "fmt"

// EventError says that an event cannot be used.
type EventError struct {
	Field  string // which of its fields, by its name in JSON; "" if it is no JSON object of the right form
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *EventError) Error() string {
	if e.Field == "" {
		return "stats: event: " + e.Reason
	}
	return "stats: event: " + e.Field + ": " + e.Reason
}

func badEvent(field, format string, args ...any) *EventError {
	return &EventError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// ConfigError says that something given to this package cannot be used.
type ConfigError struct {
	Field  string // which: a field of the configuration or an argument
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "stats: " + e.Field + ": " + e.Reason }

func badConfig(field, format string, args ...any) *ConfigError {
	return &ConfigError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// cut keeps hostile text from filling a log.
func cut(text string) string {
	const most = 120
	if len(text) > most {
		return text[:most-3] + "..."
	}
	return text
}
