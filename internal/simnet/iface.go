package simnet

import (
	"net/netip"
	"slices"
)

// Iface attaches a host or a NAT to a network by a link.
type Iface struct {
	w     *World
	name  string
	node  node
	net   *Network
	addrs []netip.Addr
	off   bool
	up    pipe // towards the network
	down  pipe // towards the node
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
	i.addrs = slices.DeleteFunc(slices.Clone(i.addrs), func(have netip.Addr) bool { return have == a })
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

// Addrs are the interface's addresses.
func (i *Iface) Addrs() []netip.Addr {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	return slices.Clone(i.addrs)
}

// SetAddrs gives the interface other addresses. Sockets bound to one that it loses
// can send no more. A NAT forgets the mappings of such an address.
func (i *Iface) SetAddrs(addrs ...netip.Addr) {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	for _, a := range i.addrs {
		i.remove(a)
	}
	for _, a := range addrs {
		i.add(a)
	}
	if n, ok := i.node.(*NAT); ok && !n.table.Firewall {
		n.table.readdress(i.w.now, i.addrs)
	}
}

// SetLink changes what the link does from now on: up is towards the network, down
// towards the node. Packets already under way are not touched.
func (i *Iface) SetLink(up, down Link) {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	i.up.Link, i.down.Link = up, down
}

// SetUp switches the interface off or on. Unlike a link that is Down, one that is off
// is known to be: its host sends nothing by it, and its network finds nobody there.
func (i *Iface) SetUp(up bool) {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	i.off = !up
}

// send takes p from the node into the network.
func (i *Iface) send(p *Packet) {
	switch {
	case i.off:
		i.drop(p, "interface down")
	case p.size() > i.up.mtu():
		i.tooBig(p, i.up.mtu(), i.speaker(p.Src.Addr()), i.bounce)
	default:
		i.up.send(p, i.name, i.net.forward)
	}
}

// deliver takes p from the network to the node.
func (i *Iface) deliver(p *Packet) {
	switch {
	case i.off:
		i.drop(p, "interface down")
		if i.net.router(p.Dst.Addr()) != nil {
			i.net.complain(p, HostUnreachable) // its gateway asked in vain who has the address
		}
	case p.size() > i.down.mtu():
		i.tooBig(p, i.down.mtu(), i.net.speaker(p.Src.Addr()), i.net.forward)
	default:
		i.down.send(p, i.name, i.arrive)
	}
}

func (i *Iface) arrive(p *Packet) {
	if i.off || i.net.lookup(p.Dst.Addr()) != i && !p.Dst.Addr().IsMulticast() {
		i.drop(p, "interface down")
		return
	}
	i.node.receive(p, i)
}

func (i *Iface) drop(p *Packet, why string) { i.w.trace.drop(i.w.now, i.name, p, why) }

// bounce hands the node an error about a packet that did not even leave it; not at
// once, for it is about to send.
func (i *Iface) bounce(p *Packet) {
	i.w.at(i.w.now, func() { i.node.receive(p, i) })
}

// tooBig drops p. Fragments are not simulated: a packet that could be fragmented
// is lost as by a path that drops fragments, which is the case that matters.
func (i *Iface) tooBig(p *Packet, mtu int, from netip.Addr, tell func(*Packet)) {
	i.drop(p, "bigger than the link's MTU")
	if !p.DF && p.Dst.Addr().Is4() {
		return
	}
	if e := complaint(from, p, PacketTooBig); e != nil {
		e.Error.MTU = mtu
		tell(e)
	}
}

// speaker is the address by which the interface speaks for itself.
func (i *Iface) speaker(like netip.Addr) netip.Addr {
	if a := i.addr(like); a.IsValid() {
		return a
	}
	return i.net.speaker(like)
}
