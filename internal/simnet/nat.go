package simnet

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// translator is the heart of a NAT: its table and nothing of the world, so that
// packets from elsewhere can go through it, too. Time is handed in.
type translator struct {
	NATConfig
	rand     *rand.Rand
	outside  []netip.Addr
	ports    allocator
	pooled   map[netip.Addr]netip.Addr // inside address to its outside address
	byInside map[mapKey]*mapping
	byPort   map[portKey][]*mapping
	onChange func(now time.Time, m *mapping, what string)
}

// mapKey finds the mapping of an outbound packet; of the remote it holds as much
// as the mapping behaviour looks at.
type mapKey struct {
	proto  Proto
	inside netip.AddrPort
	remote netip.AddrPort
}

type portKey struct {
	proto   Proto
	outside netip.AddrPort
}

type mapping struct {
	mapKey
	outside netip.AddrPort
	made    time.Time
	fresh   time.Time // of the last packet that refreshed it
	replied bool
	stands  bool                         // TCP: a connection is established
	allowed map[netip.AddrPort]time.Time // by the filter's key, when last refreshed
}

func newTranslator(c NATConfig, r *rand.Rand, outside []netip.Addr) *translator {
	t := &translator{NATConfig: c, rand: r, outside: outside, onChange: func(time.Time, *mapping, string) {}}
	t.clear()
	return t
}

func (t *translator) clear() {
	t.ports = newAllocator(t.Ports, t.rand)
	t.pooled = make(map[netip.Addr]netip.Addr)
	t.byInside = make(map[mapKey]*mapping)
	t.byPort = make(map[portKey][]*mapping)
}

// part is what a behaviour sees of a remote endpoint.
func (b Behavior) part(remote netip.AddrPort) netip.AddrPort {
	switch b {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

// out translates a packet from the inside, or says why not.
func (t *translator) out(now time.Time, p *Packet) (refused string) {
	if p.Proto == ICMP {
		return t.outError(now, p)
	}
	if reason := t.forbidden(p.Proto, p.Dst.Port()); reason != "" {
		return reason
	}
	m := t.lookup(now, mapKey{p.Proto, p.Src, t.Mapping.part(p.Dst)})
	if m == nil {
		if m = t.open(now, p.Proto, p.Src, p.Dst); m == nil {
			return "NAT table or ports exhausted"
		}
	}
	m.fresh = now
	m.allowed[t.Filtering.part(p.Dst)] = now
	m.track(p, true)
	p.Src = m.outside
	return ""
}

// in translates a packet from the outside, or says why not.
func (t *translator) in(now time.Time, p *Packet) (refused string) {
	if p.Proto == ICMP {
		return t.inError(now, p)
	}
	if reason := t.forbidden(p.Proto, p.Src.Port()); reason != "" {
		return reason
	}
	refused = "no mapping"
	for _, m := range t.byPort[portKey{p.Proto, p.Dst}] {
		if t.expired(now, m) {
			continue
		}
		if t.Ports.Overload && m.remote != p.Src {
			continue
		}
		if at, ok := m.allowed[t.Filtering.part(p.Src)]; t.Filtering != EndpointIndependent && (!ok || now.Sub(at) >= t.idle(m)) {
			refused = "filtered"
			continue
		}
		if t.NoSimultaneousOpen && p.Proto == TCP && p.Segment.Flags&(SYN|ACK) == SYN {
			refused = "no simultaneous open"
			continue
		}
		m.replied = true
		m.track(p, false)
		if t.InboundRefresh {
			m.fresh = now
			m.allowed[t.Filtering.part(p.Src)] = now
		}
		p.Dst = m.inside
		return ""
	}
	return refused
}

func (t *translator) forbidden(proto Proto, remotePort uint16) string {
	switch {
	case t.BlockUDP && proto == UDP:
		return "UDP blocked"
	case t.Only443 && (proto != TCP || remotePort != 443):
		return "all but TCP to port 443 blocked"
	}
	return ""
}

// inError takes an ICMP error about a packet that went out through here to who
// sent it, with the quoted addresses as that one knows them (RFC 5508 4.2).
func (t *translator) inError(now time.Time, p *Packet) string {
	for _, m := range t.byPort[portKey{p.Error.Proto, p.Error.Src}] {
		if t.expired(now, m) || (t.Mapping.part(p.Error.Dst) != m.remote) {
			continue
		}
		p.Error.Src = m.inside
		p.Dst = netip.AddrPortFrom(m.inside.Addr(), 0)
		return ""
	}
	return "ICMP error about no mapping"
}

// outError takes an ICMP error about a packet that came in through here out again.
func (t *translator) outError(now time.Time, p *Packet) string {
	m := t.lookup(now, mapKey{p.Error.Proto, p.Error.Dst, t.Mapping.part(p.Error.Src)})
	if m == nil {
		return "ICMP error about no mapping"
	}
	p.Error.Dst = m.outside
	p.Src = netip.AddrPortFrom(m.outside.Addr(), 0)
	return ""
}

func (t *translator) lookup(now time.Time, k mapKey) *mapping {
	m := t.byInside[k]
	if m == nil || !t.expired(now, m) {
		return m
	}
	t.remove(now, m, "expired")
	return nil
}

func (t *translator) idle(m *mapping) time.Duration {
	switch {
	case m.proto == TCP && m.stands:
		return t.TCPIdle
	case m.proto == TCP:
		return t.TCPTransitory
	case m.replied:
		return t.Idle
	}
	return t.IdleUnreplied
}

// track follows a TCP connection by its flags, as far as lifetimes go.
func (m *mapping) track(p *Packet, out bool) {
	switch f := p.Segment.Flags; {
	case f&(FIN|RST) != 0:
		m.stands = false
	case out && m.replied && f&(SYN|ACK) == ACK:
		m.stands = true
	}
}

func (t *translator) expired(now time.Time, m *mapping) bool {
	return now.Sub(m.fresh) >= t.idle(m) || t.Absolute > 0 && now.Sub(m.made) >= t.Absolute
}

func (t *translator) open(now time.Time, proto Proto, inside, remote netip.AddrPort) *mapping {
	if len(t.byInside) >= t.Table {
		t.purge(now)
		if len(t.byInside) >= t.Table {
			return nil
		}
	}
	outside, ok := t.choose(now, proto, inside, remote)
	if !ok {
		return nil
	}
	m := &mapping{
		mapKey:  mapKey{proto, inside, t.Mapping.part(remote)},
		outside: outside, made: now, fresh: now,
		allowed: make(map[netip.AddrPort]time.Time),
	}
	t.byInside[m.mapKey] = m
	k := portKey{proto, outside}
	t.byPort[k] = append(t.byPort[k], m)
	t.onChange(now, m, "new")
	return m
}

// choose finds the outside endpoint of a new mapping.
func (t *translator) choose(now time.Time, proto Proto, inside, remote netip.AddrPort) (netip.AddrPort, bool) {
	if t.Firewall {
		return inside, true
	}
	ip, ok := t.pool(inside.Addr())
	if !ok {
		return netip.AddrPort{}, false
	}
	free := func(port uint16) bool { return t.free(now, proto, netip.AddrPortFrom(ip, port), remote) }
	if t.Ports.Contiguous && inside.Port()%2 == 1 {
		even := mapKey{proto, netip.AddrPortFrom(inside.Addr(), inside.Port()-1), t.Mapping.part(remote)}
		if m := t.lookup(now, even); m != nil && m.outside.Addr() == ip && m.outside.Port() < 65535 && free(m.outside.Port()+1) {
			return netip.AddrPortFrom(ip, m.outside.Port()+1), true
		}
	}
	port, ok := t.ports.port(now, proto, inside, ip, free)
	return netip.AddrPortFrom(ip, port), ok
}

// pool chooses the outside address for an inside one.
func (t *translator) pool(inside netip.Addr) (netip.Addr, bool) {
	if ip, ok := t.pooled[inside]; ok && !t.Arbitrary {
		return ip, true
	}
	var fit []netip.Addr
	for _, a := range t.outside {
		if a.Is4() == inside.Is4() {
			fit = append(fit, a)
		}
	}
	if len(fit) == 0 {
		return netip.Addr{}, false
	}
	ip := fit[0]
	if len(fit) > 1 {
		ip = fit[t.rand.IntN(len(fit))]
	}
	t.pooled[inside] = ip
	return ip, true
}

func (t *translator) free(now time.Time, proto Proto, outside, remote netip.AddrPort) bool {
	for _, m := range t.byPort[portKey{proto, outside}] {
		if !t.expired(now, m) && (!t.Ports.Overload || m.remote == remote) {
			return false
		}
	}
	return true
}

func (t *translator) remove(now time.Time, m *mapping, why string) {
	delete(t.byInside, m.mapKey)
	k := portKey{m.proto, m.outside}
	all := t.byPort[k]
	for i := range all {
		if all[i] == m {
			all = append(all[:i:i], all[i+1:]...)
			break
		}
	}
	if len(all) == 0 {
		delete(t.byPort, k)
	} else {
		t.byPort[k] = all
	}
	t.onChange(now, m, why)
}

// purge drops what has expired. Its order must not show, so it tells nobody.
func (t *translator) purge(now time.Time) {
	quiet := t.onChange
	t.onChange = func(time.Time, *mapping, string) {}
	for _, m := range t.byInside {
		if t.expired(now, m) {
			t.remove(now, m, "expired")
		}
	}
	t.onChange = quiet
}

// live counts the mappings that have not expired.
func (t *translator) live(now time.Time) (n int) {
	for _, m := range t.byInside {
		if !t.expired(now, m) {
			n++
		}
	}
	return n
}
