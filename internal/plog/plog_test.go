package plog

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestLevelsAndScope(t *testing.T) {
	var out bytes.Buffer
	l := FromSlog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: LevelTrace}))).NewLogger("punch")
	for _, c := range []struct {
		log  func()
		want string
	}{
		{func() { l.Trace("100%") }, "level=DEBUG-4 msg=100% scope=punch"},
		{func() { l.Tracef("%d", 1) }, "level=DEBUG-4 msg=1 scope=punch"},
		{func() { l.Debug("d") }, "level=DEBUG msg=d scope=punch"},
		{func() { l.Debugf("100%%") }, "level=DEBUG msg=100% scope=punch"},
		{func() { l.Info("i") }, "level=INFO msg=i scope=punch"},
		{func() { l.Infof("i%d", 2) }, "level=INFO msg=i2 scope=punch"},
		{func() { l.Warn("w") }, "level=WARN msg=w scope=punch"},
		{func() { l.Warnf("w%d", 3) }, "level=WARN msg=w3 scope=punch"},
		{func() { l.Error("e") }, "level=ERROR msg=e scope=punch"},
		{func() { l.Errorf("e%d", 4) }, "level=ERROR msg=e4 scope=punch"},
	} {
		out.Reset()
		c.log()
		if got := out.String(); !strings.Contains(got, c.want) {
			t.Errorf("got %q, want %q in it", got, c.want)
		}
	}
}

type mustNotFormat struct{ t *testing.T }

func (m mustNotFormat) String() string {
	m.t.Error("formatted although disabled")
	return ""
}

func TestDisabledDoesNotFormat(t *testing.T) {
	var out bytes.Buffer
	l := FromSlog(slog.New(slog.NewTextHandler(&out, nil))).NewLogger("x")
	l.Debugf("%v", mustNotFormat{t})
	l.Trace("t")
	OrDiscard(nil).NewLogger("x").Errorf("%v", mustNotFormat{t})
	FromSlog(nil).NewLogger("x").Errorf("%v", mustNotFormat{t})
	if out.Len() != 0 {
		t.Errorf("logged %q", &out)
	}
}

func TestOrDiscardKeepsAFactory(t *testing.T) {
	f := FromSlog(slog.Default())
	if OrDiscard(f) != f {
		t.Error("another factory came back")
	}
}

type records struct {
	slog.Handler
	last slog.Record
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) Handle(_ context.Context, rec slog.Record) error {
	r.last = rec
	return nil
}
func (r *records) WithAttrs([]slog.Attr) slog.Handler { return r }

func TestSourceIsTheCallers(t *testing.T) {
	h := &records{}
	l := FromSlog(slog.New(h)).NewLogger("x")
	for _, log := range []func(){func() { l.Info("a") }, func() { l.Warnf("%d", 1) }} {
		log()
		frame, _ := runtime.CallersFrames([]uintptr{h.last.PC}).Next()
		if filepath.Base(frame.File) != "plog_test.go" {
			t.Errorf("source %s:%d, want this file", frame.File, frame.Line)
		}
	}
}
