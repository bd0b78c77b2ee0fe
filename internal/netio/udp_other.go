//go:build !linux

package netio

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// udpConn is a *net.UDPConn on systems other than Linux. What it can tell
// depends on receive options and readControl of the system's sockopt file;
// options of a single datagram are set on the socket around its send.
type udpConn struct {
	uc    *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort

	sendMu sync.Mutex // one datagram with options at a time

	readMu sync.Mutex
	oob    [256]byte
}

func wrapUDP(uc *net.UDPConn, local netip.AddrPort) (Conn, error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(setReceiveOptions); err != nil {
		return nil, err
	}
	return &udpConn{uc: uc, raw: raw, local: local}, nil
}

func (c *udpConn) LocalAddrPort() netip.AddrPort     { return c.local }
func (c *udpConn) Close() error                      { return c.uc.Close() }
func (c *udpConn) SetReadDeadline(t time.Time) error { return c.uc.SetReadDeadline(t) }

func (c *udpConn) ReadMeta(b []byte) (int, Meta, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	n, oobn, _, from, err := c.uc.ReadMsgUDPAddrPort(b, c.oob[:])
	m := Meta{Remote: unmap(from), Local: c.local}
	if err == nil {
		readControl(c.oob[:oobn], &m)
	}
	return n, m, err
}

func (c *udpConn) WriteOpts(b []byte, to netip.AddrPort, o SendOptions) (int, error) {
	to = unmap(to)
	if o != (SendOptions{}) {
		c.sendMu.Lock()
		defer c.sendMu.Unlock()
		var undo func(fd uintptr)
		if err := c.raw.Control(func(fd uintptr) { undo = setSendOptions(fd, to.Addr().Is6(), o) }); err != nil {
			return 0, err
		}
		defer c.raw.Control(undo)
	}
	return c.uc.WriteToUDPAddrPort(b, to)
}
