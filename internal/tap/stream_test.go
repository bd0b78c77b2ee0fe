package tap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/tap"
	"github.com/bradawl/bradawl/internal/wire"
)

func frame(t *testing.T, b string) []byte {
	t.Helper()
	framed, err := wire.AppendFrame(nil, []byte(b))
	if err != nil {
		t.Fatal(err)
	}
	return framed
}

// pieces is a connection that brings its bytes in pieces of random lengths, then err.
type pieces struct {
	net.Conn
	random *rand.Rand
	left   []byte
	err    error
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, p.err
	}
	n := copy(b, p.left[:1+p.random.IntN(len(p.left))])
	p.left = p.left[n:]
	if len(p.left) == 0 && p.random.IntN(2) == 0 {
		return n, p.err // with the last bytes, as readers may
	}
	return n, nil
}

func (p *pieces) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(here) }
func (p *pieces) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(there) }

// However the bytes come, what is taken is taken once and in order, and the loop reads the
// other frames as they were.
func TestStreamParts(t *testing.T) {
	reset := errors.New("reset")
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 3))
		var all, check []byte
		var data, taken []string
		for i := range 40 {
			length := random.IntN(50)
			if random.IntN(20) == 0 {
				length = 65000 + random.IntN(500)
			}
			text := fmt.Sprintf("check %d %s", i, strings.Repeat("x", length))
			if random.IntN(2) == 0 {
				text = "data" + text
				data = append(data, text)
			} else {
				check = append(check, frame(t, text)...)
			}
			all = append(all, frame(t, text)...)
		}
		s := tap.NewStream(&pieces{random: random, left: all, err: reset}, func(f []byte) bool {
			ours := strings.HasPrefix(string(f), "data")
			if ours {
				taken = append(taken, string(f))
			}
			return ours
		}, func() {})
		if s.Local != here || s.Remote != there {
			t.Errorf("seed %d: from %v to %v", seed, s.Local, s.Remote)
		}
		var got []byte
		var err error
		for err == nil {
			b := make([]byte, 1+random.IntN(5000))
			var n int
			n, err = s.Read(b)
			got = append(got, b[:n]...)
		}
		if !errors.Is(err, reset) || !bytes.Equal(got, check) || strings.Join(taken, "|") != strings.Join(data, "|") {
			t.Errorf("seed %d: %v; %d bytes for the loop, want %d; %d frames taken, want %d", seed, err, len(got), len(check), len(taken), len(data))
		}
	}
}

// tapped is a stream over a pipe, and the pipe's far end.
func tapped(t *testing.T, test func(t *testing.T, s *tap.Stream, far net.Conn, closed *int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		closed := 0
		s := tap.NewStream(near, func([]byte) bool { return false }, func() { closed++ })
		defer far.Close()
		defer s.Close()
		test(t, s, far, &closed)
	})
}

func TestStreamSends(t *testing.T) {
	tapped(t, func(t *testing.T, s *tap.Stream, far net.Conn, _ *int) {
		began := time.Now()
		if err := s.Send([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(make([]byte, 65536)); !errors.Is(err, wire.ErrFrameTooLong) {
			t.Errorf("65,536 bytes: %v", err)
		}
		var full error
		for range 1000 {
			if full = s.Send(make([]byte, 1000)); full != nil {
				break
			}
		}
		if !errors.Is(full, netio.ErrBufferFull) || time.Since(began) != 0 {
			t.Errorf("where nobody reads: %v after %v", full, time.Since(began))
		}
		got := make([]byte, 7)
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, frame(t, "hello")) {
			t.Errorf("arrived: %q, %v", got, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Send([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// What the loop writes is whole frames already, and waits.
func TestStreamWrites(t *testing.T) {
	tapped(t, func(t *testing.T, s *tap.Stream, far net.Conn, _ *int) {
		go func() {
			if n, err := s.Write(frame(t, "check")); n != 7 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}()
		got := make([]byte, 7)
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, frame(t, "check")) {
			t.Errorf("arrived: %q, %v", got, err)
		}
	})
}

func TestStreamClosesOnce(t *testing.T) {
	tapped(t, func(t *testing.T, s *tap.Stream, far net.Conn, closed *int) {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := far.Read(make([]byte, 1)); *closed != 1 || !errors.Is(err, io.EOF) {
			t.Errorf("told %d times; the far end reads %v", *closed, err)
		}
	})
}

// lingering is a connection that can be reset.
type lingering struct {
	net.Conn
	seconds int
}

func (l *lingering) SetLinger(seconds int) error {
	l.seconds = seconds
	return nil
}

func TestStreamIsReset(t *testing.T) {
	near, _ := net.Pipe()
	inner := &lingering{near, -1}
	for _, c := range []net.Conn{inner, near} { // one that cannot be is closed
		if err := tap.NewStream(c, nil, nil).SetLinger(0); err != nil {
			t.Error(err)
		}
	}
	if inner.seconds != 0 {
		t.Error("not told")
	}
}

// once is a listener with one connection.
type once struct {
	net.Listener
	conns []net.Conn
}

func (o *once) Accept() (net.Conn, error) {
	if len(o.conns) == 0 {
		return nil, net.ErrClosed
	}
	c := o.conns[0]
	o.conns = o.conns[1:]
	return c, nil
}

func TestListenerTaps(t *testing.T) {
	near, _ := net.Pipe()
	l := &tap.Listener{Listener: &once{conns: []net.Conn{near}}, Tap: func(c net.Conn) *tap.Stream {
		return tap.NewStream(c, nil, func() {})
	}}
	c, err := l.Accept()
	if s, ok := c.(*tap.Stream); err != nil || !ok || s.Conn != near {
		t.Errorf("accepted %T, %v", c, err)
	}
	if c, err := l.Accept(); !errors.Is(err, net.ErrClosed) || c != nil {
		t.Errorf("accepted %v, %v", c, err)
	}
}
