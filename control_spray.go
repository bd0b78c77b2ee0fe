package bradawl

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// What the attempts of all links have in common: one NAT, and the sockets by which their
// packets come in.

// sprayers is what all links share: there is one NAT.
type sprayers struct {
	byID map[uint64]*link
	now  *link     // whose lane tries many ports
	next time.Time // when another one may
	last machine.SocketID
	// targets are the addresses that attempts went to, and when the next may. Whoever names an
	// address, and by however many identities, it gets one budget.
	targets map[netip.Addr]time.Time
	// guesses bounds the attempts that foretell ports, whatever addresses are named; ofPeer
	// does for those with one peer.
	guesses allowance
	ofPeer  map[PeerID]*allowance
}

const (
	// maxRuns is how many attempts there are at once.
	maxRuns = 8
	// guessesAtOnce is how many attempts that foretell ports may come to nothing one after the
	// other, and then one more in each guessGap. Sprays have pauses by what they have sent.
	guessesAtOnce = 16
	guessGap      = 5 * time.Second
	// guessesOfPeer and peerGap are the same for one peer.
	guessesOfPeer = 4
	peerGap       = 20 * time.Second
	// manyTargets is from when on targets are looked through for those of long ago.
	manyTargets = 256
)

// busy reports whether an attempt at an address has to wait for the end of another one.
func (s *sprayers) busy(target netip.Addr) bool {
	if len(s.byID) >= maxRuns {
		return true
	}
	for _, k := range s.byID {
		if k.lane.target == target {
			return true
		}
	}
	return false
}

// rest keeps attempts from an address for a while.
func (s *sprayers) rest(now time.Time, target netip.Addr, d time.Duration) {
	if len(s.targets) >= manyTargets {
		maps.DeleteFunc(s.targets, func(_ netip.Addr, at time.Time) bool { return !at.After(now) })
	}
	if d > 0 {
		s.targets[target] = now.Add(d)
	}
}

// allowance is a bucket of attempts: at most so many at once, and one more in each gap.
type allowance struct{ full time.Time }

// next is when there may be one, of a bucket of n.
func (a *allowance) next(n int, gap time.Duration) time.Time {
	return a.full.Add(-time.Duration(n-1) * gap)
}

func (a *allowance) take(now time.Time, gap time.Duration) {
	if a.full.Before(now) {
		a.full = now
	}
	a.full = a.full.Add(gap)
}

// mayGuess is when an attempt with a peer that foretells ports may begin.
func (s *sprayers) mayGuess(peer PeerID) time.Time {
	at := s.guesses.next(guessesAtOnce, guessGap)
	if a := s.ofPeer[peer]; a != nil {
		if own := a.next(guessesOfPeer, peerGap); own.After(at) {
			at = own
		}
	}
	return at
}

// guess counts an attempt with a peer that foretells ports.
func (s *sprayers) guess(now time.Time, peer PeerID) {
	if len(s.ofPeer) >= manyTargets {
		maps.DeleteFunc(s.ofPeer, func(_ PeerID, a *allowance) bool { return !a.full.After(now) })
	}
	a := s.ofPeer[peer]
	if a == nil {
		a = new(allowance)
		s.ofPeer[peer] = a
	}
	a.take(now, peerGap)
	s.guesses.take(now, guessGap)
}

// guessed takes in that one was not in vain: it does not count.
func (s *sprayers) guessed(peer PeerID) {
	s.guesses.full = s.guesses.full.Add(-guessGap)
	if a := s.ofPeer[peer]; a != nil {
		a.full = a.full.Add(-peerGap)
	}
}

// isFree reports whether an attempt could begin behind our NAT.
func (c *control) isFree(now time.Time) bool {
	_, ok := c.mappings.stable()
	return ok && c.profile != (natprobe.Profile{}) && c.sprayers.now == nil && !c.sprayers.next.After(now)
}

// laneDatagram has attempts take in what is theirs, and reports whether nobody else wants it.
func (c *control) laneDatagram(now time.Time, d machine.Datagram) bool {
	if len(c.sprayers.byID) == 0 && d.Socket < firstLane || !wire.IsSTUN(d.Data) {
		return false
	}
	if id, ok := punch.LaneID(d.Data); ok {
		if k := c.sprayers.byID[id]; k != nil && k.lane.run != nil {
			k.lane.run.HandleDatagram(now, d)
			k.driveLanes(now)
		}
		return true
	}
	if !slices.Contains(c.ice.Servers(), d.Remote) {
		return false
	}
	for _, k := range c.running() {
		if k.lane.run == nil {
			continue // another one's event has ended it
		}
		k.lane.run.HandleDatagram(now, d)
		k.driveLanes(now)
	}
	return d.Socket >= firstLane
}

// laneNotice has attempts take in what became of their sockets.
func (c *control) laneNotice(now time.Time, n machine.Notice) {
	for _, k := range c.running() {
		if k.lane.run == nil {
			continue // another one's event has ended it
		}
		k.lane.run.HandleNotice(now, n)
		k.driveLanes(now)
	}
}

// running are the links with attempts under way, in order.
func (c *control) running() (all []*link) {
	for _, k := range c.sprayers.byID {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *link) int { return cmp.Compare(a.eldest(), b.eldest()) })
	return all
}
