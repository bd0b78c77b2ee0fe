package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// NAT is a NAT or firewall in a world: a translator between two networks.
type NAT struct {
	w       *World
	name    string
	table   *translator
	inside  *Network
	outside *Iface
	back    time.Time // until then it forwards nothing
	echo    *rand.Rand
}

// AddNAT puts a NAT between a new network, which it returns by Inside, and outer.
// It gets the outside addresses given, or an IPv4 one of outer's own when there are
// none. link is the access link between it and outer, both ways. A firewall
// (NATConfig.Firewall) needs the prefixes of the public addresses behind it instead.
// The NAT forwards the families that its outside addresses or prefixes are of.
func (w *World) AddNAT(name string, outer *Network, c NATConfig, link Link, outside ...netip.Prefix) (*NAT, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	inside := w.newNetwork("inside " + name)
	if !c.Firewall {
		if !c.Inside.IsValid() {
			c.Inside = w.privatePrefix()
		}
		inside.grow(c.Inside)
	}
	return w.joinNAT(name, inside, outer, c, link, outside)
}

// JoinNAT puts a further NAT or firewall between a network that has one and outer, as
// AddNAT does: most often a firewall for IPv6 next to a NAT for IPv4.
func (w *World) JoinNAT(name string, inside, outer *Network, c NATConfig, link Link, outside ...netip.Prefix) (*NAT, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Inside.IsValid() {
		inside.grow(c.Inside)
	}
	return w.joinNAT(name, inside, outer, c, link, outside)
}

func (w *World) joinNAT(name string, inside, outer *Network, c NATConfig, link Link, outside []netip.Prefix) (*NAT, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(outside) == 0 {
		if c.Firewall {
			return nil, fmt.Errorf("simnet: firewall %q needs the prefix of the public addresses behind it", name)
		}
		a, err := outer.assign(false)
		if err != nil {
			return nil, err
		}
		outside = []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
	}
	n := &NAT{w: w, name: name, inside: inside}
	n.outside = outer.attach(name, n, link)
	for _, p := range outside {
		router := &inside.up4
		if p.Addr().Is6() {
			router = &inside.up6
		}
		if *router != nil && *router != n {
			return nil, fmt.Errorf("simnet: NAT %q: the network %s leaves by %q already", name, inside.name, (*router).name)
		}
		*router = n
		if c.Firewall {
			outer.wide = append(outer.wide, route{p, n.outside})
			inside.grow(p)
		} else {
			n.outside.add(p.Addr())
		}
	}
	n.echo = w.Rand("echo of " + name)
	n.table = newTranslator(c, w.Rand("nat "+name), n.outside.addrs)
	n.table.onChange = func(now time.Time, m *mapping, what string) { w.trace.mapped(now, name, m, what) }
	return n, nil
}

// Inside is the network behind the NAT.
func (n *NAT) Inside() *Network { return n.inside }

// Iface is the NAT's access link.
func (n *NAT) Iface() *Iface { return n.outside }

// Addrs are the NAT's outside addresses; a firewall has none.
func (n *NAT) Addrs() []netip.Addr { return n.outside.Addrs() }

// Mappings is how many live mappings the NAT holds now.
func (n *NAT) Mappings() int {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.table.live(n.w.now)
}

// Reboot makes the NAT forget everything and begin anew, with other ports, when
// outage has passed, during which it forwards nothing.
func (n *NAT) Reboot(outage time.Duration) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.table.clear()
	n.w.trace.note(n.w.now, n.name, "reboot")
	n.back = n.w.now.Add(outage)
}

// SetBlockUDP makes the NAT drop all UDP from now on, or stops that.
func (n *NAT) SetBlockUDP(on bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.table.BlockUDP = on
}

func (n *NAT) drop(p *Packet, why string) { n.w.trace.drop(n.w.now, n.name, p, why) }

// fromInside takes a packet that the inside network could not deliver itself.
func (n *NAT) fromInside(p *Packet) {
	if n.w.now.Before(n.back) {
		n.drop(p, "offline")
		return
	}
	if p.TTL--; p.TTL == 0 {
		n.drop(p, "TTL exceeded")
		n.inside.complain(p, TTLExceeded)
		return
	}
	looped := n.owns(p.Dst.Addr())
	if looped && !n.table.Hairpin {
		n.drop(p, "no hairpin")
		return
	}
	if why := n.table.out(n.w.now, p); why != "" {
		n.drop(p, why)
		switch why {
		case blockedUDP, blockedPort, fullTable, noPort:
			if n.table.Prohibit {
				n.inside.complain(p, AdminProhibited)
			}
		}
		return
	}
	n.w.trace.packet(n.w.now, n.name, "out", p)
	n.send(p)
}

// receive takes a packet from the outside.
func (n *NAT) receive(p *Packet, _ *Iface) {
	if n.w.now.Before(n.back) {
		n.drop(p, "offline")
		return
	}
	if p.TTL--; p.TTL == 0 {
		n.drop(p, "TTL exceeded")
		if e := complaint(n.outside.speaker(p.Src.Addr()), p, TTLExceeded); e != nil {
			n.send(e)
		}
		return
	}
	if isEchoRequest(p) && n.owns(p.Dst.Addr()) {
		n.echoed(p)
		return
	}
	n.fromOutside(p)
}

// send takes a packet of the outside's addresses to where it is for.
func (n *NAT) send(p *Packet) {
	if n.owns(p.Dst.Addr()) {
		n.fromOutside(p)
		return
	}
	n.outside.send(p)
}

func (n *NAT) fromOutside(p *Packet) {
	if why := n.table.in(n.w.now, p); why != "" {
		n.drop(p, why)
		n.refuse(p)
		return
	}
	n.w.trace.packet(n.w.now, n.name, "in", p)
	n.inside.forward(p)
}

// refuse answers a packet that was not let in.
func (n *NAT) refuse(p *Packet) {
	answer := Silence
	switch {
	case p.Proto == UDP:
		answer = n.table.StrayUDP
	case opens(p):
		answer = n.table.StraySYN
	}
	var r *Packet
	switch answer {
	case Reset:
		r = resetTo(p)
	case Unreachable:
		r = complaint(p.Dst.Addr(), p, PortUnreachable)
	case Prohibited:
		r = complaint(n.outside.speaker(p.Src.Addr()), p, AdminProhibited)
	}
	if r != nil {
		n.send(r)
	}
}

func (n *NAT) owns(a netip.Addr) bool { return slices.Contains(n.outside.addrs, a) }
