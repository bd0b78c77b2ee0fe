package bradawl

import (
	"log/slog"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/plog"
)

// FromSlog makes the LoggerFactory that the configurations of all packages take out of
// a log/slog logger. Scopes become an attribute, Trace is a level below Debug, and
// nothing is formatted that the logger would drop. Nil gives one that discards. It is
// safe for concurrent use.
func FromSlog(l *slog.Logger) logging.LoggerFactory {
	if l == nil {
		return plog.OrDiscard(nil)
	}
	return plog.FromSlog(l)
}
