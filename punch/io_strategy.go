package punch

import (
	"sync"
	"time"
)

// LaneMemory is a [Memory] that lasts as long as the process. What happened fades by a
// factor of 0.92 an hour and is forgotten after 24 hours. It holds MaxMemoryPairs pairs of
// networks, and lets go of those whose last outcome is the longest ago. The zero value is
// empty; it is safe for concurrent use.
type LaneMemory struct {
	mu       sync.Mutex
	outcomes laneOutcomes
}

var _ Memory = (*LaneMemory)(nil)

// Remember implements [Memory].
func (m *LaneMemory) Remember(networks, lane string, ok bool, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outcomes.remember(networks, lane, ok, at)
}

// Recall implements [Memory].
func (m *LaneMemory) Recall(networks, lane string, now time.Time) (quality float64, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outcomes.recall(networks, lane, now)
}
