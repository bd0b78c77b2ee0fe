package decay

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// What was written is read back the same, whatever happened and when.
func TestTallyBinary(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var tally Tally
		at := epoch.AddDate(rng.IntN(200)-100, 0, 0)
		for range rng.IntN(40) {
			at = at.Add(time.Duration(rng.IntN(5)) * time.Hour)
			for range 1 + rng.IntN(3)*rng.IntN(300) {
				tally.Add(rng.IntN(3) > 0, at)
			}
		}
		data, err := tally.AppendBinary([]byte("x"))
		if err != nil || data[0] != 'x' || len(data) > 201 {
			t.Fatalf("seed %d: %d bytes, %v", seed, len(data), err)
		}
		var got Tally
		if err := got.UnmarshalBinary(data[1:]); err != nil || got != tally {
			t.Errorf("seed %d: %v\n%v, want\n%v", seed, err, got, tally)
		}
	}
}

func TestTallyBinaryRefuses(t *testing.T) {
	var full Tally
	for h := range 24 {
		full.Add(h%2 == 0, epoch.Add(time.Duration(h)*time.Hour))
	}
	whole, _ := full.AppendBinary(nil)
	for name, data := range map[string][]byte{
		"nothing": nil, "a later version": append([]byte{2}, whole[1:]...), "no hour": {1}, "an hour without an end": {1, 0x80},
		"an hour beyond all time": {1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, "no count": {1, 2, 0}, "half a count": {1, 2, 0, 1},
		"an age too great": {1, 2, 24, 1, 1}, "an age twice": {1, 2, 3, 1, 1, 3, 1, 1}, "a count too great": {1, 2, 0, 0x80, 0x80, 4, 1}, "cut off": whole[:len(whole)-1],
	} {
		got := full
		if err := got.UnmarshalBinary(data); err == nil || got != full {
			t.Errorf("%s: %v, changed: %v", name, err, got != full)
		}
	}
}

// No form leads to a tally that cannot be used.
func FuzzTallyBinary(f *testing.F) {
	f.Add([]byte{1, 2, 0, 3, 4, 5, 6, 7}, int64(0))
	f.Add([]byte{1}, int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, data []byte, seconds int64) {
		var tally Tally
		if tally.UnmarshalBinary(data) != nil {
			return
		}
		now := time.Unix(seconds%(1<<40), 0)
		for range 3 {
			if s, f := tally.Sum(now); !(s >= 0) || !(f >= 0) {
				t.Fatal(s, f)
			}
			tally.Add(true, now)
		}
		if s, _ := tally.Sum(now); !(s > 0) {
			t.Fatal(s)
		}
		again, _ := tally.AppendBinary(nil)
		var same Tally
		if err := same.UnmarshalBinary(again); err != nil || same != tally {
			t.Fatal(err, same, tally)
		}
	})
}
