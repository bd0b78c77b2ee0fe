package tap_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/tap"
)

var (
	here  = netip.MustParseAddrPort("192.0.2.1:1000")
	there = netip.MustParseAddrPort("198.51.100.1:2000")
)

// script is a socket that reads what it is told to.
type script struct {
	net.PacketConn // nil: what is not below is not called
	reads          []any
	sent           string
	options        netio.SendOptions
	err            error // of sending
	closed         int
}

func (s *script) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(here) }

func (s *script) ReadMeta(b []byte) (int, netio.Meta, error) {
	if len(s.reads) == 0 {
		return 0, netio.Meta{}, net.ErrClosed
	}
	next := s.reads[0]
	s.reads = s.reads[1:]
	if err, bad := next.(error); bad {
		return 0, netio.Meta{Remote: there}, err
	}
	return copy(b, next.(string)), netio.Meta{Remote: there, Local: here, TTL: 61}, nil
}

func (s *script) WriteOpts(b []byte, to netip.AddrPort, o netio.SendOptions) (int, error) {
	s.sent, s.options = string(b)+" to "+to.String(), o
	return len(b), s.err
}

func (s *script) SetWriteDeadline(time.Time) error { return nil }

func (s *script) Close() error {
	s.closed++
	return nil
}

// newSocket taps pc for all that begins with "data".
func newSocket(t *testing.T, pc net.PacketConn) (s *tap.Socket, taken *[]string) {
	t.Helper()
	taken = new([]string)
	s, err := tap.NewSocket(pc, func(b []byte, m netio.Meta) bool {
		if m.Remote != there || m.TTL != 61 {
			t.Errorf("asked about %q with %+v", b, m)
		}
		data := strings.HasPrefix(string(b), "data")
		if data {
			*taken = append(*taken, string(b))
		}
		return data
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, taken
}

func TestSocketParts(t *testing.T) {
	broken := errors.New("broken")
	long := strings.Repeat("x", 65535)
	s, taken := newSocket(t, &script{reads: []any{"data 1", "data 2", "check", "data 3", broken, long, "shortened", "data 4"}})
	if s.LocalAddrPort() != here {
		t.Errorf("bound to %v", s.LocalAddrPort())
	}
	for _, want := range []struct {
		text string
		room int
		err  error
	}{{"check", 100, nil}, {"", 100, broken}, {long, 70000, nil}, {"short", 5, nil}, {"", 100, net.ErrClosed}} {
		b := make([]byte, want.room)
		n, m, err := s.ReadMeta(b)
		if string(b[:n]) != want.text || !errors.Is(err, want.err) {
			t.Errorf("%d bytes, %v, want %q, %v", n, err, want.text[:min(len(want.text), 20)], want.err)
		}
		if err == nil && (m.Remote != there || m.Local != here || m.TTL != 61) {
			t.Errorf("with %+v", m)
		}
	}
	if got := strings.Join(*taken, ", "); got != "data 1, data 2, data 3, data 4" {
		t.Errorf("taken: %s", got)
	}
}

func TestSocketSends(t *testing.T) {
	inner := &script{}
	s, _ := newSocket(t, inner)
	o := netio.SendOptions{Source: here.Addr(), TTL: 5}
	for _, c := range []struct{ of, want error }{
		{nil, nil},
		{netio.ErrBufferFull, netio.ErrBufferFull},
		{os.NewSyscallError("sendmsg", syscall.ECONNREFUSED), syscall.ECONNREFUSED},
		{net.ErrClosed, net.ErrClosed},
	} {
		inner.err = c.of
		if _, err := s.WriteOpts([]byte("check"), there, o); !errors.Is(err, c.want) || inner.sent != "check to 198.51.100.1:2000" || inner.options != o {
			t.Errorf("%v: %v, sent %q with %+v", c.of, err, inner.sent, inner.options)
		}
		out := tap.Outlet{Socket: s, Remote: there, Source: o}
		if err := out.Send([]byte("data")); !errors.Is(err, c.want) || inner.sent != "data to 198.51.100.1:2000" || inner.options != o {
			t.Errorf("%v: data: %v, sent %q with %+v", c.of, err, inner.sent, inner.options)
		}
	}
	if err := s.Close(); err != nil || inner.closed != 1 {
		t.Errorf("%v, closed %d times", err, inner.closed)
	}
}

func TestSocketThatIsNone(t *testing.T) {
	if s, err := tap.NewSocket(nil, nil); err == nil {
		t.Errorf("a tap of nothing: %v", s)
	}
}
