//go:build linux || darwin || freebsd || netbsd || openbsd

package punch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
)

func TestPingBlockingLoopback(t *testing.T) {
	cfg := PingerConfig{Interval: MinPingInterval, LostAfter: 30 * time.Second}
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			b := realPinger(t, network, cfg)
			// A port that is known beforehand is one that somebody has, and shares.
			lc := net.ListenConfig{Control: ReusePort}
			pc, err := lc.ListenPacket(t.Context(), network, netip.AddrPortFrom(b.local.Addr(), 0).String())
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			local := netio.AddrPortOf(pc.LocalAddr())
			if err := b.Add(local); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			s, err := PingBlocking(t.Context(), local, b.local, 20, cfg)
			plausible(t, s, err, 20, time.Since(began))
		})
	}
}

func TestPingBlockingEnds(t *testing.T) {
	pc := loopback(t, "udp4")
	silent := netio.AddrPortOf(pc.LocalAddr())
	gone := errors.New("gone for lunch")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancelled := make(chan error)
	go func() { // at the second probe
		var b [100]byte
		_, _, err1 := pc.ReadFrom(b[:])
		_, _, err2 := pc.ReadFrom(b[:])
		cancel(gone)
		cancelled <- errors.Join(err1, err2)
	}()
	s, err := PingBlocking(ctx, netip.AddrPort{}, silent, 1000, PingerConfig{Interval: 10 * ms})
	if err := <-cancelled; err != nil {
		t.Fatal(err)
	}
	var e *PingError
	if !errors.As(err, &e) || !errors.Is(err, gone) || e.Remote != silent || !e.Local.IsValid() || s.Sent < 2 || s.Received != 0 {
		t.Errorf("ctx ended: %+v, %v", s, err)
	}
	if _, err := PingBlocking(ctx, netip.AddrPort{}, silent, 1, PingerConfig{}); !errors.Is(err, gone) {
		t.Errorf("ctx had ended before: %v", err)
	}

	s, err = PingBlocking(t.Context(), netip.AddrPort{}, silent, 3, PingerConfig{Interval: MinPingInterval, LostAfter: 20 * ms})
	if err != nil || s.Sent != 3 || s.Lost != 3 {
		t.Errorf("nobody answers: %+v, %v", s, err)
	}

	if _, err := PingBlocking(t.Context(), netip.MustParseAddrPort("192.0.2.77:0"), silent, 1, PingerConfig{}); !errors.As(err, &e) {
		t.Errorf("a local address that is not ours: %v", err)
	}
}

// An ICMP error is told, and ends nothing.
func TestPingBlockingUnreachable(t *testing.T) {
	// A connected socket keeps the port from others, and refuses what is not its peer's.
	keeper, err := net.Dial("udp4", loopback(t, "udp4").LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close()
	dead := netio.AddrPortOf(keeper.LocalAddr())
	s, err := PingBlocking(t.Context(), netip.AddrPort{}, dead, 3, PingerConfig{Interval: MinPingInterval, LostAfter: 20 * ms})
	var u *netio.UnreachableError
	if err != nil || s.Sent != 3 || s.Lost != 3 || !errors.As(s.Err, &u) || u.Remote != dead {
		t.Errorf("%+v, %v", s, err)
	}
}
