package dashboard

import (
	"encoding/json"
	"sync"
)

// hub has the present picture and those who look at it. What it keeps for a viewer is at most
// one message: to one who is slower than that it gives a snapshot when he is ready, and
// nothing in between.
type hub struct {
	mu      sync.Mutex
	now     frame
	encoded []byte // now, as a snapshot; nil: nobody wanted it yet
	viewers map[*viewer]struct{}
	behind  uint64 // how often a viewer was too slow for a delta
}

// viewer is one page.
type viewer struct {
	wake  chan struct{} // capacity 1: there is something to take
	delta []byte        // the next message; nil: none
	stale bool          // he needs a snapshot
}

func newHub(first frame) *hub {
	return &hub{now: first, viewers: make(map[*viewer]struct{})}
}

// join adds a viewer, whose first message is a snapshot; nil if there are limit already.
func (h *hub) join(limit int) *viewer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.viewers) >= limit {
		return nil
	}
	v := &viewer{wake: make(chan struct{}, 1), stale: true}
	v.wake <- struct{}{}
	h.viewers[v] = struct{}{}
	return v
}

func (h *hub) leave(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.viewers, v)
}

// take returns a viewer's next message; nil if there is none. It must not be changed.
func (h *hub) take(v *viewer) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.stale {
		v.stale, v.delta = false, nil
		return h.snapshotLocked()
	}
	data := v.delta
	v.delta = nil
	return data
}

// publish makes a picture the present one and tells the viewers. Only one goroutine may.
func (h *hub) publish(next frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next.seq = h.now.seq + 1
	var delta []byte
	if len(h.viewers) > 0 {
		delta = encode(message{"delta", next.seq, next.time, next.pic.since(h.now.pic)})
	}
	h.now, h.encoded = next, nil
	for v := range h.viewers {
		switch {
		case v.stale:
		case v.delta != nil:
			v.delta, v.stale = nil, true
			h.behind++
		default:
			v.delta = delta
		}
		select {
		case v.wake <- struct{}{}:
		default:
		}
	}
}

// snapshot returns the present picture. It must not be changed.
func (h *hub) snapshot() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.snapshotLocked()
}

func (h *hub) snapshotLocked() []byte {
	if h.encoded == nil {
		h.encoded = encode(message{"snapshot", h.now.seq, h.now.time, h.now.pic})
	}
	return h.encoded
}

// counts returns how many viewers there are, and how often one was too slow.
func (h *hub) counts() (viewers int, behind uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.viewers), h.behind
}

// encode makes a line of a message. It cannot fail: all values are JSON already.
func encode(m message) []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic("dashboard: a picture is no JSON: " + err.Error())
	}
	return append(data, '\n')
}
