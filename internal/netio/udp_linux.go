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

// udpConn is a *net.UDPConn on Linux. Reading goes through recvmsg on the file
// descriptor itself: package net would return EAGAIN to nobody, and with it
// the moment to look at the error queue.
type udpConn struct {
	uc     *net.UDPConn
	raw    syscall.RawConn
	local  netip.AddrPort
	sender *sender

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
	if c.sender, err = newSender(uc, raw, local); err != nil {
		return nil, err
	}
	err = raw.Control(func(fd uintptr) {
		setReceiveOptions(int(fd))
		setErrorQueue(int(fd), 1)
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
	return c.sender.writeOpts(b, to, o)
}

func (c *udpConn) SetReadDeadline(t time.Time) error  { return c.uc.SetReadDeadline(t) }
func (c *udpConn) SetWriteDeadline(t time.Time) error { return c.uc.SetWriteDeadline(t) }
