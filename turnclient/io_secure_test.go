package turnclient_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// plainDTLS is DTLS without any: what is tested here is all but the encryption.
func plainDTLS(_ context.Context, conn net.Conn, _ *tls.Config) (net.Conn, error) { return conn, nil }

const dtlsURI = "turns:turn.example.org:3478?transport=udp"

// secureConfig reaches the simulated server over DTLS of a kind.
func secureConfig(w *simWorld, dtls func(context.Context, net.Conn, *tls.Config) (net.Conn, error)) turnclient.Config {
	cfg := w.config(dtlsURI)
	cfg.Resolver = &dns{addrs: map[string][]string{"turn.example.org": {"192.0.2.1"}}}
	cfg.DTLS = dtls
	return cfg
}

// The handshake is done before anything of ours is sent, with the name of the URI; then
// messages go one by one.
func TestClientOverDTLS(t *testing.T) {
	simulate(t, "symmetric-random", authed(), func(t *testing.T, w *simWorld) {
		pc := w.echo(t)
		defer pc.Close()
		shaken := false
		cfg := secureConfig(w, func(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
			if cfg.ServerName != "turn.example.org" || cfg.MinVersion != tls.VersionTLS12 || conn.RemoteAddr().String() != "192.0.2.1:3478" {
				t.Errorf("DTLS for %q with %v", cfg.ServerName, conn.RemoteAddr())
			}
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
			w.loop.Do(func(time.Time) {
				if n := w.server.Requests[wire.Allocate]; n != 0 {
					t.Errorf("%d requests before the handshake was done", n)
				}
			})
			shaken = true
			return conn, nil
		})
		client, relay := open(t, cfg)
		if !shaken || relay.Server().Transport != turnclient.DTLS {
			t.Errorf("%v, handshake done: %v", relay.Server(), shaken)
		}
		to := netip.AddrPortFrom(w.peer.Addr(), 7)
		buf := make([]byte, 2000)
		for i := range 30 {
			want := fmt.Sprint("message ", i)
			if _, err := relay.WriteToUDPAddrPort([]byte(want), to); err != nil {
				t.Fatal(err)
			}
			relay.SetReadDeadline(time.Now().Add(time.Second))
			n, from, err := relay.ReadFromUDPAddrPort(buf)
			if err != nil || string(buf[:n]) != want || from != to {
				t.Fatalf("read %q from %v, %v; want %q", buf[:n], from, err, want)
			}
		}
		if w.server.ChannelData < 10 {
			t.Errorf("%d ChannelData messages of 30 datagrams", w.server.ChannelData)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if n := w.server.Allocations(time.Now()); n != 0 {
			t.Errorf("%d allocations left at the server", n)
		}
	})
}

// What the handshake says is in the error, and nothing was sent.
func TestDTLSHandshakeFails(t *testing.T) {
	for name, c := range map[string]struct {
		why  error
		want error
	}{
		"certificate": {&tls.CertificateVerificationError{Err: errors.New("for another name")}, turnclient.ErrCertificate},
		"other":       {net.ErrWriteToConnected, net.ErrWriteToConnected},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
				client, err := turnclient.Dial(t.Context(), secureConfig(w, func(context.Context, net.Conn, *tls.Config) (net.Conn, error) { return nil, c.why }))
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				_, err = client.Allocate(t.Context())
				var one *turnclient.ServerError
				if !errors.Is(err, c.why) || !errors.Is(err, c.want) || !errors.As(err, &one) || one.Server.Name != "turn.example.org" || one.Server.Transport != turnclient.DTLS {
					t.Error(err)
				}
				if len(w.server.Requests) != 0 {
					t.Errorf("requests reached the server: %v", w.server.Requests)
				}
			})
		})
	}
}

// A handshake that is never done is given up after ten seconds, and Close ends it at once.
func TestDTLSHandshakeThatHangs(t *testing.T) {
	simulate(t, "open", authed(), func(t *testing.T, w *simWorld) {
		hang := func(ctx context.Context, _ net.Conn, _ *tls.Config) (net.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		client, err := turnclient.Dial(t.Context(), secureConfig(w, hang))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := client.Allocate(t.Context()); !errors.Is(err, turnclient.ErrNoAnswer) || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		done := make(chan error)
		go func() {
			_, err := client.Allocate(t.Context())
			done <- err
		}()
		synctest.Wait()
		start = time.Now()
		client.Close()
		if err := <-done; !errors.Is(err, turnclient.ErrClosed) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// recorder is an association that notes what is written to it.
type recorder struct {
	net.Conn
	writes [][]byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.writes = append(r.writes, bytes.Clone(b))
	return len(b), nil
}

// The loop may write several messages at once. Each is a record of its own.
func TestOneMessageToARecord(t *testing.T) {
	var all []byte
	var want [][]byte
	add := func(b []byte) { all, want = append(all, b...), append(want, b) }
	var b wire.Builder
	b.Reset(wire.BindingIndication, wire.TransactionID{})
	stun := bytes.Clone(b.Bytes())
	for _, data := range []string{"", "a", "ab", "abc", "abcd", "abcde"} {
		m, err := wire.AppendChannelData(nil, 0x4000, []byte(data), false)
		if err != nil {
			t.Fatal(err)
		}
		add(m)
		add(stun)
	}
	r := new(recorder)
	if n, err := turnclient.NewMessageTap(r).Write(all); n != len(all) || err != nil {
		t.Fatal(n, err)
	}
	if !slices.EqualFunc(r.writes, want, bytes.Equal) {
		t.Errorf("records % x", r.writes)
	}
}
