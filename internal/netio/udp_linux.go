package netio

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSendTries bounds the retries of a send that failed with an ICMP error of
// an earlier datagram: several can be pending.
const maxSendTries = 4

// udpConn is a *net.UDPConn on Linux. Reading goes through recvmsg on the file
// descriptor itself: package net would return EAGAIN to nobody, and with it
// the moment to look at the error queue.
type udpConn struct {
	uc    *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort

	dfMu    sync.Mutex // IPv4 has don't-fragment per socket, not per datagram
	df      int        // the owner's IP_MTU_DISCOVER
	dfProbe func(fd uintptr)
	dfReset func(fd uintptr)

	readMu sync.Mutex // guards what follows
	try    func(fd uintptr) bool
	buf    []byte
	n      int
	errno  syscall.Errno
	queued bool // what was read is from the error queue
	msg    unix.Msghdr
	iov    unix.Iovec
	name   unix.RawSockaddrAny
	oob    [256]byte
	zone   string // name of interface zoneID, the last one seen
	zoneID uint32
}

func wrapUDP(uc *net.UDPConn, local netip.AddrPort) (Conn, error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &udpConn{uc: uc, raw: raw, local: local}
	c.try = c.tryRead
	c.dfProbe = func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}
	c.dfReset = func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, c.df)
	}
	err = raw.Control(func(fd uintptr) {
		setReceiveOptions(int(fd))
		setErrorQueue(int(fd), 1)
		c.df, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *udpConn) LocalAddrPort() netip.AddrPort { return c.local }
func (c *udpConn) Close() error                  { return c.uc.Close() }

func (c *udpConn) release() error {
	return c.raw.Control(func(fd uintptr) { setErrorQueue(int(fd), 0) })
}

func (c *udpConn) ReadMeta(b []byte) (int, Meta, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.buf = b
	err := c.raw.Read(c.try)
	c.buf = nil
	switch {
	case err != nil: // closed, or past the deadline
		var op *net.OpError
		if errors.As(err, &op) {
			op.Op = "read" // not "raw-read"
		}
		return 0, Meta{}, err
	case c.queued:
		return 0, Meta{}, c.unreachable()
	case c.errno != 0:
		return 0, Meta{}, &net.OpError{Op: "read", Net: "udp", Source: c.uc.LocalAddr(), Err: c.errno}
	}
	m := Meta{Remote: c.remote(), Local: c.local}
	c.readControl(&m)
	return c.n, m, nil
}

// tryRead reads a datagram or, when there is none or the socket has an error
// pending, from the error queue. It reports false when there is nothing at
// all, so that the caller waits. The queue is looked at even without an error
// pending, because a concurrent send may have been the one to get it.
func (c *udpConn) tryRead(fd uintptr) bool {
	c.queued = false
	c.recvmsg(fd, 0)
	if c.errno == 0 {
		return true
	}
	errno := c.errno
	c.recvmsg(fd, unix.MSG_ERRQUEUE)
	if c.errno == 0 {
		c.queued = true
		return true
	}
	c.errno = errno
	return errno != unix.EAGAIN
}

func (c *udpConn) recvmsg(fd uintptr, flags int) {
	c.iov.Base = unsafe.SliceData(c.buf)
	c.iov.SetLen(len(c.buf))
	c.msg = unix.Msghdr{
		Name:    (*byte)(unsafe.Pointer(&c.name)),
		Namelen: uint32(unsafe.Sizeof(c.name)),
		Iov:     &c.iov,
		Control: &c.oob[0],
	}
	c.msg.SetIovlen(1)
	c.msg.SetControllen(len(c.oob))
	for {
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.msg)), uintptr(flags))
		if errno == unix.EINTR {
			continue
		}
		c.n, c.errno = int(n), errno
		return
	}
}

// remote is the address in c.name.
func (c *udpConn) remote() netip.AddrPort {
	if c.msg.Namelen == 0 {
		return netip.AddrPort{}
	}
	return c.addrPort(unsafe.Slice((*byte)(unsafe.Pointer(&c.name)), unsafe.Sizeof(c.name)))
}

// addrPort reads a struct sockaddr.
func (c *udpConn) addrPort(sa []byte) netip.AddrPort {
	if len(sa) < unix.SizeofSockaddrInet4 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(sa[2:])
	switch binary.NativeEndian.Uint16(sa) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), port)
	case unix.AF_INET6:
		if len(sa) < unix.SizeofSockaddrInet6 {
			return netip.AddrPort{}
		}
		a := netip.AddrFrom16([16]byte(sa[8:24])).Unmap()
		if id := binary.NativeEndian.Uint32(sa[24:]); id != 0 && a.Is6() {
			a = a.WithZone(c.zoneName(id))
		}
		return netip.AddrPortFrom(a, port)
	}
	return netip.AddrPort{}
}

func (c *udpConn) zoneName(id uint32) string {
	if id != c.zoneID {
		c.zoneID, c.zone = id, strconv.FormatUint(uint64(id), 10)
		if ifi, err := net.InterfaceByIndex(int(id)); err == nil {
			c.zone = ifi.Name
		}
	}
	return c.zone
}

func (c *udpConn) WriteOpts(b []byte, to netip.AddrPort, o SendOptions) (int, error) {
	to = unmap(to)
	var control control
	v4 := to.Addr().Is4()
	if o.TTL > 0 {
		if v4 {
			control.add(unix.IPPROTO_IP, unix.IP_TTL, o.TTL)
		} else {
			control.add(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, o.TTL)
		}
	}
	if o.DontFragment {
		if v4 {
			c.dfMu.Lock()
			defer c.dfMu.Unlock()
			if err := c.raw.Control(c.dfProbe); err != nil {
				return 0, err
			}
			defer c.raw.Control(c.dfReset)
		} else {
			control.add(unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
		}
	}
	for try := 1; ; try++ {
		n, _, err := c.uc.WriteMsgUDPAddrPort(b, control.bytes(), to)
		if err == nil || try == maxSendTries || !isPending(err) {
			return n, err
		}
	}
}

// isPending reports whether a send may have failed because of another
// datagram's ICMP error.
func isPending(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) ||
		errors.Is(err, unix.EPROTO) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EMSGSIZE)
}

func (c *udpConn) SetReadDeadline(t time.Time) error { return c.uc.SetReadDeadline(t) }
