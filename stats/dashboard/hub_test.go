package dashboard

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Whatever a viewer misses, what he has seen last is the picture as it was then.
func TestDeltasAddUp(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 1))
		h := newHub(frame{seq: 1, pic: make(picture)})
		var pages []*viewing
		var seats []*viewer
		for range 5 {
			seats = append(seats, h.join(5))
			pages = append(pages, &viewing{rig: &rig{T: t}})
		}
		if h.join(5) != nil {
			t.Fatal("a sixth has joined")
		}
		pic := make(picture)
		snapshots := 0
		for range 200 {
			next := make(picture)
			for section, values := range pic {
				for key, value := range values {
					if r.IntN(10) > 0 {
						next.put(section, key, value)
					}
				}
			}
			for range r.IntN(4) {
				next.put(fmt.Sprint("section ", r.IntN(3)), fmt.Sprint("key ", r.IntN(10)), r.IntN(5))
			}
			pic = next
			h.publish(frame{pic: pic})
			for i, v := range seats {
				if r.IntN(5) < i {
					continue // the last one hardly ever looks
				}
				data := h.take(v)
				if data == nil {
					t.Fatalf("seed %d: viewer %d has nothing to take", seed, i)
				}
				var m message
				if err := json.Unmarshal(data, &m); err != nil {
					t.Fatal(err)
				}
				if m.Type == "snapshot" {
					snapshots++
				}
				if pages[i].apply(m); m.Seq == h.now.seq && !same(pages[i].pic, pic) {
					t.Fatalf("seed %d: viewer %d sees %s, want %s", seed, i, pages[i].pic, pic)
				}
				if m.Seq != h.now.seq {
					t.Fatalf("seed %d: viewer %d got %d, the present is %d", seed, i, m.Seq, h.now.seq)
				}
			}
		}
		if _, behind := h.counts(); snapshots < 20 || behind == 0 {
			t.Errorf("seed %d: %d snapshots, %d times behind", seed, snapshots, behind)
		}
	}
}
