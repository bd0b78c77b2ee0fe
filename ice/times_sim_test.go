package ice_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
)

var seeds = flag.Int("seeds", 20, "worlds for each row of a table")

// TestTimes measures how long it takes from the exchange of credentials until both sides
// can send, and until both have completed, in round trips of the path, and how that
// compares with what pion/ice v2 waits at least by its documented acceptance waits.
func TestTimes(t *testing.T) {
	rows := []struct {
		name   string
		nats   [2]string
		policy ice.Policy
		pace   time.Duration
		pion   time.Duration // its wait before a pair of this kind is accepted
		loss   float64
		bound  float64 // of the median without loss, in round trips
	}{
		{name: "host", nats: [2]string{"open", "open"}, bound: 1.01},
		{name: "srflx", nats: [2]string{"full-cone", "full-cone"}, pion: 500 * time.Millisecond, bound: 2},
		{name: "srflx, port-restricted", nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, pion: 500 * time.Millisecond, bound: 2},
		{name: "prflx", nats: [2]string{"full-cone", "symmetric-random"}, pion: time.Second, bound: 2},
		{name: "relay only", nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, policy: ice.RelayOnly, pion: 2 * time.Second, bound: 2},
		{name: "srflx, 10 % loss", nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, pion: 500 * time.Millisecond, loss: 0.1, bound: 3},
		{name: "srflx, pace 5 ms", nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, pace: 5 * time.Millisecond, pion: 500 * time.Millisecond, bound: 1.6},
	}
	t.Log("in round trips of 100 ms, from when both had the credentials: both can send p50 / p99, both completed p50 / p99, pion v2 waits at least")
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			var usable, done []float64
			for seed := range uint64(*seeds) {
				w := newWorld(t, seed+1, r.nats[0], r.nats[1], r.loss, func(w *world) { w.addTURN(nil) })
				for _, p := range w.peers {
					p.cfg.Policy, p.cfg.Pace = r.policy, r.pace
				}
				w.offer()
				known := w.start.Add(rtt) // offer and answer have arrived
				if !w.connect(15 * time.Second) {
					t.Fatalf("seed %d: not connected: %v, %v", seed+1, w.peers[0].m.State(w.peers[0].id), w.peers[1].m.State(w.peers[1].id))
				}
				last := func(at func(*peer) time.Time) float64 {
					d := max(at(w.peers[0]).Sub(known), at(w.peers[1]).Sub(known))
					return float64(d) / float64(rtt)
				}
				usable = append(usable, last(func(p *peer) time.Time { return p.atUsable }))
				done = append(done, last(func(p *peer) time.Time { return p.atDone }))
			}
			slices.Sort(usable)
			slices.Sort(done)
			at := func(all []float64, q float64) float64 { return all[min(len(all)-1, int(q*float64(len(all))))] }
			t.Logf("%-24s %.2f / %.2f   %.2f / %.2f   %v", r.name, at(usable, .5), at(usable, .99), at(done, .5), at(done, .99), fmt.Sprint(float64(r.pion)/float64(rtt)))
			if got := at(usable, .5); got > r.bound {
				t.Errorf("usable after %.2f round trips, want %.2f at most", got, r.bound)
			}
		})
	}
}
