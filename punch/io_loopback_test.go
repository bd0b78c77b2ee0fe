package punch_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/punch"
)

// loopback runs fn in real time with a STUN server and two peers behind
// port-restricted NATs, all on real sockets whose packets cross the simulated NATs.
func loopback(t *testing.T, fn func(server *stunserver.Server, peers [2]*simnet.Loopback, sites [2]*simnet.Site)) {
	w := simnet.New(1)
	link := simnet.Link{Delay: time.Millisecond}
	host := w.AddHost("stun", w.Internet(), link)
	var sites [2]*simnet.Site
	for i, name := range []string{"a", "b"} {
		var err error
		if sites[i], err = w.AddSite(name, "port-restricted-cone", link); err != nil {
			t.Fatal(err)
		}
	}
	defer w.Go()()
	on := host.Loopback()
	defer on.Close()
	server, err := stunserver.Listen(t.Context(), stunserver.Config{IP1: host.Addr(), ListenPacket: on.ListenPacket})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	peers := [2]*simnet.Loopback{sites[0].Loopback(), sites[1].Loopback()}
	defer peers[0].Close()
	defer peers[1].Close()
	fn(server, peers, sites)
}

func TestUDPOverRealSockets(t *testing.T) {
	loopback(t, func(server *stunserver.Server, peers [2]*simnet.Loopback, sites [2]*simnet.Site) {
		var conns [2]net.PacketConn
		var addrs [2]netip.AddrPort
		for i := range peers {
			var err error
			if conns[i], err = peers[i].ListenPacket(t.Context(), "udp4", ":0"); err != nil {
				t.Fatal(err)
			}
			mapped, err := natprobe.MappedAddresses(t.Context(), conns[i], server.Addrs(), &natprobe.ReflexiveConfig{Patience: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if addrs[i] = mapped[0].Addr; addrs[i].Addr() != sites[i].NAT.Addrs()[0] || natprobe.EndpointDependent(mapped) {
				t.Errorf("peer %d is seen as %+v, behind %v", i, mapped, sites[i].NAT.Addrs())
			}
		}
		a := start(t.Context(), conns[0], punch.UDPConfig{Peer: addrs[1:], Secret: secret})
		b := start(t.Context(), conns[1], punch.UDPConfig{Peer: addrs[:1], Secret: secret})
		x, y := <-a, <-b
		if x.error != nil || y.error != nil {
			t.Fatal(x.error, y.error)
		}
		if x.Remote != addrs[1] || y.Remote != addrs[0] || !x.Local.Addr().IsPrivate() {
			t.Errorf("paths %+v and %+v", x.Path, y.Path)
		}
		if _, err := conns[0].WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(x.Remote)); err != nil {
			t.Fatal(err)
		}
		conns[1].SetReadDeadline(time.Now().Add(10 * time.Second))
		for buf := make([]byte, 1500); ; {
			n, _, err := conns[1].ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			if !punch.IsProbe(buf[:n]) {
				if string(buf[:n]) != "hello" {
					t.Errorf("read %q", buf[:n])
				}
				return
			}
		}
	})
}

func TestTCPOverRealSockets(t *testing.T) {
	loopback(t, func(_ *stunserver.Server, peers [2]*simnet.Loopback, sites [2]*simnet.Site) {
		var done [2]<-chan tcpResult
		for i := range peers {
			cfg := tcpConfig(sites[i], netip.AddrPortFrom(sites[1-i].NAT.Addrs()[0], 5000)) // the preset preserves ports
			cfg.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
				return peers[i].Listen(ctx, network, address, true)
			}
			cfg.Dial = peers[i].DialFrom
			done[i] = startTCP(t.Context(), cfg)
		}
		x, y := <-done[0], <-done[1]
		if x.error != nil || y.error != nil {
			t.Fatal(x.error, y.error)
		}
		defer x.Close()
		defer y.Close()
		go func() {
			io.WriteString(x, "hello")
			x.Conn.Close()
		}()
		y.SetReadDeadline(time.Now().Add(10 * time.Second))
		if got, err := io.ReadAll(y); err != nil || string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
	})
}
