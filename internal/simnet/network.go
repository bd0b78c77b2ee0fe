package simnet

import (
	"net/netip"
)

// Network is a place where addresses can be reached directly: the internet, or
// the inside of a NAT.
type Network struct {
	w     *World
	name  string
	hops  uint8
	addrs map[netip.Addr]*Iface
	wide  []route // for prefixes behind a firewall
	up    *NAT    // where everything else goes; nil for the internet
}

type route struct {
	prefix netip.Prefix
	iface  *Iface
}

// node is what can be attached to a network.
type node interface {
	// receive takes a packet that came in over i.
	receive(p *Packet, i *Iface)
}

// Iface attaches a host or a NAT to a network by a link.
type Iface struct {
	w     *World
	name  string
	node  node
	net   *Network
	addrs []netip.Addr
	up    pipe // towards the network
	down  pipe // towards the node
}

func (w *World) newNetwork(name string) *Network {
	return &Network{w: w, name: name, addrs: make(map[netip.Addr]*Iface)}
}

// SetHops makes the network n routers deep, which counts against the TTL of what
// crosses it. The default is 0 inside a NAT and on the internet alike.
func (n *Network) SetHops(hops int) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.hops = uint8(hops)
}

func (n *Network) attach(name string, who node, both Link, addrs ...netip.Addr) *Iface {
	i := &Iface{w: n.w, name: name, node: who, net: n}
	i.up = pipe{Link: both, w: n.w, rand: n.w.Rand(name + " up " + n.name)}
	i.down = pipe{Link: both, w: n.w, rand: n.w.Rand(name + " down " + n.name)}
	for _, a := range addrs {
		i.add(a)
	}
	return i
}

func (i *Iface) add(a netip.Addr) {
	i.addrs = append(i.addrs, a)
	i.net.addrs[a] = i
}

func (i *Iface) remove(a netip.Addr) {
	if i.net.addrs[a] == i {
		delete(i.net.addrs, a)
	}
	for k, have := range i.addrs {
		if have == a {
			i.addrs = append(i.addrs[:k:k], i.addrs[k+1:]...)
			return
		}
	}
}

// addr is the interface's first address of the same family as like.
func (i *Iface) addr(like netip.Addr) netip.Addr {
	for _, a := range i.addrs {
		if a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// SetLink changes what the link does from now on: up is towards the network, down
// towards the node. Packets already under way are not touched.
func (i *Iface) SetLink(up, down Link) {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	i.up.Link, i.down.Link = up, down
}

// send takes p from the node into the network.
func (i *Iface) send(p *Packet) {
	if p.size() > i.up.mtu() {
		i.tooBig(p, i.up.mtu(), i.bounce)
		return
	}
	i.up.send(p, i.name, i.net.forward)
}

// deliver takes p from the network to the node.
func (i *Iface) deliver(p *Packet) {
	if p.size() > i.down.mtu() {
		i.tooBig(p, i.down.mtu(), i.net.forward)
		return
	}
	i.down.send(p, i.name, func(p *Packet) { i.node.receive(p, i) })
}

// bounce hands the node an error about a packet that did not even leave it.
func (i *Iface) bounce(p *Packet) { i.node.receive(p, i) }

// tooBig drops p. Fragments are not simulated: a packet that could be fragmented
// is lost as by a path that drops fragments, which is the case that matters.
func (i *Iface) tooBig(p *Packet, mtu int, tell func(*Packet)) {
	i.w.trace.drop(i.w.now, i.name, p, "bigger than the link's MTU")
	if !p.DF && p.Dst.Addr().Is4() {
		return
	}
	if e := complaint(i.addr(p.Src.Addr()), p, PacketTooBig); e != nil {
		e.Error.MTU = mtu
		tell(e)
	}
}

// forward routes p within the network.
func (n *Network) forward(p *Packet) {
	if p.TTL <= n.hops {
		n.w.trace.drop(n.w.now, n.name, p, "TTL exceeded")
		if e := complaint(routerAddr, p, TTLExceeded); e != nil && p.Src.Addr().Is4() {
			n.forward(e)
		}
		return
	}
	p.TTL -= n.hops
	if i := n.lookup(p.Dst.Addr()); i != nil {
		i.deliver(p)
		return
	}
	if n.up != nil {
		n.up.fromInside(p)
		return
	}
	n.w.trace.drop(n.w.now, n.name, p, "no route")
}

// routerAddr is who complains of an exceeded TTL on the internet.
var routerAddr = netip.AddrFrom4([4]byte{192, 0, 2, 254})

func (n *Network) lookup(a netip.Addr) *Iface {
	if i := n.addrs[a]; i != nil {
		return i
	}
	for _, r := range n.wide {
		if r.prefix.Contains(a) {
			return r.iface
		}
	}
	return nil
}
