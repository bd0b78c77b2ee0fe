package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// only lists what is in a directory.
func only(t *testing.T, dir string) string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func contents(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHTMLFile: the page is written beside the text, over an older one.
func TestHTMLFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "nat.html")
	if err := os.WriteFile(file, []byte(strings.Repeat("yesterday ", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"-fast", "-stun", server(t), "-html", file}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	page := contents(t, file)
	inert(t, []byte(page))
	if strings.Contains(page, "yesterday") || !strings.HasPrefix(page, "<!DOCTYPE html>") || !strings.HasPrefix(out.String(), "Type") {
		t.Errorf("%d bytes of page, and %s", len(page), out.String())
	}
	if got := only(t, dir); got != "nat.html" {
		t.Errorf("left behind: %s", got)
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("a page that was for its owner alone is now %v, %v", info.Mode(), err)
	}
}

// TestHTMLToStandardOutput: the page alone.
func TestHTMLToStandardOutput(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-fast", "-stun", server(t), "-html", "-"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "<!DOCTYPE html>") || !strings.HasSuffix(out.String(), "</html>\n") {
		t.Errorf("%s", out.String())
	}
	inert(t, []byte(out.String()))
}

// TestFailureLeavesTheOldPage: and nothing else.
func TestFailureLeavesTheOldPage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "nat.html")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-stun", ",", "-html", file}, io.Discard, io.Discard); err == nil {
		t.Fatal("no error without servers")
	}
	if contents(t, file) != "old" || only(t, dir) != "nat.html" {
		t.Errorf("%q, %s", contents(t, file), only(t, dir))
	}
}

func TestTargetThatCannotBeReplaced(t *testing.T) {
	dir := t.TempDir()
	to, err := openTarget(filepath.Join(dir, "nat.html"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	if err := os.MkdirAll(filepath.Join(dir, "nat.html", "x"), 0o700); err != nil { // meanwhile
		t.Fatal(err)
	}
	if err := to.write([]byte("page")); err == nil || !strings.Contains(err.Error(), "cannot be written") || strings.Contains(err.Error(), ".nat.html.") {
		t.Errorf("%v", err)
	}
	to.close()
	if got := only(t, dir); got != "nat.html" {
		t.Errorf("left behind: %s", got)
	}
}

// TestLinkStaysALink: what it leads to is replaced.
func TestLinkStaysALink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "nat.html"), filepath.Join(dir, "link.html")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Skipf("no symbolic links here: %v; on Windows, switch on developer mode", err)
	}
	to, err := openTarget(link, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	if err := to.write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 || contents(t, file) != "new" {
		t.Errorf("%v, %v, %q", info, err, contents(t, file))
	}
}

// TestDeviceStaysADevice: a rename over it would take it away from everybody.
func TestDeviceStaysADevice(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // NUL is no file that could be replaced
	}
	to, err := openTarget(os.DevNull, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	if err := to.write([]byte("page")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&fs.ModeDevice == 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// closed takes nothing.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestStandardOutputThatFails(t *testing.T) {
	to, err := openTarget("-", closed{})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.write([]byte("page")); err == nil {
		t.Error("no error")
	}
}
