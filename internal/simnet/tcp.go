package simnet

import (
	"fmt"
	"net/netip"
	"syscall"
)

// tcpStack is the TCP of one host: a small one, by segments, so that NATs see what
// they would see outside (RFC 9293; simultaneous open as in its 3.5).
type tcpStack struct {
	h         *Host
	conns     map[tuple]*tcpConn
	listeners map[netip.AddrPort][]*tcpListener
	// listenerFirst makes a listener win an inbound SYN over a connection that is
	// being dialled between the same endpoints; the dial then fails, as on BSD.
	listenerFirst bool
}

type tuple struct{ local, remote netip.AddrPort }

// tcpListener is a port that takes connections.
type tcpListener struct {
	stack  *tcpStack
	local  netip.AddrPort
	reuse  bool
	half   int // connections not yet established
	accept func(*tcpConn)
}

// maxHalfOpen is how many connections of one listener may be half open.
const maxHalfOpen = 256

func newTCPStack(h *Host) *tcpStack {
	return &tcpStack{h: h, conns: make(map[tuple]*tcpConn), listeners: make(map[netip.AddrPort][]*tcpListener)}
}

// SetListenerFirst chooses what a SYN finds where the host both listens at a port and
// dials from it to where the SYN came from: the listener (true; BSD, Windows), or the
// connection being dialled (false; Linux, and the default).
func (h *Host) SetListenerFirst(yes bool) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.tcp.listenerFirst = yes
}

// claim checks that a local address can be bound, and chooses a port where it has none.
// Sockets share a port only if all of them ask for it (SO_REUSEPORT).
func (s *tcpStack) claim(local netip.AddrPort, reuse bool) (netip.AddrPort, error) {
	local, err := s.h.localAddr(local)
	if err != nil {
		return local, err
	}
	if local.Port() != 0 {
		if s.taken(local.Port(), reuse) {
			return local, fmt.Errorf("simnet: tcp port %v on %s: %w", local, s.h.name, syscall.EADDRINUSE)
		}
		return local, nil
	}
	for range tries {
		if port := uint16(32768 + s.h.rand.IntN(28232)); !s.taken(port, false) {
			return netip.AddrPortFrom(local.Addr(), port), nil
		}
	}
	return local, fmt.Errorf("simnet: no free tcp port on %s: %w", s.h.name, syscall.EADDRINUSE)
}

// taken looks at all sockets; hosts have few.
func (s *tcpStack) taken(port uint16, reuse bool) bool {
	for a, ls := range s.listeners {
		if a.Port() == port {
			for _, l := range ls {
				if !l.reuse || !reuse {
					return true
				}
			}
		}
	}
	for t, c := range s.conns {
		if t.local.Port() == port && c.listener == nil && c.state != timeWait && (!c.reuse || !reuse) {
			return true
		}
	}
	return false
}

// listen opens a port. accept is called with each connection once it stands.
func (s *tcpStack) listen(local netip.AddrPort, reuse bool, accept func(*tcpConn)) (*tcpListener, error) {
	local, err := s.claim(local, reuse)
	if err != nil {
		return nil, err
	}
	l := &tcpListener{stack: s, local: local, reuse: reuse, accept: accept}
	s.listeners[local] = append(s.listeners[local], l)
	return l, nil
}

func (l *tcpListener) close() {
	all := l.stack.listeners[l.local]
	for i := range all {
		if all[i] == l {
			all = append(all[:i:i], all[i+1:]...)
			break
		}
	}
	if len(all) == 0 {
		delete(l.stack.listeners, l.local)
	} else {
		l.stack.listeners[l.local] = all
	}
}

// listenerFor finds who takes a SYN; several listeners at one port share by endpoint.
func (s *tcpStack) listenerFor(p *Packet) *tcpListener {
	for _, a := range [...]netip.AddrPort{p.Dst, wildcard(p.Dst)} {
		if ls := s.listeners[a]; len(ls) > 0 {
			return ls[nameHash(p.Src.String())%uint64(len(ls))]
		}
	}
	return nil
}

// wildcard is the unspecified address of a's family with a's port.
func wildcard(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is6() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
}

// dial starts a connection. Its owner hears of the outcome by on.
func (s *tcpStack) dial(local, remote netip.AddrPort, reuse bool, on tcpEvents) (*tcpConn, error) {
	local, err := s.claim(local, reuse)
	if err != nil {
		return nil, err
	}
	if local.Addr().IsUnspecified() {
		ip := s.h.sourceFor(remote.Addr())
		if !ip.IsValid() {
			return nil, fmt.Errorf("%w %v from %s: %w", errNoRoute, remote.Addr(), s.h.name, syscall.ENETUNREACH)
		}
		local = netip.AddrPortFrom(ip, local.Port())
	}
	if old := s.conns[tuple{local, remote}]; old != nil && old.state == timeWait {
		old.end(nil)
	} else if old != nil {
		return nil, fmt.Errorf("simnet: a connection from %v to %v exists: %w", local, remote, syscall.EADDRNOTAVAIL)
	}
	c := s.newConn(local, remote)
	c.on, c.reuse, c.state = on, reuse, synSent
	c.transmit(SYN, c.iss, nil)
	c.next = c.iss + 1
	c.arm()
	return c, nil
}

// receive takes a segment that is for this host.
func (s *tcpStack) receive(p *Packet) {
	c := s.conns[tuple{p.Dst, p.Src}]
	syn := p.Segment.Flags&(SYN|ACK|RST) == SYN
	l := s.listenerFor(p)
	var dialled *tcpConn // that the listener takes over
	switch {
	case c == nil:
	case syn && l != nil && c.state == synSent && s.listenerFirst:
		dialled = c
		c.end(syscall.EADDRINUSE)
	case syn && c.state == timeWait:
		c.end(nil)
	default:
		c.receive(p)
		return
	}
	if syn && l != nil && l.half < maxHalfOpen {
		c := s.newConn(p.Dst, p.Src)
		if dialled != nil {
			// The other side may have our SYN already: this is the same one.
			c.iss, c.una, c.next = dialled.iss, dialled.iss, dialled.iss
		}
		c.listener, c.state = l, synReceived
		l.half++
		c.synchronise(p)
		c.transmit(SYN|ACK, c.iss, nil)
		c.next = c.iss + 1
		c.arm()
		return
	}
	s.refuse(p)
}

// refuse answers what belongs to nothing here (RFC 9293 3.10.7.1).
func (s *tcpStack) refuse(p *Packet) {
	if r := resetTo(p); r != nil {
		s.h.reply(r)
	}
}

// resetTo is the reset that answers p; nil where none may, for p is one.
func resetTo(p *Packet) *Packet {
	if p.Segment.Flags&RST != 0 {
		return nil
	}
	r := &Packet{Proto: TCP, Src: p.Dst, Dst: p.Src, TTL: defaultTTL}
	if p.Segment.Flags&ACK != 0 {
		r.Segment = Segment{Flags: RST, Seq: p.Segment.Ack}
	} else {
		r.Segment = Segment{Flags: RST | ACK, Ack: p.Segment.Seq + p.sequence()}
	}
	return r
}

// sequence is how much of the sequence space the segment takes.
func (p *Packet) sequence() uint32 {
	n := uint32(len(p.Data))
	if p.Segment.Flags&SYN != 0 {
		n++
	}
	if p.Segment.Flags&FIN != 0 {
		n++
	}
	return n
}

// unreachable takes an ICMP error about a segment of ours. It ends a connection that
// does not stand yet; one that does lives on (RFC 9293 3.9.2.2).
func (s *tcpStack) unreachable(e *Error) {
	c := s.conns[tuple{e.Src, e.Dst}]
	switch {
	case c == nil:
	case e.Kind == PacketTooBig:
		c.shrink(e.MTU)
	case c.state == synSent:
		c.end(e.errno())
	}
}
