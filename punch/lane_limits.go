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
	// maxReserve is how many packets, and how many entries, are kept back for them.
	maxReserve = 64
)

// limits is a budget with what was taken of it.
type limits struct {
	sockets, probes, entries, rate int
	least                          float64

	reserve struct{ probes, entries int }

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

// room reports whether a packet from s to remote is within the budget. A lane leaves the
// reserve.
func (l *limits) room(s machine.SocketID, remote netip.AddrPort, lane bool) bool {
	probes, entries := l.probes, l.entries
	if lane {
		probes, entries = probes-l.reserve.probes, entries-l.reserve.entries
	}
	return l.sent < probes && (l.made[entry{s, remote}] || len(l.made) < entries)
}

// left is how many packets, each to another remote, lanes may still send.
func (l *limits) left() int {
	return max(0, min(l.probes-l.reserve.probes-l.sent, l.entries-l.reserve.entries-len(l.made)))
}

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
