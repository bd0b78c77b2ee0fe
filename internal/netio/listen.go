package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// receiveBuffer is asked of the system for a socket of ListenUDP. The default
// of some systems (a few dozen datagrams) loses answers to a burst of probes.
const receiveBuffer = 1 << 20

// ListenUDP opens a UDP socket: network is "udp", "udp4" or "udp6", address as
// for net.ListenPacket. The receive buffer is set to 1 MiB as far as the
// system allows. The returned value is a *net.UDPConn, ready for [Wrap].
func ListenUDP(ctx context.Context, network, address string) (net.PacketConn, error) {
	return listenUDP(ctx, network, address, nil)
}

// IsInUse reports whether a socket could not be opened because another has the address: false
// on systems that do not tell.
func IsInUse(err error) bool { return errors.Is(err, errAddrInUse) }

func listenUDP(ctx context.Context, network, address string, control func(network, address string, c syscall.RawConn) error) (net.PacketConn, error) {
	switch network {
	case "udp", "udp4", "udp6":
	default:
		return nil, fmt.Errorf("netio: network %q is not one of udp, udp4, udp6", network)
	}
	lc := net.ListenConfig{Control: control}
	pc, err := lc.ListenPacket(ctx, network, address)
	if err != nil {
		if errors.Is(err, errAddrInUse) {
			err = fmt.Errorf("%w; choose another port, or 0 for any", err)
		}
		return nil, fmt.Errorf("netio: %w", err)
	}
	if uc, ok := pc.(*net.UDPConn); ok {
		_ = uc.SetReadBuffer(receiveBuffer) // less will do
	}
	return pc, nil
}
