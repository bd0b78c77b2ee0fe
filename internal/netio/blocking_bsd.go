//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package netio

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prepareBlocking sets what a system may refuse: better a probe without it than
// none.
func prepareBlocking(fd int, v6 bool) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 1)
	setSendOptions(uintptr(fd), v6, SendOptions{DontFragment: true}) // for good
}

func controlStamp(kind int, data []byte) time.Time {
	if kind != unix.SCM_TIMESTAMP || len(data) < int(unsafe.Sizeof(unix.Timeval{})) {
		return time.Time{}
	}
	tv := (*unix.Timeval)(unsafe.Pointer(unsafe.SliceData(data)))
	return time.Unix(int64(tv.Sec), int64(tv.Usec)*1000)
}
