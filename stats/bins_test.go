package stats

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"testing"
)

// Sketches know what maps of bins know, whatever form they are in, and whatever is added to
// them, merged into them and taken out again.
func TestSketchForms(t *testing.T) {
	forms := make(map[uint8]int)
	for seed := range uint64(12) {
		var (
			rnd   = rand.New(rand.NewPCG(seed, 9))
			all   [4]Sketch
			want  [4]map[int]uint64
			about = 20 + rnd.IntN(sketchBins-40)
		)
		for i := range want {
			want[i] = make(map[int]uint64)
		}
		for step := range 400 {
			i, j := rnd.IntN(len(all)), rnd.IntN(len(all))
			switch rnd.IntN(12) {
			case 0:
				if i == j && rnd.IntN(10) > 0 {
					continue
				}
				all[i].Merge(&all[j])
				for bin, n := range maps.Clone(want[j]) {
					want[i][bin] = min(want[i][bin]+n, math.MaxUint32)
				}
			case 1, 2:
				if i != j { // as much of it as there is
					all[i].subtract(&all[j])
					for bin, n := range want[j] {
						want[i][bin] -= min(want[i][bin], n)
					}
				}
			case 3:
				if rnd.IntN(3) == 0 {
					all[i].reset()
					clear(want[i])
				}
			case 4:
				bin, n := rnd.IntN(sketchBins), uint32(rnd.Uint64N(1<<rnd.IntN([]int{3, 7, 33}[seed%3])))
				all[i].addBin(bin, n)
				want[i][bin] = min(want[i][bin]+uint64(n), math.MaxUint32)
			default:
				bin := about + rnd.IntN(20) - 10
				all[i].addBin(bin, 1)
				want[i][bin] = min(want[i][bin]+1, math.MaxUint32)
			}
			forms[all[i].form]++
			if err := sameBins(&all[i], want[i]); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			var again Tally
			form := (&Tally{Latency: all[i]}).append(nil)
			r := reader{rest: form}
			if r.tally(&again); r.failed || len(r.rest) > 0 {
				t.Fatalf("seed %d, step %d: the binary form is not read: %x", seed, step, form)
			}
			if err := sameBins(&again.Latency, want[i]); err != nil {
				t.Fatalf("seed %d, step %d: read again: %v", seed, step, err)
			}
		}
	}
	if min(forms[listed], forms[narrow], forms[wide]) < 300 {
		t.Errorf("not all forms were tried: %v", forms)
	}
}

func sameBins(s *Sketch, want map[int]uint64) error {
	total, last, seen := uint64(0), -1, 0
	first, end := s.span()
	for bin, n := range s.each {
		if want[bin] != uint64(n) || bin <= last || bin < first || bin >= end {
			return fmt.Errorf("bin %d after %d, of %d to %d, has %d, want %d", bin, last, first, end, n, want[bin])
		}
		total, last, seen = total+uint64(n), bin, seen+1
	}
	for _, n := range want {
		if n > 0 {
			seen--
		}
	}
	if seen != 0 || total != s.Count() {
		return fmt.Errorf("%d bins too many; they have %d, all %d", seen, total, s.Count())
	}
	return nil
}
