package punch

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

// reference is an echo that knows the true round trip of each probe over loopback: from
// the kernel's reception of the probe, which there happens within the prober's own
// sendmsg, to the kernel's sending of the answer, which there is its reception. Both
// are the kernel's own timestamps (SO_TIMESTAMPING), so that nothing of what user
// space adds on either side is in it.
type reference struct {
	fd    int
	addr  netip.AddrPort
	trips chan time.Duration
	ended chan struct{} // closed when it has ended
	err   error         // read after ended
}

func newReference(b *testing.B) *reference {
	b.Helper()
	must := func(what string, err error) {
		b.Helper()
		if err != nil {
			b.Fatalf("%s: %v", what, err)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must("socket", err)
	must("bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	const flags = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SOFTWARE |
		unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_TSONLY
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags); err != nil || strconv.IntSize != 64 {
		unix.Close(fd)
		b.Skipf("no kernel timestamps as 64-bit Linux has them: %v", err)
	}
	name, err := unix.Getsockname(fd)
	must("getsockname", err)
	r := &reference{
		fd: fd, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port)),
		trips: make(chan time.Duration, 1), ended: make(chan struct{}),
	}
	go func() {
		defer close(r.ended)
		r.err = r.run()
	}()
	b.Cleanup(func() {
		// A datagram that is no probe ends it.
		c, err := net.Dial("udp4", r.addr.String())
		must("dial", err)
		defer c.Close()
		_, err = c.Write([]byte{0})
		must("write", err)
		<-r.ended
		must("close", unix.Close(fd))
	})
	return r
}

func (r *reference) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var buf [64]byte
	var oob [256]byte
	for {
		n, oobn, _, from, err := unix.Recvmsg(r.fd, buf[:], oob[:], 0)
		if err == unix.EINTR {
			continue
		}
		p, ok := decodePing(buf[:n])
		if err != nil || !ok {
			return err
		}
		// Missing until the kernel has switched timestamps on, some time after the option.
		received, errReceived := stampFrom(oob[:oobn])
		p.kind = pingAnswer
		data := p.encode()
		if err := unix.Sendto(r.fd, data[:], 0, from); err != nil {
			return err
		}
		_, oobn, _, _, err = unix.Recvmsg(r.fd, nil, oob[:], unix.MSG_ERRQUEUE)
		if err != nil {
			return fmt.Errorf("no time of sending: %w", err)
		}
		sent, err := stampFrom(oob[:oobn])
		if err != nil {
			return err
		}
		if errReceived != nil {
			sent = received // zero: not known
		}
		r.trips <- sent.Sub(received)
	}
}

// trip is the true round trip of the probe just answered; 0: not known.
func (r *reference) trip(b *testing.B) time.Duration {
	b.Helper()
	select {
	case rtt := <-r.trips:
		return rtt
	case <-r.ended:
		b.Fatalf("the echo ended: %v", r.err)
		return 0
	}
}

// stampFrom finds the software timestamp, the first of struct scm_timestamping.
func stampFrom(oob []byte) (time.Time, error) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, err
	}
	for _, c := range all {
		if c.Header.Level == unix.SOL_SOCKET && c.Header.Type == unix.SO_TIMESTAMPING && len(c.Data) == 48 {
			return time.Unix(int64(binary.NativeEndian.Uint64(c.Data)), int64(binary.NativeEndian.Uint64(c.Data[8:]))), nil
		}
	}
	return time.Time{}, fmt.Errorf("no timestamp in % x", oob)
}

// stampless is a machine that is not told when the kernel received an answer.
type stampless struct{ *pingerMachine }

func (m stampless) HandleDatagram(now time.Time, d machine.Datagram) {
	d.Stamp = time.Time{}
	m.pingerMachine.HandleDatagram(now, d)
}

// unwrapped hides a socket's type, and with it what the system can do beyond
// net.PacketConn.
type unwrapped struct{ net.PacketConn }

// BenchmarkPinger is how far the round trips that a Pinger (loop) and PingBlocking
// (blocking) measure are off from the kernel's own, each with the kernel's receive
// timestamps and without. One probe a millisecond, so that everything has gone to sleep
// before each, as in use.
func BenchmarkPinger(b *testing.B) {
	b.Run("loop", func(b *testing.B) { benchLoop(b, loopback(b, "udp4")) })
	b.Run("blocking", func(b *testing.B) {
		benchBlocking(b, func(m *pingerMachine) pingRunner { return m })
	})
	b.Run("loop without stamps", func(b *testing.B) { benchLoop(b, unwrapped{loopback(b, "udp4")}) })
	b.Run("blocking without stamps", func(b *testing.B) {
		benchBlocking(b, func(m *pingerMachine) pingRunner { return stampless{m} })
	})
}

func benchLoop(b *testing.B, conn net.PacketConn) {
	p, err := NewPinger(conn, PingerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	measure(b, func(remote netip.AddrPort) PingStats {
		s, err := p.Ping(b.Context(), remote, 1)
		if err != nil {
			b.Fatal(err)
		}
		return s
	})
}

func benchBlocking(b *testing.B, wrap func(*pingerMachine) pingRunner) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m, err := newPingerMachine(time.Now(), PingerConfig{}, zeroes{})
	if err != nil {
		b.Fatal(err)
	}
	var conn *netio.Blocking
	measure(b, func(remote netip.AddrPort) (s PingStats) {
		if conn == nil {
			if conn, err = netio.DialBlocking(context.Background(), netip.AddrPort{}, remote); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { conn.Close() })
		}
		if _, err := m.Ping(time.Now(), remote, 1); err != nil {
			b.Fatal(err)
		}
		err := runBlocking(b.Context(), conn, wrap(m), func(e pingerEvent) (bool, error) {
			s = e.Stats
			return e.Kind == pingDone, e.Err
		})
		if err != nil {
			b.Fatal(err)
		}
		return s
	})
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// measure pings a reference b.N times and reports the error.
func measure(b *testing.B, once func(remote netip.AddrPort) PingStats) {
	r := newReference(b)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var off []time.Duration
	for known := 0; known < 20; { // timestamps, threads, caches
		<-tick.C
		once(r.addr)
		if r.trip(b) > 0 {
			known++
		}
	}
	for b.Loop() {
		<-tick.C
		s := once(r.addr)
		if trip := r.trip(b); s.Received == 1 && trip > 0 {
			off = append(off, (s.Last - trip).Abs())
		}
	}
	if len(off) == 0 {
		b.Fatal("no probe was answered")
	}
	slices.Sort(off)
	b.ReportMetric(0, "ns/op") // of the pace, not of the work
	b.ReportMetric(float64(off[len(off)/2]), "p50-error-ns")
	b.ReportMetric(float64(off[len(off)*99/100]), "p99-error-ns")
	b.ReportMetric(float64(len(off)), "probes")
}
