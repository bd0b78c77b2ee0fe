package turnclient

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
)

// transmit sends data to a permitted peer, over its channel if there is one.
func (a *allocation) transmit(now time.Time, p *peer, data []byte) {
	l := a.link
	at := len(a.m.arena)
	var err error
	if c := a.byPeer[p.addr]; c != nil && c.bound {
		a.m.arena, err = wire.AppendChannelData(a.m.arena, c.number, data, l.stream)
	} else {
		id := wire.TransactionID{} // indications have no answer to tell by it
		a.m.arena, err = wire.AppendSend(a.m.arena, id, p.addr, data, a.df)
	}
	if err != nil || l.gone || !l.up {
		a.m.stats.dropped++
		return
	}
	l.sent = true
	l.push(a.m.arena[at:len(a.m.arena):len(a.m.arena)])
	a.wrote(now)
	if p.sends++; p.sends >= a.m.cfg.ChannelAfter {
		a.bind(now, p)
	}
}

// Wrote tells the machine that a shell sent data past it, since it was asked to tell
// (bypass.Disarm) or for the first time.
func (m *Machine) Wrote(now time.Time, id AllocationID) {
	m.enter()
	if a := m.allocs[id]; a != nil {
		a.wrote(now)
	}
}

// channelData takes in a ChannelData message (RFC 8656 section 12.6). It is taken on a
// channel that is being bound, too: the server may be ahead of its own answer.
func (a *allocation) channelData(now time.Time, l *link, b []byte) {
	number, data, err := wire.DecodeChannelData(b)
	switch c := a.byNumber[number]; {
	case err != nil:
		l.strange(now, ErrNotTURN, fmt.Sprintf("ChannelData of %d bytes: %v", len(b), err))
	case !a.hears(l):
		a.m.stats.dropped++
	case c == nil || !c.bound && !c.binding:
		l.strange(now, ErrNotAsked, fmt.Sprintf("data on channel %#x, which is not bound", number))
	default:
		a.deliver(now, c.peer, data)
	}
}

// dataIndication takes in a Data indication (RFC 8656 sections 11.4 and 11.6).
func (a *allocation) dataIndication(now time.Time, l *link, msg *wire.Message) {
	from, ok := msg.XORPeerAddress()
	if !ok || !a.hears(l) || len(msg.AppendUnknown(nil, responseKnown)) > 0 {
		a.m.stats.dropped++
		return
	}
	if kind, code, mtu, ok := msg.ICMP(from.Addr().Is6()); ok {
		if a.permitted(from.Addr()) == nil {
			a.m.stats.dropped++
			return
		}
		a.tell(now, Event{Kind: EventUnreachable, State: a.state, Peer: from, Err: &ICMPError{from, kind, code, int(min(mtu, 1<<16))}})
		return
	}
	data, ok := msg.Get(wire.AttrData)
	if !ok {
		a.m.stats.dropped++
		return
	}
	a.deliver(now, from, data)
}

// permitted returns the permit of an IP whose data may come in; nil: it may not. One
// that has been asked for counts: the server may have it already.
func (a *allocation) permitted(ip netip.Addr) *permit {
	if p := a.permits[ip]; p != nil && (p.state == permitStanding || p.state == permitPending) {
		return p
	}
	return nil
}

// deliver hands over data of a peer that is permitted.
func (a *allocation) deliver(now time.Time, from netip.AddrPort, data []byte) {
	p := a.permitted(from.Addr())
	if p == nil || a.tcp {
		a.link.strange(now, ErrNotAsked, fmt.Sprintf("data of %v, which is not permitted", from))
		return
	}
	p.used = true
	if q := a.peers[from]; q != nil {
		q.used = true
	}
	a.heard, a.heardAt = true, now
	a.tell(now, Event{Kind: EventData, State: a.state, Peer: from, Data: slices.Clone(data)})
}
