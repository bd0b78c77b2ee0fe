package netio

import (
	"fmt"
	"syscall"
)

// ReusePort lets several sockets bind the same local port, as hole punching
// over TCP needs (one listens, others dial from it). It fits
// net.ListenConfig.Control and net.Dialer.Control; every socket that shares
// the port must have it set. It sets SO_REUSEADDR and SO_REUSEPORT; on Windows
// SO_REUSEADDR alone, which means both there. On systems without these options
// it fails with errors.ErrUnsupported.
func ReusePort(network, address string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = reusePort(fd) }); cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("netio: share port of %s %s: %w", network, address, err)
	}
	return nil
}
