package interop_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/turnclient"
)

// mebibyte is what goes each way, in content that depends on which.
func mebibyte(way byte) []byte {
	b := make([]byte, 1<<20)
	_, _ = mathrand.NewChaCha8([32]byte{way}).Read(b)
	return b
}

const banner = "220 ready"

// greet is what a peer does first: it sends a banner, before anything is bound, and waits
// for a word. In bulk, coturn 4.6.1 loses some of what comes before the bind.
func greet(c net.Conn) error {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write([]byte(banner)); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// greeted is the other side of greet.
func greeted(c net.Conn) error {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	got := make([]byte, len(banner))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != banner {
		return fmt.Errorf("banner %q: %w", got, err)
	}
	_, err := c.Write([]byte("."))
	return err
}

// piece is how much is under way each way at a time. With more, coturn 4.6.1 sometimes stops
// to read for good: the kernel keeps what came, and it has nothing left to send.
const piece = 16 << 10

// swap sends out and wants in of the other side, which is as long, piece by piece at the
// same time, and returns when both have all: what coturn has not sent when one side closes
// is lost.
func swap(c net.Conn, out, in []byte) error {
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	h := sha256.New()
	for ; len(out) > 0; out = out[min(piece, len(out)):] {
		n := min(piece, len(out))
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(out[:n])
			wrote <- err
		}()
		_, err := io.CopyN(h, c, int64(n))
		if err = errors.Join(err, <-wrote); err != nil {
			return err
		}
	}
	if want := sha256.Sum256(in); !bytes.Equal(h.Sum(nil), want[:]) {
		return fmt.Errorf("%d bytes came, with another hash", len(in))
	}
	if _, err := c.Write([]byte(".")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// ended waits for the other side's end of a connection that has nothing more to say.
// Coturn does not always pass on as an end what is one, and drops what it has not sent
// yet, so that whoever has all that he wants closes first.
func ended(c net.Conn) error {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("at the end %d bytes, %w", n, err)
	}
	return nil
}

// allocateTCP gets a TCP allocation that lives until the test ends.
func allocateTCP(t *testing.T, cfg turnclient.Config) *turnclient.TCPAllocation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	relay, err := newTurnClient(t, cfg).AllocateTCP(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return relay
}

// A connection to a peer and one from a peer, by way of a server that is reached over TCP
// and over TLS: a mebibyte each way on each, at the same time.
func TestCoturnRelaysTCP(t *testing.T) {
	t.Parallel()
	server := newTurnserver(t)
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			relay := allocateTCP(t, server.config(transport))
			local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			if relay.RelayedAddr().Addr() != local || relay.MappedAddr().Addr() != local || relay.State() != turnclient.Allocated {
				t.Errorf("relayed %v, mapped %v, %v", relay.RelayedAddr(), relay.MappedAddr(), relay.State())
			}
			ours, theirs := mebibyte(1), mebibyte(2)

			peer, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			at := peer.Addr().(*net.TCPAddr).AddrPort()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				c, err := peer.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if c.RemoteAddr().String() != relay.Addr().String() {
					t.Errorf("the peer sees %v, not %v", c.RemoteAddr(), relay.Addr())
				}
				if err := errors.Join(greet(c), swap(c, theirs, ours), ended(c)); err != nil {
					t.Errorf("the peer that was connected to: %v", err)
				}
			})
			dialled, err := relay.Dial(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(greeted(dialled), swap(dialled, ours, theirs)); err != nil {
				t.Errorf("to a peer: %v", err)
			}
			carrier := dialled.(*turnclient.TCPConn).NetConn()
			if _, secured := carrier.(*tls.Conn); secured != (transport == "tls") || dialled.RemoteAddr().String() != at.String() {
				t.Errorf("%T to %v", carrier, dialled.RemoteAddr())
			}
			if _, err := relay.Dial(ctx, at); !errors.Is(err, turnclient.ErrConnectionExists) {
				t.Errorf("a second connection to the same peer: %v", err)
			}
			dialled.Close()
			wg.Wait()

			if err := relay.Permit(ctx, local); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				wg.Go(func() {
					c, err := net.Dial("tcp4", relay.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					if err := errors.Join(greet(c), swap(c, theirs, ours), ended(c)); err != nil {
						t.Errorf("the peer that connected: %v", err)
					}
				})
			}
			for range 3 {
				accepted, err := relay.AcceptContext(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if from := accepted.RemoteAddr().(*net.TCPAddr); from.AddrPort().Addr() != local || accepted.LocalAddr().String() != relay.Addr().String() {
					t.Errorf("%v -> %v", from, accepted.LocalAddr())
				}
				if err := errors.Join(greeted(accepted), swap(accepted, ours, theirs)); err != nil {
					t.Errorf("from a peer: %v", err)
				}
				accepted.Close()
			}
			wg.Wait()

			// A peer that closes ends the connection here.
			c, err := net.Dial("tcp4", relay.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			accepted, err := relay.AcceptContext(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			c.Close()
			if err := ended(accepted); err != nil {
				t.Errorf("the peer has closed: %v", err)
			}
		})
	}
}

// What cannot be connected to, or is not let in, says so, and changes nothing for others.
func TestCoturnRefusesTCP(t *testing.T) {
	t.Parallel()
	server := newTurnserver(t, "denied-peer-ip=127.0.0.3")
	relay := allocateTCP(t, server.config("tcp"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var why *turnclient.ServerError
	refused := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(freePort(t)))
	if _, err := relay.Dial(ctx, refused); !errors.As(err, &why) || why.Code != 447 || time.Until(why.RetryAfter) < 5*time.Second {
		t.Errorf("to a peer that refuses: %v", err)
	}
	if _, err := relay.Dial(ctx, refused); !errors.Is(err, turnclient.ErrHeld) {
		t.Errorf("again: %v", err)
	}
	denied := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 3}), 80)
	if _, err := relay.Dial(ctx, denied); !errors.As(err, &why) || why.Code != 403 || !errors.Is(err, turnclient.ErrNotPermitted) {
		t.Errorf("to a peer that is denied: %v", err)
	}
	stranger, err := net.Dial("tcp4", relay.Addr().String()) // its address is permitted by the first Dial
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	if unpermitted, err := from.DialContext(ctx, "tcp4", relay.Addr().String()); err == nil { // else it was quick
		defer unpermitted.Close()
		if err := ended(unpermitted); err != nil {
			t.Errorf("a connection without a permission: %v", err)
		}
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	c, err := relay.AcceptContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.RemoteAddr().String() != stranger.LocalAddr().String() {
		t.Errorf("accepted %v", c.RemoteAddr())
	}
	var bad *turnclient.ConfigError
	if _, err := newTurnClient(t, server.config("udp")).AllocateTCP(ctx); !errors.As(err, &bad) {
		t.Errorf("over UDP: %v", err)
	}
}

// The server is killed and comes back: the allocation is made anew by itself within ten
// seconds, and connections can be made again.
func TestCoturnTCPRestart(t *testing.T) {
	t.Parallel()
	server := newTurnserver(t)
	relay := allocateTCP(t, server.config("tcp"))
	peer, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			c, err := peer.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { io.Copy(c, c); c.Close() })
		}
	})
	defer peer.Close()
	at := peer.Addr().(*net.TCPAddr).AddrPort()
	dial := func() (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return relay.Dial(ctx, at)
	}
	text := []byte("hello")
	old, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := swap(old, text, text); err != nil {
		t.Fatal(err)
	}
	server.kill()
	if _, err := old.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its server")
	}
	server.start(t)
	back := time.Now()
	c, err := dial()
	for err != nil {
		if time.Since(back) > 10*time.Second {
			t.Fatalf("no connection 10 s after the restart: %v", err)
		}
		pause(t)
		c, err = dial()
	}
	t.Logf("connected again %v after the restart", time.Since(back).Round(time.Millisecond))
	defer c.Close()
	if err := swap(c, text, text); err != nil {
		t.Error(err)
	}
	for e := range relay.Events() {
		if e.Kind == turnclient.EventAllocated && e.Lost.Err != nil {
			if e.Lost.Connections != 1 {
				t.Errorf("lost %+v", e.Lost)
			}
			return
		}
	}
}

// Nonces of one second: Connect and ConnectionBind go on.
func TestCoturnTCPStaleNonce(t *testing.T) {
	t.Parallel()
	server := newTurnserver(t, "stale-nonce=1")
	relay := allocateTCP(t, server.config("tcp"))
	peer, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for start := time.Now(); time.Since(start) < 2500*time.Millisecond; pause(t) {
		c, err := relay.Dial(ctx, peer.Addr().(*net.TCPAddr).AddrPort())
		if errors.Is(err, turnclient.ErrConnectionExists) {
			continue // it has not noticed yet that the last one is closed
		}
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := peer.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(".")); err != nil {
			t.Error(err)
		}
		theirs.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(theirs, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		c.Close()
		theirs.Close()
	}
	server.awaitWords(t, "error 438") // else this test proves nothing
}
