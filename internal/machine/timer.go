package machine

import (
	"container/heap"
	"time"
)

// Timer calls Fire at its time. It is set and stopped by the [Timers] that it is
// used with; the zero value with Fire is ready for that.
type Timer struct {
	// Fire is called with the time that the machine was entered with.
	Fire func(now time.Time)

	at    time.Time
	seq   uint64 // breaks ties, so that a run replays
	place int    // in the heap, from 1; 0: not set
}

// IsSet reports whether the timer will fire.
func (t *Timer) IsSet() bool { return t.place > 0 }

// At is when the timer fires, while it is set.
func (t *Timer) At() time.Time { return t.at }

// Timers are deadlines of a machine, of any number, the earliest first: for machines
// that have more of them than can be looked through each time. The zero value is
// ready.
type Timers struct {
	heap timerHeap
	seq  uint64
}

// Set makes t fire at at, and not when it was to fire before.
func (ts *Timers) Set(t *Timer, at time.Time) {
	if t.IsSet() && t.at.Equal(at) {
		return
	}
	ts.seq++
	t.at, t.seq = at, ts.seq
	if t.IsSet() {
		heap.Fix(&ts.heap, t.place-1)
		return
	}
	heap.Push(&ts.heap, t)
}

// Stop makes t not fire.
func (ts *Timers) Stop(t *Timer) {
	if t.IsSet() {
		heap.Remove(&ts.heap, t.place-1)
	}
}

// Next is when the first timer fires; zero: none is set.
func (ts *Timers) Next() time.Time {
	if len(ts.heap) == 0 {
		return time.Time{}
	}
	return ts.heap[0].at
}

// Run fires what is due. A timer that is set anew meanwhile waits for the next Run.
func (ts *Timers) Run(now time.Time) {
	last := ts.seq
	for len(ts.heap) > 0 && !ts.heap[0].at.After(now) && ts.heap[0].seq <= last {
		t := ts.heap[0]
		ts.Stop(t)
		t.Fire(now)
	}
}

type timerHeap []*Timer

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
	t := x.(*Timer)
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
