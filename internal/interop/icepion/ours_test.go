package icepion_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/turnclient"
)

// behindNAT makes an endpoint's host one with a private address whose NAT shows its ports
// at 127.0.0.1, so that its reflexive candidates are not the same as its host candidates.
func behindNAT(cfg ice.Config) ice.Config {
	cfg.Addrs = func() ([]ice.HostAddr, error) {
		return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{192, 168, 1, 2})}}, nil
	}
	cfg.ListenPacket = func(ctx context.Context, network, _ string) (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, network, "127.0.0.1:0")
	}
	return cfg
}

// relay is a client of the TURN server, for an endpoint.
func relay(t *testing.T, s *servers) ice.Allocator {
	t.Helper()
	c, err := turnclient.Dial(t.Context(), turnclient.Config{
		Servers:     []string{"turn:" + s.addr.String()},
		Credentials: turnclient.Credentials{Username: s.username, Password: s.password},
	})
	check(t, err)
	return closeLater(t, c)
}
