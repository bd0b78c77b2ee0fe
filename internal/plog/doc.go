// Package plog joins github.com/pion/logging, the logging interface of every
// Config in this module, to log/slog.
package plog
