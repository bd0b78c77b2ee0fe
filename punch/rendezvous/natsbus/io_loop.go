package natsbus

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// loop is what the bus's goroutine has to itself.
type loop struct {
	*Bus
	w       *writer
	up      bool // as it was logged
	checked time.Time
}

// run is the bus's goroutine. It waits for nobody, so that it learns in time when
// the node is cut off; what may block is its writer's.
func (b *Bus) run(replies *nats.Subscription, m *membership) {
	defer close(b.done)
	ctx, cancel := context.WithCancel(context.Background())
	l := &loop{Bus: b, w: newWriter(ctx, b, m)}
	timer := time.NewTimer(0)
	closing := b.closing
	var closed <-chan time.Time
	for ended := false; !ended; {
		l.step(timer)
		select {
		case msg := <-b.in:
			l.take(msg)
		case m := <-b.joined:
			l.w.entered(m)
			b.mu.Lock()
			b.n.entered(time.Now(), m.id)
			b.mu.Unlock()
		case <-b.kick:
		case <-timer.C:
		case <-closing:
			closing = nil
			closed = time.After(closeGrace)
		case <-closed:
			ended = true
		}
		ended = ended || closing == nil && (l.idle() || !b.connected())
	}
	cancel()
	b.mu.Lock()
	b.n.cut("the bus is closed")
	b.mu.Unlock()
	l.step(timer)
	timer.Stop()
	l.w.end()
	_ = replies.Unsubscribe()
	if b.connected() {
		_ = b.cfg.Conn.FlushTimeout(b.cfg.settings().timeout()) // the last words
	}
}

func (b *Bus) connected() bool { return b.cfg.Conn.Status() == nats.CONNECTED }

// step has carried out what the node wants.
func (l *loop) step(timer *time.Timer) {
	now := time.Now()
	lost := false
	if now.Sub(l.checked) > l.cfg.settings().timeout() {
		l.checked = now
		lost = l.w.lost()
	}
	l.mu.Lock()
	if lost {
		l.n.cut("messages of other nodes were lost, for there were too many")
	}
	l.n.handleTimeout(now)
	var effects []effect
	for e, ok := l.n.pollEffect(); ok; e, ok = l.n.pollEffect() {
		effects = append(effects, e)
	}
	next := l.n.nextTimeout()
	var wake func()
	if l.n.arrived.Len() > 0 && !l.woken && l.wake != nil {
		l.woken, wake = true, l.wake
	}
	l.tell()
	l.mu.Unlock()
	if wake != nil {
		wake()
	}
	l.w.push(effects)
	if next.IsZero() {
		timer.Stop()
	} else {
		timer.Reset(time.Until(next))
	}
}

// tell logs what has changed. The lock is held.
func (l *loop) tell() {
	up := l.n.state == stateUp
	switch {
	case up && !l.up:
		select {
		case <-l.ready:
		default:
			close(l.ready)
		}
		l.log.Infof("joined as node %s", l.n.id)
	case !up && l.up:
		l.log.Warnf("cut off from the other nodes: %s", l.n.reason)
	}
	l.up = up
}

// take takes in what NATS has, as much as there is.
func (l *loop) take(msg *nats.Msg) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for range 256 {
		if id, ok := l.names.request(msg); !ok {
			l.n.takeBatch(now, msg.Data, msg.Reply)
		} else if c, ok := l.n.calls[id]; ok {
			l.n.settle(now, id, readReply(c.op, msg))
		}
		select {
		case msg = <-l.in:
		default:
			return
		}
	}
}

// idle reports whether nothing waits for other nodes.
func (l *loop) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.n.lanes) == 0
}
