package ice

import (
	"net/netip"
	"sync"
	"time"
)

// MemoryHistory is a [History] that lasts as long as the process. It holds
// MaxHistoryNetworks times MaxHistoryRemotes addresses, and lets go of those whose
// last outcome is the longest ago. The zero value is empty; it is safe for concurrent use.
type MemoryHistory struct {
	mu       sync.Mutex
	outcomes outcomes
}

var _ History = (*MemoryHistory)(nil)

// Record implements [History].
func (h *MemoryHistory) Record(network string, remote netip.Addr, ok bool, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outcomes.record(network, remote, ok, at)
}

// Quality implements [History].
func (h *MemoryHistory) Quality(network string, remote netip.Addr, now time.Time) (value float64, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.outcomes.quality(network, remote, now)
}
