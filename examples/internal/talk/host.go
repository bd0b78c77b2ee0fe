package talk

import (
	"context"
	"net"
	"net/netip"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch"
)

func (h *Host) setDefaults(atHome bool) {
	if h.ListenPacket == nil {
		h.ListenPacket = netio.ListenUDP
	}
	if h.Listen == nil {
		h.Listen = (&net.ListenConfig{Control: punch.ReusePort}).Listen
	}
	if h.Dial == nil {
		h.Dial = func(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}
			if local.Port() != 0 {
				d.Control = punch.ReusePort
			}
			return d.DialContext(ctx, network, address)
		}
	}
	if h.Addrs == nil {
		h.Addrs = func() ([]ice.HostAddr, error) { return ice.SystemAddrs(atHome) }
	}
}
