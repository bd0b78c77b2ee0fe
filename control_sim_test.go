package bradawl

import (
	"flag"
	"slices"
	"testing"
	"time"
)

var seeds = flag.Int("seeds", 20, "worlds for each row of a table")

// TestFirstPaths measures how long it takes from the dial until data can be sent, and until
// it goes directly, in round trips.
func TestFirstPaths(t *testing.T) {
	t.Log("in round trips of 100 ms from the dial: both can send p50 / p99, both direct p50 / p99")
	for _, r := range []struct {
		nats           [2]string
		loss           float64
		relay          bool // no direct path is possible
		usable, direct float64
	}{
		{nats: [2]string{"open", "open"}, usable: 2.1, direct: 2.5},
		{nats: [2]string{"full-cone", "full-cone"}, usable: 2.1, direct: 2.5},
		{nats: [2]string{"restricted-cone", "port-restricted-cone"}, usable: 2.1, direct: 2.5},
		{nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, usable: 2.1, direct: 2.5},
		{nats: [2]string{"full-cone", "symmetric-random"}, usable: 2.2, direct: 2.5},
		{nats: [2]string{"symmetric-random", "symmetric-random"}, usable: 2.6, relay: true},
		{nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, loss: 0.1, usable: 3, direct: 4},
	} {
		var usable, direct []float64
		for seed := range uint64(*seeds) {
			w := newWorld(t, seed+1, r.nats[0], r.nats[1], lossy(r.loss))
			began := w.dialNow()
			if !w.settle(30 * time.Second) {
				t.Fatalf("%v, seed %d: not connected", r.nats, seed+1)
			}
			usable = append(usable, float64(w.Now().Sub(began))/float64(pathRTT))
			if !r.relay {
				if !w.direct(30 * time.Second) {
					e, _ := w.peers[0].explain(w.Now(), w.peers[0].conn)
					t.Fatalf("%v, seed %d: not direct\n%v", r.nats, seed+1, e)
				}
				direct = append(direct, float64(w.Now().Sub(began))/float64(pathRTT))
			}
		}
		at := func(all []float64, q float64) float64 {
			if len(all) == 0 {
				return 0
			}
			slices.Sort(all)
			return all[min(len(all)-1, int(q*float64(len(all))))]
		}
		t.Logf("%-22s %-22s loss %2.0f %%   %.2f / %.2f   %.2f / %.2f", r.nats[0], r.nats[1], 100*r.loss,
			at(usable, .5), at(usable, .99), at(direct, .5), at(direct, .99))
		if got := at(usable, .5); got > r.usable {
			t.Errorf("%v: usable after %.2f round trips, want %.2f at most", r.nats, got, r.usable)
		}
		if got := at(direct, .5); got > r.direct {
			t.Errorf("%v: direct after %.2f round trips, want %.2f at most", r.nats, got, r.direct)
		}
	}
}
