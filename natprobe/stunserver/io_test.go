package stunserver_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func TestListenOnTwoAddresses(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "windows" {
		t.Skip("127.0.0.2 is not an address of this system without setup")
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
	answers, err := natprobe.MappedAddresses(t.Context(), pc, addrs, nil)
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
