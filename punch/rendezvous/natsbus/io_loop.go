package natsbus

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/bradawl/bradawl/internal/ident"
)

// loop is what the bus's goroutine has to itself.
type loop struct {
	*Bus
	member  *membership // nil: none
	peers   map[ident.PeerID]*nats.Subscription
	joining sync.WaitGroup
	up      bool // as it was logged
	checked time.Time
}

// run is the bus's goroutine. It alone writes to NATS, which may block; nobody who
// calls the bus waits for that.
func (b *Bus) run(replies *nats.Subscription, m *membership) {
	defer close(b.done)
	l := &loop{Bus: b, member: m, peers: make(map[ident.PeerID]*nats.Subscription)}
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.NewTimer(0)
	closing := b.closing
	var closed <-chan time.Time
	for ended := false; !ended; {
		l.step(ctx, timer)
		select {
		case msg := <-b.in:
			l.take(msg)
		case m := <-b.joined:
			l.member = m
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
	l.step(ctx, timer)
	timer.Stop()
	go func() { // a join may be about to hand over what it has
		l.joining.Wait()
		close(b.joined)
	}()
	for m := range b.joined {
		m.end()
	}
	_ = replies.Unsubscribe()
	for _, s := range l.peers {
		_ = s.Unsubscribe()
	}
	if b.connected() {
		_ = b.cfg.Conn.FlushTimeout(b.cfg.settings().timeout()) // the last words
	}
}

func (b *Bus) connected() bool { return b.cfg.Conn.Status() == nats.CONNECTED }

// step carries out what the node wants. When ctx has ended it joins no more.
func (l *loop) step(ctx context.Context, timer *time.Timer) {
	now := time.Now()
	l.mu.Lock()
	if now.Sub(l.checked) > l.cfg.Patience/4 {
		l.checked = now
		l.lost()
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
	for _, e := range effects {
		l.do(ctx, e)
	}
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

// lost cuts the node off if NATS had more for it than it could take. The lock is
// held.
func (l *loop) lost() {
	for _, s := range l.peers {
		if dropped, err := s.Dropped(); err == nil && dropped > 0 {
			l.n.cut("messages of other nodes were lost, for there were too many")
			return
		}
	}
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

// do carries out one effect. Errors need no answer: what has not gone out is not
// answered either, and tried again.
func (l *loop) do(ctx context.Context, e effect) {
	switch e.op {
	case opSubscribe:
		s, err := l.cfg.Conn.ChanSubscribe(l.names.peer(e.peer), l.in)
		if err != nil { // the connection is closed for good
			l.log.Errorf("subscribe: %v", err)
			return
		}
		l.peers[e.peer] = s
	case opUnsubscribe:
		if s := l.peers[e.peer]; s != nil {
			_ = s.Unsubscribe()
			delete(l.peers, e.peer)
		}
	case opPart:
		m := l.member
		l.member = nil
		l.joining.Go(m.end) // while NATS is away that may take some seconds
	case opJoin:
		if ctx.Err() != nil {
			return
		}
		l.joining.Go(func() {
			m, err := l.join(ctx, func(err error) bool {
				l.log.Warn(err.Error())
				return ctx.Err() == nil
			})
			if err == nil {
				l.joined <- m // run takes it to the last
			}
		})
	default:
		if err := l.cfg.Conn.PublishMsg(l.names.message(e)); err != nil {
			l.log.Debugf("publish: %v", err)
		}
	}
}
