package fingerprint

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// DialEcho opens an unprivileged ping socket towards addr, as Linux and macOS have
// them. Linux grants them to the groups in the sysctl net.ipv4.ping_group_range, for
// IPv6 too; where it does not, the error is os.ErrPermission. Replies count only if
// they come from addr and carry what the request did, 16 random bytes.
func DialEcho(_ context.Context, addr netip.Addr) (EchoConn, error) {
	addr = addr.Unmap()
	network, local := "udp4", "0.0.0.0"
	if addr.Is6() {
		network, local = "udp6", "::"
	}
	pc, err := icmp.ListenPacket(network, local)
	if err != nil {
		remedy := "only Linux and macOS have them"
		if errors.Is(err, os.ErrPermission) {
			remedy = "let the sysctl net.ipv4.ping_group_range include the program's group"
		}
		return nil, fmt.Errorf("fingerprint: no ping socket towards %v: %w; %s", addr, err, remedy)
	}
	c := &pingConn{pc: pc, addr: addr, v4: pc.IPv4PacketConn(), v6: pc.IPv6PacketConn()}
	// Without it the TTL is unknown, which is told as such.
	if c.v4 != nil {
		_ = c.v4.SetControlMessage(ipv4.FlagTTL, true)
	} else {
		_ = c.v6.SetControlMessage(ipv6.FlagHopLimit, true)
	}
	_, _ = rand.Read(c.token[:]) // never fails
	return c, nil
}

// pingConn is a ping socket towards one address.
type pingConn struct {
	pc    *icmp.PacketConn
	v4    *ipv4.PacketConn // one of the two is nil
	v6    *ipv6.PacketConn
	addr  netip.Addr
	token [16]byte
	buf   [256]byte
}

func (c *pingConn) Send(seq uint16) error {
	id := binary.BigEndian.Uint16(c.token[:]) // Linux puts in its own
	request := appendEcho(nil, c.v6 != nil, id, seq, c.token[:])
	_, err := c.pc.WriteTo(request, net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.addr, 0)))
	return err
}

func (c *pingConn) Receive() (uint16, int, error) {
	for {
		n, ttl, from, err := c.read()
		if err != nil {
			return 0, 0, err
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok || udp.AddrPort().Addr().Unmap() != c.addr {
			continue
		}
		if seq, ok := parseEcho(c.buf[:n], c.v6 != nil, c.token[:]); ok {
			return seq, ttl, nil
		}
	}
}

func (c *pingConn) read() (n, ttl int, from net.Addr, err error) {
	if c.v4 != nil {
		n, cm, from, err := c.v4.ReadFrom(c.buf[:])
		if cm != nil {
			ttl = cm.TTL
		}
		return n, ttl, from, err
	}
	n, cm, from, err := c.v6.ReadFrom(c.buf[:])
	if cm != nil {
		ttl = cm.HopLimit
	}
	return n, ttl, from, err
}

func (c *pingConn) SetReadDeadline(t time.Time) error { return c.pc.SetReadDeadline(t) }

func (c *pingConn) Close() error { return c.pc.Close() }
