package turnclient

import "time"

// When the path to a server counts as congested, over a window of requests; and when
// it does not any more, which takes less, so that it does not flap.
const (
	congestionWindow = 20
	congestedRTT     = 500 * time.Millisecond
	congestedLoss    = 5 // per cent
	clearRTT         = 400 * time.Millisecond
	clearLoss        = 2
	congestionLevels = 3

	permissionBatch = 16 // permissions renewed by one request
	congestionPace  = 50 * time.Millisecond
)

// congestion reduces control traffic on a path that is slow or lossy, by steps: each
// bad window takes it a level up, each good one a level down.
type congestion struct {
	link  *link
	level int
	total int // of this window
	lost  int
	pace  time.Time // when the next request may start
}

// count takes in what became of a request: lost means that it had to be repeated.
func (c *congestion) count(now time.Time, lost bool) {
	c.total++
	if lost {
		c.lost++
	}
	if c.total < congestionWindow {
		return
	}
	level, smoothed := c.level, c.link.rtt.smoothed
	switch {
	case smoothed > congestedRTT || c.lost*100 > congestedLoss*c.total:
		c.level = min(c.level+1, congestionLevels)
	case smoothed < clearRTT && c.lost*100 < clearLoss*c.total:
		c.level = max(c.level-1, 0)
	}
	c.total, c.lost = 0, 0
	if a := c.link.a; level != c.level && a.link == c.link {
		a.settle(now)
	}
}

// restrain says how often a request is sent at most, how many times longer to wait for
// its answer, and how long to wait before it is sent at all.
func (c *congestion) restrain(now time.Time) (sends, slow int, wait time.Duration) {
	if c.level == 0 {
		return maxSends, 1, 0
	}
	at := now
	if c.pace.After(now) {
		at = c.pace
	}
	c.pace = at.Add(congestionPace << c.level)
	return maxSends - c.level - 1, min(1<<c.level, 4), at.Sub(now)
}

// batch is how many permissions one request renews.
func (c *congestion) batch() int { return permissionBatch >> c.level }

// Observe tells the machine of a measurement of the path to the server that somebody
// else made, as by pings of a session: a round trip, or a loss. It counts as a request.
func (m *Machine) Observe(now time.Time, id AllocationID, trip time.Duration, lost bool) {
	m.enter()
	a := m.allocs[id]
	if a == nil || a.link == nil {
		return
	}
	if !lost && trip > 0 {
		a.link.rtt.sample(trip)
	}
	a.link.congestion.count(now, lost)
}
