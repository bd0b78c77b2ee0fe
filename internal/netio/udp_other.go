//go:build !linux

package netio

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// udpConn is a *net.UDPConn on systems other than Linux. What it can tell
// depends on receive options and readControl of the system's sockopt file.
type udpConn struct {
	uc     *net.UDPConn
	local  netip.AddrPort
	sender *sender

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
	sender, err := newSender(uc, raw, local)
	if err != nil {
		return nil, err
	}
	return &udpConn{uc: uc, local: local, sender: sender}, nil
}

func (c *udpConn) LocalAddrPort() netip.AddrPort      { return c.local }
func (c *udpConn) Close() error                       { return c.uc.Close() }
func (c *udpConn) SetReadDeadline(t time.Time) error  { return c.uc.SetReadDeadline(t) }
func (c *udpConn) SetWriteDeadline(t time.Time) error { return c.uc.SetWriteDeadline(t) }

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
	return c.sender.writeOpts(b, to, o)
}
