package natsbus

import (
	"time"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// hold is a room that this node is the home of.
type hold struct {
	revision uint64
	attempt  uint64           // under which it was claimed
	waits    int              // messages that wait for Poll
	guests   map[uint64]guest // by session
}

// roomState is what a room's lane has to do beside its messages.
type roomState struct {
	since   uint64 // claims up to this attempt are over
	free    uint64 // the revision to be freed; 0: none
	renewal bool   // the record of a room that is held is due
	stray   bool   // the record may name this node without need
	dead    nodeID // the home that was found to be dead
}

const (
	roomLifetime = time.Hour        // of a room's record, so that those of dead nodes end
	roomRenewal  = 20 * time.Minute // the age at which it is written anew
	freeLifetime = 10 * time.Second
	deadLifetime = time.Minute
)

// maxHomes bounds the homes remembered, twice.
const maxHomes = 1 << 15

func (n *node) advanceRoom(now time.Time, l *lane) {
	room := l.key.topic.Room
	if h := n.holds[room]; h != nil {
		n.drop(l, len(l.queue), func(i item) bool {
			n.arrive(l.key.topic, i.message)
			return true
		})
		if l.renewal {
			n.keep(now, l, h)
		} else {
			n.end(l)
		}
		return
	}
	if l.free != 0 {
		n.setFree(now, l)
		return
	}
	n.tooOld(now, l)
	home, known := n.homes.get(room)
	switch {
	case l.stray:
		n.look(now, l)
	case len(l.queue) == 0:
		n.end(l)
	case known:
		n.askHome(now, l, home)
	default:
		n.look(now, l)
	}
}

// look finds out which node is the room's home.
func (n *node) look(now time.Time, l *lane) {
	n.ask(now, l, effect{op: opGet, key: roomKey(l.key.topic.Room)}, func(now time.Time, r reply) {
		if r.status != replyOK && r.status != replyNone {
			n.pause(now, l)
			return
		}
		l.stray = false
		v, err := decodeRecord(r.data)
		switch {
		case r.status == replyOK && err == nil && v.form == formHome && v.home == n.id:
			if len(l.queue) == 0 || v.attempt <= l.since {
				l.free = r.revision // an attempt that was given up has succeeded after all
				n.advance(now, l)
				return
			}
			n.hold(now, l, r.revision, v.attempt)
		case len(l.queue) == 0:
			n.end(l)
		case r.status == replyOK && err == nil && v.form == formHome && v.home != l.dead:
			n.remember(l.key.topic.Room, v.home)
			n.advance(now, l)
		default: // free, of a dead node, or no record at all
			n.claim(now, l, r.revision)
		}
	})
}

func (n *node) remember(room string, home nodeID) {
	if n.homes.len() >= maxHomes {
		n.homes.turn()
	}
	n.homes.put(room, home)
}

// claim tries to make this node the home.
func (n *node) claim(now time.Time, l *lane, expect uint64) {
	n.attempt++
	attempt := n.attempt
	n.ask(now, l, n.homeRecord(l, expect, attempt), func(now time.Time, r reply) {
		if r.status != replyOK { // another node was first, or it is not known
			n.pause(now, l)
			return
		}
		n.hold(now, l, n.noted(r.revision), attempt)
	})
}

func (n *node) homeRecord(l *lane, expect, attempt uint64) effect {
	return effect{
		op: opPut, key: roomKey(l.key.topic.Room), expect: expect, ttl: roomLifetime,
		data: appendRecord(nil, record{form: formHome, home: n.id, attempt: attempt}),
	}
}

// hold makes this node the home, for what is in the lane.
func (n *node) hold(now time.Time, l *lane, revision, attempt uint64) {
	room := l.key.topic.Room
	h := &hold{revision: revision, attempt: attempt}
	n.holds[room] = h
	n.homes.forget(room)
	l.tries, l.dead, l.renewal = 0, nodeID{}, false
	n.gone(room)
	n.planRenewal(now, room, h)
	n.advance(now, l)
}

func (n *node) planRenewal(now time.Time, room string, h *hold) {
	n.timers.set(now.Add(roomRenewal+n.jitter(roomRenewal/4)), func(now time.Time) {
		if n.holds[room] == h {
			l := n.lane(laneKey{topic: rendezvous.Topic{Room: room}})
			l.renewal = true
			n.advance(now, l)
		}
	})
}

// keep writes the record of a room that is held anew. The room may be released
// meanwhile.
func (n *node) keep(now time.Time, l *lane, h *hold) {
	n.ask(now, l, n.homeRecord(l, h.revision, h.attempt), func(now time.Time, r reply) {
		switch r.status {
		case replyOK:
			h.revision, l.renewal, l.tries = n.noted(r.revision), false, 0
			if l.free != 0 {
				l.free = h.revision
			} else {
				n.planRenewal(now, l.key.topic.Room, h)
			}
			n.advance(now, l)
		case replyConflict:
			if l.free != 0 {
				n.pause(now, l)
				return
			}
			n.confirm(now, l, h)
		default:
			n.pause(now, l)
		}
	})
}

// confirm looks whether this node is still what it thinks it is.
func (n *node) confirm(now time.Time, l *lane, h *hold) {
	n.ask(now, l, effect{op: opGet, key: roomKey(l.key.topic.Room)}, func(now time.Time, r reply) {
		v, err := decodeRecord(r.data)
		switch {
		case r.status != replyOK && r.status != replyNone, l.free != 0:
		case r.status == replyOK && err == nil && v.form == formHome && v.home == n.id && v.attempt == h.attempt:
			h.revision = max(h.revision, r.revision)
		default:
			n.cut("a room of this node has been given away")
			return
		}
		n.pause(now, l)
	})
}

// release is Bus.Release.
func (n *node) release(room string) {
	h := n.holds[room]
	if !n.open || h == nil || h.waits > 0 { // with what waits it is the home anew at once
		return
	}
	delete(n.holds, room)
	n.emptied(h)
	l := n.lane(laneKey{topic: rendezvous.Topic{Room: room}})
	l.since, l.free, l.renewal = n.attempt, h.revision, false
	n.dirty = append(n.dirty, l)
}

// setFree writes down that the room has no home.
func (n *node) setFree(now time.Time, l *lane) {
	put := effect{
		op: opPut, key: roomKey(l.key.topic.Room), expect: l.free, ttl: freeLifetime,
		data: appendRecord(nil, record{form: formFree}),
	}
	n.ask(now, l, put, func(now time.Time, r reply) {
		switch r.status {
		case replyOK:
			l.free, l.tries = 0, 0
			n.noted(r.revision)
			n.advance(now, l)
		case replyConflict: // it is free already, or there is a later record of ours
			l.free, l.stray = 0, true
			n.pause(now, l)
		default:
			n.pause(now, l)
		}
	})
}

// checkStray looks after a room that another node thinks this one the home of.
func (n *node) checkStray(now time.Time, room string) {
	key := laneKey{topic: rendezvous.Topic{Room: room}}
	if n.lanes[key] != nil || len(n.lanes) >= n.cfg.queueMessages {
		return // it will see by itself
	}
	l := n.lane(key)
	l.stray = true
	n.advance(now, l)
}

// askHome hands the home what is in the lane.
func (n *node) askHome(now time.Time, l *lane, home nodeID) {
	data, count := n.first(l)
	n.ask(now, l, effect{op: opAskNode, node: home, data: data}, func(now time.Time, r reply) {
		a, err := decodeAnswer(r.data)
		switch {
		case r.status == replyOK && err == nil && a == answerTaken:
			for _, i := range l.queue[:count] {
				n.sent(l.key.topic.Room, home, i.message)
			}
			n.taken(now, l, count)
			return
		case r.status == replyOK && err == nil && a == answerBusy:
		case r.status == replyNobody, r.status == replyLate: // NATS notices after minutes that a line is dead
			n.homes.forget(l.key.topic.Room)
			l.busy = true
			n.fence(now, home, func(now time.Time, dead bool) {
				l.busy = false
				if !dead {
					n.pause(now, l)
					return
				}
				l.dead = home
				n.look(now, l)
			})
			return
		default:
			n.homes.forget(l.key.topic.Room)
		}
		n.pause(now, l)
	})
}

// fence makes sure that a node which does not listen is dead: once its lease has
// ended, a mark in the place of that keeps it from ever renewing it. It tells
// false where the node lives, its lease has not ended yet, or nobody knows.
func (n *node) fence(now time.Time, other nodeID, tell func(now time.Time, dead bool)) {
	put := effect{op: opPut, key: nodeKey(other), ttl: deadLifetime, data: appendRecord(nil, record{form: formDead})}
	n.request(now, put, func(now time.Time, r reply) {
		switch r.status {
		case replyOK:
			n.noted(r.revision)
			tell(now, true)
		case replyConflict:
			n.request(now, effect{op: opGet, key: nodeKey(other)}, func(now time.Time, r reply) {
				v, err := decodeRecord(r.data)
				tell(now, r.status == replyOK && err == nil && v.form == formDead)
			})
		default:
			tell(now, false)
		}
	})
}
