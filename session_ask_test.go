package bradawl_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
)

// TestAskingOfMany: AllowPeer is asked about a few connections of one peer at a time, however many
// it begins, so that it does not keep others waiting; in the end about each, but for those that
// were given up meanwhile.
func TestAskingOfMany(t *testing.T) {
	var (
		mu          sync.Mutex
		busy        bradawl.PeerID
		asked       int
		under, most int
		slow        bool
		answer      chan struct{}
	)
	allow := func(cfg *bradawl.Config) {
		cfg.AllowPeer = func(ctx context.Context, peer bradawl.PeerID) bool {
			mu.Lock()
			asked++
			wait := slow && peer == busy
			if wait {
				under++
				most = max(most, under)
			}
			mu.Unlock()
			if wait {
				select {
				case <-answer:
				case <-ctx.Done():
				}
				mu.Lock()
				under--
				mu.Unlock()
			}
			return true
		}
	}
	simulate(t, "port-restricted-cone", "port-restricted-cone", allow, func(t *testing.T, w *internet) {
		const many, patient = 40, 20
		w.meet(t)
		mu.Lock()
		busy, slow, asked, answer = w.ends[0].ID(), true, 0, make(chan struct{})
		mu.Unlock()
		var dials sync.WaitGroup
		errs := make(chan error, many)
		hasty, giveUp := context.WithCancel(t.Context())
		for i := range many {
			ctx := t.Context()
			if i >= patient {
				ctx = hasty
			}
			dials.Go(func() {
				_, err := w.ends[0].Dial(ctx, w.ends[1].ID())
				if i < patient {
					errs <- err
				}
			})
			pass(10 * time.Millisecond)
		}
		pass(time.Second)
		mu.Lock()
		if under != 8 || most != 8 || asked != 8 {
			t.Errorf("%d are asked at once, %d at most, %d in all", under, most, asked)
		}
		mu.Unlock()
		giveUp()
		pass(time.Second)
		close(answer)
		for range patient {
			c, err := w.ends[1].Accept(t.Context())
			check(t, err)
			defer c.Close()
		}
		dials.Wait()
		for range patient {
			check(t, <-errs)
		}
		if asked != patient || most != 8 {
			t.Errorf("asked %d times, %d at once; want %d, 8", asked, most, patient)
		}
	})
}
