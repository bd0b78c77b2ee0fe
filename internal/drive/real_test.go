package drive_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

// echo sends back what it gets, with a hop limit of its own, without allocating.
type echo struct {
	buf     [1500]byte
	reply   machine.Transmit
	pending bool
	last    machine.Datagram
	notices chan machine.Notice
}

func (e *echo) HandleDatagram(now time.Time, d machine.Datagram) {
	n := copy(e.buf[:], d.Data)
	e.last = d
	e.reply = machine.Transmit{Socket: d.Socket, Remote: d.Remote, Data: e.buf[:n], TTL: 33}
	e.pending = true
}
func (e *echo) HandleTimeout(time.Time)                    {}
func (e *echo) HandleNotice(_ time.Time, n machine.Notice) { e.notices <- n }
func (e *echo) NextTimeout() time.Time                     { return time.Time{} }
func (e *echo) PollEvent() (struct{}, bool)                { return struct{}{}, false }
func (e *echo) PollTransmit() (t machine.Transmit, ok bool) {
	if !e.pending {
		return t, false
	}
	e.pending = false
	return e.reply, true
}

func listen(t testing.TB) net.PacketConn {
	t.Helper()
	pc, err := netio.ListenUDP(context.Background(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

// ping starts a loop with an echo machine and returns it with a function that
// sends one datagram through it and waits for the echo.
func ping(t testing.TB, e *echo) (l *drive.Loop, once func() netio.Meta) {
	t.Helper()
	server := listen(t)
	l, err := drive.Run(e, nil, drive.Options{Sockets: []net.PacketConn{server}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := netio.Wrap(listen(t))
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(time.Minute))
	to := netio.AddrPortOf(server.LocalAddr())
	buf := make([]byte, 1500)
	return l, func() netio.Meta {
		if _, err := c.WriteOpts(buf[:1200], to, netio.SendOptions{TTL: 44}); err != nil {
			t.Fatal(err)
		}
		n, m, err := c.ReadMeta(buf)
		if err != nil || n != 1200 {
			t.Fatal(n, err)
		}
		return m
	}
}

func TestRealSocket(t *testing.T) {
	e := &echo{}
	l, once := ping(t, e)
	m := once()
	if runtime.GOOS != "linux" {
		return
	}
	if m.TTL != 33 {
		t.Errorf("the echo has TTL %d, want 33", m.TTL)
	}
	err := l.Do(func(time.Time) {
		if e.last.TTL != 44 || e.last.Stamp.IsZero() || e.last.Local != m.Remote {
			t.Errorf("the machine was told TTL %d, stamp %v, local %v", e.last.TTL, e.last.Stamp, e.last.Local)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// An ICMP error reaches the machine, and the socket goes on.
func TestRealUnreachable(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("ICMP errors of unconnected sockets are told on Linux only")
	}
	// A connected socket keeps the port from others, and refuses what is not its peer's.
	keeper, err := net.Dial("udp4", listen(t).LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close()
	dead := netio.AddrPortOf(keeper.LocalAddr())

	e := &echo{notices: make(chan machine.Notice, 1)}
	own := listen(t)
	l, err := drive.Run(e, nil, drive.Options{Sockets: []net.PacketConn{own}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Do(func(time.Time) {
		e.reply, e.pending = machine.Transmit{Remote: dead, Data: []byte("anybody?")}, true
	}); err != nil {
		t.Fatal(err)
	}
	n := <-e.notices
	if n.Kind != machine.Unreachable || n.Remote != dead || !errors.Is(n.Err, syscall.ECONNREFUSED) {
		t.Errorf("notice %+v", n)
	}
}

// Close hands real sockets back as they were.
func TestRealKeepSockets(t *testing.T) {
	pc := listen(t)
	l, err := drive.Run(&echo{}, nil, drive.Options{Sockets: []net.PacketConn{pc}, KeepSockets: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other := listen(t)
	if _, err := other.WriteTo([]byte("hello"), pc.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	n, from, err := pc.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" || from.String() != other.LocalAddr().String() {
		t.Errorf("read %q from %v, %v", buf[:n], from, err)
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("buffers are not pooled under the race detector; run it without -race")
	}
	_, once := ping(t, &echo{})
	if n := testing.AllocsPerRun(500, func() { once() }); n != 0 {
		t.Errorf("%v allocations for a datagram through the loop and back", n)
	}
}

// BenchmarkEcho is one datagram through the kernel, the loop and back.
func BenchmarkEcho(b *testing.B) {
	_, once := ping(b, &echo{})
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}

// source is a socket that always has a datagram.
type source struct {
	*pipe
	left int
	done chan struct{}
}

var somebody = netip.MustParseAddrPort("10.0.0.2:2")

func (s *source) ReadMeta(b []byte) (int, netio.Meta, error) {
	if s.left == 0 {
		<-s.closed
		return 0, netio.Meta{}, net.ErrClosed
	}
	s.left--
	return 1200, netio.Meta{Remote: somebody}, nil
}

func (s *source) WriteOpts(b []byte, to netip.AddrPort, o netio.SendOptions) (int, error) {
	s.done <- struct{}{}
	return len(b), nil
}

// BenchmarkLoop is the loop's own cost of a datagram in and one out, without a
// kernel.
func BenchmarkLoop(b *testing.B) {
	s := &source{pipe: newPipe("10.0.0.1:1"), left: b.N, done: make(chan struct{}, 128)}
	b.ReportAllocs()
	b.ResetTimer()
	l, err := drive.Run(&echo{}, nil, drive.Options{Sockets: []net.PacketConn{s}})
	if err != nil {
		b.Fatal(err)
	}
	for range b.N {
		<-s.done
	}
	b.StopTimer()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
