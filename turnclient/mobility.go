package turnclient

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// mobility moves an allocation to another socket of ours, and so to another network
// (RFC 8016).
type mobility struct {
	ticket  []byte        // the newest; nil: the server gave none
	stalled bool          // the last move was not answered: try something else
	former  *link         // that the allocation stood on before it moved, for what is on its way there; or nil
	linger  machine.Timer // until that is closed
}

// lingerTime is how long the path before a move is still listened to.
const lingerTime = 2 * time.Second

// maxTicket bounds what is kept of a server.
const maxTicket = 1024

func (a *allocation) takeTicket(msg *wire.Message) {
	a.stalled = false
	if ticket, ok := msg.Get(wire.AttrMobilityTicket); ok && a.m.cfg.Mobility && !a.tcp && len(ticket) > 0 && len(ticket) <= maxTicket {
		a.ticket = slices.Clone(ticket)
	}
}

func (a *allocation) mayMove() bool { return a.ticket != nil && !a.stalled && a.link != nil }

// move opens another socket to the server and presents the ticket there. Data goes on
// over the old one until the server has agreed (RFC 8016 section 3.2.2).
func (a *allocation) move(now time.Time) {
	t := &attempt{a: a, moving: true}
	t.connect.Fire = func(now time.Time) { t.failed(now, ErrNoAnswer) }
	a.attempts = append(a.attempts, t)
	t.open(now, a.link.srv)
	t.link.as = a.link.as
}

// present sends the Refresh that moves the allocation. No other carries a ticket, for
// on the old path the server would reject it.
func (t *attempt) present(now time.Time) {
	a := t.a
	t.request = &request{link: t.link, op: "move", method: wire.Refresh}
	t.request.add = func(b *wire.Builder) {
		a.addLifetime(b)
		b.AddRaw(wire.AttrMobilityTicket, a.ticket)
	}
	r := t.request
	r.done = func(now time.Time, msg *wire.Message, err error) {
		t.request = nil
		if err != nil {
			t.failed(now, err)
			return
		}
		t.end()
		a.movedTo(now, t.link, msg, r.sent)
	}
	r.start(now)
}

// presenting returns the request that presents the ticket, if the server may have taken
// it already; else nil. What the server says on the old path meanwhile decides nothing:
// it may be from before the move, or because of it.
func (a *allocation) presenting() *request {
	for _, t := range a.attempts {
		if t.moving && t.request != nil && t.request.sends > 0 {
			return t.request
		}
	}
	return nil
}

// stay gives a move up.
func (a *allocation) stay() {
	for _, t := range slices.Clone(a.attempts) {
		if t.moving {
			t.end()
			t.link.onDown = nil
			t.link.drop()
		}
	}
}

// movedTo makes l what the allocation stands on: permissions and channels are kept.
func (a *allocation) movedTo(now time.Time, l *link, msg *wire.Message, sent time.Time) {
	old := a.link
	a.link, a.asking = l, nil
	a.retire(now, old)
	l.onDown = func(now time.Time, err error) { a.lose(now, err, false) }
	a.heardAt = now
	a.tell(now, Event{Kind: EventMoved, State: a.state, Server: l.srv.Endpoint, Local: l.local, on: l.key()})
	a.nudge(l)
	a.reissue(now)
	lifetime := lifetimeOf(msg)
	a.takeTicket(msg)
	a.granted(now, sent, lifetime)
	a.recovered(now)
}

// nobody are addresses that no peer has (RFC 5737, RFC 3849), for IPv4 and IPv6.
var nobody = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.0:9"), netip.MustParseAddrPort("[2001:db8::]:9")}

// nudge makes the server use l: it sends what comes from peers to the former path until
// data has come by the new one (RFC 8016 section 3.2.2), and there may be none to send.
// What goes to an address without a permission goes no further than the server.
func (a *allocation) nudge(l *link) {
	to := nobody[0]
	if a.relayed[0].Addr().Is6() {
		to = nobody[1]
	}
	if b, err := wire.AppendSend(nil, wire.TransactionID{}, to, nil, false); err == nil {
		l.control(b)
	}
}

// retire keeps a link that the allocation has moved from open for a moment. Deleting the
// allocation there would delete it altogether.
func (a *allocation) retire(now time.Time, l *link) {
	a.leaveFormer()
	for _, r := range slices.Clone(l.requests) {
		r.end()
	}
	l.onDown = nil
	a.m.timers.Stop(&l.keepalive)
	if !l.gone {
		a.former = l
		a.m.timers.Set(&a.linger, now.Add(lingerTime))
	}
}

// lingered gives the former path up. The server may not have got to know of the new one.
func (a *allocation) lingered(time.Time) {
	a.nudge(a.link)
	a.leaveFormer()
}

// leaveFormer closes what is left of a move.
func (a *allocation) leaveFormer() {
	a.m.timers.Stop(&a.linger)
	if a.former != nil {
		a.former.drop()
		a.former = nil
	}
}

// hears reports whether what comes on l is the allocation's.
func (a *allocation) hears(l *link) bool { return l == a.link || l == a.former }

// reissue asks again for what was being asked for on a link that is gone.
func (a *allocation) reissue(now time.Time) {
	for _, p := range a.list {
		switch {
		case p.state == permitPending:
			p.wanted = true
			p.become(permitNone)
		case p.state == permitStanding && p.renewing:
			p.renewing, p.used = false, true
			a.m.timers.Set(&p.timer, now)
		}
	}
	var busy []*channel
	for _, c := range a.byNumber {
		if c.binding {
			busy = append(busy, c)
		}
	}
	slices.SortFunc(busy, func(c, d *channel) int { return int(c.number) - int(d.number) })
	for _, c := range busy {
		c.binding = false
		c.ask(now)
	}
}

// notMoved takes in that the server did not move the allocation.
func (a *allocation) notMoved(now time.Time, err error) {
	a.tell(now, Event{Kind: EventServer, State: a.state, Server: a.link.srv.Endpoint, Err: err})
	silent := !refused(err)
	if silent {
		a.stalled = true
	} else {
		a.ticket = nil
	}
	switch {
	case a.state != Disconnecting:
		a.heartbeat(now) // the old path may have said otherwise meanwhile
	case !silent && !a.racing():
		a.race(now, nil)
	case silent && a.asking == nil:
		a.disconnect(now, err)
	}
}
