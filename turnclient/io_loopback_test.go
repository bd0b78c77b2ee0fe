package turnclient_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// Real UDP sockets on loopback, with the system's own defaults.
func TestUDPOnLoopback(t *testing.T) {
	listen := func(ctx context.Context, network, address string) (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, network, address)
	}
	pc, err := listen(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := authed()
	cfg.Relay = netip.MustParseAddr("127.0.0.1")
	loop, err := drive.Run[struct{}](turntest.NewServer(cfg, rand.Reader), nil, drive.Options{Sockets: []net.PacketConn{pc}, ListenPacket: listen})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	client, relay := open(t, turnclient.Config{Servers: []string{"turn:" + pc.LocalAddr().String()}, Credentials: creds})
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	peer, err := listen(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	peer.SetDeadline(time.Now().Add(time.Minute))
	relay.SetDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4000)
	for i := range 30 {
		size := i * 100
		if _, err := relay.WriteTo(buf[:size], peer.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		n, from, err := peer.ReadFrom(buf)
		if err != nil || n != size || from.String() != relay.LocalAddr().String() {
			t.Fatal(n, from, err)
		}
		if _, err := peer.WriteTo(buf[:n], from); err != nil {
			t.Fatal(err)
		}
		if n, from, err := relay.ReadFrom(buf); err != nil || n != size || from.String() != peer.LocalAddr().String() {
			t.Fatal(n, from, err)
		}
	}
}
