package simnet

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
)

func TestDatagramsStayWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b := pair(1, Link{Delay: access})
		defer w.Go()()
		x, err := a.ListenPacket(t.Context(), "udp", ":5000")
		check(t, err)
		defer x.Close()
		y, err := b.ListenPacket(t.Context(), "udp4", ":0")
		check(t, err)
		defer y.Close()
		to := net.UDPAddrFromAddrPort(at(a, 5000))

		// Several readers share the datagrams, each of which comes to one of them.
		const n = 200
		var mu sync.Mutex
		got := map[string]int{}
		var readers, writers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				buf := make([]byte, 2000)
				for {
					n, _, err := x.ReadFrom(buf)
					if err != nil {
						return
					}
					mu.Lock()
					got[string(buf[:n])]++
					mu.Unlock()
				}
			})
			writers.Go(func() {
				for i := range n / 4 {
					if _, err := y.WriteTo(fmt.Appendf(nil, "%d", i), to); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		time.Sleep(time.Second)
		check(t, x.SetReadDeadline(time.Now()))
		readers.Wait()
		for i := range n / 4 {
			if got[fmt.Sprint(i)] != 4 {
				t.Errorf("datagram %d came %d times of 4", i, got[fmt.Sprint(i)])
			}
		}

		// A datagram longer than the buffer is cut, an empty one is one, too.
		check(t, x.SetReadDeadline(time.Time{}))
		for _, d := range []string{"abcdef", "", "x"} {
			_, err := y.WriteTo([]byte(d), to)
			check(t, err)
		}
		buf := make([]byte, 4)
		for _, want := range []string{"abcd", "", "x"} {
			if n, _, err := x.ReadFrom(buf); err != nil || string(buf[:n]) != want {
				t.Errorf("read %q, %v, want %q", buf[:n], err, want)
			}
		}
		if _, err := y.WriteTo(make([]byte, 65508), to); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("a datagram of 65,508 bytes: %v", err)
		}
		if _, err := y.WriteTo(nil, &net.UnixAddr{}); err == nil {
			t.Error("a datagram to a path")
		}
		// A slow reader loses what its buffer does not take.
		for range 400 {
			_, err := y.WriteTo(make([]byte, 1000), to)
			check(t, err)
		}
		time.Sleep(time.Second)
		check(t, x.SetReadDeadline(time.Now().Add(time.Second)))
		count := 0
		for {
			if _, _, err := x.ReadFrom(buf); err != nil {
				break
			}
			count++
		}
		if count != receiveBuffer/1000 {
			t.Errorf("%d datagrams of 1,000 bytes were kept", count)
		}
	})
}

// An ICMP error is a read error that says which remote it is about, and the socket
// lives on.
func TestDatagramErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(1)
		site, err := w.AddSite("a", "cgnat", Link{Delay: access})
		check(t, err)
		b := w.AddHost("b", w.Internet(), Link{})
		defer w.Go()()
		pc, err := site.ListenPacket(t.Context(), "udp", ":5000")
		check(t, err)
		defer pc.Close()
		c := pc.(*PacketConn)
		for ttl, want := range map[int]error{0: syscall.ECONNREFUSED, 1: syscall.EHOSTUNREACH, 2: syscall.EHOSTUNREACH} {
			_, err := c.WriteOpts([]byte("x"), at(b, 9), netio.SendOptions{TTL: ttl})
			check(t, err)
			_, _, err = c.ReadMeta(make([]byte, 10))
			var unreachable *netio.UnreachableError
			if !errors.Is(err, want) || !errors.As(err, &unreachable) || unreachable.Remote != at(b, 9) || !netio.IsTransient(err) {
				t.Errorf("TTL %d: %v, want %v about %v", ttl, err, want, at(b, 9))
			}
		}
		_, err = c.WriteOpts(make([]byte, 1473), at(b, 9), netio.SendOptions{DontFragment: true})
		check(t, err)
		if _, _, err := c.ReadMeta(nil); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("too big: %v", err)
		}
		site.Iface().SetUp(false)
		if _, err := c.WriteOpts(nil, at(b, 9), netio.SendOptions{}); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("interface down: %v", err)
		}
	})
}
