package simnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

// PacketConn is a UDP socket of a host in the shape of net.PacketConn. It has what
// netio's optional interfaces ask of a real one: the TTL of what comes in and goes
// out, receive times, don't-fragment, ICMP errors as transient read errors. Its
// methods may be called from any goroutine.
type PacketConn struct {
	sock  *socket
	local netip.AddrPort

	mu      sync.Mutex
	queue   []arrival
	bytes   int
	closed  bool
	arrived chan struct{} // closed and replaced when something arrives
	read    deadline
}

type arrival struct {
	p     *Packet
	stamp time.Time
	err   error
}

// receiveBuffer is how many bytes wait for a slow reader, as Linux has by default.
const receiveBuffer = 212992

// ListenPacket opens a UDP port of the host. Its shape is that of
// net.ListenConfig.ListenPacket: network "udp", "udp4" or "udp6", address
// "host:port" with a literal host or none.
func (h *Host) ListenPacket(_ context.Context, network, address string) (net.PacketConn, error) {
	local, err := parseLocal(network, "udp", address)
	if err != nil {
		return nil, err
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	s, err := h.bind(local)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: net.UDPAddrFromAddrPort(local), Err: err}
	}
	c := &PacketConn{sock: s, local: s.local, arrived: make(chan struct{}), read: newDeadline()}
	s.receive = func(p *Packet) { c.push(arrival{p: p, stamp: h.w.now}) }
	s.failed = func(e *Error) {
		c.push(arrival{err: &netio.UnreachableError{
			Remote: e.Dst, From: e.From, Reason: e.Kind.reason(), MTU: e.MTU, Err: e.errno(),
		}})
	}
	return c, nil
}

// reason is what a machine is told of an ICMP error. netio has the same numbers.
func (k ErrorKind) reason() machine.Reason {
	return [...]machine.Reason{
		PortUnreachable: machine.PortUnreachable,
		HostUnreachable: machine.HostUnreachable,
		AdminProhibited: machine.Prohibited,
		TTLExceeded:     machine.TimeExceeded,
		PacketTooBig:    machine.TooBig,
	}[k]
}

// sendFrom is send from one of several addresses, where the socket has them.
func (s *socket) sendFrom(source netip.Addr, to netip.AddrPort, data []byte, ttl int, df bool) error {
	source = source.Unmap()
	usable := source.IsValid() && !source.IsUnspecified() && !source.IsMulticast() && source.Is4() == to.Addr().Unmap().Is4()
	if s.local.Addr().IsUnspecified() && usable {
		s = &socket{host: s.host, local: netip.AddrPortFrom(source, s.local.Port())}
	}
	return s.send(to, data, ttl, df)
}

// errno is what a system reports an ICMP error as.
func (e *Error) errno() error {
	switch {
	case e.Kind == PortUnreachable:
		return syscall.ECONNREFUSED
	case e.Kind == PacketTooBig:
		return syscall.EMSGSIZE
	case e.Kind == AdminProhibited && e.Dst.Addr().Is6():
		return syscall.EACCES
	}
	return syscall.EHOSTUNREACH
}

// parseLocal reads a local address as net.Listen would, without resolving names.
func parseLocal(network, family, address string) (netip.AddrPort, error) {
	v, ok := strings.CutPrefix(network, family)
	if !ok || v != "" && v != "4" && v != "6" {
		return netip.AddrPort{}, fmt.Errorf("simnet: network %q: want %s, %s4 or %s6", network, family, family, family)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("simnet: local address %q: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("simnet: local address %q: port: %w", address, err)
	}
	ip := netip.IPv4Unspecified()
	if v == "6" {
		ip = netip.IPv6Unspecified()
	}
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, fmt.Errorf("simnet: local address %q: %w", address, err)
		}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}

// push is called with the world locked.
func (c *PacketConn) push(a arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if a.p != nil {
		if c.bytes+len(a.p.Data) > receiveBuffer {
			h := c.sock.host
			h.w.trace.drop(h.w.now, h.name, a.p, "receive buffer full")
			return
		}
		c.bytes += len(a.p.Data)
	}
	c.queue = append(c.queue, a)
	close(c.arrived)
	c.arrived = make(chan struct{})
}

// ReadMeta implements netio.MetaReader.
func (c *PacketConn) ReadMeta(b []byte) (int, netio.Meta, error) {
	for {
		c.mu.Lock()
		expired := c.read.done()
		switch {
		case c.closed:
			c.mu.Unlock()
			return 0, netio.Meta{}, c.fail("read", net.ErrClosed)
		case isDone(expired):
			c.mu.Unlock()
			return 0, netio.Meta{}, c.fail("read", os.ErrDeadlineExceeded)
		case len(c.queue) > 0:
			a := c.queue[0]
			c.queue = c.queue[1:]
			if a.err == nil {
				c.bytes -= len(a.p.Data)
			}
			c.mu.Unlock()
			if a.err != nil {
				return 0, netio.Meta{}, c.fail("read", a.err)
			}
			m := netio.Meta{Remote: a.p.Src, Local: a.p.Dst, TTL: int(a.p.TTL), Stamp: a.stamp}
			return copy(b, a.p.Data), m, nil
		}
		arrived := c.arrived
		c.mu.Unlock()
		select {
		case <-arrived:
		case <-expired:
		}
	}
}

// ReadFromUDPAddrPort reads as *net.UDPConn does.
func (c *PacketConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, m, err := c.ReadMeta(b)
	return n, m.Remote, err
}

// ReadFrom implements net.PacketConn.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, m, err := c.ReadMeta(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(m.Remote), nil
}

// WriteOpts implements netio.OptionWriter.
func (c *PacketConn) WriteOpts(b []byte, to netip.AddrPort, o netio.SendOptions) (int, error) {
	w := c.sock.host.w
	w.mu.Lock()
	defer w.mu.Unlock()
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, c.fail("write", net.ErrClosed)
	}
	w.sync()
	if err := c.sock.sendFrom(o.Source, to, b, o.TTL, o.DontFragment); err != nil {
		return 0, c.fail("write", err)
	}
	return len(b), nil
}

// WriteToUDPAddrPort writes as *net.UDPConn does.
func (c *PacketConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return c.WriteOpts(b, to, netio.SendOptions{})
}

// WriteTo implements net.PacketConn.
func (c *PacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	a := netio.AddrPortOf(to)
	if !a.IsValid() {
		return 0, c.fail("write", fmt.Errorf("destination %v is not IP:port", to))
	}
	return c.WriteOpts(b, a, netio.SendOptions{})
}

// LocalAddr is the address that the socket is bound to.
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// Close closes the socket and unblocks reads.
func (c *PacketConn) Close() error {
	w := c.sock.host.w
	w.mu.Lock()
	defer w.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	c.queue = nil
	c.sock.close()
	c.read.set(time.Time{})
	close(c.arrived)
	return nil
}

// SetDeadline sets the read deadline; writes never block.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads fail with os.ErrDeadlineExceeded from t on; the zero
// time: never.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	c.read.set(t)
	// A reader that waits must look again: its deadline may have moved away.
	close(c.arrived)
	c.arrived = make(chan struct{})
	return nil
}

// SetWriteDeadline does nothing: writes never block.
func (c *PacketConn) SetWriteDeadline(time.Time) error { return nil }

func (c *PacketConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}
