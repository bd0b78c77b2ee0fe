package natsbus

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// A node that dies takes leave of nobody. So every node looks whether those live
// that it shares a room with: the homes of rooms in which its clients are members,
// whom it tells when a home is gone; and the nodes whose clients are members of
// its own rooms, which these leave when their node is gone.

// away is a room with another home, and this node's members of it.
type away struct {
	home    nodeID
	members map[uint64]ident.PeerID // by session
}

// guest is a member of a room of this node that is signed on at another one.
type guest struct {
	node   nodeID
	member rendezvous.BusMember
}

const goneReason = "the server that kept this room is gone; join it again"

// rely counts one more, or less, reason to look whether a node lives.
func (n *node) rely(on nodeID, more int) {
	if n.relies[on] += more; n.relies[on] == 0 {
		delete(n.relies, on)
	}
}

// sent notes what the home of a room has taken.
func (n *node) sent(room string, home nodeID, m rendezvous.BusMessage) {
	a := n.away[room]
	switch {
	case m.Kind == rendezvous.BusJoin:
		if a != nil && a.home != home {
			n.gone(room)
			a = nil
		}
		if a == nil {
			a = &away{home, make(map[uint64]ident.PeerID)}
			n.away[room] = a
		}
		if _, known := a.members[m.From.Session]; !known {
			a.members[m.From.Session] = m.From.Peer
			n.rely(home, 1)
		}
	case m.Kind == rendezvous.BusLeave:
		n.left(room, m.From.Session)
	}
}

// left forgets a member of a room elsewhere.
func (n *node) left(room string, session uint64) {
	a := n.away[room]
	if a == nil {
		return
	}
	if _, known := a.members[session]; known {
		delete(a.members, session)
		n.rely(a.home, -1)
	}
	if len(a.members) == 0 {
		delete(n.away, room)
	}
}

// gone tells this node's members of a room that its home is no longer, but for
// those who are about to join again, or to leave.
func (n *node) gone(room string) {
	a := n.away[room]
	if a == nil {
		return
	}
	var waiting []item
	if l := n.lanes[laneKey{topic: rendezvous.Topic{Room: room}}]; l != nil {
		waiting = l.queue
	}
	delete(n.away, room)
	n.rely(a.home, -len(a.members))
	for _, session := range slices.Sorted(maps.Keys(a.members)) {
		aware := slices.ContainsFunc(waiting, func(i item) bool {
			return i.message.Kind != rendezvous.BusUpdate && i.message.From.Session == session
		})
		if !aware {
			n.arrive(rendezvous.Topic{Peer: a.members[session]}, rendezvous.BusMessage{
				Kind: rendezvous.BusRefused, To: session, Room: room, Code: rendezvous.CodeUnreachable, Reason: goneReason,
			})
		}
	}
}

// came notes what has come from another node for a room of this one.
func (n *node) came(h *hold, from nodeID, m rendezvous.BusMessage) {
	old, known := h.guests[m.From.Session]
	if known && (m.Kind == rendezvous.BusJoin || m.Kind == rendezvous.BusLeave) {
		delete(h.guests, m.From.Session)
		n.rely(old.node, -1)
	}
	if m.Kind == rendezvous.BusJoin {
		if h.guests == nil {
			h.guests = make(map[uint64]guest)
		}
		h.guests[m.From.Session] = guest{from, m.From}
		n.rely(from, 1)
	}
}

// owed reports whether m is for a member of a room that is held, at another node
// that lives as far as is known: it would wait in vain for what it is not told.
func (n *node) owed(m rendezvous.BusMessage) bool {
	h := n.holds[m.Room]
	if h == nil {
		return false
	}
	_, member := h.guests[m.To]
	return member
}

// emptied forgets the guests of a room that is released.
func (n *node) emptied(h *hold) {
	for _, g := range h.guests {
		n.rely(g.node, -1)
	}
	h.guests = nil
}

// checkOthers looks at the leases of the nodes that this one relies on.
func (n *node) checkOthers(now time.Time) {
	for _, other := range slices.SortedFunc(maps.Keys(n.relies), func(a, b nodeID) int { return bytes.Compare(a[:], b[:]) }) {
		n.request(now, effect{op: opGet, key: nodeKey(other)}, func(now time.Time, r reply) {
			v, err := decodeRecord(r.data)
			switch {
			case r.status == replyOK && err == nil && v.form == formDead:
				n.died(other)
			case r.status == replyNone: // as far as one replica knows
				n.fence(now, other, func(_ time.Time, dead bool) {
					if dead {
						n.died(other)
					}
				})
			}
		})
	}
	n.timers.set(now.Add(n.cfg.timeout()), n.checkOthers)
}

// died draws the conclusions.
func (n *node) died(other nodeID) {
	for _, room := range slices.Sorted(maps.Keys(n.away)) {
		if n.away[room].home == other {
			n.gone(room)
		}
	}
	for _, room := range slices.Sorted(maps.Keys(n.holds)) {
		h := n.holds[room]
		guests := slices.Collect(maps.Values(h.guests))
		slices.SortFunc(guests, func(a, b guest) int { return cmp.Compare(a.member.Session, b.member.Session) })
		for _, g := range guests {
			if g.node == other {
				leave := rendezvous.BusMessage{Kind: rendezvous.BusLeave, From: g.member, Room: room}
				n.came(h, other, leave)
				n.arrive(rendezvous.Topic{Room: room}, leave)
			}
		}
	}
}
