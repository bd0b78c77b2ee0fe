package stats

import (
	"cmp"

	"github.com/bradawl/bradawl/natprobe"
)

// Key is what a [Cell] counts: events that agree in all of this, Local and Remote being the
// NATs of the two sides. In one that was summed up
// by [Snapshot.By], fields that were not asked for are zero.
type Key struct {
	Stage     Stage
	Local     natprobe.Type
	Remote    natprobe.Type
	Pair      PairKind
	Protocol  Protocol
	IPVersion int    // 4, 6 or 0
	Group     string // of the experiment; Other for those there was no room for
}

// Way is by which Lane a stage came to its end, and for which Reason: what [Snapshot.Ways] counts. Of
// words that there was no room for, it has Other.
type Way struct {
	Stage  Stage
	Lane   string
	Reason string
}

func (w Way) compare(o Way) int {
	return cmp.Or(cmp.Compare(w.Stage, o.Stage), cmp.Compare(w.Lane, o.Lane), cmp.Compare(w.Reason, o.Reason))
}

// Other stands for the words and groups that a recorder had no room for.
const Other = "other"

// Dimension is a field of a Key.
type Dimension uint8

// The dimensions.
const (
	ByStage Dimension = iota
	ByLocal
	ByRemote
	ByPair
	ByProtocol
	ByIPVersion
	ByGroup
)

// only returns the key with nothing but some dimensions.
func (k Key) only(by []Dimension) Key {
	var got Key
	for _, d := range by {
		switch d {
		case ByStage:
			got.Stage = k.Stage
		case ByLocal:
			got.Local = k.Local
		case ByRemote:
			got.Remote = k.Remote
		case ByPair:
			got.Pair = k.Pair
		case ByProtocol:
			got.Protocol = k.Protocol
		case ByIPVersion:
			got.IPVersion = k.IPVersion
		case ByGroup:
			got.Group = k.Group
		}
	}
	return got
}

// compare orders keys by their fields, the first one first.
func (k Key) compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Stage, o.Stage), cmp.Compare(k.Local, o.Local), cmp.Compare(k.Remote, o.Remote), cmp.Compare(k.Pair, o.Pair),
		cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.IPVersion, o.IPVersion), cmp.Compare(k.Group, o.Group),
	)
}

// packed is what a recorder counts by, in one word: a Key, or, where wayBit is set, a Way.
// Fields of a Key have 4 bits each from the highest down, and the number of its group 16;
// of a Way those are the numbers of its words.
type packed uint64

const wayBit packed = 1 << 63

func packKey(e *Event, group uint16) packed {
	return packed(e.Stage)<<36 | packed(e.LocalNAT)<<32 | packed(e.RemoteNAT)<<28 | packed(e.Pair)<<24 |
		packed(e.Protocol)<<20 | packed(e.IPVersion)<<16 | packed(group)
}

func packWay(e *Event, lane, reason uint16) packed {
	return wayBit | packed(e.Stage)<<36 | packed(lane)<<16 | packed(reason)
}

// overflow is where things are counted that there is no room for: with those of the same
// stage and, of a Key, kind of path, so that the sums over all cells stay true.
func (p packed) overflow() packed {
	if p&wayBit != 0 {
		return p&(wayBit|0xf<<36) | otherWord<<16 | otherWord
	}
	return p&(0xf<<36|0xf<<24) | otherWord
}

func (p packed) key(groups []string) Key {
	field := func(shift int) packed { return p >> shift & 0xf }
	return Key{
		Stage: Stage(field(36)), Local: natprobe.Type(field(32)), Remote: natprobe.Type(field(28)), Pair: PairKind(field(24)),
		Protocol: Protocol(field(20)), IPVersion: int(field(16)), Group: groups[uint16(p)],
	}
}

func (p packed) way(words []string) Way {
	return Way{Stage: Stage(p >> 36 & 0xf), Lane: words[uint16(p>>16)], Reason: words[uint16(p)]}
}

// rank is what keys, or ways, are ordered by, in 40 bits: the numbers of words give way to
// their ranks among all words. A Key has but one, of its group.
func (p packed) rank(ranks []uint16) uint64 {
	if p&wayBit != 0 {
		return uint64(p&(0xf<<36)) | uint64(ranks[uint16(p>>16)])<<16 | uint64(ranks[uint16(p)])
	}
	return uint64(p&^0xffff) | uint64(ranks[uint16(p)])
}

// hash spreads what is counted over shards.
func (p packed) hash() uint64 {
	h := uint64(p) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}
