package bradawl

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// TestIdleTraffic measures what a session sends while nobody writes: what keeps its
// addresses, and a connection's paths, alive. The signalling is not counted.
func TestIdleTraffic(t *testing.T) {
	const minutes = 20
	for _, c := range []struct {
		name      string
		connected bool
		noTURN    bool
		most      float64 // packets a minute
	}{
		{"signed on, a STUN server", false, true, 5},
		{"signed on, STUN and TURN", false, false, 15},
		{"connected directly, no relay", true, true, 35},
		{"connected directly, a relay as a spare", true, false, 120},
	} {
		w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) { o.noTURN = c.noTURN }}, cones...)...)
		if c.connected {
			w.connect(PathDirect)
		}
		w.Run(2 * time.Minute)
		packets, bytes := 0, 0
		w.OnTrace(func(e simnet.TraceEvent) {
			if e.What == "send" && e.Where == w.peers[0].name {
				packets++
				bytes += len(e.Packet.Data)
			}
		})
		w.Run(minutes * time.Minute)
		w.OnTrace(nil)
		each := float64(packets) / minutes
		t.Logf("%s: %.1f packets, %d bytes of UDP payload a minute", c.name, each, bytes/minutes)
		if each == 0 || each > c.most {
			t.Errorf("%s: %.1f packets a minute, want some and at most %.0f", c.name, each, c.most)
		}
	}
}
