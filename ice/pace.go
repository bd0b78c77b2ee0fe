package ice

import (
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// pacer keeps what starts transactions apart: over all agents of a process one may
// start every 5 ms (RFC 8445 section 14). It does so for one machine, of which a
// process should have one.
type pacer struct {
	m     *Machine
	every time.Duration
	free  time.Time // when the next slot is
	queue machine.Queue[paced]
	timer machine.Timer
}

// paced is something that starts a transaction when it gets a slot.
type paced interface {
	// slot uses the slot, or reports that there is nothing to use it for any more.
	slot(now time.Time) bool
	// inQueue is where to note that it waits.
	inQueue() *bool
}

func (p *pacer) init(m *Machine) {
	p.m, p.every = m, leastPace
	p.timer.Fire = p.serve
}

// want gives w the next slot that is free, now if it can be.
func (p *pacer) want(now time.Time, w paced) {
	if *w.inQueue() {
		return
	}
	*w.inQueue() = true
	p.queue.Push(w)
	p.serve(now)
}

func (p *pacer) serve(now time.Time) {
	for p.queue.Len() > 0 && !p.free.After(now) {
		w, _ := p.queue.Pop()
		*w.inQueue() = false
		if w.slot(now) {
			p.free = now.Add(p.every)
		}
	}
	if p.queue.Len() > 0 {
		p.m.timers.Set(&p.timer, p.free)
	} else {
		p.m.timers.Stop(&p.timer)
	}
}
