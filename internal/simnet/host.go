package simnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
)

// Host is an end system: addresses, sockets, and (by Run) machines.
type Host struct {
	w      *World
	name   string
	ifaces []*Iface
	made   int // how many interfaces there ever were
	rand   *rand.Rand
	udp    map[netip.AddrPort]*socket
	tcp    *tcpStack
	echo   map[uint16]*EchoConn // by identifier
	noEcho bool
}

// socket is a bound UDP port.
type socket struct {
	host    *Host
	local   netip.AddrPort // the address may be unspecified
	receive func(p *Packet)
	failed  func(e *Error)
}

// AddHost puts a host on a network by a link, the same both ways. It gets the addresses
// given or, when there are none, one of each family that the network has.
func (w *World) AddHost(name string, on *Network, link Link, addrs ...netip.Addr) *Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &Host{w: w, name: name, rand: w.Rand("host " + name), udp: make(map[netip.AddrPort]*socket), echo: make(map[uint16]*EchoConn)}
	h.tcp = newTCPStack(h)
	h.addIface(on, link, addrs)
	return h
}

// AddIface attaches the host to one more network, as AddHost does to the first.
// Packets leave by the first interface that is up and has an address of their family,
// or by that of the address that their socket is bound to.
func (h *Host) AddIface(on *Network, link Link, addrs ...netip.Addr) *Iface {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.addIface(on, link, addrs)
}

func (h *Host) addIface(on *Network, link Link, addrs []netip.Addr) *Iface {
	if len(addrs) == 0 {
		var err error
		if addrs, err = on.assignAll(); err != nil {
			panic(err) // a world too big for its addresses
		}
	}
	name := h.name
	if h.made++; h.made > 1 {
		name = fmt.Sprintf("%s/%d", name, h.made)
	}
	i := on.attach(name, h, link, addrs...)
	h.ifaces = append(h.ifaces, i)
	return i
}

// RemoveIface detaches the host from a network: a cable pulled, a cell left. Sockets
// bound to its addresses stay open and can send no more.
func (h *Host) RemoveIface(i *Iface) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for _, a := range i.addrs {
		i.remove(a)
	}
	i.off = true
	h.ifaces = slices.DeleteFunc(h.ifaces, func(have *Iface) bool { return have == i })
}

// Name is the name that the host was added by.
func (h *Host) Name() string { return h.name }

// Iface is the host's first interface.
func (h *Host) Iface() *Iface { return h.Ifaces()[0] }

// Ifaces are the host's interfaces.
func (h *Host) Ifaces() []*Iface {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return slices.Clone(h.ifaces)
}

// Addrs are the host's addresses.
func (h *Host) Addrs() []netip.Addr {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.addrs()
}

func (h *Host) addrs() (all []netip.Addr) {
	for _, i := range h.ifaces {
		all = append(all, i.addrs...)
	}
	return all
}

// Addr is the host's first address.
func (h *Host) Addr() netip.Addr { return h.Addrs()[0] }

// bind opens a UDP port; port 0 takes an ephemeral one.
func (h *Host) bind(local netip.AddrPort) (*socket, error) {
	local, err := h.localAddr(local)
	if err != nil {
		return nil, err
	}
	if local.Port() == 0 {
		for range tries {
			port := netip.AddrPortFrom(local.Addr(), uint16(49152+h.rand.IntN(16384)))
			if h.udp[port] == nil {
				local = port
				break
			}
		}
	}
	if h.udp[local] != nil || local.Port() == 0 {
		return nil, fmt.Errorf("simnet: udp port %v on %s: %w", local, h.name, syscall.EADDRINUSE)
	}
	s := &socket{host: h, local: local, receive: func(*Packet) {}, failed: func(*Error) {}}
	h.udp[local] = s
	return s, nil
}

// localAddr checks an address that is to be bound.
func (h *Host) localAddr(local netip.AddrPort) (netip.AddrPort, error) {
	if !local.Addr().IsValid() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port()), nil
	}
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if local.Addr().IsUnspecified() || local.Addr().IsLoopback() || h.owns(local.Addr()) {
		return local, nil
	}
	return local, fmt.Errorf("simnet: %v is no address of %s: %w", local.Addr(), h.name, syscall.EADDRNOTAVAIL)
}

func (h *Host) owns(a netip.Addr) bool { return h.ifaceOf(a) != nil }

func (h *Host) ifaceOf(a netip.Addr) *Iface {
	for _, i := range h.ifaces {
		for _, have := range i.addrs {
			if have == a {
				return i
			}
		}
	}
	return nil
}

func (s *socket) close() {
	if s.host.udp[s.local] == s {
		delete(s.host.udp, s.local)
	}
}

// send sends one datagram. Data is copied.
func (s *socket) send(to netip.AddrPort, data []byte, ttl int, df bool) error {
	if ttl == 0 {
		ttl = defaultTTL
	}
	if len(data) > 65507 {
		return syscall.EMSGSIZE
	}
	return s.host.output(&Packet{
		Proto: UDP, Src: s.local, Dst: netip.AddrPortFrom(to.Addr().Unmap(), to.Port()),
		TTL: uint8(ttl), DF: df, Data: append([]byte(nil), data...),
	})
}

var errNoRoute = errors.New("simnet: no route to host")

// output chooses the interface and the source address of p and sends it.
func (h *Host) output(p *Packet) error {
	if !p.Dst.IsValid() || p.Dst.Addr().IsUnspecified() || p.Dst.Port() == 0 && p.Proto != ICMP {
		return syscall.EINVAL
	}
	if p.Dst.Addr().IsLoopback() || h.owns(p.Dst.Addr()) {
		if !h.owns(p.Src.Addr()) {
			p.Src = netip.AddrPortFrom(p.Dst.Addr(), p.Src.Port())
		}
		h.w.at(h.w.now, func() { h.receive(p, nil) })
		return nil
	}
	var via *Iface
	if p.Src.Addr().IsUnspecified() {
		p.Src = netip.AddrPortFrom(h.sourceFor(p.Dst.Addr()), p.Src.Port())
	}
	if i := h.ifaceOf(p.Src.Addr()); i != nil && p.Src.Addr().Is4() == p.Dst.Addr().Is4() {
		via = i
	}
	if via == nil || via.off {
		return fmt.Errorf("%w %v from %s: %w", errNoRoute, p.Dst.Addr(), h.name, syscall.ENETUNREACH)
	}
	h.w.trace.packet(h.w.now, h.name, "send", p)
	via.send(p)
	return nil
}

// sourceFor is the address that packets to a leave from; the zero value: none.
func (h *Host) sourceFor(to netip.Addr) netip.Addr {
	if to.IsLoopback() || h.owns(to) {
		return to
	}
	for _, i := range h.ifaces {
		if a := i.addr(to); a.IsValid() && !i.off {
			return a
		}
	}
	return netip.Addr{}
}

// receive takes a packet that is for one of the host's addresses.
func (h *Host) receive(p *Packet, i *Iface) {
	h.w.trace.packet(h.w.now, h.name, "recv", p)
	switch p.Proto {
	case UDP:
		if s := h.socketAt(p.Dst); s != nil {
			s.receive(p)
			return
		}
		if i != nil {
			h.reply(complaint(p.Dst.Addr(), p, PortUnreachable))
		}
	case TCP:
		h.tcp.receive(p)
	case Echo:
		h.echoed(p)
	case ICMP:
		if p.Error.Proto == TCP {
			h.tcp.unreachable(p.Error)
		} else if s := h.socketAt(p.Error.Src); s != nil && p.Error.Proto == UDP {
			p.Error.From = p.Src.Addr()
			s.failed(p.Error)
		}
	}
}

func (h *Host) socketAt(a netip.AddrPort) *socket {
	if s := h.udp[a]; s != nil {
		return s
	}
	return h.udp[wildcard(a)]
}

// reply sends what the host itself has to say.
func (h *Host) reply(p *Packet) {
	if p != nil {
		_ = h.output(p) // an error about an error is not told
	}
}
