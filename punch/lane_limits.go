package punch

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

const (
	// leastPort is the least that is guessed.
	leastPort = firstPort
	// maxReserve is how many packets, and how many entries, are kept back for answers and
	// for probes in answer; and how many, and how many sockets, lanes that try many ports
	// leave to those that need few.
	maxReserve = 64
)

// limits is a budget with what was taken of it, and for what.
type limits struct {
	Budget
	pacer           *pacer
	answers, urgent keep // kept back for answers, and for lanes that need little
	sent            int
	made            map[entry]bool
}

type keep struct{ probes, entries, sockets int }

// entry is what a NAT keeps whose mapping depends on all.
type entry struct {
	socket machine.SocketID
	remote netip.AddrPort
}

func newLimits(now time.Time, b Budget) limits {
	b = b.WithDefaults()
	return limits{
		Budget: b, pacer: newPacer(now, b), made: make(map[entry]bool),
		answers: keep{probes: min(maxReserve, max(b.Probes, 0)/8), entries: min(maxReserve, b.entries()/8)},
	}
}

// keepBack keeps something back for lanes that need little.
func (l *limits) keepBack() {
	l.urgent = keep{min(2*maxReserve, max(l.Probes, 0)/8), min(maxReserve, l.entries()/8), min(maxReserve, max(l.Sockets, 0)/4)}
}

// use is what something is for.
type use uint8

const (
	forAnswers use = iota
	forFew         // a lane that needs little
	forMany        // one that tries many ports
)

// left is what of the budget is left for a use.
func (l *limits) left(u use) (left keep) {
	left.probes, left.entries = l.pacer.Left()
	left.sockets = l.pacer.sockets
	if u > forAnswers {
		left.probes -= l.answers.probes
		left.entries -= l.answers.entries
	}
	if u > forFew {
		left.probes -= l.urgent.probes
		left.entries -= l.urgent.entries
		left.sockets -= l.urgent.sockets
	}
	return left
}

// tries is how many packets, each to another remote, may be sent for a use.
func (l *limits) tries(u use) int {
	left := l.left(u)
	return max(0, min(left.probes, left.entries))
}

// room reports whether a packet from s to remote is within the budget.
func (l *limits) room(s machine.SocketID, remote netip.AddrPort, u use) bool {
	left := l.left(u)
	return left.probes > 0 && (left.entries > 0 || l.made[entry{s, remote}])
}

// take spends a packet, and reports whether it may leave and whether it makes an entry.
func (l *limits) take(now time.Time, s machine.SocketID, remote netip.AddrPort) (ok, fresh bool) {
	fresh = !l.made[entry{s, remote}]
	if !l.pacer.TakeEarly(now, fresh) {
		return false, false
	}
	l.sent++
	l.made[entry{s, remote}] = true
	return true, fresh
}
