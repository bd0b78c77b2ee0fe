package turnclient

import (
	"errors"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Channels (RFC 8656 section 12).
const (
	channelLifetime = 600 * time.Second
	channelRenew    = 540 * time.Second
	channelRest     = 300 * time.Second // after its end, before number or peer may be bound to another
	noChannelHold   = time.Minute       // after the server would not bind one
)

var errOutOfSync = errors.New("the server and we disagree on a channel")

// channels are those of one allocation.
type channels struct {
	byNumber   map[uint16]*channel
	byPeer     map[netip.AddrPort]*channel
	nextNumber uint16
	bound      int
}

// channel is a number that stands for a peer.
type channel struct {
	a       *allocation
	number  uint16
	peer    netip.AddrPort
	bound   bool      // the server said so, and it has not lapsed
	binding bool      // a request is under way
	until   time.Time // its end at the server
	free    time.Time // when number and peer may be bound otherwise
	timer   machine.Timer
}

// Bind binds a channel for a peer that a shell sends data to, past the machine.
// EventChannel tells that it stands, also if it did before.
func (m *Machine) Bind(now time.Time, id AllocationID, to netip.AddrPort) {
	m.enter()
	a := m.allocs[id]
	if a == nil || a.link == nil || a.permits[to.Addr()] == nil {
		return
	}
	if c := a.byPeer[to]; c != nil && c.bound {
		a.tell(now, Event{Kind: EventChannel, State: a.state, Peer: c.peer, Channel: c.number})
		return
	}
	if p, err := a.peer(to); err == nil {
		a.bind(now, p)
	}
}

// bind binds a channel for p, which is permitted.
func (a *allocation) bind(now time.Time, p *peer) {
	if a.m.cfg.ChannelAfter < 0 || a.df || a.tcp || now.Before(p.noChannel) || !a.state.Usable() {
		return
	}
	c := a.byPeer[p.addr]
	if c == nil {
		number, ok := a.freeNumber()
		if !ok {
			p.noChannel = now.Add(noChannelHold)
			return
		}
		c = &channel{a: a, number: number, peer: p.addr}
		c.timer.Fire = c.due
		a.byNumber[number], a.byPeer[p.addr] = c, c
	}
	if !c.bound && !c.binding {
		c.ask(now)
	}
}

// freeNumber finds a number that is not in use and has rested, the longest unused first.
func (a *allocation) freeNumber() (uint16, bool) {
	for range wire.MaxChannel - wire.MinChannel + 1 {
		n := a.nextNumber
		if a.nextNumber++; a.nextNumber > wire.MaxChannel {
			a.nextNumber = wire.MinChannel
		}
		if a.byNumber[n] == nil {
			return n, true
		}
	}
	return 0, false
}

// ask sends a ChannelBind request, which makes or refreshes the binding and the
// permission.
func (c *channel) ask(now time.Time) {
	a := c.a
	c.binding = true
	a.m.timers.Stop(&c.timer)
	r := &request{link: a.link, op: "channel", method: wire.ChannelBind}
	r.add = func(b *wire.Builder) {
		b.AddChannelNumber(c.number)
		b.AddXORAddress(wire.AttrXORPeerAddress, c.peer)
	}
	r.done = func(now time.Time, _ *wire.Message, err error) {
		c.binding = false
		switch code := codeOf(err); {
		case err == nil:
			c.stands(now, r.sent)
		case code == wire.CodeAllocationMismatch, code == wire.CodeWrongCredentials:
			a.lose(now, err, true)
		case code == wire.CodeBadRequest:
			// RFC 8656 section 12.3: delete the allocation and start afresh.
			a.restart(now, err)
		default:
			if p := a.peers[c.peer]; p != nil {
				p.noChannel = now.Add(noChannelHold)
			}
			if c.bound && now.Add(noChannelHold).Before(c.until) {
				a.m.timers.Set(&c.timer, now.Add(leastWait)) // a renewal: there is time left
				return
			}
			c.lapse(now, err)
		}
	}
	r.start(now)
}

// restart deletes the allocation and makes another one.
func (a *allocation) restart(now time.Time, err error) {
	l := a.link
	if l == nil {
		return
	}
	a.gather(now, errors.Join(errOutOfSync, err))
	a.link, a.asking, a.ticket = nil, nil, nil
	for _, t := range []*machine.Timer{&a.refresh, &a.expiry, &a.retry, &a.doubt} {
		a.m.timers.Stop(t)
	}
	a.leave(now, l, nil)
	a.setState(now, Allocating, a.loss.Err)
	a.makeAnew(now, nil, err)
}

func (c *channel) stands(now, sent time.Time) {
	a := c.a
	c.until = sent.Add(channelLifetime)
	c.free = now.Add(channelLifetime + channelRest)
	a.m.timers.Set(&c.timer, sent.Add(channelRenew))
	if p := a.permits[c.peer.Addr()]; p != nil && p.state == permitStanding {
		p.stands(now, sent)
	}
	if !c.bound {
		c.bound = true
		a.bound++
		a.tell(now, Event{Kind: EventChannel, State: a.state, Peer: c.peer, Channel: c.number})
	}
}

// due renews a channel in use, lets another lapse, and forgets it once it has rested.
func (c *channel) due(now time.Time) {
	a := c.a
	switch {
	case !c.bound:
		delete(a.byNumber, c.number)
		delete(a.byPeer, c.peer)
	case !now.Before(c.until):
		c.lapse(now, nil)
	case c.takeUsed() && a.link != nil && a.state.Usable():
		c.ask(now)
	default:
		a.m.timers.Set(&c.timer, c.until)
	}
}

func (c *channel) takeUsed() bool {
	used := false
	if p := c.a.peers[c.peer]; p != nil {
		used, p.used = p.used, false
	}
	if u := c.a.m.cfg.usage; u != nil {
		used = u.Channel(c.a.id, c.peer) || used
	}
	return used
}

// lapse ends the use of a channel. The server may have bound it all the same, so it
// rests in any case.
func (c *channel) lapse(now time.Time, err error) {
	a := c.a
	if least := now.Add(channelLifetime + channelRest); c.free.IsZero() || err != nil {
		c.free = least
	}
	if c.bound {
		a.bound--
	}
	if c.bound || err != nil {
		a.tell(now, Event{Kind: EventChannel, State: a.state, Peer: c.peer, Err: err})
	}
	c.bound = false
	a.m.timers.Set(&c.timer, c.free)
}

// dropChannels forgets every channel of an allocation that is gone, and says how many
// stood. Their numbers are the last to be used again.
func (a *allocation) dropChannels() int {
	n := a.bound
	for _, c := range a.byNumber {
		a.m.timers.Stop(&c.timer) // the order does not matter: nothing is told
	}
	clear(a.byNumber)
	clear(a.byPeer)
	a.bound = 0
	return n
}
