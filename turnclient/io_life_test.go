package turnclient_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// look runs fn where nothing changes the server meanwhile.
func (w *simWorld) look(fn func(now time.Time)) {
	synctest.Wait()
	_ = w.loop.Do(fn)
}

// pass lets virtual time go by.
func (w *simWorld) pass(d time.Duration) { <-time.After(d) }

// exchange sends text to a peer and waits for it to come back.
func exchange(relay *turnclient.Allocation, to netip.AddrPort, text string) error {
	if _, err := relay.WriteToUDPAddrPort([]byte(text), to); err != nil {
		return err
	}
	buf := make([]byte, 2000)
	relay.SetReadDeadline(time.Now().Add(time.Second))
	n, from, err := relay.ReadFromUDPAddrPort(buf)
	if err == nil && (string(buf[:n]) != text || from != to) {
		err = fmt.Errorf("read %q from %v, want %q from %v", buf[:n], from, text, to)
	}
	return err
}

// Data that passes by the loop is use all the same: half an hour of it, in one direction
// or both, keeps permission and channel and needs no keepalive; then they lapse, and the
// next write has them back.
func TestDataPastTheLoopIsUse(t *testing.T) {
	for name, after := range map[string]int{"channel": 1, "indications": -1} {
		for _, way := range []string{"out", "in", "both"} {
			t.Run(name+" "+way, func(t *testing.T) {
				simulate(t, "port-restricted-cone", authed(), func(t *testing.T, w *simWorld) {
					pc, err := w.peer.ListenPacket(t.Context(), "udp4", ":7")
					if err != nil {
						t.Fatal(err)
					}
					defer pc.Close()
					cfg := w.config("turn:192.0.2.1")
					cfg.ChannelAfter = after
					client, relay := open(t, cfg)
					defer client.Close()
					to, buf := netip.AddrPortFrom(w.peer.Addr(), 7), make([]byte, 100)
					if _, err := relay.WriteToUDPAddrPort([]byte("first"), to); err != nil {
						t.Fatal(err)
					}
					_, from, err := pc.ReadFrom(buf)
					if err != nil {
						t.Fatal(err)
					}
					w.pass(time.Second)
					var before, asked int
					w.look(func(time.Time) { before, asked = w.server.Indications, w.server.Requests[wire.Refresh] })
					const n = 360
					for i := range n {
						pc.SetReadDeadline(time.Now().Add(time.Second))
						relay.SetReadDeadline(time.Now().Add(time.Second))
						if way != "in" {
							relay.WriteToUDPAddrPort([]byte("x"), to)
							_, _, err = pc.ReadFrom(buf)
						}
						if way != "out" && err == nil {
							pc.WriteTo([]byte("x"), from)
							_, _, err = relay.ReadFromUDPAddrPort(buf)
						}
						if err != nil {
							t.Fatalf("datagram %d: %v, state %v", i, err, relay.State())
						}
						w.pass(5 * time.Second)
					}
					w.look(func(now time.Time) {
						if d := w.server.Indications - before; way != "in" && d > 2 || way == "in" && d < 100 {
							t.Errorf("%d keepalives", d)
						}
						if d := w.server.Requests[wire.Refresh] - asked; way != "out" && d > 4 || way == "out" && d < n/2 {
							t.Errorf("asked %d times whether the allocation stands", d)
						}
						if w.server.Channels(now) != min(after, 0)+1 || !w.server.Permitted(now, to.Addr()) {
							t.Errorf("%d channels, permitted %v", w.server.Channels(now), w.server.Permitted(now, to.Addr()))
						}
					})
					w.pass(20 * time.Minute)
					w.look(func(now time.Time) {
						if w.server.Channels(now) != 0 || w.server.Permitted(now, to.Addr()) || relay.State() != turnclient.Allocated {
							t.Errorf("idle: %d channels, permitted %v, state %v", w.server.Channels(now), w.server.Permitted(now, to.Addr()), relay.State())
						}
					})
					if _, err := relay.WriteToUDPAddrPort([]byte("again"), to); err != nil {
						t.Fatal(err)
					}
					pc.SetReadDeadline(time.Now().Add(time.Second))
					if _, _, err := pc.ReadFrom(buf); err != nil {
						t.Error(err)
					}
					if s := relay.Stats(); s.Dropped+s.Overrun+s.Unsent != 0 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

// What is written past the loop into a silence is noticed: after 3 s the server is asked,
// three times, also long after that was last necessary and if it is the last that is
// written. A peer that says nothing while the server lives changes no state.
func TestSilencePastTheLoopIsDoubted(t *testing.T) {
	for _, writes := range []int{1, 100} {
		simulate(t, "port-restricted-cone", authed(), func(t *testing.T, w *simWorld) {
			echo := w.echo(t)
			client, relay := open(t, w.config("turn:192.0.2.1"))
			defer client.Close()
			to := netip.AddrPortFrom(w.peer.Addr(), 7)
			for range 20 {
				if err := exchange(relay, to, "x"); err != nil {
					t.Fatal(err)
				}
			}
			echo.Close()
			for range 100 {
				relay.WriteToUDPAddrPort([]byte("y"), to)
				w.pass(100 * time.Millisecond)
			}
			if got := relay.State(); got != turnclient.Permitted {
				t.Errorf("a peer that went: state %v", got)
			}
			echo = w.echo(t)
			defer echo.Close()
			w.pass(time.Minute)
			if err := exchange(relay, to, "x"); err != nil {
				t.Fatal(err)
			}
			w.deaf.Store(true)
			start := time.Now()
			for range writes {
				relay.WriteToUDPAddrPort([]byte("y"), to)
				w.pass(50 * time.Millisecond)
			}
			for relay.State().Usable() && time.Since(start) < time.Minute {
				w.pass(10 * time.Millisecond)
			}
			if took := time.Since(start); took < 4*time.Second || took > 6*time.Second {
				t.Errorf("%d writes into silence were noticed after %v", writes, took)
			}
			w.deaf.Store(false)
			for exchange(relay, to, "after") != nil {
				if time.Since(start) > 20*time.Second {
					t.Fatalf("state %v", relay.State())
				}
			}
		})
	}
}

// Where UDP is blocked both transports are tried, and TCP serves. The server is restarted,
// and found again in time, though UDP is still being tried.
func TestRestartWhereUDPIsBlocked(t *testing.T) {
	simulate(t, "udp-blocked", authed(), func(t *testing.T, w *simWorld) {
		echo := w.echo(t)
		defer echo.Close()
		cfg := w.config("turn:192.0.2.1?transport=udp")
		cfg.Servers = append(cfg.Servers, "turn:192.0.2.1?transport=tcp")
		client, relay := open(t, cfg)
		defer client.Close()
		to := netip.AddrPortFrom(w.peer.Addr(), 7)
		if err := exchange(relay, to, "before"); err != nil {
			t.Fatal(err)
		}
		w.loop.Close()
		w.server.Restart()
		w.pass(2 * time.Second)
		w.serve(t)
		back := time.Now()
		for exchange(relay, to, "after") != nil {
			if time.Since(back) > 10*time.Second {
				t.Fatalf("no traffic 10 s after the restart: %v", relay.State())
			}
		}
	})
}

// The network changes under a client, and the allocation moves along with what it has:
// nothing is lost either way, while both paths work.
func TestMoveLosesNothing(t *testing.T) {
	cfg := authed()
	cfg.Mobility = true
	simulate(t, "port-restricted-cone", cfg, func(t *testing.T, w *simWorld) {
		pc, err := w.peer.ListenPacket(t.Context(), "udp4", ":7")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		mine := w.config("turn:192.0.2.1")
		mine.Mobility, mine.ChannelAfter, mine.ReadBuffer = true, 1, 1000
		client, relay := open(t, mine)
		defer client.Close()
		to := netip.AddrPortFrom(w.peer.Addr(), 7)
		first := relay.RelayedAddr()
		if err := relay.Permit(t.Context(), to.Addr()); err != nil {
			t.Fatal(err)
		}
		const n = 200
		for i := range n {
			if i == 50 || i == 120 {
				client.NetworkChanged()
				// So that no write falls on the instant of the move, 50 ms on: the server, which
				// lets go of the old path as soon as something comes by the new one, might get
				// the last datagram of the old path after the first of the new.
				w.pass(time.Millisecond)
			}
			if _, err := relay.WriteToUDPAddrPort([]byte("x"), to); err != nil {
				t.Fatal(err)
			}
			if _, err := pc.WriteTo([]byte("y"), relay.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			w.pass(2 * time.Millisecond)
		}
		// And while nothing is written, which would show the server the new path.
		client.NetworkChanged()
		w.pass(time.Second)
		for range n {
			if _, err := pc.WriteTo([]byte("y"), relay.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			w.pass(2 * time.Millisecond)
		}
		w.pass(time.Second)
		received := func(conn net.PacketConn) (got int) {
			for buf := make([]byte, 10); ; got++ {
				conn.SetReadDeadline(time.Now().Add(time.Millisecond))
				if _, _, err := conn.ReadFrom(buf); err != nil {
					return got
				}
			}
		}
		out, in := received(pc), received(relay)
		moved := 0
		for len(relay.Events()) > 0 {
			if e := <-relay.Events(); e.Kind == turnclient.EventMoved {
				moved++
			}
		}
		if out != n || in != 2*n || moved != 3 || relay.RelayedAddr() != first || relay.MappedAddr().IsValid() {
			t.Errorf("%d of %d went out, %d of %d came in, moved %d times, relayed %v (was %v), mapped %v", out, n, in, 2*n, moved, relay.RelayedAddr(), first, relay.MappedAddr())
		}
	})
}

// What the caller measures and what it finds out about its NAT, on a client that runs.
func TestCallersMeasurements(t *testing.T) {
	simulate(t, "port-restricted-cone", authed(), func(t *testing.T, w *simWorld) {
		client, relay := open(t, w.config("turn:192.0.2.1"))
		defer client.Close()
		count := func() (n int) {
			w.look(func(time.Time) { n = w.server.Indications })
			return n
		}
		before := count()
		w.pass(5 * time.Minute)
		if d := count() - before; d > 41 {
			t.Errorf("%d keepalives in 5 minutes", d)
		}
		client.SetMappingLifetime(9 * time.Second)
		before = count()
		w.pass(5 * time.Minute)
		if d := count() - before; d < 98 {
			t.Errorf("%d keepalives in 5 minutes where the mapping lives for 9 s", d)
		}
		for range 40 {
			relay.Observe(0, true)
		}
		synctest.Wait()
		if got := relay.State(); got != turnclient.Congested {
			t.Errorf("state %v after 40 losses", got)
		}
	})
}

// The allocation as others see it who know net.PacketConn: deadlines that are moved, taken
// away and passed, and errors that are net.Error and name a peer once.
func TestAllocationAsPacketConn(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		client, relay := open(t, w.config("turn:192.0.2.1?transport=udp"))
		defer client.Close()
		var conn net.PacketConn = relay
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.peer.Addr(), 7))
		timedOut := func(err error) bool {
			var ne net.Error
			return errors.As(err, &ne) && ne.Timeout() && errors.Is(err, os.ErrDeadlineExceeded)
		}
		write := func() error { _, err := conn.WriteTo([]byte("x"), to); return err }
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		if err := write(); err != nil {
			t.Errorf("before the deadline: %v", err)
		}
		w.pass(time.Second)
		if err := write(); !timedOut(err) {
			t.Errorf("after the deadline: %v", err)
		}
		conn.SetWriteDeadline(time.Now().Add(-time.Hour))
		if err := write(); !timedOut(err) {
			t.Errorf("long after the deadline: %v", err)
		}
		conn.SetWriteDeadline(time.Time{})
		if err := write(); err != nil {
			t.Errorf("without a deadline: %v", err)
		}

		start := time.Now()
		conn.SetReadDeadline(start.Add(time.Second))
		time.AfterFunc(500*time.Millisecond, func() { conn.SetReadDeadline(start.Add(3 * time.Second)) })
		if _, _, err := conn.ReadFrom(make([]byte, 1)); !timedOut(err) || time.Since(start) != 3*time.Second {
			t.Errorf("a deadline that is moved on: %v after %v", err, time.Since(start))
		}
		conn.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Minute, func() { conn.SetDeadline(time.Now()) })
		if _, _, err := conn.ReadFrom(make([]byte, 1)); !timedOut(err) || time.Since(start) != 63*time.Second {
			t.Errorf("a deadline that comes later: %v after %v", err, time.Since(start))
		}
		conn.SetDeadline(time.Time{})

		err := relay.Permit(t.Context(), netip.MustParseAddr("224.0.0.1"))
		var peer *turnclient.PeerError
		if !errors.As(err, &peer) || strings.Count(err.Error(), "peer 224.0.0.1") != 1 {
			t.Errorf("%v", err)
		}
		if _, err := conn.WriteTo(nil, &net.IPNet{}); err == nil || !strings.Contains(err.Error(), "use a *net.UDPAddr") {
			t.Errorf("an address of another kind: %v", err)
		}
		if all := relay.RelayedAddrs(); len(all) != 1 || all[0] != relay.RelayedAddr() || conn.LocalAddr().String() != all[0].String() {
			t.Errorf("relayed %v, local %v", all, conn.LocalAddr())
		}
		if s := fmt.Sprintf("%v %+v %#v", relay, relay, client); !strings.Contains(s, relay.RelayedAddr().String()) || strings.Contains(s, "canary") {
			t.Errorf("printed as %s", s)
		}
		conn.Close()
		if conn.SetReadDeadline(time.Time{}) == nil || conn.SetWriteDeadline(time.Time{}) == nil || conn.Close() != nil {
			t.Error("deadlines of a closed allocation")
		}
	})
}
