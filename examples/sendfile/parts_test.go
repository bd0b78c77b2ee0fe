package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTidy: parts that are too old, and the oldest beyond the bound, make room for a file that
// comes; nothing else is touched.
func TestTidy(t *testing.T) {
	to, path := newFolder(t)
	now := time.Now()
	write := func(name string, size int, age time.Duration) {
		t.Helper()
		name = filepath.Join(path, name)
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	const (
		old    = "old.0011223344556677.part"
		older  = "older.0011223344556677.part"
		newer  = "newer.0011223344556677.part"
		mine   = "mine.part" // of another program
		inside = "inside.0011223344556677.part"
	)
	o := offer{"x", 1 << 19, content(32)}
	write(partName(o), 10, 2*partAge) // which is gone on with
	write(old, 10, partAge+time.Hour)
	write(older, 1<<18, time.Hour)
	write(newer, 1<<18, time.Minute)
	write(mine, 1<<20, 2*partAge)
	if err := os.Mkdir(filepath.Join(path, inside), 0o700); err != nil {
		t.Fatal(err)
	}
	there := func() (names []string) {
		t.Helper()
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	for _, step := range []struct {
		size int64
		want []string
	}{
		{1 << 19, []string{inside, mine, newer, older, partName(o)}}, // all just fit
		{1<<19 + 1, []string{inside, mine, newer, partName(o)}},
		{1 << 20, []string{inside, mine, partName(o)}},
	} {
		o.Size = step.size
		if err := to.tidy(o, now); err != nil {
			t.Fatal(err)
		}
		if got := there(); !slices.Equal(got, step.want) {
			t.Errorf("%d bytes come: %q, want %q", step.size, got, step.want)
		}
	}
}

// meddler makes a file of the name that comes while it is received.
type meddler struct {
	io.ReadWriter
	do func()
}

func (m *meddler) Write(b []byte) (int, error) {
	m.do()
	return m.ReadWriter.Write(b)
}

// TestNameIsTakenMeanwhile: a file that somebody makes during the transfer is not overwritten,
// whether there are links or not.
func TestNameIsTakenMeanwhile(t *testing.T) {
	for _, links := range []bool{true, false} {
		to, path := newFolder(t)
		if !links {
			to.link = func(string, string) error { return errors.ErrUnsupported }
		}
		if b := transfer(t, fileOf(t, "x", content(100)), to, nil); b.err != nil || b.sentErr != nil {
			t.Errorf("links %v: %+v", links, b)
		}
		to.disk = func(f *os.File) io.ReadWriter {
			return &meddler{f, func() {
				if err := os.WriteFile(filepath.Join(path, "y"), []byte("mine"), 0o600); err != nil {
					t.Error(err)
				}
			}}
		}
		b := transfer(t, fileOf(t, "y", content(100)), to, nil)
		if b.sentErr == nil || !strings.Contains(b.sentErr.Error(), "there is a y already") || b.err == nil {
			t.Errorf("links %v: %+v", links, b)
		}
		if all := files(t, path); all["x"] != string(content(100)) || all["y"] != "mine" {
			t.Errorf("links %v: they are other files", links)
		}
	}
}

// TestNameIsTakenAtTheEnd: between the last look and the new name there is no gap.
func TestNameIsTakenAtTheEnd(t *testing.T) {
	to, path := newFolder(t)
	to.link = func(part, name string) error {
		if err := os.WriteFile(filepath.Join(path, name), []byte("mine"), 0o600); err != nil {
			t.Error(err)
		}
		return to.root.Link(part, name)
	}
	if b := transfer(t, fileOf(t, "x", content(100)), to, nil); b.sentErr == nil || !strings.Contains(b.sentErr.Error(), "there is a x already") {
		t.Errorf("%+v", b)
	}
	if all := files(t, path); all["x"] != "mine" {
		t.Error("it was overwritten")
	}
}
