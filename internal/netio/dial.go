package netio

import (
	"context"
	"net"
	"net/netip"
)

// ListenTCP listens on a port that may be shared (see [ReusePort]): network is "tcp4" or
// "tcp6", address as for net.Listen.
func ListenTCP(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: ReusePort}
	return lc.Listen(ctx, network, address)
}

// DialTCP connects from a local address, whose port may be shared (see [ReusePort]), to
// remote, IP:PORT: network is "tcp4" or "tcp6". The zero local address, or one without a
// port, leaves that choice to the system.
func DialTCP(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}
	if local.Port() != 0 {
		d.Control = ReusePort
	}
	return d.DialContext(ctx, network, remote)
}
