package plog

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/pion/logging"
)

// LevelTrace is the slog level that Trace messages are logged at, below
// slog.LevelDebug. Debug, Info, Warn and Error are slog's own.
const LevelTrace = slog.LevelDebug - 4

// ScopeKey is the slog attribute that holds a logger's scope.
const ScopeKey = "scope"

// FromSlog returns a factory whose loggers write to l, with the scope as an
// attribute. A message is formatted only if l's handler is enabled for its
// level. The source position in a record is the caller's of the pion logger.
// A nil l discards everything. The factory and its loggers are safe for
// concurrent use.
func FromSlog(l *slog.Logger) logging.LoggerFactory {
	if l == nil {
		return discard{}
	}
	return factory{l}
}

// OrDiscard returns f, or a factory whose loggers discard everything if f is
// nil.
func OrDiscard(f logging.LoggerFactory) logging.LoggerFactory {
	if f == nil {
		return discard{}
	}
	return f
}

type factory struct{ l *slog.Logger }

func (f factory) NewLogger(scope string) logging.LeveledLogger {
	return &logger{f.l.With(slog.String(ScopeKey, scope)).Handler()}
}

type logger struct{ h slog.Handler }

// callers is how many frames the source position is up: runtime.Callers, log
// and the exported method, which alone calls it.
const callers = 3

func (l *logger) log(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if !l.h.Enabled(ctx, level) {
		return
	}
	msg := format
	if args != nil {
		msg = fmt.Sprintf(format, args...)
	}
	var pc [1]uintptr
	runtime.Callers(callers, pc[:])
	// A handler's error has nowhere to go, as in slog.Logger itself.
	_ = l.h.Handle(ctx, slog.NewRecord(time.Now(), level, msg, pc[0]))
}

func (l *logger) Trace(msg string) { l.log(LevelTrace, msg, nil) }
func (l *logger) Debug(msg string) { l.log(slog.LevelDebug, msg, nil) }
func (l *logger) Info(msg string)  { l.log(slog.LevelInfo, msg, nil) }
func (l *logger) Warn(msg string)  { l.log(slog.LevelWarn, msg, nil) }
func (l *logger) Error(msg string) { l.log(slog.LevelError, msg, nil) }

func (l *logger) Tracef(format string, args ...any) { l.log(LevelTrace, format, orEmpty(args)) }
func (l *logger) Debugf(format string, args ...any) { l.log(slog.LevelDebug, format, orEmpty(args)) }
func (l *logger) Infof(format string, args ...any)  { l.log(slog.LevelInfo, format, orEmpty(args)) }
func (l *logger) Warnf(format string, args ...any)  { l.log(slog.LevelWarn, format, orEmpty(args)) }
func (l *logger) Errorf(format string, args ...any) { l.log(slog.LevelError, format, orEmpty(args)) }

// orEmpty makes sure that a format without arguments is formatted all the same
// ("100%%").
func orEmpty(args []any) []any {
	if args == nil {
		return []any{}
	}
	return args
}

// discard is both the factory and the logger that do nothing.
type discard struct{}

func (d discard) NewLogger(string) logging.LeveledLogger { return d }

func (discard) Trace(string)          {}
func (discard) Tracef(string, ...any) {}
func (discard) Debug(string)          {}
func (discard) Debugf(string, ...any) {}
func (discard) Info(string)           {}
func (discard) Infof(string, ...any)  {}
func (discard) Warn(string)           {}
func (discard) Warnf(string, ...any)  {}
func (discard) Error(string)          {}
func (discard) Errorf(string, ...any) {}
