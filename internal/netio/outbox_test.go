package netio

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stream is an outbox and the far end of its stream, in fake time: a pipe takes a byte only
// when it is read.
func stream(t *testing.T, limit int, test func(t *testing.T, o *Outbox, near, far net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := NewOutbox(near, limit)
		defer o.Close() // nobody may be left writing
		test(t, o, near, far)
	})
}

func readAll(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOutboxDoesNotWait(t *testing.T) {
	stream(t, 10, func(t *testing.T, o *Outbox, _, far net.Conn) {
		began := time.Now()
		for _, m := range []string{"one", "two"} {
			if err := o.Send([]byte(m)); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait() // the writer has taken them and hangs
		for _, m := range []string{"three", "four!"} {
			if err := o.Send([]byte(m)); err != nil {
				t.Error(err)
			}
		}
		if err := o.Send([]byte("x")); !errors.Is(err, ErrBufferFull) {
			t.Errorf("beyond the limit: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v", took)
		}
		if got := readAll(t, far, 16); got != "onetwothreefour!" {
			t.Errorf("arrived: %q", got)
		}
		synctest.Wait()
		if err := o.Send([]byte("again")); err != nil {
			t.Errorf("once there is room: %v", err)
		}
		if got := readAll(t, far, 5); got != "again" {
			t.Errorf("arrived: %q", got)
		}
	})
}

func TestOutboxCopies(t *testing.T) {
	stream(t, 100, func(t *testing.T, o *Outbox, _, far net.Conn) {
		b := []byte("hello")
		if err := o.Send(b); err != nil {
			t.Fatal(err)
		}
		copy(b, "xxxxx")
		if got := readAll(t, far, 5); got != "hello" {
			t.Errorf("arrived: %q", got)
		}
	})
}

// bytewise is a stream that takes a byte at a time.
type bytewise struct{ net.Conn }

func (c bytewise) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// What is written directly stands between two messages, and waits until it is taken.
func TestOutboxWrites(t *testing.T) {
	near, far := net.Pipe()
	o := NewOutbox(bytewise{near}, 100)
	defer o.Close()
	var written atomic.Bool
	var writing sync.WaitGroup
	for range 50 {
		written.Store(false)
		writing.Go(func() {
			if n, err := o.Write([]byte("written")); n != 7 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			written.Store(true)
		})
		if err := o.Send([]byte("sent")); err != nil {
			t.Fatal(err)
		}
		got := readAll(t, far, 10)
		if strings.HasPrefix(got, "sent") && written.Load() {
			t.Error("Write did not wait")
		}
		if got += readAll(t, far, 1); got != "sentwritten" && got != "writtensent" {
			t.Errorf("arrived: %q", got)
		}
		writing.Wait()
	}
}

// A stream that breaks while it is written to is found out by whoever reads it: a write
// error alone is seen by nobody.
func TestOutboxOfABrokenStream(t *testing.T) {
	stream(t, 100, func(t *testing.T, o *Outbox, near, far net.Conn) {
		broken := make(chan error)
		go func() {
			_, err := near.Read(make([]byte, 1))
			broken <- err
		}()
		if err := near.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := o.Send([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-broken:
			if err == nil {
				t.Error("read something")
			}
		case <-time.After(time.Minute):
			t.Error("the reader was not told")
			far.Close()
			<-broken
		}
	})
}

func TestOutboxAfterClose(t *testing.T) {
	stream(t, 1<<20, func(t *testing.T, o *Outbox, _, far net.Conn) {
		if err := o.Send([]byte("nobody reads this")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := o.Send([]byte(strings.Repeat("nor this", 1000))); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := o.Close(); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := o.Send([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if n, err := io.Copy(io.Discard, far); n != 0 || err != nil {
			t.Errorf("%d bytes arrived, %v", n, err)
		}
	})
}

// slowToEnd is a stream whose writes return a second after it was closed.
type slowToEnd struct {
	net.Conn
	closed chan struct{}
	writes int
}

func (c *slowToEnd) Write([]byte) (int, error) {
	c.writes++
	<-c.closed
	<-time.After(time.Second)
	return 0, net.ErrClosed
}

func (c *slowToEnd) SetReadDeadline(time.Time) error { return nil }

func (c *slowToEnd) Close() error {
	close(c.closed)
	return nil
}

// Close returns when nothing is written any more, and begins nothing.
func TestOutboxWaitsForItsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slowToEnd{closed: make(chan struct{})}
		o := NewOutbox(c, 100)
		for range 2 {
			if err := o.Send([]byte("x")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		began := time.Now()
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second || c.writes != 1 {
			t.Errorf("closed after %v and %d writes, want 1s and 1", took, c.writes)
		}
	})
}
