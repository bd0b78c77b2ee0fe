package punch

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/decay"
	"github.com/bradawl/bradawl/natprobe"
)

// Memory remembers which lanes got through between which networks. [LaneMemory] is the
// usual one; an application that keeps statistics brings its own. Methods must not block.
type Memory interface {
	// Remember notes that a lane, by the word of its kind, got through between networks, or
	// that it was run in vain. networks is what Networks returns; where it is empty, nothing
	// is kept.
	Remember(networks, lane string, ok bool, at time.Time)

	// Recall returns how likely the lane gets through between the networks, 0 to 1, by what
	// is remembered; known is false where nothing is.
	Recall(networks, lane string, now time.Time) (quality float64, known bool)
}

// Networks is a key for a pair of networks, ours and the peer's: their public prefixes (of
// 24 bits for IPv4, 48 for IPv6) and what kinds of NATs they have. It is a hash, which
// keeps addresses out of files; who wants to can find them by trying all prefixes. It is
// empty where one of the addresses is not known.
func Networks(local, remote natprobe.Profile) string {
	h := sha256.New()
	for _, p := range [...]natprobe.Profile{local, remote} {
		prefix, ok := publicPrefix(p.Mapped.Addr())
		if !ok {
			return ""
		}
		addr := prefix.Addr().As16()
		h.Write(addr[:])
		e := newEnd(p, Neither)
		blocked := byte(boolean(e.blocked))
		h.Write([]byte{byte(prefix.Bits()), byte(e.keeps), byte(p.Mapping), byte(e.filter), byte(e.model()), blocked})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func publicPrefix(a netip.Addr) (netip.Prefix, bool) {
	a = a.Unmap().WithZone("")
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits)
	return p, p.IsValid()
}

// Order returns the lanes with those first that m says work between the networks, then
// those of which nothing is known, and then those that were run in vain, otherwise as they
// were. What is ruled out stays last. lanes is left as it is.
func Order(lanes []Lane, networks string, m Memory, now time.Time) []Lane {
	lanes = slices.Clone(lanes)
	if m == nil || networks == "" {
		return lanes
	}
	quality := make(map[LaneKind]float64, len(lanes))
	for _, l := range lanes {
		q := -1.0
		if l.Ruled == "" {
			var known bool
			if q, known = m.Recall(networks, l.Kind.String(), now); !known {
				q = decay.Neutral
			}
			q = min(max(fraction(q), 0), 1)
		}
		quality[l.Kind] = q
	}
	slices.SortStableFunc(lanes, func(a, b Lane) int { return cmp.Compare(quality[b.Kind], quality[a.Kind]) })
	return lanes
}

// MaxMemoryPairs is how many pairs of networks a LaneMemory holds, less than 512 KiB in
// all. What had an outcome last stays.
const MaxMemoryPairs = 512

// laneOutcomes is the state of a LaneMemory, the pair with the latest outcome last.
type laneOutcomes struct {
	pairs []*pairOutcomes
}

type pairOutcomes struct {
	networks string
	lanes    [numLaneKinds]decay.Tally
}

func (o *laneOutcomes) find(networks string) int {
	return slices.IndexFunc(o.pairs, func(p *pairOutcomes) bool { return p.networks == networks })
}

func (o *laneOutcomes) remember(networks, lane string, ok bool, at time.Time) {
	kind := laneKindOf(lane)
	if networks == "" || kind == LaneNone {
		return
	}
	var p *pairOutcomes
	switch i := o.find(networks); {
	case i >= 0:
		p = o.pairs[i]
		o.pairs = slices.Delete(o.pairs, i, i+1)
	case len(o.pairs) == MaxMemoryPairs:
		o.pairs = slices.Delete(o.pairs, 0, 1)
	}
	if p == nil {
		p = &pairOutcomes{networks: networks}
	}
	p.lanes[kind].Add(ok, at)
	o.pairs = append(o.pairs, p)
}

func (o *laneOutcomes) recall(networks, lane string, now time.Time) (float64, bool) {
	i, kind := o.find(networks), laneKindOf(lane)
	if i < 0 || kind == LaneNone {
		return decay.Neutral, false
	}
	return decay.Quality(o.pairs[i].lanes[kind].Sum(now))
}
