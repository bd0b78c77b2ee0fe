package turnclient_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// The server is killed and comes back: Accept goes on at the new address, an event states
// the loss, and connections that stood have ended.
func TestTCPRelaySurvivesARestart(t *testing.T) {
	simulate(t, "port-restricted-cone", authed(), func(t *testing.T, w *simWorld) {
		ln := w.listen(t, echoTCP)
		defer ln.Close()
		client, relay := openTCP(t, w.config(tcpURI))
		defer client.Close()
		if err := relay.Permit(t.Context(), w.peer.Addr()); err != nil {
			t.Fatal(err)
		}
		to := netip.AddrPortFrom(w.peer.Addr(), 80)
		old, err := relay.Dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		mustExchange(t, old, []byte("before"))
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := relay.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		synctest.Wait()
		w.loop.Close() // killed
		w.server.Restart()
		<-time.After(time.Second)
		if _, err := old.Read(make([]byte, 1)); err == nil {
			t.Error("the old connection stands")
		}
		w.serve(t)
		back := time.Now()
		var again net.Conn
		for again == nil {
			if again, err = relay.Dial(t.Context(), to); err == nil {
				break
			}
			if !errors.Is(err, turnclient.ErrLost) || time.Since(back) > 10*time.Second {
				t.Fatalf("%v after %v", err, time.Since(back))
			}
			<-time.After(100 * time.Millisecond)
		}
		defer again.Close()
		mustExchange(t, again, []byte("after"))
		c, err := w.peer.DialContext(t.Context(), "tcp4", relay.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		(<-accepted).Close()
		for len(relay.Events()) > 0 {
			if e := <-relay.Events(); e.Kind == turnclient.EventAllocated && e.Lost.Err != nil {
				if e.Lost.Connections != 1 || e.Lost.Permissions != 1 || len(e.Lost.Relayed) != 1 {
					t.Errorf("lost %+v", e.Lost)
				}
				return
			}
		}
		t.Error("no event states the loss")
	})
}

// A server that does not relay TCP still relays datagrams, and one that is reached over
// UDP alone cannot be asked.
func TestServersWithoutTCPRelays(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		w.server.RelayTCP = nil
		client, err := turnclient.Dial(t.Context(), w.config(tcpURI))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, err = client.AllocateTCP(t.Context())
		var s *turnclient.ServerError
		if !errors.As(err, &s) || s.Code != wire.CodeUnsupportedTransport {
			t.Errorf("%v", err)
		}
		if _, err := client.Allocate(t.Context()); err != nil {
			t.Error(err)
		}
		over, err := turnclient.Dial(t.Context(), w.config("turn:192.0.2.1?transport=udp"))
		if err != nil {
			t.Fatal(err)
		}
		defer over.Close()
		var bad *turnclient.ConfigError
		if _, err := over.AllocateTCP(t.Context()); !errors.As(err, &bad) {
			t.Errorf("%v", err)
		}
	})
}

// What a connection to the server can do beyond net.Conn can be had.
func TestTCPConnHalfCloses(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		ln := w.listen(t, echoTCP)
		defer ln.Close()
		for _, able := range []bool{true, false} {
			var half halfConn
			cfg := w.config(tcpURI)
			cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := w.site.DialContext(ctx, network, address)
				if able && err == nil {
					half = halfConn{c, new(int)}
					return half, nil
				}
				return c, err
			}
			client, relay := openTCP(t, cfg)
			c, err := relay.Dial(t.Context(), netip.AddrPortFrom(w.peer.Addr(), 80))
			if err != nil {
				t.Fatal(err)
			}
			err = c.(*turnclient.TCPConn).CloseWrite()
			if able != (err == nil) || !able && !errors.Is(err, errors.ErrUnsupported) || able && *half.closed != 1 {
				t.Errorf("half-close: able %v: %v", able, err)
			}
			c.Close()
			client.Close()
		}
	})
}

type halfConn struct {
	net.Conn
	closed *int
}

func (h halfConn) CloseWrite() error { *h.closed++; return nil }

// The server closes what is not bound within 30 s, and then it is not accepted either; and
// what is bound when the allocation expires, for nobody could refresh it.
func TestServerEndsConnections(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		ends := make(chan time.Time, 1)
		ln := w.listen(t, func(c net.Conn) {
			echoTCP(c)
			ends <- time.Now()
		})
		defer ln.Close()
		client, relay := openTCP(t, w.config(tcpURI))
		defer client.Close()
		if err := relay.Permit(t.Context(), w.peer.Addr()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		c, err := w.peer.DialContext(t.Context(), "tcp4", relay.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(start) < 30*time.Second || time.Since(start) > 31*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := relay.AcceptContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		ours, err := relay.Dial(t.Context(), netip.AddrPortFrom(w.peer.Addr(), 80))
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		w.site.Iface().SetUp(false)
		if took := (<-ends).Sub(start); took < 599*time.Second || took > 601*time.Second {
			t.Errorf("the peer's connection ended after %v", took)
		}
	})
}
