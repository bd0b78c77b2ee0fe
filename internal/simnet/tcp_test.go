package simnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// end is one side of a connection in a raw world.
type end struct {
	c         *tcpConn
	connected bool
	got       []byte
	ended     bool
	closed    bool
	err       error
}

func (e *end) events() tcpEvents {
	return tcpEvents{
		connected: func() { e.connected = true },
		received:  func(b []byte) { e.got = append(e.got, b...); e.c.consumed(len(b)) },
		ended:     func() { e.ended = true },
		space:     func() {},
		closed:    func(err error) { e.closed, e.err = true, err },
	}
}

func (e *end) dial(t *testing.T, h *Host, local, remote netip.AddrPort) {
	t.Helper()
	c, err := h.tcp.dial(local, remote, true, e.events())
	if err != nil {
		t.Fatal(err)
	}
	e.c = c
}

func (e *end) accept(c *tcpConn) { e.c = c; e.connected = true; c.on = e.events() }

func pair(seed uint64, l Link) (*World, *Host, *Host) {
	w := New(seed)
	return w, w.AddHost("a", w.Internet(), l), w.AddHost("b", w.Internet(), l)
}

func at(h *Host, port uint16) netip.AddrPort { return netip.AddrPortFrom(h.Addr(), port) }

func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestTCPCarriesEverythingInOrder(t *testing.T) {
	for seed := range uint64(50) {
		w, a, b := pair(seed, Link{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: .05, Duplicate: .02, Reorder: .1})
		var x, y end
		if _, err := b.tcp.listen(at(b, 80), false, y.accept); err != nil {
			t.Fatal(err)
		}
		x.dial(t, a, netip.AddrPort{}, at(b, 80))
		sent := payload(300_000)
		done := w.RunUntil(5*time.Minute, func() bool {
			if x.connected && sent != nil {
				x.c.write(sent, true)
				x.c.closing = true // as close does, but x goes on listening
				x.c.push()
				sent = nil
			}
			if y.ended && !y.c.closing {
				y.c.write([]byte("thanks"), true)
				y.c.closing = true
				y.c.push()
			}
			return x.closed && y.closed
		})
		if !done || x.err != nil || y.err != nil {
			t.Fatalf("seed %d: done %v, errors %v and %v, got %d bytes", seed, done, x.err, y.err, len(y.got))
		}
		if !bytes.Equal(y.got, payload(300_000)) || string(x.got) != "thanks" {
			t.Fatalf("seed %d: got %d bytes and %q, not what was sent", seed, len(y.got), x.got)
		}
		if w.Run(2 * lingerTime); len(a.tcp.conns)+len(b.tcp.conns) > 0 {
			t.Fatalf("seed %d: connections left over", seed)
		}
	}
}

func TestTCPSimultaneousOpen(t *testing.T) {
	for seed := range uint64(200) {
		w, a, b := pair(seed, Link{Delay: 20 * time.Millisecond, Loss: .1})
		var x, y end
		x.dial(t, a, at(a, 5000), at(b, 6000))
		y.dial(t, b, at(b, 6000), at(a, 5000))
		if !w.RunUntil(5*time.Minute, func() bool { return x.connected && y.connected }) {
			t.Fatalf("seed %d: %+v %+v", seed, x, y)
		}
		x.c.write([]byte("from a"), true)
		y.c.write([]byte("from b"), true)
		if !w.RunUntil(5*time.Minute, func() bool { return string(x.got) == "from b" && string(y.got) == "from a" }) {
			t.Fatalf("seed %d: got %q and %q", seed, x.got, y.got)
		}
	}
}

func TestTCPListenerFirst(t *testing.T) {
	w, a, b := pair(1, Link{Delay: 20 * time.Millisecond})
	b.SetListenerFirst(true)
	var x, y, accepted end
	if _, err := b.tcp.listen(at(b, 6000), true, accepted.accept); err != nil {
		t.Fatal(err)
	}
	x.dial(t, a, at(a, 5000), at(b, 6000))
	y.dial(t, b, at(b, 6000), at(a, 5000))
	w.Run(5 * time.Second)
	if !accepted.connected || !errors.Is(y.err, syscall.EADDRINUSE) || !x.connected {
		t.Fatalf("listener %v, dial failed with %v, other side %v", accepted.connected, y.err, x.connected)
	}
}

func TestTCPRefusals(t *testing.T) {
	w, a, b := pair(1, Link{Delay: 20 * time.Millisecond})
	var closed, nobody end
	closed.dial(t, a, netip.AddrPort{}, at(b, 81))
	nobody.dial(t, a, netip.AddrPort{}, netip.MustParseAddrPort("198.51.100.200:81"))
	w.Run(100 * time.Millisecond)
	if !errors.Is(closed.err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v, want refused", closed.err)
	}
	w.Run(5 * time.Minute)
	if !errors.Is(nobody.err, syscall.ETIMEDOUT) {
		t.Errorf("no such host: %v, want timed out", nobody.err)
	}
	if _, err := b.tcp.listen(at(b, 90), false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.tcp.listen(at(b, 90), true, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: %v, want in use", err)
	}
	var x end
	x.dial(t, a, at(a, 7000), at(b, 90))
	if _, err := a.tcp.dial(at(a, 7000), at(b, 90), true, quietEvents()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("same endpoints twice: %v, want not available", err)
	}
}

func TestTCPRetransmitsTheSYNAsRFC6298Says(t *testing.T) {
	w, a, _ := pair(1, Link{})
	var sent []time.Duration
	w.OnTrace(func(e TraceEvent) {
		if e.What == "send" {
			sent = append(sent, w.Elapsed())
		}
	})
	var x end
	x.dial(t, a, netip.AddrPort{}, netip.MustParseAddrPort("198.51.100.200:81"))
	w.Run(time.Hour)
	want := []time.Duration{0, 1, 3, 7, 15, 31, 63}
	if len(sent) != len(want) {
		t.Fatalf("SYNs at %v", sent)
	}
	for i := range want {
		if sent[i] != want[i]*time.Second {
			t.Fatalf("SYNs at %v, want seconds %v", sent, want)
		}
	}
}

func TestTCPFaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b := pair(1, Link{Delay: 20 * time.Millisecond, Loss: .02})
		defer w.Go()()
		l, err := b.Listen(t.Context(), "tcp", ":80", false)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			io.Copy(c, c)
		}()
		c, err := a.DialContext(t.Context(), "tcp", at(b, 80).String())
		if err != nil {
			t.Fatal(err)
		}
		go func() { c.Write(payload(500_000)) }()
		got := make([]byte, 500_000)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, payload(500_000)) {
			t.Fatalf("echo: %v", err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		start := time.Now()
		if _, err := c.Read(got); err == nil || !err.(net.Error).Timeout() || time.Since(start) != time.Second {
			t.Fatalf("read past the deadline: %v after %v", err, time.Since(start))
		}
		c.Close()
		if _, err := c.Read(got); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("read after close: %v", err)
		}
		if _, err := a.DialContext(t.Context(), "tcp", at(b, 81).String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial a closed port: %v", err)
		}
	})
}
