package punch_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

var secret = []byte("known to both, nobody else")

// bubble runs fn inside synctest with two sockets, each behind a port-restricted NAT,
// whose outside addresses are known: port-restricted-cone preserves ports.
func bubble(t *testing.T, fn func(t *testing.T, conns [2]net.PacketConn, addrs [2]netip.AddrPort)) {
	behind(t, "port-restricted-cone", fn)
}

// behind is bubble with other NATs, which preserve ports, or with none: "open".
func behind(t *testing.T, nat string, fn func(t *testing.T, conns [2]net.PacketConn, addrs [2]netip.AddrPort)) {
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(1)
		defer w.Go()()
		var conns [2]net.PacketConn
		var addrs [2]netip.AddrPort
		for i, name := range []string{"a", "b"} {
			site, err := w.AddSite(name, nat, simnet.Link{Delay: access})
			if err != nil {
				t.Fatal(err)
			}
			if conns[i], err = site.ListenPacket(t.Context(), "udp", ":5000"); err != nil {
				t.Fatal(err)
			}
			defer conns[i].Close()
			addrs[i] = netip.AddrPortFrom(site.Addrs()[0], 5000)
			if site.NAT != nil {
				addrs[i] = netip.AddrPortFrom(site.NAT.Addrs()[0], 5000)
			}
		}
		fn(t, conns, addrs)
	})
}

type result struct {
	punch.Path
	error
}

func start(ctx context.Context, conn net.PacketConn, c punch.UDPConfig) <-chan result {
	done := make(chan result, 1)
	go func() {
		p, err := punch.UDP(ctx, conn, c)
		done <- result{p, err}
	}()
	return done
}

func TestUDPReturnsThePathAndTheSocket(t *testing.T) {
	bubble(t, func(t *testing.T, conns [2]net.PacketConn, addrs [2]netip.AddrPort) {
		a := start(t.Context(), conns[0], punch.UDPConfig{Peer: addrs[1:], Secret: secret})
		b := start(t.Context(), conns[1], punch.UDPConfig{Peer: addrs[:1], Secret: secret})
		x, y := <-a, <-b
		if x.error != nil || y.error != nil {
			t.Fatal(x.error, y.error)
		}
		if x.Remote != addrs[1] || y.Remote != addrs[0] || x.Mapped != addrs[0] || x.RTT != 4*access || !x.Local.Addr().IsPrivate() {
			t.Errorf("paths %+v and %+v", x.Path, y.Path)
		}
		// The socket is the caller's again, without a deadline.
		conns[0].WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(x.Remote))
		buf := make([]byte, 1500)
		for {
			n, _, err := conns[1].ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			if punch.IsProbe(buf[:n]) {
				continue
			}
			if string(buf[:n]) != "hello" {
				t.Errorf("read %q", buf[:n])
			}
			return
		}
	})
}

func TestUDPKeepsWhatThePeerSaysEarly(t *testing.T) {
	bubble(t, func(t *testing.T, conns [2]net.PacketConn, addrs [2]netip.AddrPort) {
		done := [2]<-chan result{
			start(t.Context(), conns[0], punch.UDPConfig{Peer: addrs[1:], Secret: secret}),
			start(t.Context(), conns[1], punch.UDPConfig{Peer: addrs[:1], Secret: secret}),
		}
		// Who is first speaks at once; the other one hears it, in whatever way.
		var first int
		var path punch.Path
		select {
		case r := <-done[0]:
			first, path = 0, r.Path
		case r := <-done[1]:
			first, path = 1, r.Path
		}
		conns[first].WriteTo([]byte("early"), net.UDPAddrFromAddrPort(path.Remote))
		r := <-done[1-first]
		if r.error != nil {
			t.Fatal(r.error)
		}
		heard := r.Early
		if len(heard) == 0 {
			buf := make([]byte, 1500)
			conns[1-first].SetReadDeadline(time.Now().Add(time.Second))
			for len(heard) == 0 {
				n, _, err := conns[1-first].ReadFrom(buf)
				if err != nil {
					t.Fatal("what the peer said early is lost")
				}
				if !punch.IsProbe(buf[:n]) {
					heard = [][]byte{buf[:n]}
				}
			}
		}
		if string(heard[0]) != "early" {
			t.Errorf("heard %q", heard)
		}
	})
}

func TestUDPFailures(t *testing.T) {
	bubble(t, func(t *testing.T, conns [2]net.PacketConn, addrs [2]netip.AddrPort) {
		begin := time.Now()
		_, err := punch.UDP(t.Context(), conns[0], punch.UDPConfig{Peer: addrs[1:], Secret: secret, Timeout: 3 * time.Second})
		if !errors.Is(err, punch.ErrSilent) || time.Since(begin) != 3*time.Second || !strings.Contains(err.Error(), addrs[1].String()) {
			t.Errorf("nobody there: %v after %v", err, time.Since(begin))
		}
		a := start(t.Context(), conns[0], punch.UDPConfig{Peer: addrs[1:], Secret: secret})
		b := start(t.Context(), conns[1], punch.UDPConfig{Peer: addrs[:1], Secret: []byte("quite another secret")})
		if x, y := <-a, <-b; !errors.Is(x.error, punch.ErrSecret) || !errors.Is(y.error, punch.ErrSecret) {
			t.Errorf("different secrets: %v and %v", x.error, y.error)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("dinner is ready"))
		defer cancel()
		begin = time.Now()
		if _, err := punch.UDP(ctx, conns[0], punch.UDPConfig{Peer: addrs[1:], Secret: secret}); err == nil || !strings.Contains(err.Error(), "dinner is ready") || time.Since(begin) != time.Second {
			t.Errorf("cancelled: %v after %v", err, time.Since(begin))
		}
		c := start(t.Context(), conns[0], punch.UDPConfig{Peer: addrs[1:], Secret: secret})
		synctest.Wait()
		conns[0].Close()
		if x := <-c; !errors.Is(x.error, net.ErrClosed) {
			t.Errorf("socket closed: %v", x.error)
		}
		if _, err := punch.UDP(t.Context(), nil, punch.UDPConfig{Secret: secret}); err == nil {
			t.Error("no error for a nil socket")
		}
	})
}
