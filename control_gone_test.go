package bradawl

import (
	"testing"
	"time"
)

// TestPathsThatEndAtOnce: where several pairs end in one call, data moves to none that has ended,
// and what is told names paths in full.
func TestPathsThatEndAtOnce(t *testing.T) {
	t.Parallel()
	for seed := range faults() {
		w := newWorld(t, seed+1, "", "", cones...)
		w.connect(PathDirect)
		w.Run(10 * time.Second)
		a := w.peers[0]
		before, number := len(a.events), a.conn
		a.do(func(now time.Time) { // the socket of the direct path, and of one to the peer's relay
			a.removeBase(now, a.bases[a.site.Addr()])
		})
		moves := 0
		for _, e := range a.events[before:] {
			if e.Kind == EventMoved {
				moves++
			}
			if p := e.Path; p.IsValid() && (!p.Local.IsValid() || p.LocalType == "" || p.Protocol == "") {
				w.fail("told of %v", e)
			}
		}
		if p, _ := a.explain(w.Now(), number); moves != 1 || p.Path.LocalType != "relay" {
			w.fail("%d moves, to %v", moves, p)
		}
	}
}
