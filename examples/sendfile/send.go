package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

// result is what became of a file.
type result struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"`
	Resumed int64  `json:"resumed_at"` // bytes that were there from before
	Hash    string `json:"sha256"`
	MS      int64  `json:"ms"`
	Path    string `json:"path,omitempty"` // of the connection, at the end
}

// openFile opens what can be sent.
func openFile(name string) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file; name one, or pack what is in it into one", name)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// send sends a file, from where the receiver has it. It returns when the receiver has all, and
// the sum is right.
func send(ctx context.Context, conn net.Conn, file *os.File, meter *meter) (res result, err error) {
	info, err := file.Stat()
	if err != nil {
		return res, err
	}
	meter.start("reading "+info.Name(), 0, info.Size())
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, meter), contextReader{ctx, io.LimitReader(file, info.Size())}) // it may grow
	if err != nil {
		return res, err
	}
	if n < info.Size() {
		return res, errShorter
	}
	res = result{Name: filepath.Base(file.Name()), Bytes: info.Size(), Hash: fmt.Sprintf("%x", sum.Sum(nil))}

	peer := patient{conn}
	if err := writeMessage(peer, offer{res.Name, res.Bytes, sum.Sum(nil)}); err != nil {
		return res, err
	}
	meter.start("waiting for the receiver", 0, 0)
	var from reply
	if err := readMessage(conn, &from); err != nil { // it may have much to read
		return res, err
	}
	switch {
	case from.Error != "":
		return res, refused(from.Error)
	case from.From < 0 || from.From > res.Bytes:
		return res, fmt.Errorf("the receiver has %d bytes of %d", from.From, res.Bytes)
	}
	res.Resumed = from.From
	if _, err := file.Seek(from.From, io.SeekStart); err != nil {
		return res, err
	}
	meter.start("sending "+info.Name(), from.From, res.Bytes)
	// The verdict may come before all is sent: the receiver's disk may be full.
	verdict := make(chan error, 1)
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		var last reply
		err := readMessage(conn, &last)
		if err == nil && last.Error != "" {
			err = refused(last.Error)
		}
		verdict <- err
	}()
	n, err = io.Copy(io.MultiWriter(peer, meter), contextReader{over, io.LimitReader(file, res.Bytes-from.From)})
	if err == nil && n < res.Bytes-from.From {
		err = errShorter
	}
	if err != nil && over.Err() == nil {
		conn.Close() // so that no verdict is waited for
		<-verdict
		return res, err
	}
	meter.start("waiting for the receiver", 0, 0)
	if err := <-verdict; err != nil {
		return res, err
	}
	return res, ctx.Err()
}

var errShorter = errors.New("the file became shorter meanwhile")

// refused is what the receiver said. It is somebody else's text.
func refused(text string) error { return fmt.Errorf("the receiver says: %q", text) }

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(b)
}
