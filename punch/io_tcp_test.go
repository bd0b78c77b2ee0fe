package punch_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

// tcpBubble runs fn inside synctest with two sites behind port-restricted NATs, and
// for each the configuration that reaches the other from port 5000.
func tcpBubble(t *testing.T, fn func(t *testing.T, sites [2]*simnet.Site, cfgs [2]punch.TCPConfig)) {
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(1)
		defer w.Go()()
		var sites [2]*simnet.Site
		for i, name := range []string{"a", "b"} {
			var err error
			if sites[i], err = w.AddSite(name, "port-restricted-cone", simnet.Link{Delay: access}); err != nil {
				t.Fatal(err)
			}
		}
		var cfgs [2]punch.TCPConfig
		for i := range cfgs {
			cfgs[i] = tcpConfig(sites[i], netip.AddrPortFrom(sites[1-i].NAT.Addrs()[0], 5000))
		}
		fn(t, sites, cfgs)
	})
}

func tcpConfig(s *simnet.Site, peer netip.AddrPort) punch.TCPConfig {
	return punch.TCPConfig{
		Local: netip.AddrPortFrom(s.Addr(), 5000), Peer: []netip.AddrPort{peer}, Secret: secret,
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			return s.Listen(ctx, network, address, true)
		},
		Dial: s.DialFrom,
	}
}

type tcpResult struct {
	net.Conn
	error
}

func startTCP(ctx context.Context, c punch.TCPConfig) <-chan tcpResult {
	done := make(chan tcpResult, 1)
	go func() {
		conn, err := punch.TCP(ctx, c)
		done <- tcpResult{conn, err}
	}()
	return done
}

func TestTCPReturnsOneConnection(t *testing.T) {
	tcpBubble(t, func(t *testing.T, _ [2]*simnet.Site, cfgs [2]punch.TCPConfig) {
		a, b := startTCP(t.Context(), cfgs[0]), startTCP(t.Context(), cfgs[1])
		x, y := <-a, <-b
		if x.error != nil || y.error != nil {
			t.Fatal(x.error, y.error)
		}
		defer x.Close()
		defer y.Close()
		// The very first byte after the handshake is the peer's.
		go func() {
			io.WriteString(x, "hello")
			x.Conn.Close()
		}()
		got, err := io.ReadAll(y)
		if err != nil || string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
		if x.RemoteAddr().String() != cfgs[0].Peer[0].String() {
			t.Errorf("remote %v, want %v", x.RemoteAddr(), cfgs[0].Peer[0])
		}
	})
}

func TestTCPFailures(t *testing.T) {
	tcpBubble(t, func(t *testing.T, sites [2]*simnet.Site, cfgs [2]punch.TCPConfig) {
		begin := time.Now()
		cfgs[0].Timeout = 3 * time.Second
		if _, err := punch.TCP(t.Context(), cfgs[0]); !errors.Is(err, punch.ErrSilent) || time.Since(begin) != 3*time.Second {
			t.Errorf("nobody there: %v after %v", err, time.Since(begin))
		}
		cfgs[1].Timeout = 3 * time.Second
		cfgs[1].Secret = []byte("quite another secret")
		a, b := startTCP(t.Context(), cfgs[0]), startTCP(t.Context(), cfgs[1])
		if x, y := <-a, <-b; !errors.Is(x.error, punch.ErrSecret) && !errors.Is(y.error, punch.ErrSecret) {
			t.Errorf("different secrets: %v and %v", x.error, y.error)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("dinner is ready"))
		defer cancel()
		if _, err := punch.TCP(ctx, cfgs[0]); err == nil || !strings.Contains(err.Error(), "dinner is ready") {
			t.Errorf("cancelled: %v", err)
		}
		l, err := sites[0].Listen(t.Context(), "tcp", ":5000", false)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := punch.TCP(t.Context(), cfgs[0]); err == nil || !strings.Contains(err.Error(), "5000") {
			t.Errorf("port in use: %v", err)
		}
		var c *punch.ConfigError
		if _, err := punch.TCP(t.Context(), punch.TCPConfig{Secret: secret}); !errors.As(err, &c) || c.Field != "Local" {
			t.Errorf("no port: %v", err)
		}
	})
}

// Strangers that connect and say nothing, or something else, neither get in nor keep
// the peer out.
func TestTCPStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(1)
		defer w.Go()()
		site, err := w.AddSite("a", "open", simnet.Link{Delay: access})
		if err != nil {
			t.Fatal(err)
		}
		stranger := w.AddHost("stranger", w.Internet(), simnet.Link{})
		peer, err := w.AddSite("b", "open", simnet.Link{Delay: access})
		if err != nil {
			t.Fatal(err)
		}
		to := netip.AddrPortFrom(site.Addr(), 5000)
		a := startTCP(t.Context(), tcpConfig(site, netip.AddrPortFrom(peer.Addr(), 5000)))
		synctest.Wait()
		for i := range 40 {
			c, err := stranger.DialContext(t.Context(), "tcp", to.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if i%2 == 0 {
				io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
			}
		}
		b := startTCP(t.Context(), tcpConfig(peer, to))
		x, y := <-a, <-b
		if x.error != nil || y.error != nil {
			t.Fatal(x.error, y.error)
		}
		x.Close()
		y.Close()
	})
}

// Two peers on real sockets: from reused ports, by loopback.
func TestTCPOnLoopback(t *testing.T) {
	var listeners [2]net.Listener
	var ports [2]netip.AddrPort
	for i := range ports {
		var err error
		listeners[i], err = (&net.ListenConfig{Control: punch.ReusePort}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = listeners[i].Addr().(*net.TCPAddr).AddrPort()
	}
	var done [2]<-chan tcpResult
	for i := range done {
		done[i] = startTCP(t.Context(), punch.TCPConfig{
			Local: ports[i], Peer: ports[1-i : 2-i], Secret: secret, Loopback: true, Timeout: 20 * time.Second,
			Listen: func(context.Context, string, string) (net.Listener, error) { return listeners[i], nil },
		})
	}
	x, y := <-done[0], <-done[1]
	if x.error != nil || y.error != nil {
		t.Fatal(x.error, y.error)
	}
	defer x.Close()
	defer y.Close()
	go io.WriteString(x, "hello")
	buf := make([]byte, 5)
	if _, err := io.ReadFull(y, buf); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v", buf, err)
	}
}
