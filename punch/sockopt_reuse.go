package punch

import (
	"syscall"

	"github.com/bradawl/bradawl/internal/netio"
)

// ReusePort lets several sockets bind one local address: SO_REUSEADDR and
// SO_REUSEPORT where the system has both, SO_REUSEADDR on Windows. It fits
// net.ListenConfig.Control and net.Dialer.Control, and must be set on every socket
// that shares the port, the first one included. The error is the system's.
func ReusePort(network, address string, c syscall.RawConn) error {
	return netio.ReusePort(network, address, c)
}
