package stats

import (
	"math/rand/v2"
	"testing"
)

// A set has what was added since it was cleared and nothing else, whatever the tags look
// like, and is at most three quarters full.
func TestTagSet(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		draw := []func() uint64{
			rnd.Uint64,
			func() uint64 { return 1 + rnd.Uint64N(300) },
			func() uint64 { return rnd.Uint64()<<32 | 1 }, // all begin in one place
			func() uint64 { return max(1, rnd.Uint64N(1000)<<20|7<<3) },
		}[seed%4]
		var (
			set  tagSet
			want = make(map[uint64]bool)
			some []uint64
		)
		for step := range 4000 {
			tag := draw()
			if len(some) > 0 && rnd.IntN(4) == 0 {
				tag = some[rnd.IntN(len(some))]
			}
			if got := set.has(tag); got != want[tag] {
				t.Fatalf("seed %d, step %d: has %x: %v", seed, step, tag, got)
			}
			if rnd.IntN(3) > 0 {
				if got := set.add(tag); got == want[tag] {
					t.Fatalf("seed %d, step %d: %x is new: %v", seed, step, tag, got)
				}
				want[tag] = true
				some = append(some, tag)
			}
			if set.n != len(want) || 4*set.n > 3*len(set.places) {
				t.Fatalf("seed %d, step %d: %d of %d tags in %d places", seed, step, set.n, len(want), len(set.places))
			}
			if rnd.IntN(1500) == 0 {
				set.clear()
				clear(want)
			}
		}
		for _, tag := range some {
			if set.has(tag) != want[tag] {
				t.Fatalf("seed %d: in the end has %x: %v", seed, tag, !want[tag])
			}
		}
	}
}

// A set whose memory was of little use gives it back.
func TestTagSetClear(t *testing.T) {
	var set tagSet
	for tag := range uint64(10_000) {
		set.add(tag + 1)
	}
	set.clear()
	if len(set.places) == 0 || set.has(1) {
		t.Fatalf("%d places kept, has 1: %v", len(set.places), set.has(1))
	}
	set.add(1)
	set.clear()
	if len(set.places) != 0 || set.has(1) || !set.add(1) || !set.has(1) {
		t.Errorf("%d places, %d tags", len(set.places), set.n)
	}
}
