package turnclient

import (
	"container/heap"
	"time"
)

// timer calls fire at its time. It is set and stopped by the timers it is used with.
type timer struct {
	at    time.Time
	seq   uint64 // breaks ties, so that a run replays
	place int    // in the heap, from 1; 0: not set
	fire  func(now time.Time)
}

// timers are all deadlines of a machine, the earliest first.
type timers struct {
	heap timerHeap
	seq  uint64
}

func (ts *timers) set(t *timer, at time.Time) {
	ts.stop(t)
	ts.seq++
	t.at, t.seq = at, ts.seq
	heap.Push(&ts.heap, t)
}

func (ts *timers) stop(t *timer) {
	if t.place > 0 {
		heap.Remove(&ts.heap, t.place-1)
	}
}

func (t *timer) isSet() bool { return t.place > 0 }

func (ts *timers) next() time.Time {
	if len(ts.heap) == 0 {
		return time.Time{}
	}
	return ts.heap[0].at
}

// run fires what is due. A timer that sets itself anew for now waits for the next run.
func (ts *timers) run(now time.Time) {
	last := ts.seq
	for len(ts.heap) > 0 && !ts.heap[0].at.After(now) && ts.heap[0].seq <= last {
		t := ts.heap[0]
		ts.stop(t)
		t.fire(now)
	}
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.place = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.place = 0
	return t
}
