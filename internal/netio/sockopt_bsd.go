//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package netio

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const errAddrInUse = unix.EADDRINUSE

// transientErrnos are errors about one datagram.
var transientErrnos = []error{
	unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EMSGSIZE, unix.ENOBUFS,
	unix.ENOMEM, unix.EACCES, unix.EPERM, unix.EINTR,
}

func reusePort(fd uintptr) error {
	if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// setReceiveOptions asks for both families' options: those of the other family
// fail, as may those that this system does not have.
func setReceiveOptions(fd uintptr) {
	for _, o := range [...]struct{ level, option int }{
		{unix.SOL_SOCKET, unix.SO_TIMESTAMP},
		{unix.IPPROTO_IP, unix.IP_RECVTTL},
		{unix.IPPROTO_IP, unix.IP_RECVDSTADDR},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO},
	} {
		_ = unix.SetsockoptInt(int(fd), o.level, o.option, 1)
	}
}

// setSendOptions sets o on the socket and returns what undoes it; nil: nothing.
func setSendOptions(fd uintptr, v6 bool, o SendOptions) (undo func(fd uintptr)) {
	level, ttl, df := unix.IPPROTO_IP, unix.IP_TTL, ipDontFragment
	if v6 {
		level, ttl, df = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_DONTFRAG
	}
	if o.TTL > 0 {
		undo = override(fd, level, ttl, o.TTL, undo)
	}
	if o.DontFragment && df != 0 {
		undo = override(fd, level, df, 1, undo)
	}
	return undo
}

// override sets an option and returns what sets it back, after which it calls next.
func override(fd uintptr, level, option, value int, next func(fd uintptr)) (undo func(fd uintptr)) {
	old, err := unix.GetsockoptInt(int(fd), level, option)
	if err != nil || unix.SetsockoptInt(int(fd), level, option, value) != nil {
		return next
	}
	return func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), level, option, old)
		if next != nil {
			next(fd)
		}
	}
}

// addOptions adds what goes with the datagram itself: the source. Ancillary data
// makes these systems send at least one byte, so that an empty datagram goes
// without.
func (s *sender) addOptions() {
	source := s.source()
	switch {
	case !source.IsValid() || len(s.b) == 0:
	case source.Is6():
		s.addSource6(source)
	default:
		s.addSource4(source)
	}
}

// readControl fills m from the ancillary data of a datagram.
func readControl(oob []byte, m *Meta) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		switch h.Level {
		case unix.SOL_SOCKET:
			if h.Type == unix.SCM_TIMESTAMP && len(data) >= int(unsafe.Sizeof(unix.Timeval{})) {
				tv := (*unix.Timeval)(unsafe.Pointer(unsafe.SliceData(data)))
				m.Stamp = time.Unix(int64(tv.Sec), int64(tv.Usec)*1000)
			}
		case unix.IPPROTO_IP:
			switch {
			case h.Type == unix.IP_RECVTTL && len(data) >= 1:
				m.TTL = int(data[0]) // an unsigned char, unlike IPv6's int
			case h.Type == unix.IP_RECVDSTADDR && len(data) >= 4:
				m.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[:4])), m.Local.Port())
			}
		case unix.IPPROTO_IPV6:
			switch {
			case h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
				m.TTL = int(binary.NativeEndian.Uint32(data))
			case h.Type == unix.IPV6_PKTINFO && len(data) >= 16:
				a := netip.AddrFrom16([16]byte(data[:16])).Unmap()
				if !a.IsLinkLocalUnicast() { // these carry the zone in a form of the system's own
					m.Local = netip.AddrPortFrom(a, m.Local.Port())
				}
			}
		}
	}
}
