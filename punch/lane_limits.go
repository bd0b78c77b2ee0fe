package punch

import (
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

const (
	// leastPort is the least that is guessed: NATs give out none below (RFC 4787 REQ 3a), and
	// those are where services live.
	leastPort = 1024
	// bucketDepth is how many packets may leave together after a pause.
	bucketDepth = 16
	// bucketDebt is how many answers and probes in answer may leave before their time.
	bucketDebt = 16
	// maxReserve is how many packets, and how many entries, are kept back for them; and how
	// many, and how many sockets, those who try many ports leave to those who need few.
	maxReserve = 64
)

// limits is a budget with what was taken of it.
type limits struct {
	sockets, probes, entries, rate int
	least                          float64

	// What is kept back for answers, and for lanes that need little.
	reserve, urgent struct{ probes, entries, sockets int }

	open int // sockets
	sent int
	made map[entry]bool
}

// entry is what a NAT whose mapping depends on all keeps.
type entry struct {
	socket machine.SocketID
	remote netip.AddrPort
}

// limits fills in what is left out; what is negative is none.
func (b Budget) limits() limits {
	or := func(v, else_ int) int {
		if v == 0 {
			return else_
		}
		return max(v, 0)
	}
	l := limits{
		sockets: or(b.Sockets, 256), probes: or(b.Probes, 1600), entries: or(b.Entries, 1600), rate: max(or(b.Rate, 400), 1),
		least: b.Least, made: make(map[entry]bool),
	}
	if l.least == 0 {
		l.least = 0.01
	}
	if b.Table > 0 {
		l.entries = min(l.entries, b.Table/2)
	}
	l.reserve.probes = min(maxReserve, l.probes/8)
	l.reserve.entries = min(maxReserve, l.entries/8)
	return l
}

// keepBack keeps something back for lanes that need little.
func (l *limits) keepBack() {
	l.urgent.probes, l.urgent.entries, l.urgent.sockets = min(2*maxReserve, l.probes/8), min(maxReserve, l.entries/8), min(maxReserve, l.sockets/4)
}

// room reports whether a packet from s to remote is within the budget: for an answer, for a
// lane that needs little, or for one that tries many ports.
func (l *limits) room(s machine.SocketID, remote netip.AddrPort, use use) bool {
	probes, entries := l.probes, l.entries
	if use > forAnswers {
		probes, entries = probes-l.reserve.probes, entries-l.reserve.entries
	}
	if use > forFew {
		probes, entries = probes-l.urgent.probes, entries-l.urgent.entries
	}
	return l.sent < probes && (l.made[entry{s, remote}] || len(l.made) < entries)
}

// left is how many packets, each to another remote, a lane that tries many ports may send.
func (l *limits) left() int {
	return max(0, min(l.probes-l.reserve.probes-l.urgent.probes-l.sent, l.entries-l.reserve.entries-l.urgent.entries-len(l.made)))
}

// use is what a packet is for.
type use uint8

const (
	forAnswers use = iota
	forFew
	forMany
)

// take notes a packet and reports whether it makes an entry.
func (l *limits) take(s machine.SocketID, remote netip.AddrPort) (fresh bool) {
	l.sent++
	fresh = !l.made[entry{s, remote}]
	l.made[entry{s, remote}] = true
	return fresh
}

// bucket is a token bucket, kept as the time when it is full again.
type bucket struct {
	full time.Time
	step time.Duration // for one token
}

func newBucket(now time.Time, rate int) bucket {
	return bucket{full: now, step: time.Second / time.Duration(rate)}
}

// when is the earliest time at which n tokens are there, beside spare ones.
func (b *bucket) when(n, spare int) time.Time {
	return b.full.Add(time.Duration(min(n+spare, bucketDepth)-bucketDepth) * b.step)
}

func (b *bucket) take(now time.Time) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(b.step)
}

// owes reports whether nothing may leave, not even before its time.
func (b *bucket) owes(now time.Time) bool {
	return b.full.Sub(now) >= (bucketDepth+bucketDebt)*b.step
}
