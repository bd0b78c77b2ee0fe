package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

var pages = flag.String("pages", "", "directory that the pages of the tests are written to, to look at")

var someDay = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func rendered(t *testing.T, name string, r natprobe.Report, servers ...string) string {
	t.Helper()
	p, err := render(&r, servers, someDay)
	if err != nil {
		t.Fatal(err)
	}
	if *pages != "" {
		if err := os.WriteFile(filepath.Join(*pages, name+".html"), p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return string(p)
}

func TestAll(t *testing.T) {
	for _, n := range simnet.PresetNames() {
		rendered(t, n, measured(t, n), "stun.example.org:3478")
	}
	rendered(t, "full-linux", discovered(t, "linux", capable[0].String(), limited.String()), "x")
	rendered(t, "full-dual", discovered(t, "dual-stack", capable[0].String(), limited.String(), capable6[0].String()), "x")
}
