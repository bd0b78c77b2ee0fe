package simnet

import (
	"math/rand/v2"
	"time"
)

// Link is what one direction of a link does to packets. The zero value carries
// everything at once.
type Link struct {
	Delay     time.Duration // one way
	Jitter    time.Duration // added to Delay, uniform in [0, Jitter); order is kept
	Loss      float64       // probability, 0 to 1
	Duplicate float64       // probability that a packet arrives twice
	Reorder   float64       // probability that a packet is held back and overtaken
	Rate      int           // bits a second; 0: no limit
	Queue     int           // bytes that may wait for Rate; 0: 64 KiB
	MTU       int           // bytes; a bigger packet is dropped, with an ICMP error if it may not be fragmented; 0: 1500
	Down      bool          // a black hole
}

// pipe is one direction of a link with its state.
type pipe struct {
	Link
	w    *World
	rand *rand.Rand
	free time.Time // when the last queued bit has left
	last time.Time // when the last packet in order arrives
}

// send carries p to deliver, or loses it. where names the link in the trace.
func (l *pipe) send(p *Packet, where string, deliver func(*Packet)) {
	now := l.w.now
	switch {
	case l.Down:
		l.w.trace.drop(now, where, p, "link down")
		return
	case l.Loss > 0 && l.rand.Float64() < l.Loss:
		l.w.trace.drop(now, where, p, "loss")
		return
	}
	leave := now
	if l.Rate > 0 {
		queue := l.Queue
		if queue == 0 {
			queue = 64 << 10
		}
		if l.free.Before(now) {
			l.free = now
		}
		if backlog := int(l.free.Sub(now).Seconds() * float64(l.Rate) / 8); backlog+p.size() > queue {
			l.w.trace.drop(now, where, p, "queue full")
			return
		}
		l.free = l.free.Add(time.Duration(float64(p.size()) * 8 / float64(l.Rate) * 1e9))
		leave = l.free
	}
	at := leave.Add(l.Delay)
	if l.Jitter > 0 {
		at = at.Add(time.Duration(l.rand.Int64N(int64(l.Jitter))))
	}
	if l.Reorder > 0 && l.rand.Float64() < l.Reorder {
		// Held back far enough for what follows within a burst to overtake it.
		at = at.Add(max(l.Delay/4, time.Millisecond) + time.Duration(l.rand.Int64N(int64(max(l.Delay/4, time.Millisecond)))))
	} else {
		if at.Before(l.last) {
			at = l.last
		}
		l.last = at
	}
	l.w.at(at, func() { deliver(p) })
	if l.Duplicate > 0 && l.rand.Float64() < l.Duplicate {
		twin := p.clone()
		l.w.at(at, func() { deliver(twin) })
	}
}

// mtu is the greatest packet that the link takes.
func (l *pipe) mtu() int {
	if l.MTU == 0 {
		return 1500
	}
	return l.MTU
}
