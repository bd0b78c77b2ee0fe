package turnclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

const tcpURI = "turn:192.0.2.1?transport=tcp"

func openTCP(t *testing.T, cfg turnclient.Config) (*turnclient.Client, *turnclient.TCPAllocation) {
	t.Helper()
	client, err := turnclient.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := client.AllocateTCP(t.Context())
	if err != nil {
		client.Close()
		t.Fatal(err)
	}
	return client, relay
}

// peers gives the server's connections to peers.
func (w *simWorld) peers() (all []netip.AddrPort) {
	_ = w.loop.Do(func(time.Time) { all = w.server.Peers() })
	return all
}

// listen makes the peer listen at TCP port 80 and serve every connection.
func (w *simWorld) listen(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	ln, err := w.peer.Listen(t.Context(), "tcp4", ":80", false)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return ln
}

func echoTCP(c net.Conn) {
	_, _ = io.Copy(c, c)
	c.Close()
}

// noise is n bytes that are not all alike.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func mustExchange(t *testing.T, c net.Conn, data []byte) {
	t.Helper()
	go c.Write(data)
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes did not come back: %v", len(data), err)
	}
}

// A client that can do nothing but TCP connects to a peer by way of the server.
func TestDialByTCPRelay(t *testing.T) {
	simulate(t, "udp-blocked", authed(), func(t *testing.T, w *simWorld) {
		ln := w.listen(t, echoTCP)
		defer ln.Close()
		client, relay := openTCP(t, w.config(tcpURI))
		if relay.RelayedAddr() != simRelays[0] || relay.Addr().String() != simRelays[0].String() || !relay.MappedAddr().IsValid() ||
			relay.State() != turnclient.Allocated || relay.Server().Transport != turnclient.TCP {
			t.Errorf("relayed %v, mapped %v, %v at %v", relay.RelayedAddr(), relay.MappedAddr(), relay.State(), relay.Server())
		}
		to := netip.AddrPortFrom(w.peer.Addr(), 80)
		c, err := relay.Dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		conn := c.(*turnclient.TCPConn)
		if conn.RemoteAddr().String() != to.String() || conn.LocalAddr().String() != simRelays[0].String() || conn.NetConn().RemoteAddr().String() != "192.0.2.1:3478" {
			t.Errorf("%v -> %v by %v", conn.LocalAddr(), conn.RemoteAddr(), conn.NetConn().RemoteAddr())
		}
		if got := w.peers(); !slices.Equal(got, []netip.AddrPort{to}) {
			t.Errorf("the server is connected to %v", got)
		}
		mustExchange(t, conn, noise(200_000))
		// Deadlines are the connection's.
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
		conn.SetReadDeadline(time.Time{})
		mustExchange(t, conn, []byte("and on"))
		// A second one to the same peer is refused; once the first is closed, it is not.
		if _, err := relay.Dial(t.Context(), to); !errors.Is(err, turnclient.ErrConnectionExists) {
			t.Errorf("a second connection: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read of a closed connection: %v", err)
		}
		<-time.After(time.Second)
		if got := w.peers(); len(got) != 0 {
			t.Errorf("the server is connected to %v still", got)
		}
		again, err := relay.Dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		mustExchange(t, again, []byte("again"))
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		// The server has closed it with the allocation.
		if _, err := again.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read after the allocation's end: %v", err)
		}
		again.Close()
		if _, err := relay.Dial(t.Context(), to); !errors.Is(err, turnclient.ErrClosed) {
			t.Errorf("dial by a closed allocation: %v", err)
		}
		if _, err := client.AllocateTCP(t.Context()); !errors.Is(err, turnclient.ErrClosed) {
			t.Errorf("allocate on a closed client: %v", err)
		}
	})
}

// Peers connect to the relayed address; those without a permission are turned away. What
// a peer sends at once is there when its connection is accepted, in front of the rest.
func TestAcceptAtTCPRelay(t *testing.T) {
	simulate(t, "udp-blocked", authed(), func(t *testing.T, w *simWorld) {
		client, relay := openTCP(t, w.config(tcpURI))
		defer client.Close()
		dial := func() net.Conn {
			t.Helper()
			c, err := w.peer.DialContext(t.Context(), "tcp4", relay.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		turned := dial()
		if _, err := turned.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("without a permission: %v", err)
		}
		turned.Close()
		if err := relay.Permit(t.Context(), w.peer.Addr()); err != nil {
			t.Fatal(err)
		}
		const count = 40
		var wg sync.WaitGroup
		defer wg.Wait()
		for i := range count {
			wg.Go(func() {
				c := dial()
				defer c.Close()
				fmt.Fprintf(c, "%04d", i)
				c.Write(noise(10_000))
				echoTCP(c)
			})
		}
		<-time.After(10 * time.Second) // they wait at the server until Accept is called
		if n := len(w.peers()); n != count {
			t.Errorf("%d connections at the server", n)
		}
		seen := make(map[string]bool)
		for range count {
			c, err := relay.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if from := c.RemoteAddr().(*net.TCPAddr).AddrPort(); from.Addr() != w.peer.Addr() || !slices.Contains(w.peers(), from) {
				t.Errorf("from %v", from)
			}
			got := make([]byte, 4+10_000)
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got[4:], noise(10_000)) {
				t.Errorf("%q, %v", got[:4], err)
			}
			seen[string(got[:4])] = true
			mustExchange(t, c, []byte("and back"))
			c.Close()
		}
		if len(seen) != count {
			t.Errorf("%d different connections", len(seen))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var op *net.OpError
		if _, err := relay.AcceptContext(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &op) || op.Op != "accept" {
			t.Errorf("%v", err)
		}
	})
}

// What the peer sends before the connection is bound comes in one segment with the
// server's answer, and all of it is the conn's; nothing of it is lost in a buffer.
func TestBytesBehindTheBindSuccessAreRead(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		data := noise(50_000)
		ln := w.listen(t, func(c net.Conn) {
			c.Write(data)
			c.Close()
		})
		defer ln.Close()
		for _, most := range []int{1 << 20, 100, 1} {
			cfg := w.config(tcpURI)
			cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := w.site.DialContext(ctx, network, address)
				return choppy{c, most}, err
			}
			client, relay := openTCP(t, cfg)
			defer client.Close()
			c, err := relay.Dial(t.Context(), netip.AddrPortFrom(w.peer.Addr(), 80))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			<-time.After(5 * time.Second) // unread, it waits in the connection and nowhere else
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
				t.Errorf("at most %d bytes a read: %d bytes, %v", most, len(got), err)
			}
			client.Close()
		}
	})
}

// choppy reads so many bytes at the most.
type choppy struct {
	net.Conn
	most int
}

func (c choppy) Read(b []byte) (int, error) { return c.Conn.Read(b[:min(len(b), c.most)]) }

// Nobody accepts: what waits is bounded, and what is closed with the allocation.
func TestBacklogIsBounded(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		var opened, closed atomic.Int32
		cfg := w.config(tcpURI)
		cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := w.site.DialContext(ctx, network, address)
			opened.Add(1)
			return &counted{Conn: c, closed: &closed}, err
		}
		client, relay := openTCP(t, cfg)
		defer client.Close()
		if err := relay.Permit(t.Context(), w.peer.Addr()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		relay.AcceptContext(ctx) // from here on connections are taken
		var all []net.Conn
		for range 140 {
			c, err := w.peer.DialContext(t.Context(), "tcp4", relay.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		<-time.After(10 * time.Second)
		if n := len(w.peers()); n != 128 {
			t.Errorf("%d connections wait to be accepted", n)
		}
		if err := relay.Close(); err != nil {
			t.Error(err)
		}
		if _, err := relay.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
		<-time.After(time.Second)
		if n := len(w.peers()); n != 0 || opened.Load() != 1+140 || closed.Load() != opened.Load() {
			t.Errorf("%d connections are left at the server, %d of %d are closed here", n, closed.Load(), opened.Load())
		}
		for _, c := range all {
			c.Close()
		}
	})
}

// counted counts that it is closed.
type counted struct {
	net.Conn
	closed *atomic.Int32
	once   sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.closed.Add(1) })
	return c.Conn.Close()
}

// Dial ends with its context, with the allocation, and with the client, and what it began
// is not left behind.
func TestDialByTCPRelayEnds(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		client, relay := openTCP(t, w.config(tcpURI))
		defer client.Close()
		nowhere := netip.MustParseAddrPort("203.0.113.200:80") // a SYN there is lost
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := relay.Dial(ctx, nowhere)
		var p *turnclient.PeerError
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &p) || p.Peer != nowhere || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := relay.Dial(ctx, nowhere); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		// The next one goes on with it, and is told what comes of it.
		_, err = relay.Dial(t.Context(), nowhere)
		var s *turnclient.ServerError
		if took := time.Since(start); !errors.As(err, &s) || s.Code != wire.CodeConnectionFailed || took < 30*time.Second || took > 31*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if n := w.server.Requests[wire.Connect]; n != 1 {
			t.Errorf("%d Connect requests", n)
		}
		// A peer that refuses is told at once.
		start = time.Now()
		if _, err = relay.Dial(t.Context(), netip.AddrPortFrom(w.peer.Addr(), 81)); !errors.As(err, &s) || s.Code != wire.CodeConnectionFailed || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// What is given up before it stands is closed when it does.
		ln := w.listen(t, echoTCP)
		defer ln.Close()
		at := netip.AddrPortFrom(w.peer.Addr(), 80)
		for wait := range 18 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(wait)*20*time.Millisecond)
			if c, err := relay.Dial(ctx, at); err == nil {
				c.Close()
			}
			cancel()
			<-time.After(time.Second)
			if got := w.peers(); len(got) != 0 {
				t.Errorf("given up after %d ms: the server is connected to %v", 20*wait, got)
			}
		}
		done := make(chan error)
		go func() {
			_, err := relay.Dial(t.Context(), netip.AddrPortFrom(nowhere.Addr(), 82))
			done <- err
		}()
		go func() {
			_, err := relay.Accept()
			done <- err
		}()
		synctest.Wait()
		client.Close()
		for range 2 {
			if err := <-done; !errors.Is(err, turnclient.ErrClosed) {
				t.Errorf("%v", err)
			}
		}
	})
}
