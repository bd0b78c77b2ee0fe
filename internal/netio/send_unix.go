//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package netio

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSendTries bounds the retries of a send that failed with an ICMP error of
// an earlier datagram: several can be pending.
const maxSendTries = 4

// sender sends the datagrams of one socket. It never waits: package net would
// park the caller while the send buffer is full, or while another goroutine
// does so, since a socket has one write lock.
//
// One datagram is sent at a time, because some options are the socket's and are
// set for the time of the send.
type sender struct {
	uc    *net.UDPConn
	raw   syscall.RawConn
	bound netip.Addr
	v6    bool // the socket is one of IPv6, which wants IPv4 addresses mapped

	sendmsg func(fd int, b, control []byte, to unix.Sockaddr, flags int) (int, error) // unix.SendmsgN, but in tests

	mu   sync.Mutex // guards what follows
	send func(fd uintptr)
	b    []byte
	to   netip.Addr
	o    SendOptions
	n    int
	err  error

	name    unix.Sockaddr
	name4   unix.SockaddrInet4
	name6   unix.SockaddrInet6
	control []byte
	memory  [14]uint64 // of control; a header wants to be aligned
	zone    string     // name of interface zoneID, the last one asked for
	zoneID  uint32
}

func newSender(uc *net.UDPConn, raw syscall.RawConn, local netip.AddrPort) (*sender, error) {
	s := &sender{uc: uc, raw: raw, bound: local.Addr(), sendmsg: unix.SendmsgN}
	s.send = s.sendOn
	var errName error
	err := raw.Control(func(fd uintptr) {
		var name unix.Sockaddr
		name, errName = unix.Getsockname(int(fd))
		_, s.v6 = name.(*unix.SockaddrInet6)
	})
	return s, errors.Join(err, errName)
}

func (s *sender) writeOpts(b []byte, to netip.AddrPort, o SendOptions) (int, error) {
	to = unmap(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.address(to); err != nil {
		return 0, writeError(s.uc.LocalAddr(), to, err)
	}
	s.b, s.to, s.o = b, to.Addr(), o
	s.control = unsafe.Slice((*byte)(unsafe.Pointer(&s.memory)), unsafe.Sizeof(s.memory))[:0]
	s.addOptions()
	err := s.raw.Control(s.send)
	s.b = nil
	if err == nil && s.err == nil {
		return s.n, nil
	}
	if err == nil {
		if err = os.NewSyscallError("sendmsg", s.err); s.err == unix.EAGAIN {
			err = ErrBufferFull
		}
		s.zoneID = 0 // the interface may have got another number
	}
	var op *net.OpError
	if errors.As(err, &op) {
		op.Op = "write" // not "raw-control"
	}
	return 0, writeError(s.uc.LocalAddr(), to, err)
}

// sendOn sends what has been prepared.
func (s *sender) sendOn(fd uintptr) {
	if undo := setSendOptions(fd, s.to.Is6(), s.o); undo != nil {
		defer undo(fd)
	}
	for try := 1; ; {
		s.n, s.err = s.sendmsg(int(fd), s.b, s.control, s.name, unix.MSG_DONTWAIT)
		switch {
		case s.err == unix.EINTR:
		case s.err == nil || try == maxSendTries || !isPending(s.err):
			return
		default:
			try++
		}
	}
}

// isPending reports whether a send may have failed because of another
// datagram's ICMP error.
func isPending(err error) bool {
	switch err {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EPROTO, unix.ENOPROTOOPT, unix.EACCES, unix.EMSGSIZE:
		return true
	}
	return false
}

// address makes to the name that the datagram is sent to.
func (s *sender) address(to netip.AddrPort) error {
	ip := to.Addr()
	switch {
	case !to.IsValid():
		return unix.EINVAL
	case !s.v6 && ip.Is6():
		return unix.EAFNOSUPPORT
	case !s.v6:
		s.name4 = unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
		s.name = &s.name4
	default:
		s.name6 = unix.SockaddrInet6{Port: int(to.Port()), Addr: ip.As16(), ZoneId: s.zoneOf(ip.Zone())}
		s.name = &s.name6
	}
	return nil
}

func (s *sender) zoneOf(name string) uint32 {
	if name == "" {
		return 0
	}
	if name != s.zone || s.zoneID == 0 {
		s.zone, s.zoneID = name, 0
		if ifi, err := net.InterfaceByName(name); err == nil {
			s.zoneID = uint32(ifi.Index)
		} else if n, err := strconv.ParseUint(name, 10, 32); err == nil {
			s.zoneID = uint32(n)
		}
	}
	return s.zoneID
}

// source returns the address to send from; the zero Addr: the system's choice.
func (s *sender) source() netip.Addr { return sourceOf(s.bound, s.to, s.o) }

func (s *sender) addInt(level, kind, value int) {
	var data [4]byte
	binary.NativeEndian.PutUint32(data[:], uint32(value))
	s.add(level, kind, data[:])
}

// add appends one item of ancillary data (RFC 3542 section 20).
func (s *sender) add(level, kind int, data []byte) {
	start := len(s.control)
	s.control = s.control[:start+unix.CmsgSpace(len(data))]
	item := s.control[start:]
	clear(item)
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(item)))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(len(data)))
	copy(item[unix.CmsgLen(0):], data)
}

// addSource6 adds the source as struct in6_pktinfo (RFC 3542 section 6.2).
func (s *sender) addSource6(source netip.Addr) {
	var info [20]byte
	*(*[16]byte)(info[:]) = source.As16()
	s.add(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, info[:])
}
