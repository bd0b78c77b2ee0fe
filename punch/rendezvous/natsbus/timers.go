package natsbus

import (
	"container/heap"
	"time"
)

// timers are what is to happen later, in the order of time and then of setting.
// There is no taking back: who sets one looks whether it still matters.
type timers struct {
	queue timerQueue
	last  uint64
}

type timer struct {
	at    time.Time
	order uint64
	do    func(now time.Time)
}

func (t *timers) set(at time.Time, do func(now time.Time)) {
	t.last++
	heap.Push(&t.queue, timer{at, t.last, do})
}

// next is when the first is due; zero: there is none.
func (t *timers) next() time.Time {
	if len(t.queue) == 0 {
		return time.Time{}
	}
	return t.queue[0].at
}

// run does what is due. What that sets for now is done too.
func (t *timers) run(now time.Time) {
	for len(t.queue) > 0 && !t.queue[0].at.After(now) {
		heap.Pop(&t.queue).(timer).do(now)
	}
}

func (t *timers) clear() { t.queue = nil }

type timerQueue []timer

func (q timerQueue) Len() int { return len(q) }
func (q timerQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q timerQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *timerQueue) Push(x any)   { *q = append(*q, x.(timer)) }
func (q *timerQueue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = timer{}
	*q = (*q)[:last]
	return t
}
