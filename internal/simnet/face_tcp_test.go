package simnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestStreamWriteDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b := pair(1, Link{Delay: access})
		defer w.Go()()
		var e ends
		e.stream(t, a, b, "tcp4")
		x, y := e.a.(net.Conn), e.b.(net.Conn)
		defer y.Close()
		data := payload(2_000_000) // more than both sides' buffers hold
		check(t, x.SetWriteDeadline(time.Now().Add(time.Second)))
		var sent int
		timedOut(t, "write that nobody reads", time.Second, func() (err error) { sent, err = x.Write(data); return err })
		if sent < tcpBuffer || sent == len(data) {
			t.Errorf("%d bytes written", sent)
		}
		timedOut(t, "write past the deadline", 0, func() error { _, err := x.Write(data); return err })
		// What was written arrives, and the rest can follow.
		check(t, x.SetWriteDeadline(time.Time{}))
		go func() {
			x.Write(data[sent:])
			x.Close()
		}()
		if got, err := io.ReadAll(y); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// connections counts those that hosts still have.
func connections(hosts ...*Host) (n int) {
	for _, h := range hosts {
		h.w.Do(func() { n += len(h.tcp.conns) })
	}
	return n
}

func TestStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b := pair(1, Link{Delay: access})
		defer w.Go()()
		var e ends
		e.stream(t, a, b, "tcp4")
		x, y := e.a.(net.Conn), e.b.(net.Conn)
		_, err := y.Write([]byte("bye"))
		check(t, err)
		check(t, y.Close())
		if got, err := io.ReadAll(x); err != nil || string(got) != "bye" {
			t.Errorf("%q, %v", got, err)
		}
		check(t, x.Close())
		time.Sleep(3 * lingerTime)
		if n := connections(a, b); n != 0 {
			t.Errorf("%d connections left", n)
		}

		// Writing to one that the other side has dropped fails, and so does reading.
		e.stream(t, a, b, "tcp4")
		x, y = e.a.(net.Conn), e.b.(net.Conn)
		defer x.Close()
		defer y.Close()
		w.Do(func() { y.(*streamConn).tcp.abort() })
		time.Sleep(time.Second)
		if _, err := x.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read of a reset connection: %v", err)
		}
		if _, err := x.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a reset connection: %v", err)
		}
	})
}

func TestListenersAndDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b := pair(1, Link{Delay: access})
		defer w.Go()()
		l, err := b.Listen(t.Context(), "tcp", ":80", false)
		check(t, err)
		refused := make(chan error)
		go func() { _, err := l.Accept(); refused <- err }()
		synctest.Wait()
		check(t, l.Close())
		if err := <-refused; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept of a listener that closes: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept of a closed listener: %v", err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
		if _, err := a.DialContext(t.Context(), "tcp", at(b, 80).String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial of a closed listener: %v", err)
		}

		nobody := "198.51.100.200:80"
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		time.AfterFunc(time.Second, func() { cancel(why) })
		start := time.Now()
		if _, err := a.DialContext(ctx, "tcp", nobody); !errors.Is(err, why) || time.Since(start) != time.Second {
			t.Errorf("a dial given up: %v after %v", err, time.Since(start))
		}
		if n := connections(a); n != 0 {
			t.Errorf("%d connections left", n)
		}
		for _, bad := range []string{"names.example:80", "192.0.2.1", ""} {
			if _, err := a.DialContext(t.Context(), "tcp", bad); err == nil {
				t.Errorf("dial %q passes", bad)
			}
			if _, err := a.Listen(t.Context(), "tcp", bad, false); err == nil {
				t.Errorf("listen %q passes", bad)
			}
			if _, err := a.ListenPacket(t.Context(), "udp", bad); err == nil {
				t.Errorf("listen %q passes", bad)
			}
		}
		// A reused port listens and dials at once.
		shared, err := a.Listen(t.Context(), "tcp", ":7000", true)
		check(t, err)
		defer shared.Close()
		other, err := b.Listen(t.Context(), "tcp", ":80", false)
		check(t, err)
		defer other.Close()
		c, err := a.DialFrom(t.Context(), "tcp", netip.AddrPortFrom(a.Addr(), 7000), at(b, 80).String())
		check(t, err)
		defer c.Close()
		if c.LocalAddr().String() != at(a, 7000).String() {
			t.Errorf("dialled from %v", c.LocalAddr())
		}
	})
}
