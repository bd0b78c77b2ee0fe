package netio

import "golang.org/x/sys/unix"

// spreadPort sets SO_REUSEPORT_LB: FreeBSD's SO_REUSEPORT alone does not spread.
func spreadPort(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT_LB, 1)
}
