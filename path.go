package bradawl

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// Times and bounds of the choice of a path.
const (
	switchHold   = 2 * time.Second       // a path is kept for, unless it fails
	pingWindow   = 20                    // pings that loss is counted over
	enoughPings  = 5                     // round trips that a choice by quality needs
	firstPing    = 20 * time.Millisecond // and half a round trip after a path works: then it does for the peer, too
	enoughLost   = 3                     // pings, that loss is more than chance
	relayMayWin  = 0.10                  // loss of the direct path from which the relay may take over
	clearlyLower = 0.8                   // of the round trip: less is no reason to move
	// maxDuplicates bounds how often a datagram is sent while the path in use is in doubt.
	maxDuplicates = 3
	// maxRelays bounds the relayed addresses of a peer that are remembered.
	maxRelays = 8
)

// routes are the paths of a link, and which of them carries data.
type routes struct {
	paths   []*path
	path    *path    // in use; nil: none
	spares  [2]*path // the best others: a direct one, a relayed one
	moved   time.Time
	wasGood bool // a direct path has been in use
	// toldRoutes and toldKnown are what the shell knows: where data goes, and where it may
	// come from.
	toldRoutes, toldKnown []ice.Route
	pinging
}

// path is one pair that works.
type path struct {
	route    ice.Route
	priority uint64
	relayed  bool            // on either side
	checked  time.Duration   // the round trip of the check
	rtts     []time.Duration // the last pingWindow
	lost     uint32          // the last pingWindow pings, the latest in bit 0
	count    int             // of pings in lost

	flights []ping // the last, of which answers may still come
	waiting bool   // for the answer to the last one
	next    time.Time
	misses  int       // in a row
	doubt   bool      // it may have died: data goes by others as well
	leaving bool      // its end is known
	ended   bool      // its pair is gone, which is told next
	wide    int       // pings of full size that were lost in a row, while others were answered
	narrow  bool      // it does not carry full datagrams
	widenAt time.Time // when that is tried again
}

// fails reports whether the path does not answer; one that is only checked may be in doubt.
func (p *path) fails() bool { return p.doubt && p.misses > 0 }

// rtt is the median of the round trips, or that of the checks until there are some.
func (p *path) rtt() time.Duration {
	if len(p.rtts) == 0 {
		return p.checked
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

// back forgets the pings that were lost in a row while the path was dead: that was no loss
// that it has.
func (p *path) back() {
	if n := p.misses; n >= deadAfter-1 {
		p.lost >>= n
		p.count = max(0, p.count-n)
	}
	p.misses = 0
}

func (p *path) measured() bool { return p.count >= enoughPings && len(p.rtts) >= enoughPings }

// public is what the user may know of a path.
func (k *link) public(p *path) Path {
	if p == nil {
		return Path{}
	}
	out := Path{Kind: PathDirect, Remote: p.route.Remote}
	if pair := k.c.ice.PairAt(k.agent, p.route); pair.IsValid() {
		out = pathOf(pair)
	}
	if p.relayed {
		out.Kind = PathRelay
	}
	out.RTT, out.Loss = p.rtt(), p.loss()
	return out
}

// before orders paths: those that answer, then those that last and carry full datagrams,
// then direct ones, then by the round trip.
func (p *path) before(q *path) bool {
	switch {
	case p.doubt != q.doubt:
		return q.doubt
	case p.leaving != q.leaving:
		return q.leaving
	case p.narrow != q.narrow:
		return q.narrow
	case p.relayed != q.relayed:
		return q.relayed
	case (p.route.Stream != 0) != (q.route.Stream != 0):
		return q.route.Stream != 0 // TCP repeats what is lost, which datagrams do not want
	case p.rtt() != q.rtt():
		return p.rtt() < q.rtt()
	}
	return p.priority > q.priority
}

// choosePath says which of the paths should carry data, and why it is not the one in use.
// What is better by measure alone is left to quality.
func choosePath(paths []*path, current *path) (best *path, reason string) {
	for _, p := range paths {
		if !p.ended && (best == nil || p.before(best)) {
			best = p
		}
	}
	switch {
	case best == nil:
		return nil, "no path works"
	case current == nil:
		return best, "the first path that works"
	case best == current || best.doubt:
	case current.fails():
		return best, "the path in use does not answer"
	case current.leaving && !best.leaving:
		return best, "the address in use is about to end"
	case current.narrow && !best.narrow:
		return best, "the path in use does not carry full datagrams"
	case current.relayed && !best.relayed && !best.worseThan(current, true):
		return best, "direct in place of a relay"
	}
	return current, ""
}

// worseThan reports whether a direct path is so much worse than a relayed one that the
// relay should win: both are measured over a window, never by one sample. Once the relay
// has won, half as much worse is enough to stay.
func (p *path) worseThan(q *path, won bool) bool {
	if !p.measured() || !q.measured() {
		return false
	}
	loss, rtt := relayMayWin, q.rtt()*3/2+30*time.Millisecond
	if won {
		loss, rtt = loss/2, q.rtt()*5/4+15*time.Millisecond
	}
	return bits.OnesCount32(p.lost) >= enoughLost && p.loss() >= loss && q.loss() < p.loss()/2 || p.rtt() > rtt
}

// quality looks for a path that is clearly better than the one in use over a window.
func (r *routes) quality() (*path, string) {
	cur := r.path
	if cur == nil || !cur.measured() {
		return cur, ""
	}
	for _, p := range r.paths {
		if p == cur || p.ended || p.doubt || p.leaving || p.narrow || !p.measured() {
			continue
		}
		switch {
		case cur.relayed && !p.relayed:
			if !p.worseThan(cur, true) {
				return p, "direct in place of a relay"
			}
		case !cur.relayed && p.relayed:
			if cur.worseThan(p, false) {
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
		if p.route.Socket == from.Socket && p.route.Stream == from.Stream && p.route.Remote == from.Remote &&
			(!from.Local.IsValid() || !p.route.Local.IsValid() || from.Local == p.route.Local) {
			return p
		}
	}
	return nil
}

// sorted are the paths, the best first.
func (r *routes) sorted() []*path {
	all := slices.Clone(r.paths)
	slices.SortStableFunc(all, func(a, b *path) int {
		switch {
		case a.before(b):
			return -1
		case b.before(a):
			return 1
		}
		return 0
	})
	return all
}

// inUse are the paths that data goes by: one, or several while that is in doubt. What is
// not sealed has no number by which the receiver could drop the second, so it goes by one.
func (k *link) inUse() []*path {
	switch {
	case k.path == nil:
		return nil
	case !k.path.doubt || k.plaintext:
		return []*path{k.path}
	}
	all := []*path{k.path}
	for _, p := range k.sorted() {
		if p != k.path && len(all) < maxDuplicates {
			all = append(all, p)
		}
	}
	return all
}

// addPath takes in a pair that works.
func (k *link) addPath(now time.Time, pair ice.Pair) {
	p := k.at(pair.Route)
	if p == nil {
		p = &path{route: pair.Route}
		k.paths = append(k.paths, p)
	}
	p.back()
	p.priority, p.checked, p.doubt, p.ended = pair.Priority, pair.RTT, false, false
	p.next = now.Add(pair.RTT/2 + firstPing)
	p.relayed = pair.Local.Type == ice.Relay || pair.Remote.Type == ice.Relay
	k.refresh()
	if p.relayed && k.c.cfg.policy == DirectOnly {
		k.paths = slices.DeleteFunc(k.paths, func(q *path) bool { return q == p })
		return
	}
	k.note(now, "pair works: "+k.public(p).String(), nil)
	k.record().works(now, p)
	k.steer(now)
	if !p.relayed {
		if p.route.Stream == 0 || k.laneOf(p) != 0 { // agents that open TCP by themselves are not told apart
			k.remembered(now, k.laneOf(p), true)
		}
		k.stopLanes(now)
		k.closeHoles(now, false)
	}
}

// refresh takes in which addresses of the peer's are relayed: its own word for that may
// come after a check from there.
func (k *link) refresh() {
	for _, p := range k.paths {
		p.relayed = p.relayed || k.hidden || slices.Contains(k.relays, p.route.Remote)
	}
}

// dropPath takes in that a pair does not work any more.
func (k *link) dropPath(now time.Time, pair ice.Pair, err error) {
	p := k.at(pair.Route)
	if p == nil || k.over {
		return
	}
	if k.c.ice.PairAt(k.agent, p.route).IsValid() {
		return // under other credentials
	}
	k.note(now, "pair does not work any more: "+pathOf(pair).String(), err)
	k.paths = slices.DeleteFunc(k.paths, func(q *path) bool { return q == p })
	if p.leaving {
		k.c.ice.Withdraw(now, k.agent, p.route.Remote)
	}
	for _, q := range k.paths { // several may have ended at once: data is not to move to one of them
		q.ended = !k.c.ice.PairAt(k.agent, q.route).IsValid()
	}
	if k.path == p || k.path != nil && k.path.ended {
		k.path = nil
	}
	k.closeHoles(now, false)
	k.steer(now)
}

// evade moves data off the paths that which names, whose end is known.
func (k *link) evade(now time.Time, which func(*path) bool) {
	for _, p := range k.paths {
		p.leaving = p.leaving || which(p)
	}
	k.steer(now)
}

// steer chooses the path, and follows what that means.
func (k *link) steer(now time.Time) {
	before := k.path
	to, reason := choosePath(k.paths, k.path)
	if to == k.path && to != nil && now.Sub(k.moved) >= switchHold {
		to, reason = k.quality()
	}
	k.path = to
	switch {
	case to == nil && k.up:
		k.lose(now, reason)
	case to != nil && !k.up && k.acquainted():
		k.moved = now
		k.ready(now)
	case to != before && to != nil && k.up:
		k.moved = now
		k.note(now, reason+": "+k.public(to).String(), nil)
		e := Event{Kind: EventMoved, Peer: k.peer, Conn: k.eldest(), Path: k.public(to), Reason: reason, After: now.Sub(k.began)}
		if !k.wasGood && !to.relayed {
			e.Kind = EventUpgraded
		}
		k.c.tell(now, e)
	}
	if to != before || to == nil {
		k.seeks = 0
		k.seekLater(now)
	}
	k.wasGood = k.wasGood || to != nil && !to.relayed
	k.spare()
	k.tellRoutes()
	k.settle(now)
}

// spare finds the best paths beside the one in use, which are kept measured.
func (k *link) spare() {
	k.spares = [2]*path{}
	for _, p := range k.sorted() {
		i := 0
		if p.relayed {
			i = 1
		}
		if p != k.path && k.spares[i] == nil {
			k.spares[i] = p
		}
	}
}

// tellRoutes tells the shell where data goes.
func (k *link) tellRoutes() {
	var now, known []ice.Route
	for _, p := range k.inUse() {
		now = append(now, p.route)
	}
	for _, p := range k.paths {
		known = append(known, p.route)
	}
	if !slices.Equal(now, k.toldRoutes) || !slices.Equal(known, k.toldKnown) {
		k.toldRoutes, k.toldKnown = now, known
		k.c.notes.Push(note{kind: noteRoute, conns: k.keyed(), peer: k.peer, route: now, known: known, event: Event{Path: k.public(k.path)}})
	}
}

// disturbed doubts every path, and has all of them checked.
func (k *link) disturbed(now time.Time, why string) {
	if k.voice() == nil {
		return
	}
	k.note(now, why+": all paths are checked", nil)
	k.stopLanes(now) // from addresses that may be gone
	for _, p := range k.paths {
		p.doubt, p.waiting, p.next = true, false, now
	}
	k.active = now
	k.c.ice.Recheck(now, k.agent)
	k.again()
	if k.stood && !k.up {
		k.restarts, k.restartAt = 0, now.Add(restartWait)
	}
	k.c.pump(now)
	k.beat(now)
	k.steer(now)
}
