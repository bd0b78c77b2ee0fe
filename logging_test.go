package bradawl_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/bradawl/bradawl"
)

func TestFromSlog(t *testing.T) {
	var out bytes.Buffer
	factory := bradawl.FromSlog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	log := factory.NewLogger("punch")
	log.Infof("path to %s", "peer")
	log.Debugf("a detail")
	if got := out.String(); !strings.Contains(got, `msg="path to peer"`) || !strings.Contains(got, "punch") || strings.Contains(got, "detail") {
		t.Errorf("logged %q", got)
	}
	bradawl.FromSlog(nil).NewLogger("punch").Error("nobody hears this")
}
