package bradawl

import (
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/seal"
)

// A dial of a peer to which there is a link makes a connection that rides on it: it has a
// handshake, keys and an index of its own, and nothing is gathered or checked. The offer
// goes by the link's path, sealed as all else there is, and by the signalling as well if that
// is not answered at once. It names the link. A peer that was started anew has no such link,
// says so, and then the dial goes on as if there had been none.
//
// Each dial makes a connection, from whichever side, for there is nothing that two which
// cross would do twice.

// whyAlone is what becomes of such a dial.
const whyAlone = "the peer knows nothing of the paths that there were: others are looked for"

// Times of connections that share a link.
const (
	hailWait  = 50 * time.Millisecond  // and two round trips: then the signalling takes the offer, too; doubling
	proveWait = 100 * time.Millisecond // at least, and two round trips; doubling
	proveMost = 8 * time.Second
	// boardedKept is how many offers of a peer to ride on a link are remembered.
	boardedKept = 256
	// closedPart is how many connections one part of an update names as closed.
	closedPart = 40
)

// standing returns the link to a peer that another connection can ride on, or will be able
// to if a dial of ours succeeds; nil: there is none. In plaintext connections cannot be told
// apart, and each has its own.
func (c *control) standing(peer PeerID) (coming *link) {
	for _, k := range c.links {
		switch {
		case k.peer != peer || k.plaintext:
		case k.up && k.acquainted():
			return k
		case coming == nil && !k.stood && k.founder != nil && k.founder.dialled:
			coming = k
		}
	}
	return coming
}

// mirrored is the name of the link as the peer's messages have it; zero: the connection
// makes its own.
func (k *connection) mirrored() (name [2]uint32) {
	if k.rides {
		name = [2]uint32{k.name[1], k.name[0]}
	}
	return name
}

// carry sends a message of the handshake by the link, and reports whether it could.
func (k *link) carry(now time.Time, message []byte) bool {
	if !k.up || !k.acquainted() || len(message) > MaxDatagram {
		return false
	}
	for _, p := range k.inUse() {
		k.voice().sealTo(now, p.route, seal.Control, message)
	}
	return true
}

// hail sends our offer to ride: by the link and, unless that is sure to be answered, by the
// signalling.
func (k *connection) hail(now time.Time) {
	message := wrap(msgOffer, 0, k.offer)
	wait := repeatFirst
	if k.path != nil {
		wait = min(wait, hailWait+2*k.path.rtt())
	}
	if !k.carry(now, message) || k.offers > 0 || k.path.doubt {
		k.signal(message)
		k.link.stir(now) // the path may be dead
		k.link.settle(now)
	}
	k.repeatAt = now.Add(min(wait<<min(k.offers, 10), repeatMost))
	k.offers++
	k.attempt.sent()
}

// boarded takes in an offer to ride. One that was recorded is of a link that is gone, or has
// been taken there.
func (c *control) boarded(now time.Time, from PeerID, got *seal.Received, h *hello, message []byte, byPath bool) {
	i := slices.IndexFunc(c.links, func(k *link) bool { // a peer has no part in the links of others
		return k.peer == from && k.boot == h.Boot && k.acquainted() && !k.plaintext && k.name == [2]uint32{h.Link[1], h.Link[0]}
	})
	var on *link
	if i >= 0 {
		on = c.links[i]
	}
	switch {
	case on == nil:
		c.refuse(now, from, got, h.Index, hello{Refused: "there is no such link here", Unlinked: true}, nil)
	case c.unfit(h) != "":
		c.refuse(now, from, got, h.Index, hello{Refused: c.unfit(h)}, nil)
	case !on.board(h.Stamp):
		c.counts.Stale++
		c.refuse(now, from, got, h.Index, hello{Refused: "stale", Last: h.Stamp}, nil)
	case !c.room(now, from, true):
		c.counts.Flooded++
	default:
		if !byPath {
			on.stir(now) // the path has not answered the peer
			on.settle(now)
		}
		k := c.newConnection(now, from, false, on)
		k.byPath = byPath
		k.wait(now, got, h, message)
	}
}

// board notes the stamp of an offer to ride, and reports whether it is new. Offers overtake
// each other, by the path and by the signalling, so that they need not come in order.
func (k *link) board(stamp uint64) bool {
	i, known := slices.BinarySearch(k.boarded, stamp)
	if known || stamp <= k.boardedFrom {
		return false
	}
	k.boarded = slices.Insert(k.boarded, i, stamp)
	if len(k.boarded) > boardedKept {
		k.boardedFrom = k.boarded[0]
		k.boarded = slices.Delete(k.boarded, 0, 1)
	}
	return true
}

// alone goes on with a dial that can ride on nothing, and why.
func (k *connection) alone(now time.Time, why string) {
	before := k.link
	k.rides = false
	on := k.c.newLink(now, k.peer)
	on.founder = k
	on.join(k)
	before.quit(now, k)
	k.note(now, why, nil)
	k.admit(now)
}

// keyed are the numbers of the connections that have keys.
func (k *link) keyed() (all []uint32) {
	for _, of := range k.conns {
		if of.keys != nil {
			all = append(all, of.number)
		}
	}
	return all
}

// depart tells the peer that a connection is over while the link is not: what a closing
// datagram may fail to do.
func (k *connection) depart() {
	if len(k.conns) < 2 {
		return
	}
	closed := []uint32{k.index}
	for i, p := range k.parts { // which is told again in one
		if p.kind == partClosed && len(p.Closed) < closedPart {
			closed = append(closed, p.Closed...)
			k.parts = slices.Delete(k.parts, i, i+1)
			break
		}
	}
	k.say(partClosed, update{Closed: closed})
}

// departed are the connections of which the peer does not know yet that they are over.
func (k *link) departed() (all []uint32) {
	for _, p := range k.parts {
		all = append(all, p.Closed...)
	}
	return all
}

// parted takes in which connections the peer has closed.
func (k *link) parted(now time.Time, closed []uint32, from ice.Route) {
	if len(closed) == 0 {
		return
	}
	slices.Sort(closed)
	for _, of := range slices.Clone(k.conns) {
		if _, ok := slices.BinarySearch(closed, of.theirs); ok && of.theirs != 0 {
			of.dismissed(now, from)
		}
	}
}
