package netio

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

const errAddrInUse = windows.WSAEADDRINUSE

// transientErrnos are errors about one datagram; WSAEMSGSIZE is a received one
// that was cut.
var transientErrnos = []error{
	windows.WSAECONNRESET, windows.WSAENETRESET, windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH, windows.WSAEMSGSIZE,
	windows.WSAENOBUFS, windows.WSAEACCES, windows.WSAEINTR, windows.ERROR_PORT_UNREACHABLE, windows.ERROR_MORE_DATA,
}

func reusePort(fd uintptr) error {
	return windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)
}

// setReceiveOptions stops ICMP errors from failing reads: Windows does not say
// whom they are about.
func setReceiveOptions(fd uintptr) {
	for _, code := range [...]uint32{windows.SIO_UDP_CONNRESET, windows.SIO_UDP_NETRESET} {
		var off, returned uint32
		_ = windows.WSAIoctl(windows.Handle(fd), code, (*byte)(unsafe.Pointer(&off)), uint32(unsafe.Sizeof(off)),
			nil, 0, &returned, nil, 0)
	}
}

// From ws2ipdef.h.
const (
	ipDontFragment   = 14 // IP_DONTFRAGMENT
	ipv6DontFragment = 14 // IPV6_DONTFRAG
)

// setSendOptions sets o on the socket and returns what undoes it; nil: nothing.
func setSendOptions(fd uintptr, v6 bool, o SendOptions) (undo func(fd uintptr)) {
	level, ttl, df := windows.IPPROTO_IP, windows.IP_TTL, ipDontFragment
	if v6 {
		level, ttl, df = windows.IPPROTO_IPV6, windows.IPV6_UNICAST_HOPS, ipv6DontFragment
	}
	if o.TTL > 0 {
		undo = override(fd, level, ttl, o.TTL, undo)
	}
	if o.DontFragment {
		undo = override(fd, level, df, 1, undo)
	}
	return undo
}

// override sets an option and returns what sets it back, after which it calls next.
func override(fd uintptr, level, option, value int, next func(fd uintptr)) (undo func(fd uintptr)) {
	old, err := windows.GetsockoptInt(windows.Handle(fd), level, option)
	if err != nil || windows.SetsockoptInt(windows.Handle(fd), level, option, value) != nil {
		return next
	}
	return func(fd uintptr) {
		_ = windows.SetsockoptInt(windows.Handle(fd), level, option, old)
		if next != nil {
			next(fd)
		}
	}
}

// readControl has nothing to read: no options of that kind are set.
func readControl([]byte, *Meta) {}
