package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// conn is what streams and datagram sockets have in common, seen from two ends.
type conn interface {
	Close() error
	LocalAddr() net.Addr
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// ends is a pair of faces and how to read from the first and write to it.
type ends struct {
	a, b  conn
	read  func([]byte) (int, error)
	feed  func([]byte) (int, error)
	world *World
}

// inFaces runs test over a stream and over datagrams, of both families.
func inFaces(t *testing.T, test func(t *testing.T, e ends)) {
	for _, family := range []string{"4", "6"} {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(network+family, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := New(1)
					defer w.Go()()
					a4, b4 := addrs("192.0.2.1", "2001:db8::1"), addrs("192.0.2.2", "2001:db8::2")
					a, b := w.AddHost("a", w.Internet(), Link{Delay: access}, a4...), w.AddHost("b", w.Internet(), Link{Delay: access}, b4...)
					e := ends{world: w}
					if network == "tcp" {
						e.stream(t, a, b, network+family)
					} else {
						e.datagrams(t, a, b, network+family)
					}
					defer e.a.Close()
					defer e.b.Close()
					test(t, e)
				})
			})
		}
	}
}

// anywhere is an address that takes whatever the host has of the network's family.
func anywhere(network string) string {
	if network[3] == '6' {
		return "[::]:0"
	}
	return "0.0.0.0:0"
}

func (e *ends) stream(t *testing.T, a, b *Host, network string) {
	l, err := b.Listen(t.Context(), network, anywhere(network), false)
	check(t, err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	to := netip.AddrPortFrom(b.Addrs()[family(network)], port)
	x, err := a.DialContext(t.Context(), network, to.String())
	check(t, err)
	y, err := l.Accept()
	check(t, err)
	if x.RemoteAddr().String() != to.String() || y.RemoteAddr().String() != x.LocalAddr().String() || y.LocalAddr().String() != to.String() {
		t.Errorf("addresses %v %v, %v %v", x.LocalAddr(), x.RemoteAddr(), y.LocalAddr(), y.RemoteAddr())
	}
	e.a, e.b, e.read, e.feed = x, y, x.Read, y.Write
}

func (e *ends) datagrams(t *testing.T, a, b *Host, network string) {
	x, err := a.ListenPacket(t.Context(), network, netip.AddrPortFrom(a.Addrs()[family(network)], 0).String())
	check(t, err)
	y, err := b.ListenPacket(t.Context(), network, anywhere(network))
	check(t, err)
	e.a, e.b = x, y
	e.read = func(p []byte) (int, error) {
		n, from, err := x.ReadFrom(p)
		if err == nil && from.(*net.UDPAddr).AddrPort().Addr() != b.Addrs()[family(network)] {
			t.Errorf("from %v", from)
		}
		return n, err
	}
	e.feed = func(p []byte) (int, error) { return y.WriteTo(p, x.LocalAddr()) }
}

func family(network string) int { return int(network[3]-'4') / 2 }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// timedOut checks that an operation took exactly as long as its deadline allowed.
func timedOut(t *testing.T, what string, want time.Duration, op func() error) {
	t.Helper()
	start := time.Now()
	err := op()
	var ne net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() || time.Since(start) != want {
		t.Errorf("%s: %v after %v, want a timeout after %v", what, err, time.Since(start), want)
	}
}

func TestReadDeadlines(t *testing.T) {
	inFaces(t, func(t *testing.T, e ends) {
		buf := make([]byte, 100)
		read := func() error { _, err := e.read(buf); return err }
		in := func(d time.Duration) { check(t, e.a.SetReadDeadline(time.Now().Add(d))) }
		in(-time.Hour)
		timedOut(t, "past", 0, read)
		timedOut(t, "past, again", 0, read)
		in(0)
		timedOut(t, "present", 0, read)
		in(time.Second)
		timedOut(t, "future", time.Second, read)
		check(t, e.a.SetDeadline(time.Now().Add(time.Minute)))
		timedOut(t, "both", time.Minute, read)

		// A deadline that moves while a read waits: nearer, further, away.
		in(time.Hour)
		time.AfterFunc(time.Second, func() { in(time.Second) })
		timedOut(t, "moved nearer", 2*time.Second, read)
		in(2 * time.Second)
		time.AfterFunc(time.Second, func() { in(time.Hour) })
		timedOut(t, "moved away", time.Hour+time.Second, read)
		in(2 * time.Second)
		time.AfterFunc(time.Second, func() { check(t, e.a.SetReadDeadline(time.Time{})) })
		time.AfterFunc(time.Minute, func() { in(-1) })
		timedOut(t, "taken away, then put in the past", time.Minute, read)

		// Nothing is lost by having timed out.
		_, err := e.feed([]byte("late"))
		check(t, err)
		check(t, e.a.SetReadDeadline(time.Time{}))
		if n, err := e.read(buf); err != nil || string(buf[:n]) != "late" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		// What has arrived does not undo a deadline that has passed.
		_, err = e.feed([]byte("early"))
		check(t, err)
		<-time.After(time.Second)
		in(-1)
		timedOut(t, "past, with data", 0, read)
	})
}

func TestCloseUnblocks(t *testing.T) {
	inFaces(t, func(t *testing.T, e ends) {
		done := make(chan error)
		for range 3 {
			go func() { _, err := e.read(make([]byte, 10)); done <- err }()
		}
		synctest.Wait()
		check(t, e.a.Close())
		for range 3 {
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("a read that was waiting: %v", err)
			}
		}
		if _, err := e.read(nil); !errors.Is(err, net.ErrClosed) && e.a.LocalAddr().Network() != "tcp" {
			t.Errorf("a read afterwards: %v", err)
		}
		for what, err := range map[string]error{
			"close": e.a.Close(), "deadline": e.a.SetDeadline(time.Time{}), "read deadline": e.a.SetReadDeadline(time.Time{}),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s afterwards: %v", what, err)
			}
		}
	})
}

// All methods at once, for the race detector and for deadlocks.
func TestConcurrentMethods(t *testing.T) {
	inFaces(t, func(t *testing.T, e ends) {
		var wg sync.WaitGroup
		for i := range 20 {
			each := func(fn func()) { wg.Go(fn) }
			each(func() { e.a.SetReadDeadline(time.Now().Add(time.Second)); e.read(make([]byte, 100)) })
			each(func() { e.feed([]byte(fmt.Sprint("message ", i))) })
			each(func() { e.a.SetDeadline(time.Now().Add(time.Second)) })
			each(func() { e.b.SetWriteDeadline(time.Now().Add(time.Second)) })
			each(func() { e.a.LocalAddr(); e.b.LocalAddr() })
			if i == 15 {
				each(func() { e.a.Close() })
			}
		}
		wg.Wait()
	})
}
