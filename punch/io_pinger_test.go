package punch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/simnet"
)

// facePingers are two Pingers over faces of a world whose paths are 40 ms long, there
// and back. They end with the bubble, which then must have no goroutine left.
func facePingers(t *testing.T, cfg PingerConfig) (a, b *Pinger) {
	t.Helper()
	w := simnet.New(1)
	t.Cleanup(w.Go())
	open := func(name string) *Pinger {
		host := w.AddHost(name, w.Internet(), simnet.Link{Delay: 10 * ms})
		pc, err := host.ListenPacket(t.Context(), "udp4", host.Addr().String()+":4000")
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPinger(pc, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if err := pc.Close(); err != nil {
				t.Errorf("the socket was not handed back open: %v", err)
			}
		})
		return p
	}
	return open("a"), open("b")
}

func TestPingerShell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := facePingers(t, PingerConfig{Interval: 100 * ms})
		if err := b.Add(a.local); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s, err := a.Ping(t.Context(), b.local, 5)
		if d := time.Since(began); d != 440*ms {
			t.Errorf("five probes 100 ms apart over 40 ms took %v", d)
		}
		if err != nil || s.Received != 5 || s.Min != 40*ms || s.Max != 40*ms || s.Jitter != 0 || s.Late != 1 || s.Stamped != 5 {
			t.Errorf("%+v, %v", s, err)
		}
		if s.Remote != b.local || s.Served == 0 {
			t.Errorf("b probes a, which must answer while it pings b: %+v", s)
		}
		if _, ok := a.Stats(b.local); ok {
			t.Error("Ping adds its remote")
		}

		if err := a.Add(b.local); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second + 50*ms)
		if s, ok := a.Stats(b.local); !ok || s.Sent != 11 || s.Received != 11 || s.Median != 40*ms {
			t.Errorf("a second of probing: %+v, %v", s, ok)
		}
		a.Remove(b.local)
		time.Sleep(time.Second)
		if s, ok := b.Stats(a.local); !ok || s.Overdue+s.Lost == 0 {
			t.Errorf("removed, yet it answers: %+v, %v", s, ok)
		}
	})
}

func TestPingerPingsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := facePingers(t, PingerConfig{Interval: 10 * ms})
		if err := b.Add(a.local); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if s, err := a.Ping(t.Context(), b.local, i+1); err != nil || s.Sent != i+1 || s.Received != i+1 {
					t.Errorf("Ping of %d: %+v, %v", i+1, s, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestPingerPingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := facePingers(t, PingerConfig{Interval: 100 * ms})
		var e *PingError
		gone := errors.New("gone for lunch")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 250*ms, gone)
		defer cancel()
		s, err := a.Ping(ctx, b.local, 100)
		if !errors.As(err, &e) || !errors.Is(err, gone) || e.Remote != b.local || e.Local != a.local {
			t.Errorf("ctx ended: %v", err)
		}
		if s.Sent != 3 || s.Pending() != 3 || s.Overdue != 3 {
			t.Errorf("ctx ended: %+v", s)
		}

		began := time.Now()
		if s, err := a.Ping(t.Context(), b.local, 1); err != nil || s.Lost != 1 || time.Since(began) != 2*time.Second {
			t.Errorf("nobody answers: %+v, %v after %v", s, err, time.Since(began))
		}

		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := a.Ping(t.Context(), b.local, 100)
				var e *PingError
				if !errors.As(err, &e) || !errors.Is(err, net.ErrClosed) || s.Sent != 1 || s.Remote != b.local {
					t.Errorf("closed meanwhile: %+v, %v", s, err)
				}
			})
		}
		if err := a.Add(b.local); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if _, err := a.Ping(t.Context(), b.local, 1); !errors.As(err, &e) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Ping after Close: %v", err)
		}
		if err := a.Add(b.local); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Add after Close: %v", err)
		}
		if s, ok := a.Stats(b.local); !ok || s.Sent != 1 {
			t.Errorf("Stats after Close: %+v, %v", s, ok)
		}
		a.Remove(b.local)
	})
}

func TestPingerSocketBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(1)
		host := w.AddHost("a", w.Internet(), simnet.Link{})
		pc, err := host.ListenPacket(t.Context(), "udp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Go()()
		p, err := NewPinger(pc, PingerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		time.AfterFunc(500*ms, func() { pc.Close() })
		var e *PingError
		if s, err := p.Ping(t.Context(), bob, 10); !errors.As(err, &e) || s.Sent != 1 {
			t.Errorf("%+v, %v", s, err)
		}
		if _, err := p.Ping(t.Context(), bob, 10); !errors.As(err, &e) {
			t.Errorf("a second time: %v", err)
		}
	})
}

func TestPingerRefusals(t *testing.T) {
	var e *ConfigError
	if _, err := NewPinger(nil, PingerConfig{}); !errors.As(err, &e) || e.Field != "conn" {
		t.Errorf("no socket: %v", err)
	}
	if _, err := NewPinger(loopback(t, "udp4"), PingerConfig{Interval: 1}); !errors.As(err, &e) || e.Field != "Interval" {
		t.Errorf("a bad configuration: %v", err)
	}
	if _, err := PingBlocking(t.Context(), netip.AddrPort{}, bob, 1, PingerConfig{Interval: 1}); !errors.As(err, &e) || e.Field != "Interval" {
		t.Errorf("a bad configuration: %v", err)
	}
	if _, err := PingBlocking(t.Context(), netip.AddrPort{}, bob, 0, PingerConfig{}); !errors.As(err, &e) || e.Field != "n" {
		t.Errorf("no probes: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		a, b := facePingers(t, PingerConfig{})
		if err := a.Add(netip.AddrPort{}); !errors.As(err, &e) || e.Field != "remote" {
			t.Errorf("Add nothing: %v", err)
		}
		if _, err := a.Ping(t.Context(), b.local, -1); !errors.As(err, &e) || e.Field != "n" {
			t.Errorf("Ping of -1: %v", err)
		}
	})
}

// loopback is a real socket.
func loopback(t testing.TB, network string) net.PacketConn {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "udp6" {
		address = "[::1]:0"
	}
	pc, err := netio.ListenUDP(context.Background(), network, address)
	if err != nil && network == "udp6" {
		t.Skip("this machine has no IPv6 loopback address (ip addr add ::1/128 dev lo): ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

func realPinger(t testing.TB, network string, cfg PingerConfig) *Pinger {
	t.Helper()
	p, err := NewPinger(loopback(t, network), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// plausible is what must be true of any round trips over loopback, however busy the
// machine: no deadline and no loss can be asked of it.
func plausible(t *testing.T, s PingStats, err error, n int, took time.Duration) {
	t.Helper()
	if err != nil || s.Sent != n || s.Received != n || s.Duplicates+s.Strays != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s.Min <= 0 || s.Min > s.Median || s.Median > s.Max || s.Max > took || s.Mean < s.Min || s.Mean > s.Max {
		t.Errorf("not what can be within %v: %+v", took, s)
	}
}

func TestPingerLoopback(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			cfg := PingerConfig{Interval: MinPingInterval, LostAfter: 30 * time.Second}
			a, b := realPinger(t, network, cfg), realPinger(t, network, cfg)
			if err := b.Add(a.local); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			s, err := a.Ping(t.Context(), b.local, 20)
			plausible(t, s, err, 20, time.Since(began))
		})
	}
}
