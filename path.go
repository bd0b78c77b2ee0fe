package bradawl

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
)

// Times and bounds of the choice of a path.
const (
	heartbeat    = 3 * time.Second // between pings on the path in use, while there is traffic
	spareBeat    = 6 * time.Second // on the others
	idleAfter    = 10 * time.Second
	pongWait     = 500 * time.Millisecond // at least, and 4 round trips, at most 2 s
	doubtBeat    = 500 * time.Millisecond // between pings on a path in doubt
	deadAfter    = 4                      // pings without an answer
	switchHold   = 2 * time.Second        // a path is kept for, unless it is in doubt
	pingWindow   = 20                     // pings that loss is counted over
	enoughPings  = 5                      // round trips that a choice by quality needs
	relayMayWin  = 0.10                   // loss of the direct path from which the relay may take over
	clearlyLower = 0.8                    // of the round trip: less is no reason to move
)

// routes are the paths of a connection, and which of them carries data.
type routes struct {
	paths   []*path
	path    *path // in use; nil: none
	moved   time.Time
	wasGood bool      // a direct path has been in use
	active  time.Time // when there was traffic last
	seen    uint64    // what had been sealed then
	pings   uint64    // of ours, which are no traffic
	pingID  uint64
	// toldRoutes and toldKnown are what the shell knows: where data goes, and where it may
	// come from.
	toldRoutes, toldKnown []ice.Route
}

// path is one pair that works.
type path struct {
	pair  ice.Pair
	route ice.Route
	rtts  []time.Duration // the last pingWindow
	lost  uint32          // the last pingWindow pings, the latest in bit 0
	count int             // of pings in lost

	sentAt time.Time // of the ping under way; zero: none is
	id     uint64
	next   time.Time // ping
	misses int       // in a row
	doubt  bool
}

func (p *path) relayed() bool {
	return p.pair.Local.Type == ice.Relay || p.pair.Remote.Type == ice.Relay
}

// rtt is the median of the round trips, or that of the checks until there are enough.
func (p *path) rtt() time.Duration {
	if len(p.rtts) == 0 {
		return p.pair.RTT
	}
	l := slices.Clone(p.rtts)
	slices.Sort(l)
	return l[len(l)/2]
}

func (p *path) loss() float64 {
	if p.count == 0 {
		return 0
	}
	return float64(bits.OnesCount32(p.lost)) / float64(p.count)
}

func (p *path) result(ok bool) {
	p.lost = p.lost << 1 & (1<<pingWindow - 1)
	if !ok {
		p.lost |= 1
	}
	p.count = min(p.count+1, pingWindow)
}

func (p *path) measured() bool { return p.count >= enoughPings && len(p.rtts) >= enoughPings }

func (p *path) public() Path {
	out := pathOf(p.pair)
	out.RTT, out.Loss = p.rtt(), p.loss()
	return out
}

func (p *path) pongDue() time.Time {
	return p.sentAt.Add(min(max(pongWait, 4*p.rtt()), 2*time.Second))
}

// choosePath says which of the paths should carry data, and why it is not the one in use.
func choosePath(paths []*path, current *path, held bool) (best *path, reason string) {
	for _, p := range paths {
		if best == nil || p.before(best) {
			best = p
		}
	}
	switch {
	case best == nil:
		return nil, "no path works"
	case current == nil:
		return best, "the first path that works"
	case best == current:
		return current, ""
	case current.doubt && !best.doubt:
		return best, "the path in use does not answer"
	case best.doubt:
		return current, ""
	case current.relayed() && !best.relayed():
		if best.measured() && current.measured() && best.worseThan(current) {
			return current, ""
		}
		return best, "direct in place of a relay"
	case held:
		return current, ""
	case !current.relayed() && best.relayed():
		return current, "" // before says so only where the relay is really better
	}
	return current, ""
}

// before orders paths: those that answer, then direct ones, then by the round trip.
func (p *path) before(q *path) bool {
	switch {
	case p.doubt != q.doubt:
		return q.doubt
	case p.relayed() != q.relayed():
		return q.relayed()
	case (p.route.Stream != 0) != (q.route.Stream != 0):
		return q.route.Stream != 0 // TCP repeats what is lost, which datagrams do not want
	case p.rtt() != q.rtt():
		return p.rtt() < q.rtt()
	}
	return p.pair.Priority > q.pair.Priority
}

// worseThan reports whether a direct path is so much worse than a relayed one that the
// relay should win: both are measured over a window, never by one sample.
func (p *path) worseThan(q *path) bool {
	return p.loss() >= relayMayWin && q.loss() < p.loss()/2 || p.rtt() > q.rtt()*3/2+30*time.Millisecond
}

// quality looks for a path that is clearly better than the one in use over a window.
func (r *routes) quality() (*path, string) {
	cur := r.path
	if cur == nil || !cur.measured() {
		return cur, ""
	}
	for _, p := range r.paths {
		if p == cur || p.doubt || !p.measured() {
			continue
		}
		switch {
		case cur.relayed() && !p.relayed():
			if !p.worseThan(cur) {
				return p, "direct in place of a relay"
			}
		case !cur.relayed() && p.relayed():
			if cur.worseThan(p) {
				return p, fmt.Sprintf("the relay is better: %.0f %% loss and %v against %.0f %% and %v", 100*p.loss(), p.rtt(), 100*cur.loss(), cur.rtt())
			}
		case float64(p.rtt()) < clearlyLower*float64(cur.rtt()) && cur.rtt()-p.rtt() > 2*time.Millisecond && p.loss() <= cur.loss():
			return p, "a shorter round trip"
		}
	}
	return cur, ""
}

// at returns the path that a datagram came by.
func (r *routes) at(from ice.Route) *path {
	for _, p := range r.paths {
		if p.route.Socket == from.Socket && p.route.Stream == from.Stream && p.route.Remote == from.Remote {
			return p
		}
	}
	return nil
}

// inUse are the paths that data goes by: one, or all while that is in doubt.
func (r *routes) inUse() []*path {
	if r.path == nil {
		return nil
	}
	if !r.path.doubt {
		return []*path{r.path}
	}
	all := []*path{r.path}
	for _, p := range r.paths {
		if p != r.path && len(all) < maxDuplicates {
			all = append(all, p)
		}
	}
	return all
}

// maxDuplicates bounds how often a datagram is sent while the path in use is in doubt.
const maxDuplicates = 3

// addPath takes in a pair that works.
func (k *connection) addPath(now time.Time, pair ice.Pair) {
	k.note(now, "pair works: "+pathOf(pair).String(), nil)
	if p := k.at(pair.Route); p != nil {
		p.pair, p.misses, p.doubt = pair, 0, false
		k.steer(now)
		return
	}
	k.paths = append(k.paths, &path{pair: pair, route: pair.Route, next: now.Add(heartbeat)})
	k.steer(now)
}

// dropPath takes in that a pair does not work any more.
func (k *connection) dropPath(now time.Time, pair ice.Pair, err error) {
	p := k.at(pair.Route)
	if p == nil || k.state == over {
		return
	}
	k.note(now, "pair does not work any more: "+pathOf(pair).String(), err)
	k.paths = slices.DeleteFunc(k.paths, func(q *path) bool { return q == p })
	if k.path == p {
		k.path = nil
	}
	k.steer(now)
}

// steer chooses the path, and follows what that means.
func (k *connection) steer(now time.Time) {
	before := k.path
	to, reason := choosePath(k.paths, k.path, now.Sub(k.moved) < switchHold)
	if to == k.path && to != nil && now.Sub(k.moved) >= switchHold {
		to, reason = k.quality()
	}
	k.path = to
	switch {
	case to == nil && k.state == connected:
		k.setState(now, lost)
		k.restartAt = now.Add(restartWait)
		k.c.tell(now, Event{Kind: EventLost, Peer: k.peer, Conn: k.number, Reason: reason})
		k.c.ice.Refresh(now)
		k.c.ice.Recheck(now, k.agent)
	case to != nil && k.state != connected && k.keys != nil:
		k.moved = now
		k.ready(now)
	case to != before && to != nil && k.state == connected:
		k.moved = now
		k.note(now, reason+": "+to.public().String(), nil)
		e := Event{Kind: EventMoved, Peer: k.peer, Conn: k.number, Path: to.public(), Reason: reason, After: now.Sub(k.began)}
		if !k.wasGood && !to.relayed() {
			e.Kind = EventUpgraded
		}
		k.c.tell(now, e)
	}
	k.wasGood = k.wasGood || to != nil && !to.relayed()
	k.tellRoutes()
	k.settle(now)
}

// tellRoutes tells the shell where data goes.
func (k *connection) tellRoutes() {
	var now, known []ice.Route
	for _, p := range k.inUse() {
		now = append(now, p.route)
	}
	for _, p := range k.paths {
		known = append(known, p.route)
	}
	if !slices.Equal(now, k.toldRoutes) || !slices.Equal(known, k.toldKnown) {
		k.toldRoutes, k.toldKnown = now, known
		n := note{kind: noteRoute, conn: k.number, peer: k.peer, route: now, known: known}
		if k.path != nil {
			n.event.Path = k.path.public()
		}
		k.c.notes.Push(n)
	}
}

// sealTo seals something of the session's own for a path.
func (k *connection) sealTo(now time.Time, to ice.Route, kind seal.Kind, payload []byte) {
	k.pings++
	sealed := k.keys.Seal(nil, kind, k.theirs, payload)
	_ = k.c.ice.SendOn(now, k.agent, to, sealed) // lost, as datagrams are
}

// The payload of a ping: whether it is the answer, and its number.
const (
	pingAsk = iota
	pingAnswer
	pingSize = 1 + 8
)

func (k *connection) ping(now time.Time, p *path) {
	k.pingID++
	p.id, p.sentAt, p.next = k.pingID, now, time.Time{}
	k.sealTo(now, p.route, seal.Ping, binary.BigEndian.AppendUint64([]byte{pingAsk}, p.id))
}

// opened takes in what was sealed by the peer.
func (k *connection) opened(now time.Time, kind seal.Kind, payload []byte, d machine.Datagram, from ice.Route) {
	k.heardBy(now, d, from)
	switch kind {
	case seal.Data:
		k.active = now
		k.c.notes.Push(note{kind: noteData, conn: k.number, data: slices.Clone(payload)})
	case seal.Ping:
		k.pinged(now, payload, from)
	case seal.Control:
		k.updated(now, payload)
	case seal.Close:
		k.end(now, &PeerError{Peer: k.peer, Err: ErrPeerClosed})
	}
	k.settle(now)
}

// heardBy follows a peer whose address has changed.
func (k *connection) heardBy(now time.Time, d machine.Datagram, from ice.Route) {
	if k.at(from) == nil && from.Stream == 0 {
		k.c.ice.Heard(now, k.agent, d.Socket, d.Local, d.Remote)
		k.c.pump(now)
	}
}

func (k *connection) pinged(now time.Time, payload []byte, from ice.Route) {
	if len(payload) != pingSize {
		return
	}
	id := binary.BigEndian.Uint64(payload[1:])
	p := k.at(from)
	if payload[0] == pingAsk {
		if p != nil {
			k.sealTo(now, p.route, seal.Ping, binary.BigEndian.AppendUint64([]byte{pingAnswer}, id))
		}
		return
	}
	for _, p := range k.paths { // the answer may come by another path than the question went
		if p.id == id && !p.sentAt.IsZero() {
			p.rtts = append(p.rtts[max(0, len(p.rtts)-pingWindow+1):], now.Sub(p.sentAt))
			p.result(true)
			p.sentAt, p.misses = time.Time{}, 0
			p.doubt = false
			p.next = now.Add(k.every(p))
			k.steer(now)
			return
		}
	}
}

func (k *connection) every(p *path) time.Duration {
	switch {
	case p.doubt:
		return doubtBeat
	case p == k.path:
		return heartbeat
	}
	return spareBeat
}

// beat sends the pings that are due, and counts those that were not answered.
func (k *connection) beat(now time.Time) {
	if k.keys == nil {
		return
	}
	if sent := k.keys.Sent() - k.pings; sent != k.seen {
		k.seen = sent
		if now.Sub(k.active) > idleAfter && !k.active.IsZero() && k.path != nil {
			k.path.next = now // it may have died meanwhile
		}
		k.active = now
	}
	dead := []*path{}
	for _, p := range k.paths {
		if !p.sentAt.IsZero() && !p.pongDue().After(now) {
			p.sentAt = time.Time{}
			p.misses++
			p.result(false)
			p.next = now
			if p.misses == deadAfter {
				dead = append(dead, p)
				continue
			}
			if p == k.path && !p.doubt {
				k.c.tell(now, Event{Kind: EventDoubt, Peer: k.peer, Conn: k.number, Path: p.public()})
				k.c.ice.Refresh(now) // perhaps it is our NAT
			}
			p.doubt = true
		}
		if p.sentAt.IsZero() && !p.next.IsZero() && !p.next.After(now) {
			if k.busy(now) || p.doubt {
				k.ping(now, p)
			} else {
				p.next = now.Add(k.every(p))
			}
		}
	}
	for _, p := range dead {
		k.c.ice.Suspect(now, k.agent, p.route) // it comes back if a check is answered
	}
	k.c.pump(now)
	k.steer(now)
}

// busy reports whether there has been traffic lately.
func (k *connection) busy(now time.Time) bool { return now.Sub(k.active) < idleAfter }

// nextBeat is when beat has something to do.
func (k *connection) nextBeat(time.Time) (next time.Time) {
	for _, p := range k.paths {
		if !p.sentAt.IsZero() {
			next = machine.Earliest(next, p.pongDue())
		} else {
			next = machine.Earliest(next, p.next)
		}
	}
	return next
}

// disturbed doubts every path, and has all of them checked.
func (k *connection) disturbed(now time.Time, why string) {
	if k.keys == nil || k.state == over {
		return
	}
	k.note(now, why+": all paths are checked", nil)
	for _, p := range k.paths {
		p.doubt, p.sentAt, p.next = true, time.Time{}, now
	}
	k.active = now
	k.c.ice.Recheck(now, k.agent)
	k.c.pump(now)
	k.beat(now)
	k.settle(now)
}
