package netio

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An answer leaves from the address that was asked, where a socket has several.
func TestSource(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux, where 127.0.0.2 is an address without setup (elsewhere: ifconfig lo0 alias 127.0.0.2, and lift this)")
	}
	for _, c := range []struct{ name, network, bound, from, source, want string }{
		{"the one asked for", "udp4", "0.0.0.0:0", "127.0.0.1:0", "127.0.0.2", "127.0.0.2"},
		{"as IPv4-mapped", "udp4", "0.0.0.0:0", "127.0.0.1:0", "::ffff:127.0.0.2", "127.0.0.2"},
		{"of a dual-stack socket", "udp", "[::]:0", "127.0.0.1:0", "127.0.0.2", "127.0.0.2"},
		{"IPv6", "udp", "[::]:0", "[::1]:0", "::1", "::1"},
		{"none", "udp4", "0.0.0.0:0", "127.0.0.1:0", "", "127.0.0.1"},
		{"unspecified", "udp4", "0.0.0.0:0", "127.0.0.1:0", "0.0.0.0", "127.0.0.1"},
		{"multicast", "udp4", "0.0.0.0:0", "127.0.0.1:0", "224.0.0.1", "127.0.0.1"},
		{"broadcast", "udp4", "0.0.0.0:0", "127.0.0.1:0", "255.255.255.255", "127.0.0.1"},
		{"of the other family", "udp", "[::]:0", "127.0.0.1:0", "::1", "127.0.0.1"},
		{"link-local to elsewhere", "udp", "[::]:0", "[::1]:0", "fe80::1%lo", "::1"},
		{"of a socket that has one", "udp4", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.2", "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := open(t, c.network, c.bound), open(t, "udp", c.from)
			o := SendOptions{TTL: 9, DontFragment: true}
			if c.source != "" {
				o.Source = netip.MustParseAddr(c.source)
			}
			send(t, a, b.LocalAddrPort(), o)
			if m := receive(t, b); m.Remote.Addr() != netip.MustParseAddr(c.want) || m.TTL != 9 {
				t.Errorf("came from %v with TTL %d", m.Remote, m.TTL)
			}
		})
	}
	// One that is not this host's: the datagram is lost, the socket lives on.
	a, b := open(t, "udp4", "0.0.0.0:0"), open(t, "udp4", "127.0.0.1:0")
	if _, err := a.WriteOpts(nil, b.LocalAddrPort(), SendOptions{Source: netip.MustParseAddr("192.0.2.1")}); err == nil {
		t.Error("sent from a stranger's address")
	}
	send(t, a, b.LocalAddrPort(), SendOptions{})
	receive(t, b)
}

// The options of one datagram are not those of another that is sent meanwhile.
func TestOptionsDoNotLeak(t *testing.T) {
	a, b := open(t, "udp4", "127.0.0.1:0"), open(t, "udp4", "127.0.0.1:0")
	const n = 50
	var sending sync.WaitGroup
	sending.Go(func() {
		for range n {
			a.WriteOpts([]byte("probe"), b.LocalAddrPort(), SendOptions{TTL: 3, DontFragment: true})
		}
	})
	sending.Go(func() {
		for range n {
			a.WriteOpts([]byte("plain"), b.LocalAddrPort(), SendOptions{})
		}
	})
	buf := make([]byte, 10)
	for range 2 * n {
		k, m, err := b.ReadMeta(buf)
		if err != nil {
			t.Fatal(err)
		}
		if probe := string(buf[:k]) == "probe"; m.TTL != 0 && probe != (m.TTL == 3) {
			t.Errorf("%q came with TTL %d", buf[:k], m.TTL)
		}
	}
	sending.Wait()
}

// slow is a socket that never has room, but knows deadlines.
type slow struct {
	net.PacketConn
	timer *time.Timer
}

func (s *slow) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (s *slow) SetWriteDeadline(t time.Time) error {
	s.timer = time.NewTimer(time.Until(t))
	return nil
}
func (s *slow) WriteTo([]byte, net.Addr) (int, error) {
	<-s.timer.C
	return 0, &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
}

// A socket that is not the system's is given a moment to take a datagram.
func TestSlowSocket(t *testing.T) {
	c, err := Wrap(&slow{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.WriteOpts([]byte("hello"), netip.MustParseAddrPort("127.0.0.1:2"), SendOptions{})
	if !errors.Is(err, ErrBufferFull) || !IsTransient(err) {
		t.Errorf("%v, want ErrBufferFull", err)
	}
}

// late is a socket with room, whose deadline has passed each time that the caller gets
// there.
type late struct {
	net.PacketConn
	missed, tries int
	until         time.Time
}

func (l *late) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *late) SetWriteDeadline(t time.Time) error {
	l.until = t
	return nil
}

func (l *late) WriteTo(b []byte, _ net.Addr) (int, error) {
	if l.tries++; l.tries <= l.missed {
		<-time.After(time.Until(l.until)) // in a synctest bubble
		return 0, &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
	}
	return len(b), nil
}

// A datagram is not lost because the machine was busy between the setting of the deadline
// and the send.
func TestLateSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for missed, want := range []error{nil, nil, ErrBufferFull} {
			s := &late{missed: missed}
			c, err := Wrap(s)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.WriteOpts([]byte("hello"), netip.MustParseAddrPort("127.0.0.1:2"), SendOptions{})
			if !errors.Is(err, want) || s.tries > 2 {
				t.Errorf("late %d times: %v after %d tries, want %v", missed, err, s.tries, want)
			}
		}
	})
}
