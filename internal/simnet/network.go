package simnet

import (
	"fmt"
	"net/netip"
	"slices"
)

// Network is a place where addresses can be reached directly: the internet, or
// the inside of a NAT.
type Network struct {
	w       *World
	name    string
	hops    uint8
	addrs   map[netip.Addr]*Iface
	pools   []*pool                 // where its own addresses come from
	wide    []route                 // for prefixes behind a firewall
	groups  map[netip.Addr][]*Iface // who listens to a multicast address
	up4     *NAT                    // where everything else goes, by family; nil for the internet
	up6     *NAT
	severed map[[2]netip.Addr]bool
}

type route struct {
	prefix netip.Prefix
	iface  *Iface
}

// pool gives out the addresses of a prefix, one after the other.
type pool struct {
	netip.Prefix
	last netip.Addr
}

// gateway is the prefix's first address, by which its NAT speaks.
func (p *pool) gateway() netip.Addr { return p.Masked().Addr().Next() }

func (p *pool) next() (netip.Addr, bool) {
	a := p.last.Next()
	if !p.Contains(a) || a.Is4() && !p.Contains(a.Next()) { // IPv4's last is the broadcast address
		return netip.Addr{}, false
	}
	p.last = a
	return a, true
}

// node is what can be attached to a network.
type node interface {
	// receive takes a packet that came in over i.
	receive(p *Packet, i *Iface)
}

func (w *World) newNetwork(name string) *Network {
	return &Network{w: w, name: name, addrs: make(map[netip.Addr]*Iface), severed: make(map[[2]netip.Addr]bool)}
}

// grow adds a prefix to an inside network's own, whose first address is its NAT's.
func (n *Network) grow(p netip.Prefix) {
	own := &pool{Prefix: p.Masked()}
	own.last = own.gateway()
	n.pools = append(n.pools, own)
}

// assignAll gives out an address of each family that the network has.
func (n *Network) assignAll() (all []netip.Addr, err error) {
	for _, v6 := range [...]bool{false, true} {
		if slices.ContainsFunc(n.pools, func(p *pool) bool { return p.Addr().Is6() == v6 }) {
			a, err := n.assign(v6)
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
	}
	return all, nil
}

// assign gives out an address of the family wanted.
func (n *Network) assign(ipv6 bool) (netip.Addr, error) {
	for _, p := range n.pools {
		if p.Addr().Is6() != ipv6 {
			continue
		}
		for a, ok := p.next(); ok; a, ok = p.next() {
			if n.lookup(a) == nil {
				return a, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("simnet: no address left on the network %s", n.name)
}

// SetHops makes the network n routers deep, which counts against the TTL of what
// crosses it. The default is 0 inside a NAT and on the internet alike.
func (n *Network) SetHops(hops int) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.hops = uint8(hops)
}

// SetBlackhole makes everything vanish, from now on, that this network is given from
// one address for another; or stops that. The other way is not touched.
func (n *Network) SetBlackhole(from, to netip.Addr, on bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if on {
		n.severed[[2]netip.Addr{from, to}] = true
	} else {
		delete(n.severed, [2]netip.Addr{from, to})
	}
}

// forward routes p within the network.
func (n *Network) forward(p *Packet) {
	dst := p.Dst.Addr()
	switch {
	case p.TTL <= n.hops:
		n.drop(p, "TTL exceeded")
		n.complain(p, TTLExceeded)
		return
	case len(n.severed) > 0 && n.severed[[2]netip.Addr{p.Src.Addr(), dst}]:
		n.drop(p, "black hole")
		return
	}
	p.TTL -= n.hops
	if dst.IsMulticast() {
		n.multicast(p)
		return
	}
	if i := n.lookup(dst); i != nil {
		i.deliver(p)
		return
	}
	for _, own := range n.pools {
		if n.router(dst) == nil || !own.Contains(dst) {
			continue
		}
		if dst == own.gateway() { // which runs no service
			n.drop(p, "for the gateway itself")
			n.complain(p, PortUnreachable)
		} else {
			n.drop(p, "no such host")
			n.complain(p, HostUnreachable)
		}
		return
	}
	if up := n.router(dst); up != nil {
		up.fromInside(p)
		return
	}
	n.drop(p, "no route") // and no word of it, as of most unused addresses
}

func (n *Network) drop(p *Packet, why string) { n.w.trace.drop(n.w.now, n.name, p, why) }

// complain sends an ICMP error about p, which was dropped here, to its sender.
func (n *Network) complain(p *Packet, kind ErrorKind) {
	if e := complaint(n.speaker(p.Src.Addr()), p, kind); e != nil {
		n.forward(e)
	}
}

// router is where what this network does not know goes to; nil: nowhere.
func (n *Network) router(dst netip.Addr) *NAT {
	if dst.Is6() {
		return n.up6
	}
	return n.up4
}

// speaker is the address by which the network's routers speak to a.
func (n *Network) speaker(a netip.Addr) netip.Addr {
	for _, own := range n.pools {
		if own.Addr().Is6() == a.Is6() && n.router(a) != nil {
			return own.gateway()
		}
	}
	if a.Is6() {
		return router6
	}
	return router4
}

// These are who complains on the internet.
var (
	router4 = netip.MustParseAddr("192.0.2.254")
	router6 = netip.MustParseAddr("2001:db8:ffff::fe")
)

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
