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
	by       [4]Rules // by transport; echo goes by UDP's
	rand     *rand.Rand
	outside  []netip.Addr
	ports    [4]*allocator
	pooled   map[netip.Addr]netip.Addr // inside address to its outside address
	byInside map[mapKey]*mapping
	byPort   map[portKey]*mapping
	strays   map[portKey]time.Time // poisoned ports, by when the last stray came
	statics  statics               // what hosts inside have asked for
	sweepAt  time.Time             // when the first entry may expire of a table found full
	onChange func(now time.Time, m *mapping, what string)
}

// mapKey finds the mapping of an outbound packet; of the remote it holds as much
// as the mapping behaviour looks at.
type mapKey struct {
	proto  Proto
	inside netip.AddrPort
	remote netip.AddrPort
}

// portKey finds the mapping of an inbound packet. A port has one owner, or one for
// each remote where it is overloaded.
type portKey struct {
	proto   Proto
	outside netip.AddrPort
	remote  netip.AddrPort
}

// mapping is an outside endpoint that stands for an inside one.
type mapping struct {
	mapKey
	outside netip.AddrPort
	made    time.Time
	until   time.Time // when the last of its flows expires
	flows   map[netip.AddrPort]*flow
	sweep   int  // how many flows there may be before expired ones are looked for
	static  bool // on request: open to all, until its time is over and not by use
}

// Why a packet is not let through. Of the first group the sender inside can be told.
const (
	blockedUDP  = "UDP blocked"
	blockedPort = "all but TCP to port 443 blocked"
	fullTable   = "NAT table full"
	noPort      = "no free port"

	noMapping    = "no mapping"
	filtered     = "filtered"
	noConnection = "no connection"
	noSimOpen    = "no simultaneous open"
	noError      = "ICMP error about no mapping"
)

func newTranslator(c NATConfig, r *rand.Rand, outside []netip.Addr) *translator {
	t := &translator{
		NATConfig: c, by: [4]Rules{UDP: c.rules(UDP), TCP: c.rules(TCP), Echo: c.rules(UDP)},
		rand: r, outside: outside, onChange: func(time.Time, *mapping, string) {},
	}
	t.clear()
	return t
}

// clear forgets everything, as a NAT does that is switched off and on.
func (t *translator) clear() {
	t.ports[UDP] = newAllocator(t.by[UDP].Ports, t.rand)
	t.ports[TCP], t.ports[Echo] = t.ports[UDP], t.ports[UDP]
	if t.NATConfig.TCP != nil {
		t.ports[TCP] = newAllocator(t.by[TCP].Ports, t.rand)
	}
	t.pooled = make(map[netip.Addr]netip.Addr)
	t.byInside = make(map[mapKey]*mapping)
	t.byPort = make(map[portKey]*mapping)
	t.strays = make(map[portKey]time.Time)
	t.statics.clear()
	t.sweepAt = time.Time{}
}

// out translates a packet from the inside, or says why not.
func (t *translator) out(now time.Time, p *Packet) (refused string) {
	if p.Proto == ICMP {
		return t.outError(now, p)
	}
	if reason := t.forbidden(p.Proto, p.Dst.Port()); reason != "" {
		return reason
	}
	m := t.statics.from(now, p.Proto, p.Src)
	if m == nil {
		m = t.lookup(now, t.mapKey(p.Proto, p.Src, p.Dst))
	}
	if m == nil {
		if !t.begins(p) {
			return noConnection
		}
		if m, refused = t.open(now, p.Proto, p.Src, p.Dst); m == nil {
			return refused
		}
	}
	f := t.flow(now, m, p.Dst, p)
	if f == nil {
		return noConnection
	}
	f.sent = true
	t.pass(now, m, f, p, outbound)
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
	m, f, refused := t.admit(now, p)
	if refused != "" {
		t.poison(now, p)
		return refused
	}
	t.pass(now, m, f, p, inbound)
	p.Dst = m.inside
	return ""
}

// admit finds the mapping and the flow of a packet from the outside that may come in.
func (t *translator) admit(now time.Time, p *Packet) (m *mapping, f *flow, refused string) {
	if m = t.at(now, p.Proto, p.Dst, p.Src); m == nil {
		return nil, nil, noMapping
	}
	if !t.allows(now, m, p.Src) {
		return nil, nil, filtered
	}
	if f = t.find(now, m, p.Src); t.NoSimultaneousOpen && opens(p) && f != nil && f.sent && !f.replied {
		return nil, nil, noSimOpen
	}
	if f = t.flow(now, m, p.Src, p); f == nil {
		return nil, nil, noConnection
	}
	return m, f, ""
}

func (t *translator) forbidden(proto Proto, remotePort uint16) string {
	switch {
	case t.BlockUDP && proto == UDP:
		return blockedUDP
	case t.Only443 && (proto != TCP || remotePort != 443):
		return blockedPort
	}
	return ""
}

func (t *translator) mapKey(proto Proto, inside, remote netip.AddrPort) mapKey {
	return mapKey{proto, inside, t.by[proto].Mapping.part(remote)}
}

func (t *translator) portKey(proto Proto, outside, remote netip.AddrPort) portKey {
	if !t.by[proto].Ports.Overload {
		remote = netip.AddrPort{}
	}
	return portKey{proto, outside, remote}
}

func (t *translator) lookup(now time.Time, k mapKey) *mapping {
	m := t.byInside[k]
	if m == nil || !t.expired(now, m) {
		return m
	}
	t.remove(now, m, "expired")
	return nil
}

func (t *translator) expired(now time.Time, m *mapping) bool {
	return !now.Before(m.until) || t.Absolute > 0 && now.Sub(m.made) >= t.Absolute
}

// open makes a new mapping.
func (t *translator) open(now time.Time, proto Proto, inside, remote netip.AddrPort) (m *mapping, refused string) {
	if !t.room(now) {
		return nil, fullTable
	}
	outside, ok := t.choose(now, proto, inside, remote)
	if !ok {
		return nil, noPort
	}
	m = &mapping{
		mapKey:  t.mapKey(proto, inside, remote),
		outside: outside, made: now, until: now,
		flows: make(map[netip.AddrPort]*flow, 1), sweep: 64,
	}
	k := t.portKey(proto, outside, remote)
	if old := t.byPort[k]; old != nil {
		t.remove(now, old, "expired")
	}
	t.byInside[m.mapKey] = m
	t.byPort[k] = m
	t.onChange(now, m, "new")
	return m, ""
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
	if t.by[proto].Ports.Contiguous && inside.Port()%2 == 1 {
		even := t.mapKey(proto, netip.AddrPortFrom(inside.Addr(), inside.Port()-1), remote)
		if m := t.lookup(now, even); m != nil && m.outside.Addr() == ip && m.outside.Port() < 65535 && free(m.outside.Port()+1) {
			return netip.AddrPortFrom(ip, m.outside.Port()+1), true
		}
	}
	port, ok := t.ports[proto].port(now, proto, inside, ip, free)
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
	if t.poisoned(now, proto, outside, remote) || t.statics.at(now, proto, outside) != nil {
		return false
	}
	m := t.byPort[t.portKey(proto, outside, remote)]
	return m == nil || t.expired(now, m)
}

func (t *translator) remove(now time.Time, m *mapping, why string) {
	delete(t.byInside, m.mapKey)
	delete(t.byPort, t.portKey(m.proto, m.outside, m.remote))
	t.onChange(now, m, why)
}
