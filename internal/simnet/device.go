package simnet

import (
	"fmt"
	"net/netip"
	"time"
)

// NAT is a NAT or firewall in a world: a translator between two networks.
type NAT struct {
	w       *World
	name    string
	table   *translator
	inside  *Network
	outside *Iface
}

// AddNAT puts a NAT between a new network, which it returns by Inside, and outer.
// It gets the outside addresses given, or one of its own when there are none. link
// is the access link between it and outer, both ways. A firewall (NATConfig.Firewall)
// needs the prefix of the public addresses behind it instead.
func (w *World) AddNAT(name string, outer *Network, c NATConfig, link Link, outside ...netip.Prefix) (*NAT, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if c.Firewall && len(outside) == 0 {
		return nil, fmt.Errorf("simnet: firewall %q needs the prefix of the public addresses behind it", name)
	}
	n := &NAT{w: w, name: name}
	n.inside = w.newNetwork("inside " + name)
	n.inside.up = n
	n.outside = outer.attach(name, n, link)
	if c.Firewall {
		for _, p := range outside {
			outer.wide = append(outer.wide, route{p, n.outside})
		}
	} else {
		if len(outside) == 0 {
			a := w.publicAddr()
			outside = []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
		}
		for _, p := range outside {
			n.outside.add(p.Addr())
		}
	}
	n.table = newTranslator(c, w.Rand("nat "+name), n.outside.addrs)
	n.table.onChange = func(now time.Time, m *mapping, what string) { w.trace.mapped(now, name, m, what) }
	return n, nil
}

// publicAddr gives out the addresses of NATs and hosts on the internet: first
// 203.0.113.0/24 of the documentation ranges, then 198.18.0.0/16.
func (w *World) publicAddr() netip.Addr {
	w.counts.public++
	if i := w.counts.public; i < 255 {
		return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
	}
	i := w.counts.public - 255
	return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
}

// Inside is the network behind the NAT.
func (n *NAT) Inside() *Network { return n.inside }

// Iface is the NAT's access link.
func (n *NAT) Iface() *Iface { return n.outside }

// Addrs are the NAT's outside addresses; a firewall has none.
func (n *NAT) Addrs() []netip.Addr {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return append([]netip.Addr(nil), n.outside.addrs...)
}

// Mappings is how many live mappings the NAT holds now.
func (n *NAT) Mappings() int {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.table.live(n.w.now)
}

func (n *NAT) drop(p *Packet, why string) { n.w.trace.drop(n.w.now, n.name, p, why) }

// fromInside takes a packet that the inside network could not deliver itself.
func (n *NAT) fromInside(p *Packet) {
	if p.TTL--; p.TTL == 0 {
		n.drop(p, "TTL exceeded")
		if e := complaint(n.inside.gateway(), p, TTLExceeded); e != nil {
			n.inside.forward(e)
		}
		return
	}
	looped := n.owns(p.Dst.Addr())
	if looped && (!n.table.Hairpin || p.Proto == ICMP) {
		n.drop(p, "no hairpin")
		return
	}
	if why := n.table.out(n.w.now, p); why != "" {
		n.drop(p, why)
		return
	}
	n.w.trace.packet(n.w.now, n.name, "out", p)
	if looped {
		n.fromOutside(p)
		return
	}
	n.outside.send(p)
}

// receive takes a packet from the outside.
func (n *NAT) receive(p *Packet, _ *Iface) {
	if p.TTL--; p.TTL == 0 {
		n.drop(p, "TTL exceeded")
		if e := complaint(n.outside.addr(p.Src.Addr()), p, TTLExceeded); e != nil {
			n.outside.send(e)
		}
		return
	}
	n.fromOutside(p)
}

func (n *NAT) fromOutside(p *Packet) {
	if why := n.table.in(n.w.now, p); why != "" {
		n.drop(p, why)
		if n.table.ResetSYN && p.Proto == TCP && p.Segment.Flags&(SYN|ACK|RST) == SYN {
			n.outside.send(&Packet{
				Proto: TCP, Src: p.Dst, Dst: p.Src, TTL: defaultTTL,
				Segment: Segment{Flags: RST | ACK, Ack: p.Segment.Seq + 1},
			})
		}
		return
	}
	n.w.trace.packet(n.w.now, n.name, "in", p)
	n.inside.forward(p)
}

func (n *NAT) owns(a netip.Addr) bool {
	for _, own := range n.outside.addrs {
		if own == a {
			return true
		}
	}
	return false
}

// gateway is the address by which a NAT speaks for itself inside: the first of the
// network of the first host there.
func (n *Network) gateway() netip.Addr {
	var low netip.Addr
	for a := range n.addrs { // the least, whatever the order
		if a.Is4() && (!low.IsValid() || a.Less(low)) {
			low = a
		}
	}
	if !low.IsValid() {
		return low
	}
	return netip.PrefixFrom(low, 24).Masked().Addr().Next()
}
