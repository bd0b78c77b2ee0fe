package stund

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// limiter caps the rate of answers for each source address, by the generic cell
// rate algorithm: for each address it keeps the time at which its answers so far
// would have been due at the allowed rate. Its size is fixed: addresses share a
// slot where their hashes meet, and then the rate as well.
type limiter struct {
	interval time.Duration // between answers at the allowed rate; 0: no limit
	burst    time.Duration // how far ahead of that rate a source may be
	seed     uint64        // keeps others from choosing whom to share a slot with
	start    time.Time
	slots    []time.Duration // since start
}

const limiterSlots = 1 << 14 // 128 KiB

func newLimiter(perSecond int, seed uint64) limiter {
	if perSecond <= 0 {
		return limiter{}
	}
	return limiter{
		interval: time.Second / time.Duration(perSecond),
		burst:    time.Second, // a second's worth at once
		seed:     seed,
		slots:    make([]time.Duration, limiterSlots),
	}
}

// allow tells whether source may be answered now, and counts it if so.
func (l *limiter) allow(now time.Time, source netip.Addr) bool {
	if l.interval == 0 {
		return true
	}
	if l.start.IsZero() {
		l.start = now
	}
	due := &l.slots[l.hash(source)%limiterSlots]
	elapsed := now.Sub(l.start)
	next := max(*due, elapsed) + l.interval
	if next > elapsed+l.burst {
		return false
	}
	*due = next
	return true
}

// hash mixes the address, of IPv6 only the /64 that one subscriber has.
func (l *limiter) hash(source netip.Addr) uint64 {
	var h uint64
	if source.Is4() {
		a := source.As4()
		h = uint64(binary.BigEndian.Uint32(a[:]))
	} else {
		a := source.As16()
		h = binary.BigEndian.Uint64(a[:8])
	}
	// The finalizer of SplitMix64, twice, with the secret in between.
	return mix(mix(h^l.seed) + l.seed)
}

func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
