//go:build linux || darwin || dragonfly || netbsd || openbsd

package netio

import "golang.org/x/sys/unix"

func spreadPort(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}
