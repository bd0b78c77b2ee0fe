package stunserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func TestListenOnTwoAddresses(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "windows" {
		t.Skip("needs Linux, where 127.0.0.2 is an address without setup (elsewhere: ifconfig lo0 alias 127.0.0.2, and lift this)")
	}
	server, err := stunserver.Listen(t.Context(), stunserver.Config{IP2: netip.MustParseAddr("127.0.0.2"), Port1: -1, Port2: -1})
	if err != nil {
		t.Fatal(err)
	}
	addrs := server.Addrs()
	if len(addrs) != 4 || addrs[0].Port() != addrs[2].Port() || addrs[1].Port() != addrs[3].Port() || addrs[0].Addr() == addrs[2].Addr() {
		t.Fatalf("addresses %v", addrs)
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	answers, err := natprobe.MappedAddresses(t.Context(), pc, addrs, &natprobe.ReflexiveConfig{Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		if a.Err != nil || a.Addr.String() != pc.LocalAddr().String() {
			t.Errorf("answer %+v", a)
		}
	}
	if err := errors.Join(server.Close(), server.Close()); err != nil {
		t.Error(err)
	}
	// The ports are free again.
	again, err := net.ListenPacket("udp4", addrs[3].String())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

// A server on all of the host's addresses answers from the one that it was asked at.
func TestListenOnAllAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux, where 127.0.0.2 is an address without setup (elsewhere: ifconfig lo0 alias 127.0.0.2, and lift this)")
	}
	server, err := stunserver.Listen(t.Context(), stunserver.Config{IP1: netip.IPv4Unspecified(), Port1: -1, Port2: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var asked []netip.AddrPort
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		for _, a := range server.Addrs() {
			asked = append(asked, netip.AddrPortFrom(netip.MustParseAddr(ip), a.Port()))
		}
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	answers, err := natprobe.MappedAddresses(t.Context(), pc, asked, &natprobe.ReflexiveConfig{Patience: time.Minute})
	if err != nil || len(answers) != 4 {
		t.Fatalf("%+v, %v", answers, err)
	}
	for _, a := range answers {
		if a.Err != nil {
			t.Errorf("no answer from %v: %v", a.Server, a.Err)
		}
	}
}

// With several sockets to an address every client is answered, whichever socket
// hears it, and from the address that it asks for.
func TestListenWithReaders(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux, where 127.0.0.2 is an address without setup and sockets share a port")
	}
	server, err := stunserver.Listen(t.Context(), stunserver.Config{IP2: netip.MustParseAddr("127.0.0.2"), Port1: -1, Port2: -1, Readers: 3})
	if err != nil {
		t.Fatal(err)
	}
	addrs := server.Addrs()
	if len(addrs) != 4 {
		t.Fatalf("addresses %v", addrs)
	}
	buf := make([]byte, 1500)
	for range 10 {
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		pc.SetReadDeadline(time.Now().Add(10 * time.Second))
		for to := range addrs {
			for change := range 4 {
				var request wire.Builder
				request.Reset(wire.BindingRequest, wire.TransactionID{byte(to), byte(change)})
				request.AddChangeRequest(change&2 != 0, change&1 != 0)
				if _, err := pc.WriteToUDPAddrPort(request.Bytes(), addrs[to]); err != nil {
					t.Fatal(err)
				}
				n, from, err := pc.ReadFromUDPAddrPort(buf)
				if err != nil {
					t.Fatal(err)
				}
				var answer wire.Message
				if err := answer.Decode(buf[:n]); err != nil || answer.TransactionID() != (wire.TransactionID{byte(to), byte(change)}) {
					t.Fatalf("answer %x, %v", buf[:n], err)
				}
				if from != addrs[to^change] {
					t.Errorf("asked %v to change %02b: answer from %v, want %v", addrs[to], change, from, addrs[to^change])
				}
			}
		}
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	for _, a := range addrs {
		pc, err := net.ListenPacket("udp4", a.String())
		if err != nil {
			t.Fatalf("a socket was left open: %v", err)
		}
		pc.Close()
	}
}

func TestListenErrors(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	if s, err := stunserver.Listen(t.Context(), stunserver.Config{Port1: port, Port2: -1}); err == nil {
		_ = s.Close()
		t.Error("a port in use: no error")
	}

	ip := netip.MustParseAddr
	for field, cfg := range map[string]stunserver.Config{
		"Port1": {Port1: 65536},
		"Port2": {Port1: 9, Port2: 9},
		"IP1":   {IP1: ip("224.0.0.1")},
		"IP2":   {IP1: ip("127.0.0.1"), IP2: ip("::1")},

		"Readers": {Readers: -1},
	} {
		var ce *stunserver.ConfigError
		if _, err := stunserver.Listen(t.Context(), cfg); !errors.As(err, &ce) || ce.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, ip2 := range []string{"127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"} {
		var ce *stunserver.ConfigError
		if _, err := stunserver.Listen(t.Context(), stunserver.Config{IP2: ip(ip2)}); !errors.As(err, &ce) || ce.Field != "IP2" {
			t.Errorf("IP2 %s: %v", ip2, err)
		}
	}

	var ce *stunserver.ConfigError
	if _, err := stunserver.Listen(t.Context(), stunserver.Config{Readers: 2, ListenPacket: new(net.ListenConfig).ListenPacket}); !errors.As(err, &ce) || ce.Field != "Readers" {
		t.Errorf("two readers on sockets of one's own: %v", err)
	}

	// What was opened before a failure is closed.
	var opened []net.PacketConn
	failing := errors.New("no more sockets")
	_, err = stunserver.Listen(t.Context(), stunserver.Config{Port1: -1, Port2: 5000, ListenPacket: func(ctx context.Context, network, address string) (net.PacketConn, error) {
		if len(opened)%2 == 1 {
			opened = append(opened, nil)
			return nil, failing
		}
		pc, err := net.ListenPacket(network, "127.0.0.1:0")
		opened = append(opened, pc)
		return pc, err
	}})
	if !errors.Is(err, failing) {
		t.Errorf("failing ListenPacket: %v", err)
	}
	for _, pc := range opened {
		if pc != nil && !errors.Is(pc.Close(), net.ErrClosed) {
			t.Error("a socket was left open")
		}
	}
}

func TestTCPOnLoopback(t *testing.T) {
	s, err := stunserver.Listen(t.Context(), stunserver.Config{Port1: -1, Port2: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, a := range s.Addrs() {
		c, err := net.Dial("tcp4", a.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var request wire.Builder
		request.Reset(wire.BindingRequest, wire.TransactionID{1})
		if _, err := c.Write(request.Bytes()); err != nil {
			t.Fatal(err)
		}
		head := make([]byte, wire.HeaderSize)
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, int(head[2])<<8|int(head[3]))
		if _, err := io.ReadFull(c, body); err != nil {
			t.Fatal(err)
		}
		var msg wire.Message
		if err := msg.Decode(append(head, body...)); err != nil {
			t.Fatal(err)
		}
		if got, _ := msg.XORMappedAddress(); got != netip.MustParseAddrPort(c.LocalAddr().String()) {
			t.Errorf("seen as %v, is %v", got, c.LocalAddr())
		}
	}
}
