package talk

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch"
)

func (h *Host) setDefaults() {
	if h.ListenPacket == nil {
		h.ListenPacket = netio.ListenUDP
	}
	if h.Listen == nil {
		h.Listen = (&net.ListenConfig{Control: punch.ReusePort}).Listen
	}
	if h.Dial == nil {
		h.Dial = func(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
			from := net.TCPAddrFromAddrPort(local)
			if local.Addr().IsUnspecified() {
				from.IP = nil // of whatever family the destination is
			}
			d := net.Dialer{LocalAddr: from, Control: punch.ReusePort}
			return d.DialContext(ctx, network, address)
		}
	}
}

// bindFailed tells the local port's part in a failed dial from the rest.
func bindFailed(err error) bool {
	var call *os.SyscallError
	return errors.As(err, &call) && call.Syscall == "bind" || errors.Is(err, syscall.EADDRINUSE)
}
