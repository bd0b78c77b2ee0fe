package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// folder is where files are received. Nothing is written outside of it, and nothing that is
// there is overwritten.
type folder struct {
	root *os.Root
	max  int64                               // bytes of a file, and of it and all parts of others
	disk func(f *os.File) io.ReadWriter      // nil: the file itself
	link func(oldname, newname string) error // nil: the root's
}

// receive takes one file from a peer. What has come when it breaks off is kept, and the next
// transfer of the same content goes on from there.
func (d *folder) receive(ctx context.Context, conn net.Conn, meter *meter) (res result, err error) {
	var o offer
	if err := readMessage(patient{conn}, &o); err != nil {
		return res, fmt.Errorf("no offer: %w", err)
	}
	res = result{Name: o.Name, Bytes: o.Size, Hash: fmt.Sprintf("%x", o.Hash)}
	err = d.take(ctx, conn, o, &res, meter)
	if gone := (*goneError)(nil); err != nil && !errors.As(err, &gone) {
		return res, errors.Join(err, writeMessage(patient{conn}, reply{Error: err.Error()}))
	}
	if err == nil {
		// The file is in place, whether the sender hears of it or not: it may ask again.
		_ = writeMessage(patient{conn}, reply{From: o.Size})
	}
	return res, err
}

// goneError is a peer that has gone, so that nobody need be told.
type goneError struct {
	have, size int64
	err        error
}

func (e *goneError) Error() string {
	why := e.err.Error()
	if errors.Is(e.err, net.ErrClosed) || errors.Is(e.err, io.EOF) {
		why = "the sender has gone"
	}
	return fmt.Sprintf("broken off after %d of %d bytes, which are kept for the next time: %s", e.have, e.size, why)
}

func (e *goneError) Unwrap() error { return e.err }

func (d *folder) take(ctx context.Context, conn net.Conn, o offer, res *result, meter *meter) (err error) {
	if err := d.check(o); err != nil {
		return err
	}
	if there, err := d.has(ctx, o, meter); there {
		res.Resumed = o.Size
		_ = writeMessage(patient{conn}, reply{From: o.Size}) // as if all had come from before
		return nil
	} else if err != nil {
		return err
	}
	if err := d.tidy(o, time.Now()); err != nil {
		return err
	}
	partial := partName(o)
	part, err := d.root.OpenFile(partial, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer part.Close()
	disk := io.ReadWriter(part)
	if d.disk != nil {
		disk = d.disk(part)
	}
	sum := sha256.New()
	meter.start("reading what there is of "+o.Name, 0, 0)
	have, err := io.Copy(io.MultiWriter(sum, meter), contextReader{ctx, disk})
	if err != nil {
		return err
	}
	if have > o.Size {
		return d.drop(part, partial, fmt.Errorf("there were %d bytes of %s, which has %d; send it again", have, o.Name, o.Size))
	}
	res.Resumed = have
	if err := writeMessage(patient{conn}, reply{From: have}); err != nil {
		return &goneError{have, o.Size, err}
	}
	meter.start("receiving "+o.Name, have, o.Size)
	came := &arrival{r: contextReader{ctx, patient{conn}}}
	n, err := io.CopyN(io.MultiWriter(disk, sum, meter), came, o.Size-have)
	if err = errors.Join(err, part.Sync()); came.err != nil && n < o.Size-have {
		return &goneError{have + n, o.Size, came.err}
	}
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", have+n, o.Size, err)
	}
	if !bytes.Equal(sum.Sum(nil), o.Hash) {
		return d.drop(part, partial, fmt.Errorf("%s is not what was offered: its SHA-256 is %x; send it again", o.Name, sum.Sum(nil)))
	}
	if err := part.Close(); err != nil {
		return err
	}
	return d.place(partial, o.Name)
}

// arrival keeps apart the errors of the peer and of the disk.
type arrival struct {
	r   io.Reader
	err error
}

func (a *arrival) Read(b []byte) (n int, err error) {
	n, err = a.r.Read(b)
	if err != nil {
		a.err = err
	}
	return n, err
}

// drop deletes what nobody can go on from.
func (d *folder) drop(part *os.File, name string, why error) error {
	return errors.Join(why, part.Close(), d.root.Remove(name))
}

// check refuses what cannot be kept in the folder.
func (d *folder) check(o offer) error {
	switch {
	case !validName(o.Name):
		return fmt.Errorf("%q cannot be the name of a file here; want one without folders, and without a dot in front", o.Name)
	case o.Size < 0 || o.Size > d.max:
		return fmt.Errorf("%d bytes are too many; at most %d are taken", o.Size, d.max)
	case len(o.Hash) != sha256.Size:
		return errors.New("the offer has no SHA-256")
	}
	return nil
}

// has reports whether the very file is there. The sender may not have heard that it came.
// Another one of its name is an error.
func (d *folder) has(ctx context.Context, o offer, meter *meter) (bool, error) {
	taken := d.free(o.Name)
	if taken == nil {
		return false, nil
	}
	info, err := d.root.Lstat(o.Name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != o.Size {
		return false, taken
	}
	file, err := d.root.Open(o.Name)
	if err != nil {
		return false, taken
	}
	defer file.Close()
	meter.start("reading "+o.Name+", which is there", 0, o.Size)
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(sum, meter), contextReader{ctx, io.LimitReader(file, o.Size)}); err != nil {
		return false, err
	}
	if !bytes.Equal(sum.Sum(nil), o.Hash) {
		return false, taken
	}
	return true, nil
}

// validName reports whether a file may be named so, on every system: it is a name and not a
// path, shows as it is, and is not hidden, as what shells and other programs run or obey is.
func validName(name string) bool {
	return name != "" && len(name) <= 200 && utf8.ValidString(name) && filepath.IsLocal(name) && !strings.HasPrefix(name, ".") &&
		!strings.ContainsAny(name, `/\:`) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) &&
		!strings.HasSuffix(name, partSuffix)
}
