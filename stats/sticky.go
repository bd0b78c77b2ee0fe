package stats

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"
)

// Sticky remembers which arm a pair of peers is in, so that weights can change without
// moving pairs that have one. It must be one store for both ends: peers that ask different
// ones may end up in different arms, which without any store they do not.
type Sticky interface {
	// Assign stores arm under key for ttl unless something is stored there already, and
	// returns what is stored then: in one step, as both ends may ask at once. What is stored
	// is kept for ttl from when it was first stored. Keys are of at most MaxWord+33
	// characters; they name no peers. It may be called concurrently, and must return when ctx
	// ends.
	Assign(ctx context.Context, key, arm string, ttl time.Duration) (string, error)
}

// StickyError says why a session got the arm of the hash and not that of the store.
type StickyError struct {
	Key string // of the pair
	Err error
}

// Error names the key and the reason.
func (e *StickyError) Error() string {
	return "stats: sticky arm of " + e.Key + ": " + e.Err.Error() + "; the arm is that of the hash, and the session does not count"
}

// Unwrap returns the store's error.
func (e *StickyError) Unwrap() error { return e.Err }

// MemorySticky is a Sticky in memory, for sessions of one process and for tests. The zero
// value works. It is safe for concurrent use; do not change the fields once it is used.
type MemorySticky struct {
	// Most is how many pairs are remembered; for further ones, those are forgotten whose time
	// ends soonest. Default 10,000.
	Most int
	// Now tells the time. Default time.Now.
	Now func() time.Time

	mu     sync.Mutex
	arms   map[string]string
	expiry expiries
}

// Assign never fails but for a ctx that has ended, or a ttl that is not positive.
func (m *MemorySticky) Assign(ctx context.Context, key, arm string, ttl time.Duration) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if ttl <= 0 {
		return "", fmt.Errorf("stats: a time to live of %v; give a positive one", ttl)
	}
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	most := 10_000
	if m.Most > 0 {
		most = m.Most
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := now()
	for len(m.expiry) > 0 && !at.Before(m.expiry[0].at) {
		m.forget()
	}
	if stored, ok := m.arms[key]; ok {
		return stored, nil
	}
	for len(m.arms) >= most {
		m.forget()
	}
	if m.arms == nil {
		m.arms = make(map[string]string)
	}
	m.arms[key] = arm
	heap.Push(&m.expiry, expiry{at.Add(ttl), key})
	return arm, nil
}

// forget drops the pair whose time ends soonest.
func (m *MemorySticky) forget() { delete(m.arms, heap.Pop(&m.expiry).(expiry).key) }

type expiry struct {
	at  time.Time
	key string
}

// expiries is a heap, the soonest first.
type expiries []expiry

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e expiries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *expiries) Push(x any)        { *e = append(*e, x.(expiry)) }
func (e *expiries) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = expiry{}
	*e = (*e)[:len(*e)-1]
	return last
}
