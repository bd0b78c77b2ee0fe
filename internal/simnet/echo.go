package simnet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// An echo request (ICMP or ICMPv6) travels as a packet of the transport Echo from the
// port that is its identifier to echoPort, and its reply the other way, so that NATs
// map identifiers as they map ports (RFC 5508 3.1).
const echoPort = 7

// echoReply is what answers p.
func echoReply(p *Packet) *Packet {
	return &Packet{Proto: Echo, Src: p.Dst, Dst: p.Src, TTL: defaultTTL, Data: p.Data}
}

// isEchoRequest reports whether p asks for an echo.
func isEchoRequest(p *Packet) bool { return p.Proto == Echo && p.Dst.Port() == echoPort }

// echoed takes an echo packet that is for h.
func (h *Host) echoed(p *Packet) {
	if c := h.echo[p.Dst.Port()]; c != nil && p.Src == netip.AddrPortFrom(c.to, echoPort) {
		c.push(p)
	} else if isEchoRequest(p) && !h.noEcho {
		h.reply(echoReply(p))
	}
}

// SetEcho says whether the host answers echo requests, which it does at first.
func (h *Host) SetEcho(on bool) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.noEcho = !on
}

// echoed answers an echo request to the NAT itself, or leaves it unanswered as the
// configuration has it.
func (n *NAT) echoed(p *Packet) {
	if n.echo.Float64() < n.table.EchoLoss {
		n.drop(p, "echo not answered")
		return
	}
	n.send(echoReply(p))
}

// EchoConn sends echo requests to one address, in the shape of a ping socket. Its
// methods may be called from any goroutine.
type EchoConn struct {
	h  *Host
	id uint16
	to netip.Addr

	mu      sync.Mutex
	queue   []*Packet
	closed  bool
	arrived chan struct{} // closed and replaced when something arrives
	read    deadline
}

// DialEcho opens a ping socket to an address.
func (h *Host) DialEcho(to netip.Addr) (*EchoConn, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	c := &EchoConn{h: h, to: to.Unmap(), arrived: make(chan struct{}), read: newDeadline()}
	for c.id == 0 || c.id == echoPort || h.echo[c.id] != nil {
		c.id = uint16(h.rand.Uint32())
	}
	h.echo[c.id] = c
	return c, nil
}

// push is called with the world locked.
func (c *EchoConn) push(p *Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p.Data) != 2 || len(c.queue) == 1024 {
		return
	}
	c.queue = append(c.queue, p)
	close(c.arrived)
	c.arrived = make(chan struct{})
}

// Send sends one request.
func (c *EchoConn) Send(seq uint16) error {
	w := c.h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.h.echo[c.id] != c {
		return net.ErrClosed
	}
	w.sync()
	from := c.h.sourceFor(c.to)
	if !from.IsValid() {
		return errNoRoute
	}
	return c.h.output(&Packet{
		Proto: Echo, Src: netip.AddrPortFrom(from, c.id), Dst: netip.AddrPortFrom(c.to, echoPort),
		TTL: defaultTTL, Data: binary.BigEndian.AppendUint16(nil, seq),
	})
}

// Receive waits for a reply and returns its sequence number and the TTL that it came with.
func (c *EchoConn) Receive() (seq uint16, ttl int, err error) {
	for {
		c.mu.Lock()
		expired := c.read.done()
		switch {
		case c.closed:
			c.mu.Unlock()
			return 0, 0, net.ErrClosed
		case isDone(expired):
			c.mu.Unlock()
			return 0, 0, os.ErrDeadlineExceeded
		case len(c.queue) > 0:
			p := c.queue[0]
			c.queue = c.queue[1:]
			c.mu.Unlock()
			return binary.BigEndian.Uint16(p.Data), int(p.TTL), nil
		}
		arrived := c.arrived
		c.mu.Unlock()
		select {
		case <-arrived:
		case <-expired:
		}
	}
}

// SetReadDeadline makes Receive fail with os.ErrDeadlineExceeded from t on; the zero
// time: never.
func (c *EchoConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.read.set(t)
	close(c.arrived)
	c.arrived = make(chan struct{})
	return nil
}

// Close ends the socket and unblocks Receive.
func (c *EchoConn) Close() error {
	w := c.h.w
	w.mu.Lock()
	defer w.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	delete(c.h.echo, c.id)
	c.read.set(time.Time{})
	close(c.arrived)
	return nil
}
