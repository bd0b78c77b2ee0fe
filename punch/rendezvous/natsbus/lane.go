package natsbus

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// lane is what waits for one room, one peer or the sign-ons of one peer. What is
// asked of others goes one at a time, so it arrives in order, and again until it
// is answered: under the same numbers, so it arrives once.
type lane struct {
	key   laneKey
	queue []item
	busy  bool // a reply or the end of a pause is waited for
	tries int  // in a row without success

	roomState
}

// laneKey is a topic; the sign-ons of a peer are apart from what else it is sent.
type laneKey struct {
	topic   rendezvous.Topic
	signOns bool
}

// item is one message in a lane.
type item struct {
	entry
	at time.Time // when it was published
}

// A pause after the n-th failure in a row is leastPause * 2^n, at most mostPause,
// give or take a half.
const (
	leastPause = 10 * time.Millisecond
	mostPause  = 500 * time.Millisecond
)

const (
	fullReason        = "this server holds all the messages for others that it can; try again later"
	unreachableReason = "the server that keeps this room does not answer; try again later"
	busyReason        = "the peer's server holds all the messages that it can; try again later"
)

// publish is Bus.Publish.
func (n *node) publish(now time.Time, t rendezvous.Topic, m rendezvous.BusMessage) {
	if !n.open {
		return
	}
	sub := n.peers[t.Peer]
	key := laneKey{topic: t, signOns: m.Kind == rendezvous.BusSignOn}
	if key.signOns && sub != nil {
		sub.session = m.From.Session
	}
	l := n.lanes[key]
	if l == nil || len(l.queue) == 0 {
		switch {
		case t.Room != "" && n.holds[t.Room] != nil,
			n.here(t, m):
			n.arrive(t, m)
			return
		}
	}
	if n.waiting >= n.cfg.queueMessages || n.waitingBytes+size(m) > n.cfg.queueBytes {
		if n.refuse(t, m, rendezvous.CodeServerFull, fullReason) {
			return
		}
		if n.waiting >= 4*n.cfg.queueMessages || n.waitingBytes > 4*n.cfg.queueBytes {
			n.cut("too many messages wait for other nodes")
			return
		}
	}
	n.number++
	l = n.lane(key)
	l.queue = append(l.queue, item{entry{n.number, m}, now})
	n.waiting++
	n.waitingBytes += size(m)
	n.dirty = append(n.dirty, l)
}

// here reports whether m is for a sign-on that is here and nowhere else.
func (n *node) here(t rendezvous.Topic, m rendezvous.BusMessage) bool {
	sub := n.peers[t.Peer]
	return t.Room == "" && m.To != 0 && sub != nil && sub.session == m.To
}

// lane returns the lane of key, a new one if there is none.
func (n *node) lane(key laneKey) *lane {
	l := n.lanes[key]
	if l == nil {
		l = &lane{key: key, roomState: roomState{since: n.attempt}}
		n.lanes[key] = l
	}
	return l
}

// flush sets the lanes going that the server has used.
func (n *node) flush(now time.Time) {
	for len(n.dirty) > 0 {
		l := n.dirty[0]
		n.dirty = n.dirty[1:]
		if n.lanes[l.key] == l {
			n.advance(now, l)
		}
	}
	n.dirty = nil
}

// advance does what is next in a lane, unless it is at something.
func (n *node) advance(now time.Time, l *lane) {
	switch {
	case l.busy:
	case l.key.topic.Room != "":
		n.advanceRoom(now, l)
	case len(l.queue) == 0:
		n.end(l)
	case l.key.signOns:
		n.announce(now, l)
	default:
		n.advancePeer(now, l)
	}
}

// end removes a lane that has nothing to do.
func (n *node) end(l *lane) { delete(n.lanes, l.key) }

// pause lets some time pass before the lane goes on.
func (n *node) pause(now time.Time, l *lane) {
	d := min(leastPause<<min(l.tries, 16), mostPause)
	l.tries++
	l.busy = true
	n.timers.set(now.Add(d/2+n.jitter(d)), func(now time.Time) {
		l.busy = false
		n.advance(now, l)
	})
}

func (n *node) jitter(d time.Duration) time.Duration { return time.Duration(n.rand.Int64N(int64(d))) }

// ask makes e the one thing that the lane is at; done is told the reply.
func (n *node) ask(now time.Time, l *lane, e effect, done func(now time.Time, r reply)) {
	l.busy = true
	n.request(now, e, func(now time.Time, r reply) {
		l.busy = false
		done(now, r)
	})
}

// first returns as many of the first items as go together, as a batch.
func (n *node) first(l *lane) (data []byte, count int) {
	b := batch{from: n.id, topic: l.key.topic}
	bytes := 0
	for _, i := range l.queue {
		if bytes > 0 && bytes+size(i.message)+len(i.message.Reason) > maxBatch {
			break
		}
		bytes += size(i.message) + len(i.message.Reason)
		b.entries = append(b.entries, i.entry)
	}
	return appendBatch(nil, b), len(b.entries)
}

// drop takes those of the first count items out of the lane for which out is true.
func (n *node) drop(l *lane, count int, out func(item) bool) {
	kept := l.queue[:0]
	for i, it := range l.queue {
		if i < count && out(it) {
			n.waiting--
			n.waitingBytes -= size(it.message)
		} else {
			kept = append(kept, it)
		}
	}
	clear(l.queue[len(kept):])
	l.queue = kept
}

// taken takes the first count items out, and the lane goes on.
func (n *node) taken(now time.Time, l *lane, count int) {
	n.drop(l, count, func(item) bool { return true })
	l.tries = 0
	n.advance(now, l)
}

// advancePeer sends what waits for a peer. A message that nobody wants is tried
// for a while, since the peer's node may be away for a moment, and one for a member
// of a room that is held as long as it is one; but who has sent a BusSend is told
// at once.
func (n *node) advancePeer(now time.Time, l *lane) {
	n.drop(l, len(l.queue), func(i item) bool {
		switch {
		case now.Sub(i.at) < n.cfg.forPeer() || n.owed(i.message):
			return false
		case i.message.Kind == rendezvous.BusSend:
			n.undelivered(l, i)
		case n.here(l.key.topic, i.message): // it waited behind what was not
			own := seenKey{n.id, l.key.topic}
			if last, _ := n.seen.get(own); i.number > last {
				n.arrive(l.key.topic, i.message)
				n.seen.put(own, i.number)
			}
		}
		return true
	})
	if len(l.queue) == 0 {
		n.end(l)
		return
	}
	data, count := n.first(l)
	n.ask(now, l, effect{op: opAskPeer, peer: l.key.topic.Peer, data: data}, func(now time.Time, r reply) {
		a, err := decodeAnswer(r.data)
		switch {
		case r.status == replyOK && err == nil && a == answerTaken:
			n.taken(now, l, count)
			return
		case r.status == replyNobody:
			n.drop(l, count, func(i item) bool {
				switch i.message.Kind {
				case rendezvous.BusSend:
					return n.undelivered(l, i)
				case rendezvous.BusJoined, rendezvous.BusPaired, rendezvous.BusLeft:
					return !n.owed(i.message) && !n.here(l.key.topic, i.message) // it has left, and its node knows
				}
				return false
			})
		case r.status == replyOK && err == nil && a == answerBusy:
			n.drop(l, count, func(i item) bool {
				return i.message.Kind == rendezvous.BusSend && n.refuse(l.key.topic, i.message, rendezvous.CodePeerBusy, busyReason)
			})
		}
		if len(l.queue) == 0 {
			n.end(l)
			return
		}
		n.pause(now, l)
	})
}

func (n *node) undelivered(l *lane, i item) bool {
	i.message.Undelivered = true
	n.arrive(l.key.topic, i.message)
	return true
}

// announce puts the lane's first sign-on into its place in the order of all.
func (n *node) announce(now time.Time, l *lane) {
	i := l.queue[0]
	if now.Sub(i.at) >= n.cfg.forPeer() { // without the order a peer may be signed on twice
		n.cut("NATS does not take sign-ons")
		return
	}
	e := effect{
		op: opSignOn, node: n.id, number: i.number,
		data: appendBatch(nil, batch{from: n.id, topic: l.key.topic, entries: []entry{i.entry}}),
	}
	n.ask(now, l, e, func(now time.Time, r reply) {
		if r.status != replyOK {
			n.pause(now, l)
			return
		}
		n.timers.set(now.Add(n.cfg.patience), func(time.Time) {
			if n.consumed < r.revision {
				n.cut("sign-ons do not come back from NATS")
			}
		})
		n.taken(now, l, 1)
	})
}

// refuse answers what one of this node's clients asks, if there is an answer to
// that; false if there is none.
func (n *node) refuse(t rendezvous.Topic, m rendezvous.BusMessage, code rendezvous.Code, reason string) bool {
	back := rendezvous.BusMessage{To: m.From.Session, Room: m.Room, Code: code, Reason: reason}
	switch m.Kind {
	case rendezvous.BusJoin:
		back.Kind = rendezvous.BusRefused
	case rendezvous.BusUpdate:
		back.Kind = rendezvous.BusError
	case rendezvous.BusSend:
		back.Kind, back.From.Peer = rendezvous.BusError, t.Peer
	default:
		return false
	}
	n.arrive(rendezvous.Topic{Peer: m.From.Peer}, back)
	return true
}

// tooOld takes out what a room's home could not be given in time. Leaves stay: a
// member that has gone must not stay one.
func (n *node) tooOld(now time.Time, l *lane) {
	n.drop(l, len(l.queue), func(i item) bool {
		return now.Sub(i.at) >= n.cfg.forRoom() && n.refuse(l.key.topic, i.message, rendezvous.CodeUnreachable, unreachableReason)
	})
}

// messageID names a sign-on to NATS, which stores it once.
func messageID(n nodeID, number uint64) string {
	var b [8]byte
	for i := range b {
		b[7-i] = byte(number >> (8 * i))
	}
	return hex.EncodeToString(slices.Concat(n[:], b[:]))
}
