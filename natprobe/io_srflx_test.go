package natprobe_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func listen(t *testing.T) (net.PacketConn, netip.AddrPort) {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc, pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestMappedAddressesOnLoopback(t *testing.T) {
	server, err := stunserver.Listen(t.Context(), stunserver.Config{Port1: -1, Port2: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	pc, own := listen(t)
	peer, peerAddr := listen(t)

	// A deadline that the caller had set is not in the way.
	if err := pc.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	answers, err := natprobe.MappedAddresses(t.Context(), pc, server.Addrs(), &natprobe.ReflexiveConfig{Patience: time.Minute})
	if err != nil || len(answers) != 2 {
		t.Fatalf("%+v, %v", answers, err)
	}
	for i, a := range answers {
		if a.Server != server.Addrs()[i] || a.Addr != own || a.Err != nil {
			t.Errorf("answer %+v, want %v", a, own)
		}
	}
	if natprobe.EndpointDependent(answers) {
		t.Error("loopback is taken for a NAT")
	}

	// The socket is handed back unharmed: it still receives, without a deadline.
	if _, err := peer.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(own)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := pc.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" || from.(*net.UDPAddr).AddrPort() != peerAddr {
		t.Errorf("after the call: %q from %v, %v", buf[:n], from, err)
	}
}

func TestMappedAddressesWithoutAnswer(t *testing.T) {
	pc, _ := listen(t)
	_, silent := listen(t)
	servers := []netip.AddrPort{silent}

	_, err := natprobe.MappedAddresses(t.Context(), pc, servers, &natprobe.ReflexiveConfig{RTO: time.Millisecond, Sends: 2, LastWait: 2})
	var none *natprobe.NoAnswersError
	if !errors.As(err, &none) || len(none.Servers) != 1 || !errors.Is(err, natprobe.ErrNoAnswer) {
		t.Fatalf("silent server: %v", err)
	}
	if text := err.Error(); !strings.Contains(text, silent.String()) || !strings.Contains(text, "UDP may be blocked") {
		t.Errorf("%q names neither server nor remedy", text)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := natprobe.MappedAddresses(ctx, pc, servers, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &none) {
		t.Errorf("deadline: %v", err)
	}
	if _, err := natprobe.MappedAddresses(ctx, pc, servers, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context over before: %v", err)
	}
	var ce *natprobe.ConfigError
	if _, err := natprobe.MappedAddresses(t.Context(), (*net.UDPConn)(nil), servers, nil); !errors.As(err, &ce) || ce.Field != "pc" {
		t.Errorf("no socket: %v", err)
	}
	if _, err := natprobe.MappedAddresses(t.Context(), pc, nil, nil); !errors.As(err, &ce) || ce.Field != "servers" {
		t.Errorf("no servers: %v", err)
	}
}

func TestResolveServers(t *testing.T) {
	got, err := natprobe.ResolveServers(t.Context(), "ip", "192.0.2.1:19302", "stun:192.0.2.2", "[2001:db8::1]:5", "2001:db8::2", "[2001:db8::3]", "::ffff:192.0.2.3")
	want := "[192.0.2.1:19302 192.0.2.2:3478 [2001:db8::1]:5 [2001:db8::2]:3478 [2001:db8::3]:3478 192.0.2.3:3478]"
	if err != nil || join(got) != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, name := range []string{"", "host:", "host:0", "host:65536", "host:x", ":3478", "stun:", "a:b:c"} {
		got, err := natprobe.ResolveServers(t.Context(), "ip", name, "192.0.2.1")
		var ce *natprobe.ConfigError
		if !errors.As(err, &ce) || len(got) != 1 {
			t.Errorf("%q: %v, %v; want an error beside the other server's address", name, got, err)
		}
	}
	for name, want := range map[string]string{ // what people copy from elsewhere: it is refused before any lookup
		"stun://192.0.2.2:3478": "without // and path", "stun:192.0.2.2/": "without // and path", "//192.0.2.2": "without // and path",
		"stun:192.0.2.2?transport=udp": "without ? and what follows", "stun:name:secret@192.0.2.2:5": `write "192.0.2.2:5"`,
	} {
		err := natprobe.CheckServer(name)
		var ce *natprobe.ConfigError
		if !errors.As(err, &ce) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	if _, err := natprobe.ResolveServers(t.Context(), "ip4"); err == nil {
		t.Error("no names: no error")
	}
	if _, err := natprobe.ResolveServers(t.Context(), "udp", "192.0.2.1"); err == nil {
		t.Error("network udp: no error")
	}
	var dns net.Error
	if got, err := natprobe.ResolveServers(t.Context(), "ip4", "2001:db8::1"); !errors.As(err, &dns) || len(got) != 0 {
		t.Errorf("IPv6 literal for ip4: %v, %v", got, err)
	}
}

func join(addrs []netip.AddrPort) string {
	var s []string
	for _, a := range addrs {
		s = append(s, a.String())
	}
	return "[" + strings.Join(s, " ") + "]"
}
