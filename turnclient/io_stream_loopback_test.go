package turnclient_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// plainRelay is as little of a server of RFC 6062 as will do, over real sockets: it knows
// one user, keeps one allocation and looks after nothing. Unlike turntest's machine it
// moves bytes as fast as it can.
type plainRelay struct {
	ln, relay net.Listener
	wg        sync.WaitGroup

	mu      sync.Mutex
	control net.Conn            // guarded by mu, as are the rest
	waiting map[uint32]net.Conn // peers' connections, by their ID
	open    map[net.Conn]bool
	last    uint32
}

// startRelay serves on loopback until stop is called.
func startRelay(over *tls.Config) (r *plainRelay, stop func(), err error) {
	r = &plainRelay{waiting: make(map[uint32]net.Conn), open: make(map[net.Conn]bool)}
	if r.ln, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, nil, err
	}
	if r.relay, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		r.ln.Close()
		return nil, nil, err
	}
	if over != nil {
		r.ln = tls.NewListener(r.ln, over)
	}
	r.wg.Go(func() { r.accept(r.ln, r.serve) })
	r.wg.Go(func() { r.accept(r.relay, r.attempt) })
	return r, func() {
		r.ln.Close()
		r.relay.Close()
		r.mu.Lock()
		for c := range r.open {
			c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	}, nil
}

func (r *plainRelay) port() int { return r.ln.Addr().(*net.TCPAddr).Port }

func (r *plainRelay) accept(ln net.Listener, serve func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.open[c] = true
		r.mu.Unlock()
		r.wg.Go(func() { serve(c) })
	}
}

// keep gives a peer's connection an ID.
func (r *plainRelay) keep(c net.Conn) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[c] = true
	r.last++
	r.waiting[r.last] = c
	return r.last
}

// attempt tells the client of a peer.
func (r *plainRelay) attempt(c net.Conn) {
	id := r.keep(c)
	var b wire.Builder
	b.Reset(wire.MessageType{Method: wire.ConnectionAttempt, Class: wire.Indication}, wire.TransactionID{})
	b.AddXORAddress(wire.AttrXORPeerAddress, c.RemoteAddr().(*net.TCPAddr).AddrPort())
	b.AddUint32(wire.AttrConnectionID, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.control.Write(b.Bytes())
}

// serve answers what comes on a connection of the client, until it is bound.
func (r *plainRelay) serve(c net.Conn) {
	head := make([]byte, 4)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		size, err := wire.StreamFrame(head)
		raw := append(bytes.Clone(head), make([]byte, max(size, 4)-4)...)
		if _, rerr := io.ReadFull(c, raw[4:]); err != nil || rerr != nil {
			return
		}
		m := new(wire.Message)
		if m.Decode(raw) != nil || m.Class() != wire.Request {
			continue
		}
		if !signed(m) {
			c.Write(challengeTo(m, wire.CodeUnauthenticated, nonce))
			continue
		}
		code, id, peer := 0, uint32(0), net.Conn(nil)
		switch m.Method() {
		case wire.Allocate:
			r.mu.Lock()
			r.control = c
			r.mu.Unlock()
		case wire.Connect:
			to, _ := m.XORPeerAddress()
			if p, err := net.Dial("tcp4", to.String()); err == nil {
				id = r.keep(p)
			} else {
				code = wire.CodeConnectionFailed
			}
		case wire.ConnectionBind:
			id, _ := m.Uint32(wire.AttrConnectionID)
			r.mu.Lock()
			peer = r.waiting[id]
			r.mu.Unlock()
		}
		c.Write(answerTo(m, code, md5Key, func(b *wire.Builder) {
			if id != 0 {
				b.AddUint32(wire.AttrConnectionID, id)
			}
			if m.Method() == wire.Allocate {
				b.AddXORAddress(wire.AttrXORRelayedAddress, r.relay.Addr().(*net.TCPAddr).AddrPort())
				b.AddXORAddress(wire.AttrXORMappedAddress, c.RemoteAddr().(*net.TCPAddr).AddrPort())
			}
		}))
		if peer != nil {
			join(c, peer)
			return
		}
	}
}

// join moves bytes both ways, and passes on the end of each.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(interface{ CloseWrite() error }).CloseWrite()
		})
	}
}

// relayConfig is that of a client for a plainRelay.
func (r *plainRelay) config() turnclient.Config {
	return turnclient.Config{Servers: []string{fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", r.port())}, Credentials: creds}
}

// Real sockets on loopback, plain and with TLS: connections to and from a peer carry what
// they are given at full speed both ways at once, and half-close; what is handed out is
// the system's own connection.
func TestTCPRelayOnLoopback(t *testing.T) {
	cert, pool := certificate(t, "turn.example.org")
	for _, over := range []*tls.Config{nil, {Certificates: []tls.Certificate{cert}}} {
		t.Run(fmt.Sprint("TLS ", over != nil), func(t *testing.T) {
			r, stop, err := startRelay(over)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			cfg := r.config()
			if over != nil {
				cfg.Servers[0] = fmt.Sprintf("turns:turn.example.org:%d", r.port())
				cfg.TLS = &tls.Config{RootCAs: pool}
				cfg.Resolver = &dns{addrs: map[string][]string{"turn.example.org": {"127.0.0.1"}}}
			}
			client, relay := openTCP(t, cfg)
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ln, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if err := relay.Permit(ctx, netip.MustParseAddr("127.0.0.1")); err != nil {
				t.Fatal(err)
			}
			peers := make(chan net.Conn, 2)
			go func() {
				c, err := ln.Accept()
				if err != nil {
					t.Error(err)
				}
				peers <- c
			}()
			ours, err := relay.Dial(ctx, ln.Addr().(*net.TCPAddr).AddrPort())
			if err != nil {
				t.Fatal(err)
			}
			exchangeBytes(t, ours, <-peers)

			c, err := net.Dial("tcp4", relay.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if ours, err = relay.AcceptContext(ctx); err != nil {
				t.Fatal(err)
			}
			if ours.RemoteAddr().String() != c.LocalAddr().String() || ours.LocalAddr().String() != relay.Addr().String() {
				t.Errorf("%v -> %v", ours.RemoteAddr(), ours.LocalAddr())
			}
			exchangeBytes(t, ours, c)
			switch carrier := ours.(*turnclient.TCPConn).NetConn().(type) {
			case *net.TCPConn:
				if over != nil {
					t.Error("not secured")
				}
			case *tls.Conn:
				if over == nil {
					t.Error("secured")
				}
			default:
				t.Errorf("a %T", carrier)
			}
		})
	}
}

// exchange sends 1 MiB each way between two ends at the same time, ends each way, and
// closes both.
func exchangeBytes(t *testing.T, a, b net.Conn) {
	t.Helper()
	if b == nil {
		t.FailNow()
	}
	data := noise(1 << 20)
	var wg sync.WaitGroup
	for _, c := range []net.Conn{a, b} {
		c.SetDeadline(time.Now().Add(time.Minute))
		wg.Go(func() {
			_, err := io.Copy(c, struct{ io.Reader }{bytes.NewReader(data)}) // which uses its ReadFrom
			if err := errors.Join(err, c.(interface{ CloseWrite() error }).CloseWrite()); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			var got bytes.Buffer
			_, err := io.Copy(struct{ io.Writer }{&got}, c) // which uses its WriteTo
			if err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("%d bytes, %v", got.Len(), err)
			}
		})
	}
	wg.Wait()
	a.Close()
	b.Close()
}

// What a TCPConn costs beside the connection that it is: the same forwarder, by way of
// RFC 6062 and plainly.
func BenchmarkTCPConn(b *testing.B) {
	r, stop, err := startRelay(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	sink, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	go func() {
		for {
			c, err := sink.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, c)
		}
	}()
	run := func(b *testing.B, c net.Conn) {
		buf := make([]byte, 32<<10)
		b.SetBytes(int64(len(buf)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		c.Close()
	}
	b.Run("relayed", func(b *testing.B) {
		client, err := turnclient.Dial(b.Context(), r.config())
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		relay, err := client.AllocateTCP(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		c, err := relay.Dial(b.Context(), sink.Addr().(*net.TCPAddr).AddrPort())
		if err != nil {
			b.Fatal(err)
		}
		run(b, c)
	})
	b.Run("plain", func(b *testing.B) {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer ln.Close()
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p, err := net.Dial("tcp4", sink.Addr().String())
			if err != nil {
				return
			}
			join(c, p)
		}()
		c, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		run(b, c)
	})
}
