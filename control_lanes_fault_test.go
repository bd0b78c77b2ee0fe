package bradawl

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// TestFarewellByHole: the side that has a socket of a lane says by it that it closes, for the
// signalling may be down.
func TestFarewellByHole(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	w, _, ok := hardRun(t, 3, random, namedPreset(t, "port-restricted-cone"))
	a, b := w.peers[0], w.peers[1]
	if !ok {
		w.fail("not direct")
	}
	w.Run(10 * time.Second)
	if k := a.conns[a.conn]; k.path.route.Socket < firstLane {
		w.fail("the path is not by a socket of a lane")
	}
	w.setDown(true)
	a.do(func(now time.Time) { a.close(now, a.conn) })
	if !w.RunUntil(time.Second, func() bool { return len(b.conns) == 0 }) {
		w.fail("the peer does not hear of the end")
	}
}
