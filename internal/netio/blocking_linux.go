package netio

import (
	"time"

	"golang.org/x/sys/unix"
)

// prepareBlocking sets what a system may refuse: better a probe without it than
// none.
func prepareBlocking(fd int, v6 bool) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}
}

func controlStamp(kind int, data []byte) time.Time {
	if kind != unix.SO_TIMESTAMPNS {
		return time.Time{}
	}
	return timespec(data)
}
