package bradawl_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/netio"
)

// TestPortInUse: a port that was asked for and is taken is an error, though sockets of another
// family open; an address at which there is nothing to bind to is passed over.
func TestPortInUse(t *testing.T) {
	other, err := netio.ListenUDP(t.Context(), "udp4", "127.0.0.1:0")
	check(t, err)
	defer other.Close()
	port := netio.AddrPortOf(other.LocalAddr()).Port()
	_, taken := netio.ListenUDP(t.Context(), "udp4", other.LocalAddr().String())
	if taken == nil {
		t.Fatal("two sockets have one address")
	}
	for _, c := range []struct {
		name string
		port uint16
		err  error // of udp4
		want bool
	}{
		{"taken", port, taken, false},
		{"taken, and any would do", 0, taken, true},
		{"there is no such family", port, &net.OpError{Op: "listen", Err: syscall.EAFNOSUPPORT}, true},
		{"there is no such address", port, &net.OpError{Op: "listen", Err: syscall.EADDRNOTAVAIL}, true},
	} {
		cfg := onLoopback(newHub())
		cfg.Port, cfg.Networks = c.port, []string{"udp4", "udp6"}
		cfg.Addrs = func() ([]ice.HostAddr, error) {
			return []ice.HostAddr{{Addr: netip.MustParseAddr("127.0.0.1")}, {Addr: netip.IPv6Loopback()}}, nil
		}
		cfg.ListenPacket = func(ctx context.Context, network, address string) (net.PacketConn, error) {
			if network == "udp4" {
				return nil, c.err
			}
			return netio.ListenUDP(ctx, "udp4", "127.0.0.1:0") // not every host has IPv6
		}
		s, err := bradawl.New(t.Context(), cfg)
		if err == nil {
			check(t, s.Close())
		}
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.want && (!errors.Is(err, taken) || !strings.Contains(err.Error(), "Port: ") || !strings.Contains(err.Error(), "choose another")) {
			t.Errorf("%s: %v", c.name, err)
		}
	}

	// The same with the system's sockets: TCP would open.
	cfg := onLoopback(newHub())
	cfg.Port = port
	if s, err := bradawl.New(t.Context(), cfg); err == nil {
		_ = s.Close()
		t.Errorf("a session at port %d, which is taken", port)
	} else {
		t.Log(err)
	}
}
