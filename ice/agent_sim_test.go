package ice_test

import (
	"testing"
	"time"
)

var conePairs = [][2]string{
	{"open", "open"}, {"full-cone", "full-cone"}, {"port-restricted-cone", "port-restricted-cone"},
	{"restricted-cone", "port-restricted-cone"}, {"open", "port-restricted-cone"}, {"full-cone", "symmetric-random"},
}

func TestConnectsAcrossNATs(t *testing.T) {
	for _, nats := range conePairs {
		t.Run(nats[0]+"/"+nats[1], func(t *testing.T) {
			w := newWorld(t, 1, nats[0], nats[1], 0)
			w.offer()
			if !w.connect(10 * time.Second) {
				for _, p := range w.peers {
					t.Logf("%v", p.m.State(p.id))
					for _, pair := range p.m.Pairs(p.id) {
						t.Logf("  %+v", pair)
					}
				}
				t.Fatal("not connected")
			}
			for i, p := range w.peers {
				t.Logf("%d: usable %v, done %v", i, p.atUsable.Sub(w.start), p.atDone.Sub(w.start))
			}
			w.peers[0].send("hello")
			w.peers[1].send("hi")
			w.Run(time.Second)
			if len(w.peers[0].got) != 1 || len(w.peers[1].got) != 1 {
				t.Error("data", w.peers[0].got, w.peers[1].got)
			}
		})
	}
}
