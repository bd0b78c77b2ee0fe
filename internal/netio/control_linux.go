package netio

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bradawl/bradawl/internal/machine"
)

// addOptions adds what goes with the datagram itself.
func (s *sender) addOptions() {
	if s.to.Is4() {
		if s.o.TTL > 0 {
			s.addInt(unix.IPPROTO_IP, unix.IP_TTL, s.o.TTL)
		}
		if source := s.source(); source.IsValid() {
			var info [unix.SizeofInet4Pktinfo]byte // struct in_pktinfo: the second field is the source
			*(*[4]byte)(info[4:]) = source.As4()
			s.add(unix.IPPROTO_IP, unix.IP_PKTINFO, info[:])
		}
		return
	}
	if s.o.TTL > 0 {
		s.addInt(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, s.o.TTL)
	}
	if s.o.DontFragment {
		s.addInt(unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
	}
	if source := s.source(); source.IsValid() {
		s.addSource6(source)
	}
}

// readControl fills m from the ancillary data of the datagram just read.
func (c *udpConn) readControl(m *Meta) {
	for oob := c.oob[:c.msg.Controllen]; len(oob) >= unix.SizeofCmsghdr; {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		switch h.Level {
		case unix.SOL_SOCKET:
			if h.Type == unix.SO_TIMESTAMPNS {
				m.Stamp = timespec(data)
			}
		case unix.IPPROTO_IP:
			switch {
			case h.Type == unix.IP_TTL && len(data) >= 4:
				m.TTL = int(binary.NativeEndian.Uint32(data))
			case h.Type == unix.IP_PKTINFO && len(data) >= 12:
				// struct in_pktinfo: the second field is the address to answer from, which
				// is the one asked, but for broadcast and multicast.
				m.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[4:8])), c.local.Port())
			}
		case unix.IPPROTO_IPV6:
			switch {
			case h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
				m.TTL = int(binary.NativeEndian.Uint32(data))
			case h.Type == unix.IPV6_PKTINFO && len(data) >= 20:
				a := netip.AddrFrom16([16]byte(data[:16])).Unmap()
				if a.IsLinkLocalUnicast() && a.Is6() {
					a = a.WithZone(c.zoneName(binary.NativeEndian.Uint32(data[16:])))
				}
				m.Local = netip.AddrPortFrom(a, c.local.Port())
			}
		}
	}
}

func timespec(data []byte) time.Time {
	switch len(data) {
	case 16:
		return time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:])))
	case 8: // 32-bit systems
		return time.Unix(int64(int32(binary.NativeEndian.Uint32(data))), int64(binary.NativeEndian.Uint32(data[4:])))
	}
	return time.Time{}
}

// The layout of struct sock_extended_err (linux/errqueue.h); the address of
// whoever reported the error follows.
const (
	extErrno  = 0
	extOrigin = 4
	extType   = 5
	extCode   = 6
	extInfo   = 8
	extSize   = 16
)

// unreachable is the error just read from the error queue.
func (c *udpConn) unreachable() *UnreachableError {
	e := &UnreachableError{Remote: c.remote()}
	for oob := c.oob[:c.msg.Controllen]; len(oob) >= unix.SizeofCmsghdr; {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		isErr := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR ||
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if !isErr || len(data) < extSize {
			continue
		}
		e.Err = syscall.Errno(binary.NativeEndian.Uint32(data[extErrno:]))
		e.Reason = reason(data[extOrigin], data[extType], data[extCode])
		if data[extOrigin] == unix.SO_EE_ORIGIN_LOCAL && e.Err == unix.EMSGSIZE {
			e.Reason = machine.TooBig
		}
		if e.Reason == machine.TooBig {
			e.MTU = int(binary.NativeEndian.Uint32(data[extInfo:]))
		}
		e.From = c.addrPort(data[extSize:]).Addr()
	}
	return e
}

// reason translates the type and code of ICMP (RFC 792, RFC 1812 section
// 5.2.7.1) and ICMPv6 (RFC 4443 section 3).
func reason(origin, typ, code byte) machine.Reason {
	switch origin {
	case unix.SO_EE_ORIGIN_ICMP:
		switch typ {
		case 3:
			return reasonV4(code)
		case 11:
			return machine.TimeExceeded
		}
	case unix.SO_EE_ORIGIN_ICMP6:
		switch typ {
		case 1:
			return reasonV6(code)
		case 2:
			return machine.TooBig
		case 3:
			return machine.TimeExceeded
		case 4:
			if code == 1 { // the next header is not known there: ICMPv6's protocol unreachable
				return machine.ProtocolUnreachable
			}
		}
	}
	return machine.OtherReason
}

func reasonV4(code byte) machine.Reason {
	switch code {
	case 0, 6, 11:
		return machine.NetUnreachable
	case 1, 7, 12:
		return machine.HostUnreachable
	case 2:
		return machine.ProtocolUnreachable
	case 3:
		return machine.PortUnreachable
	case 4:
		return machine.TooBig
	case 9, 10, 13:
		return machine.Prohibited
	}
	return machine.OtherReason
}

func reasonV6(code byte) machine.Reason {
	switch code {
	case 0:
		return machine.NetUnreachable
	case 1, 5, 6:
		return machine.Prohibited
	case 3:
		return machine.HostUnreachable
	case 4:
		return machine.PortUnreachable
	}
	return machine.OtherReason
}
