package simnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
)

// realTime is a world that moves by the real clock, with a client behind a
// port-restricted NAT and a public server 4 ms away, both in loopback mode.
type realTime struct {
	*testing.T
	nat            *NAT
	client, server *Host
	c, s           *Loopback
}

func inRealTime(t *testing.T) *realTime {
	w := New(1)
	site, err := w.AddSite("client", "port-restricted-cone", Link{Delay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r := &realTime{T: t, nat: site.NAT, client: site.Host, server: w.AddHost("server", w.Internet(), Link{Delay: time.Millisecond})}
	t.Cleanup(w.Go())
	r.c, r.s = r.client.Loopback(), r.server.Loopback()
	for _, b := range []*Loopback{r.c, r.s} {
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return r
}

func (r *realTime) packet(b *Loopback, address string) *loopbackUDP {
	r.Helper()
	c, err := b.ListenPacket(r.Context(), "udp4", address)
	if err != nil {
		r.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return c.(*loopbackUDP)
}

func (r *realTime) listen(address string) net.Listener {
	r.Helper()
	l, err := r.s.Listen(r.Context(), "tcp4", address, false)
	if err != nil {
		r.Fatal(err)
	}
	return l
}

// connect returns the client's and the server's end of a connection.
func (r *realTime) connect(l net.Listener) (client, server *loopbackTCP) {
	r.Helper()
	c, err := r.c.DialContext(r.Context(), "tcp4", l.Addr().String())
	if err != nil {
		r.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		r.Fatal(err)
	}
	for _, c := range []net.Conn{c, s} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	return c.(*loopbackTCP), s.(*loopbackTCP)
}

func TestLoopbackUDP(t *testing.T) {
	r := inRealTime(t)
	c, s := r.packet(r.c, ":5000"), r.packet(r.s, at(r.server, 7).String())
	outside := netip.AddrPortFrom(r.nat.Addrs()[0], 5000) // the preset preserves ports
	buf := make([]byte, 2000)
	for _, size := range []int{0, 5, 1400} {
		if n, err := c.WriteOpts(payload(size), at(r.server, 7), netio.SendOptions{TTL: 9, DontFragment: true}); n != size || err != nil {
			t.Fatal(n, err)
		}
		n, m, err := s.ReadMeta(buf)
		if err != nil || !bytes.Equal(buf[:n], payload(size)) || m.Remote != outside || m.Local != at(r.server, 7) || m.TTL == 0 || m.TTL > 9 {
			t.Fatalf("server read %d bytes, %+v, %v; want %d from %v with a TTL of 9 at most", n, m, err, size, outside)
		}
		if _, err := s.WriteTo(buf[:n], net.UDPAddrFromAddrPort(m.Remote)); err != nil {
			t.Fatal(err)
		}
		n, from, err := c.ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:n], payload(size)) || netio.AddrPortOf(from) != at(r.server, 7) {
			t.Fatalf("client read %d bytes from %v, %v", n, from, err)
		}
	}
	if got := netio.AddrPortOf(c.LocalAddr()); got.Port() != 5000 {
		t.Errorf("local address %v is not the simulated one", got)
	}
	if _, err := c.WriteTo(make([]byte, 65507), c.LocalAddr()); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("too long: %v", err)
	}
	if _, err := c.WriteTo(buf, nil); err == nil {
		t.Error("written to no address")
	}
	c.SetReadDeadline(time.Unix(1, 0))
	if _, _, err := c.ReadFrom(buf); !errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("read past the deadline: %v", err)
	}
}

func TestLoopbackUDPTellsOfUnreachables(t *testing.T) {
	r := inRealTime(t)
	c := r.packet(r.c, ":0")
	if _, err := c.WriteToUDPAddrPort([]byte("anybody?"), at(r.server, 9)); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.ReadMeta(make([]byte, 10))
	var u *netio.UnreachableError
	if !errors.As(err, &u) || u.Remote != at(r.server, 9) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want an *UnreachableError about %v", err, at(r.server, 9))
	}
}

// Datagrams of strangers, however well they are made, get past neither real socket.
func TestLoopbackUDPKeepsStrangersOut(t *testing.T) {
	r := inRealTime(t)
	c, s := r.packet(r.c, ":0"), r.packet(r.s, at(r.server, 7).String())
	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopbackAddr()})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	forged := make([]byte, frameHeader, 100)
	frame{kind: frameData, remote: at(r.server, 7), local: r.server.Addr()}.put(forged)
	forged = append(forged, "forged"...)
	end := make([]byte, frameHeader)
	frame{kind: frameEnd}.put(end)
	for _, to := range []net.Addr{c.relay.LocalAddr(), c.user.LocalAddr(), s.relay.LocalAddr(), s.user.LocalAddr()} {
		for _, b := range [][]byte{forged, end, nil} {
			if _, err := stranger.WriteTo(b, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	buf := make([]byte, 100)
	c.WriteToUDPAddrPort([]byte("true"), at(r.server, 7))
	n, from, err := s.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "true" {
		t.Fatalf("server read %q, %v", buf[:n], err)
	}
	s.WriteToUDPAddrPort([]byte("true"), from)
	if n, _, err := c.ReadFrom(buf); err != nil || string(buf[:n]) != "true" {
		t.Fatalf("client read %q, %v", buf[:n], err)
	}
}

// What was written before Close arrives, and the simulated port is free after it.
func TestLoopbackUDPClose(t *testing.T) {
	r := inRealTime(t)
	s := r.packet(r.s, at(r.server, 7).String())
	for round := range 3 {
		c := r.packet(r.c, ":5000")
		for i := range 10 {
			if _, err := c.WriteToUDPAddrPort([]byte{byte(round), byte(i)}, at(r.server, 7)); err != nil {
				t.Fatal(err)
			}
		}
		blocked := make(chan error)
		go func() {
			_, _, err := c.ReadFrom(make([]byte, 10))
			blocked <- err
		}()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{<-blocked, c.Close(), c.SetDeadline(time.Now())} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		buf := make([]byte, 10)
		for i := range 10 {
			if n, _, err := s.ReadFrom(buf); err != nil || !bytes.Equal(buf[:n], []byte{byte(round), byte(i)}) {
				t.Fatalf("round %d: read %v, %v; want datagram %d", round, buf[:n], err, i)
			}
		}
	}
}

func TestLoopbackTCP(t *testing.T) {
	r := inRealTime(t)
	l := r.listen(at(r.server, 80).String())
	c, s := r.connect(l)
	if got := netio.AddrPortOf(s.RemoteAddr()); got.Addr() != r.nat.Addrs()[0] || netio.AddrPortOf(s.LocalAddr()) != at(r.server, 80) {
		t.Errorf("the server sees %v, want the NAT's address", got)
	}
	if netio.AddrPortOf(c.LocalAddr()).Addr() != r.client.Addr() || netio.AddrPortOf(c.RemoteAddr()) != at(r.server, 80) {
		t.Errorf("client's end from %v to %v", c.LocalAddr(), c.RemoteAddr())
	}
	// An echo that goes on after the client has said all.
	echoed := make(chan error, 1)
	go func() {
		_, err := io.Copy(s, s)
		if err == nil {
			_, err = s.Write([]byte("end"))
		}
		echoed <- errors.Join(err, s.Close())
	}()
	go func() {
		c.Write(payload(200_000))
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, append(payload(200_000), "end"...)) {
		t.Fatalf("echo: %d bytes, %v", len(got), err)
	}
	if err := <-echoed; err != nil {
		t.Errorf("server: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(got); !errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("read after Close: %v", err)
	}
}

func TestLoopbackTCPRefused(t *testing.T) {
	r := inRealTime(t)
	_, err := r.c.DialContext(t.Context(), "tcp4", at(r.server, 81).String())
	var op *net.OpError
	if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "dial" || netio.AddrPortOf(op.Addr) != at(r.server, 81) {
		t.Errorf("closed port: %v, want refused", err)
	}
}

// A reset on one side is one on the other, after what was written before it.
func TestLoopbackTCPReset(t *testing.T) {
	r := inRealTime(t)
	l := r.listen(at(r.server, 80).String())
	for _, byServer := range []bool{true, false} {
		victim, by := r.connect(l)
		if !byServer {
			victim, by = by, victim
		}
		by.Write([]byte("last words"))
		buf := make([]byte, 10)
		if _, err := io.ReadFull(victim, buf); err != nil || string(buf) != "last words" {
			t.Fatalf("read %q, %v", buf, err)
		}
		by.SetLinger(0)
		by.Close()
		n, err := victim.Read(buf)
		if n != 0 || !errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("by the server %v: read %d bytes, %v; want a reset", byServer, n, err)
		}
		if _, err := victim.Write(buf); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("by the server %v: write: %v", byServer, err)
		}
		victim.Close()
	}
	// A close with data unread is a reset too, as the kernel has it.
	c, s := r.connect(l)
	s.Write([]byte("unread"))
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	one := make([]byte, 1)
	if _, err := c.Read(one); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := s.Read(one); err == nil {
		t.Error("read after the other side closed")
	}
}

// Close ends every socket, whatever waits in it, and leaves no port taken.
func TestLoopbackClose(t *testing.T) {
	r := inRealTime(t)
	l := r.listen(at(r.server, 80).String())
	c, s := r.connect(l)
	u := r.packet(r.s, at(r.server, 7).String())
	ended := make(chan error)
	try := func(fn func() error) { go func() { ended <- fn() }() }
	try(func() error { _, err := l.Accept(); return err })
	try(func() error { _, err := s.Read(make([]byte, 1)); return err })
	try(func() error { _, _, err := u.ReadFrom(make([]byte, 1)); return err })
	try(func() error { // more than all buffers take
		for {
			if _, err := s.Write(payload(1 << 20)); err != nil {
				return err
			}
		}
	})
	if err := r.s.Close(); err != nil {
		t.Error(err)
	}
	for range 4 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended by Close: %v", err)
		}
	}
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other side of the connection: %v, want a reset", err)
	}
	if _, err := r.s.ListenPacket(t.Context(), "udp4", ":0"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("socket after Close: %v", err)
	}
	if _, err := r.s.Listen(t.Context(), "tcp4", ":0", false); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listener after Close: %v", err)
	}
	for _, open := range []func() (io.Closer, error){
		func() (io.Closer, error) { return r.server.ListenPacket(t.Context(), "udp4", at(r.server, 7).String()) },
		func() (io.Closer, error) {
			return r.server.Listen(t.Context(), "tcp4", at(r.server, 80).String(), false)
		},
	} {
		if again, err := open(); err != nil {
			t.Errorf("a port was left taken: %v", err)
		} else {
			again.Close()
		}
	}
	if err := r.s.Close(); err != nil {
		t.Error(err)
	}
}
