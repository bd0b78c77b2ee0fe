package simnet

import (
	"net/netip"
	"slices"
	"time"
)

// statics are the mappings that hosts inside have asked their NAT for, by PCP, NAT-PMP
// or UPnP: open to all, endpoint-independent whatever the NAT else does, and living
// for as long as was granted. On a firewall they are pinholes. They are few, so that
// looking through them is cheap, and their order is that of their making.
type statics struct{ list []*mapping }

func (s *statics) clear() { s.list = nil }

func (s *statics) find(now time.Time, which func(*mapping) bool) *mapping {
	for _, m := range s.list {
		if now.Before(m.until) && which(m) {
			return m
		}
	}
	return nil
}

// from finds the mapping of an inside endpoint.
func (s *statics) from(now time.Time, proto Proto, inside netip.AddrPort) *mapping {
	return s.find(now, func(m *mapping) bool { return m.proto == proto && m.inside == inside })
}

// at finds the mapping of an outside endpoint.
func (s *statics) at(now time.Time, proto Proto, outside netip.AddrPort) *mapping {
	return s.find(now, func(m *mapping) bool { return m.proto == proto && m.outside == outside })
}

func (s *statics) keep(which func(*mapping) bool) {
	s.list = slices.DeleteFunc(s.list, func(m *mapping) bool { return !which(m) })
}

func (s *statics) live(now time.Time) (n int) {
	for _, m := range s.list {
		if now.Before(m.until) {
			n++
		}
	}
	return n
}

// at finds the mapping that a packet from remote to outside comes in by; nil: none.
func (t *translator) at(now time.Time, proto Proto, outside, remote netip.AddrPort) *mapping {
	if m := t.statics.at(now, proto, outside); m != nil {
		return m
	}
	if m := t.byPort[t.portKey(proto, outside, remote)]; m != nil && !t.expired(now, m) {
		return m
	}
	return nil
}

// grant makes or prolongs the static mapping of an inside endpoint, at the outside port
// asked for where that is free, else at another unless exact. False: there is no port.
func (t *translator) grant(now time.Time, proto Proto, inside netip.AddrPort, port uint16, exact bool, life time.Duration) (netip.AddrPort, bool) {
	t.statics.keep(func(m *mapping) bool { return now.Before(m.until) })
	if m := t.statics.from(now, proto, inside); m != nil && (!exact || m.outside.Port() == port) {
		m.until = now.Add(life)
		return m.outside, true
	}
	outside := inside
	if !t.Firewall {
		ip, ok := t.pool(inside.Addr())
		if !ok {
			return netip.AddrPort{}, false
		}
		if port == 0 {
			port = inside.Port()
		}
		outside = netip.AddrPortFrom(ip, port)
		free := func(a netip.AddrPort) bool {
			own := t.byInside[t.mapKey(proto, inside, netip.AddrPort{})]
			m := t.byPort[t.portKey(proto, a, netip.AddrPort{})]
			return t.statics.at(now, proto, a) == nil && (m == nil || t.expired(now, m) || m == own)
		}
		for n := 0; !free(outside); n++ {
			if exact || n == tries {
				return netip.AddrPort{}, false
			}
			outside = netip.AddrPortFrom(ip, uint16(1024+t.rand.IntN(64512)))
		}
	}
	m := &mapping{
		mapKey: mapKey{proto: proto, inside: inside}, outside: outside, made: now, until: now.Add(life),
		flows: make(map[netip.AddrPort]*flow), sweep: 64, static: true,
	}
	t.statics.list = append(t.statics.list, m)
	t.onChange(now, m, "granted")
	return outside, true
}

// revoke ends the static mapping of an inside endpoint, if there is one.
func (t *translator) revoke(now time.Time, proto Proto, inside netip.AddrPort) {
	if m := t.statics.from(now, proto, inside); m != nil {
		t.statics.keep(func(other *mapping) bool { return other != m })
		t.onChange(now, m, "revoked")
	}
}

// multicast takes p to those who listen to its group.
func (n *Network) multicast(p *Packet) {
	members := n.groups[p.Dst.Addr().WithZone("")]
	if len(members) == 0 {
		n.drop(p, "nobody listens")
	}
	for _, i := range members {
		copied := *p
		i.deliver(&copied)
	}
}

// join makes i listen to a group.
func (i *Iface) join(group netip.Addr) {
	if i.net.groups == nil {
		i.net.groups = make(map[netip.Addr][]*Iface)
	}
	i.net.groups[group] = append(i.net.groups[group], i)
}
