package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// target is where a page goes. A file is replaced as a whole, once the page is complete: who
// has it open sees the old page or the new one, and what fails leaves the old one.
type target struct {
	path   string   // with links followed
	temp   *os.File // nil: straight to out
	out    io.Writer
	closer io.Closer
}

// openTarget finds out whether the page can be written before minutes go into what it is to
// show. "-" is stdout.
func openTarget(name string, stdout io.Writer) (*target, error) {
	if name == "-" {
		return &target{out: stdout}, nil
	}
	t := &target{path: name}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		t.path = real
	}
	mode := fs.FileMode(0o666) // less what the umask takes
	switch info, err := os.Stat(t.path); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, unwritable(name, err)
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("-html %q is a directory; name a file in it, such as %q", name, filepath.Join(name, "nat.html"))
	case err == nil && !info.Mode().IsRegular():
		// A pipe or a device stays what it is.
		f, err := os.OpenFile(t.path, os.O_WRONLY, 0)
		if err != nil {
			return nil, unwritable(name, err)
		}
		t.out, t.closer = f, f
		return t, nil
	case err == nil:
		mode = info.Mode().Perm() // who could not read the old page cannot read the new one
	}
	// In the same directory, as a rename does not cross file systems.
	temp := filepath.Join(filepath.Dir(t.path), "."+filepath.Base(t.path)+"."+strings.ToLower(rand.Text()[:8]))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, unwritable(name, err)
	}
	t.temp = f
	return t, nil
}

// write puts the page where it belongs.
func (t *target) write(page []byte) error {
	if t.temp == nil {
		_, err := io.Copy(t.out, bytes.NewReader(page))
		if t.closer != nil {
			err = errors.Join(err, t.closer.Close())
			t.closer = nil
		}
		return err
	}
	_, err := t.temp.Write(page)
	if err = errors.Join(err, t.temp.Close()); err == nil {
		err = os.Rename(t.temp.Name(), t.path)
	}
	if err != nil {
		return unwritable(t.path, err)
	}
	t.temp = nil
	return nil
}

// close takes away what was begun and not written.
func (t *target) close() {
	if t.closer != nil {
		_ = t.closer.Close()
	}
	if t.temp != nil {
		_ = t.temp.Close()
		_ = os.Remove(t.temp.Name())
	}
}

func unwritable(name string, err error) error {
	// Both name the temporary file, which nobody asked for.
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("-html %q cannot be written: %w; name a file in a directory that exists and is yours to write, or - for standard output", name, err)
}
