package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"
)

// What has come of a file waits under another name until the rest does. Not everybody comes
// again, so it does not wait for ever, and all of it together has a bound.

const (
	partSuffix = ".part"
	partAge    = 7 * 24 * time.Hour // since something was added to it
)

var partForm = regexp.MustCompile(`\.[0-9a-f]{16}\` + partSuffix + `$`)

// partName names what there is of a file. Another content of the same name has another one.
func partName(o offer) string { return fmt.Sprintf("%s.%x%s", o.Name, o.Hash[:8], partSuffix) }

// tidy makes room for an offer: it removes the parts of other files that are too old, and of
// the rest the oldest, so that all and the file itself have no more bytes than a file may.
func (d *folder) tidy(o offer, now time.Time) error {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	var parts []fs.FileInfo
	for _, e := range entries {
		if !partForm.MatchString(e.Name()) || e.Name() == partName(o) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() { // else it is gone, or not ours
			parts = append(parts, info)
		}
	}
	slices.SortStableFunc(parts, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	room := d.max - o.Size
	for _, part := range parts {
		room -= part.Size()
		if room >= 0 && now.Sub(part.ModTime()) <= partAge {
			continue
		}
		if err := d.root.Remove(part.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// place gives a part that is whole its name, unless somebody has taken that meanwhile.
func (d *folder) place(part, name string) error {
	link := d.link
	if link == nil {
		link = d.root.Link
	}
	switch err := link(part, name); {
	case err == nil:
		_ = d.root.Remove(part) // if it stays, tidy takes it away one day
		return nil
	case errors.Is(err, fs.ErrExist):
		return errTaken(name)
	}
	// Not every file system has links. Then somebody may still come between these two.
	if err := d.free(name); err != nil {
		return err
	}
	return d.root.Rename(part, name)
}

func errTaken(name string) error { return fmt.Errorf("there is a %s already", name) }

func (d *folder) free(name string) error {
	_, err := d.root.Lstat(name)
	if err == nil {
		return errTaken(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
