package natsbus

import "fmt"

// ConfigError says that what a caller gave cannot be used.
type ConfigError struct {
	Field  string // which field of the configuration
	Reason string // why, with the value and the remedy
}

// Error names the field and the reason.
func (e *ConfigError) Error() string { return "natsbus: " + e.Field + ": " + e.Reason }

func badConfig(field string, value any, reason string) *ConfigError {
	return &ConfigError{Field: field, Reason: fmt.Sprintf("%v %s", value, reason)}
}

// OpError is the error of an operation on NATS.
type OpError struct {
	Op  string // "join", "open the stream X"
	Err error  // what went wrong
}

// Error names the operation and the cause.
func (e *OpError) Error() string { return fmt.Sprintf("natsbus: %s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }
