package bradawl

import (
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/seal"
)

const (
	// maxPeers bounds the peers whose stamps are remembered.
	maxPeers = 4096
	// maxComing bounds the connections that others have begun and that do not work yet.
	maxComing = 64
	// comingTime is how long each of them is safe from being dropped for another.
	comingTime = 5 * time.Second
	// maxForPeer bounds the connections to one peer that it has begun, and maxLinks those of
	// them with paths of their own.
	maxForPeer = 2048
	maxLinks   = 64
	// strayGap is the least time between two answers to messages of connections that are not
	// known: a server of rendezvous takes 20 messages a second by default, and dials come first.
	strayGap = 200 * time.Millisecond
	// maxEnded is how many connections that are over are told from those of an earlier run.
	maxEnded = 256
)

// strangers is what is kept of peers beyond their connections: as little as can be, for
// anybody can make identities, and the rendezvous can replay what it has seen.
type strangers struct {
	peers map[PeerID]*peerState
	floor uint64 // no offer of before it is taken from those who are not in peers
	stamp uint64 // of our last offer

	strayAt time.Time // no stray is answered before
	ended   []uint32  // the indexes of the last connections that ended
	endings int
}

// peerState is what is known of one peer.
type peerState struct {
	stamp uint64 // of the last that it said
	ours  uint64 // what it has of us already: our clock was set back
}

func (s *strangers) init(stamp uint64) { s.peers, s.stamp = make(map[PeerID]*peerState), stamp }

// heard notes a stamp of a peer, and reports whether it is new: an offer that is not may be
// a recorded one. last is the greatest that was known.
func (s *strangers) heard(id PeerID, stamp uint64) (last uint64, fresh bool) {
	if p := s.peers[id]; p != nil {
		last = p.stamp
	} else {
		last = s.floor
	}
	if stamp <= last {
		return last, false
	}
	s.peer(id).stamp = stamp
	return last, true
}

// peer returns what is known of a peer. If that is too many, the one with the least stamp
// is forgotten, and with it the right to come with a lesser one.
func (s *strangers) peer(id PeerID) *peerState {
	if p := s.peers[id]; p != nil {
		return p
	}
	if len(s.peers) >= maxPeers {
		var least PeerID
		for other, p := range s.peers {
			if l := s.peers[least]; l == nil || p.stamp < l.stamp || p.stamp == l.stamp && other.Compare(least) < 0 {
				least = other
			}
		}
		s.floor = max(s.floor, s.peers[least].stamp)
		delete(s.peers, least)
	}
	p := &peerState{stamp: s.floor}
	s.peers[id] = p
	return p
}

// nextStamp is the stamp of an offer: the time on the wall, or one more than the last, for
// clocks are set back.
func (s *strangers) nextStamp(to PeerID, wall time.Time) uint64 {
	s.stamp = max(uint64(max(0, wall.UnixNano())), s.stamp+1)
	if p := s.peers[to]; p != nil && p.ours >= s.stamp {
		p.ours++
		return p.ours
	}
	return s.stamp
}

// outdated notes what a peer has of us already. It is the peer's word, so it counts towards
// that peer alone.
func (s *strangers) outdated(id PeerID, last uint64) { s.peer(id).ours = last }

// room reports whether another connection that a peer begins can be taken; rides says that
// it shares the paths of another one, and so is no stranger's. When there are too many that
// come to nothing, the oldest makes room.
func (c *control) room(now time.Time, from PeerID, rides bool) bool {
	var coming []*connection
	ofPeer, links := 0, 0
	for _, k := range c.order() {
		if k.theirOffer && k.peer == from {
			ofPeer++
		}
		if k.theirOffer && !k.dialled && !k.rides && k.state < connected {
			coming = append(coming, k)
		}
	}
	for _, l := range c.links {
		if l.peer == from && l.invited {
			links++
		}
	}
	switch {
	case ofPeer >= maxForPeer, !rides && links >= maxLinks:
		return false
	case rides || len(coming) < maxComing:
		return true
	}
	i := slices.IndexFunc(coming, func(k *connection) bool { return now.Sub(k.began) >= comingTime })
	if i < 0 {
		return false
	}
	coming[i].end(now, &PeerError{Peer: coming[i].peer, Err: errMadeRoom})
	return true
}

// hasEnded notes that a connection of this run is over.
func (s *strangers) hasEnded(index uint32) {
	if len(s.ended) < maxEnded {
		s.ended = append(s.ended, index)
	} else {
		s.ended[s.endings%maxEnded] = index
	}
	s.endings++
}

// stray takes in a message of a connection that is not known. Who sent it may have one with an
// earlier run of this program, and tries to mend it: it is told which run this is. That takes
// an offer, of nothing, for there are no keys in common; it proves who says so.
func (c *control) stray(now time.Time, from PeerID, index uint32) {
	if now.Before(c.strayAt) || slices.Contains(c.ended, index) { // it is told again; it knows, or will
		return
	}
	c.strayAt = now.Add(strayGap)
	h := hello{Boot: c.boot, Stamp: c.nextStamp(from, c.cfg.wall(now)), Refused: "there is no such connection"}
	if _, message, err := seal.NewOffer(c.cfg.identity, from, encode(h), c.secrets); err == nil {
		c.notes.Push(note{kind: noteSignal, peer: from, message: wrap(msgOffer, 0, message)})
	}
}
