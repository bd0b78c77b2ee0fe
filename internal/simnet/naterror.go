package simnet

import (
	"net/netip"
	"time"
)

// inError takes an ICMP error about a packet that went out through here to who
// sent it, with the quoted addresses as that one knows them (RFC 5508 REQ 4). It
// neither refreshes nor ends anything (RFC 5382 REQ 10).
func (t *translator) inError(now time.Time, p *Packet) string {
	e := p.Error
	m := t.at(now, e.Proto, e.Src, e.Dst)
	if m == nil || !m.static && t.by[e.Proto].Mapping.part(e.Dst) != m.remote {
		return noError
	}
	e.Src = m.inside
	p.Dst = netip.AddrPortFrom(m.inside.Addr(), 0)
	return ""
}

// outError takes an ICMP error about a packet that came in through here out again
// (RFC 5508 REQ 5).
func (t *translator) outError(now time.Time, p *Packet) string {
	e := p.Error
	m := t.statics.from(now, e.Proto, e.Dst)
	if m == nil {
		m = t.lookup(now, t.mapKey(e.Proto, e.Dst, e.Src))
	}
	if m == nil {
		return noError
	}
	e.Dst = m.outside
	if !t.Firewall {
		p.Src = netip.AddrPortFrom(m.outside.Addr(), 0)
	}
	return ""
}
