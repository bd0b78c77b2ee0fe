package simnet

import (
	"net/netip"
	"time"
)

// flow is what passes between a mapping and a remote: as much of the remote as the
// filter looks at for UDP, one connection for TCP. It is also the filter's permission.
type flow struct {
	made    time.Time
	fresh   time.Time // of the last packet that refreshed it
	until   time.Time // when it expires
	sent    bool      // something went out
	replied bool      // something came in
	stream  bool      // UDP: see NATConfig.IdleStream

	acked, ended [2]bool // TCP, by direction: an ACK was seen, a FIN was seen
	reset        bool    // TCP
}

type direction uint8

const (
	outbound direction = iota
	inbound
)

// streamAfter is how old an answered flow must be to count as a stream.
const streamAfter = 2 * time.Second

// opens tells whether p is a connection's first segment.
func opens(p *Packet) bool {
	return p.Proto == TCP && p.Segment.Flags&(SYN|ACK|RST|FIN) == SYN
}

// begins tells whether p may begin a flow.
func (t *translator) begins(p *Packet) bool {
	return p.Proto != TCP || opens(p) || t.TCPLoose && p.Segment.Flags&RST == 0
}

// flowKey is as much of a remote as makes a flow.
func (t *translator) flowKey(proto Proto, remote netip.AddrPort) netip.AddrPort {
	if proto == TCP {
		return remote
	}
	return t.by[proto].Filtering.part(remote)
}

// find finds the live flow between m and remote; nil: none.
func (t *translator) find(now time.Time, m *mapping, remote netip.AddrPort) *flow {
	if f := m.flows[t.flowKey(m.proto, remote)]; f != nil && now.Before(f.until) {
		return f
	}
	return nil
}

// flow finds the flow of p, or begins one; nil where p may not.
func (t *translator) flow(now time.Time, m *mapping, remote netip.AddrPort, p *Packet) *flow {
	f := t.find(now, m, remote)
	if f != nil && !(f.over() && opens(p)) {
		return f
	}
	if !t.begins(p) {
		return nil
	}
	if len(m.flows) >= m.sweep {
		for k, f := range m.flows {
			if !now.Before(f.until) {
				delete(m.flows, k)
			}
		}
		m.sweep = max(64, 2*len(m.flows))
	}
	next := &flow{made: now, fresh: now}
	if f != nil { // a new connection between the same endpoints: what was allowed is still
		next.sent, next.until = f.sent, f.until
	}
	m.flows[t.flowKey(m.proto, remote)] = next
	return next
}

// allows tells whether the filter lets packets of remote in.
func (t *translator) allows(now time.Time, m *mapping, remote netip.AddrPort) bool {
	filter := t.by[m.proto].Filtering
	if filter == EndpointIndependent || m.static {
		return true
	}
	if f := t.find(now, m, remote); f != nil && f.sent {
		return true
	}
	if filter == AddressDependent && m.proto == TCP {
		for k, f := range m.flows {
			if k.Addr() == remote.Addr() && f.sent && now.Before(f.until) {
				return true
			}
		}
	}
	return false
}

// pass notes that p passes through a flow.
func (t *translator) pass(now time.Time, m *mapping, f *flow, p *Packet, way direction) {
	refreshes := way == outbound || t.InboundRefresh
	if refreshes {
		f.fresh = now
		f.stream = f.stream || f.replied && now.Sub(f.made) > streamAfter
	}
	f.replied = f.replied || way == inbound
	if p.Proto == TCP {
		f.track(p.Segment.Flags, way)
	}
	old := f.until
	f.until = f.fresh.Add(t.life(m.proto, f))
	switch {
	case m.static:
	case f.until.After(m.until):
		if f.sent || t.InboundRefresh {
			m.until = f.until
		}
	case old.Equal(m.until):
		m.until = now
		for _, f := range m.flows {
			if (f.sent || t.InboundRefresh) && f.until.After(m.until) {
				m.until = f.until
			}
		}
	}
}

// life is how long a flow outlives what refreshed it.
func (t *translator) life(proto Proto, f *flow) time.Duration {
	switch {
	case proto == TCP && f.reset:
		return t.TCPReset
	case proto == TCP && f.acked[outbound] && f.acked[inbound] && !f.over():
		return t.TCPIdle
	case proto == TCP:
		return t.TCPTransitory
	case f.stream:
		return t.IdleStream
	case f.replied:
		return t.Idle
	}
	return t.IdleUnreplied
}

// track follows a connection by its flags: partially open until both sides have sent
// an ACK, closing when both have sent a FIN or one a reset (RFC 5382 5).
func (f *flow) track(flags Flags, way direction) {
	f.reset = f.reset || flags&RST != 0
	f.acked[way] = f.acked[way] || flags&ACK != 0
	f.ended[way] = f.ended[way] || flags&FIN != 0
}

// over tells that a connection is closing or was reset.
func (f *flow) over() bool { return f.reset || f.ended[outbound] && f.ended[inbound] }
