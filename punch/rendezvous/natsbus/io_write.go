package natsbus

import (
	"context"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/bradawl/bradawl/internal/ident"
)

// writer carries out effects on a goroutine of its own, for what goes to NATS waits
// where the connection stalls.
type writer struct {
	*Bus
	ctx     context.Context // ends when nothing is to be joined any more
	joining sync.WaitGroup
	ended   chan struct{}

	wmu    sync.Mutex
	queue  []effect
	bytes  int
	stop   bool
	member *membership // nil: none
	peers  map[ident.PeerID]*nats.Subscription
	ready  chan struct{} // capacity 1
}

func newWriter(ctx context.Context, b *Bus, m *membership) *writer {
	w := &writer{
		Bus: b, ctx: ctx, member: m, ended: make(chan struct{}),
		peers: make(map[ident.PeerID]*nats.Subscription), ready: make(chan struct{}, 1),
	}
	go w.run()
	return w
}

// lasting reports whether e must be carried out, however late; all else is tried
// again by who wants it.
func lasting(e effect) bool { return e.op <= opUnsubscribe || e.op == opPut && e.id == 0 }

// push queues effects. Where the connection stalls, what would only have to wait is
// dropped beyond the bound of queues, and when the node is cut off.
func (w *writer) push(effects []effect) {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	for _, e := range effects {
		if e.op == opPart {
			w.queue = slices.DeleteFunc(w.queue, func(e effect) bool { return !lasting(e) })
			w.bytes = 0
		}
		if !lasting(e) {
			if w.bytes > w.cfg.QueueBytes {
				continue
			}
			w.bytes += len(e.data) + 200
		}
		w.queue = append(w.queue, e)
	}
	w.signal()
}

func (w *writer) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// entered takes over a new membership.
func (w *writer) entered(m *membership) {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	w.member = m
}

// lost reports whether NATS had more for the node than the bus could take.
func (w *writer) lost() bool {
	w.wmu.Lock()
	defer w.wmu.Unlock()
	for _, s := range w.peers {
		if dropped, err := s.Dropped(); err == nil && dropped > 0 {
			return true
		}
	}
	return false
}

// end carries out what is left, and returns when nothing of the writer's is left.
func (w *writer) end() {
	w.wmu.Lock()
	w.stop = true
	w.signal()
	w.wmu.Unlock()
	<-w.ended
	go func() { // a join may be about to hand over what it has
		w.joining.Wait()
		close(w.joined)
	}()
	for m := range w.joined {
		m.end()
	}
	for _, s := range w.peers {
		_ = s.Unsubscribe()
	}
}

func (w *writer) run() {
	defer close(w.ended)
	for range w.ready {
		for {
			w.wmu.Lock()
			if len(w.queue) == 0 {
				stop := w.stop
				w.queue = nil
				w.wmu.Unlock()
				if stop {
					return
				}
				break
			}
			e := w.queue[0]
			w.queue[0] = effect{}
			w.queue = w.queue[1:]
			if !lasting(e) {
				w.bytes = max(0, w.bytes-len(e.data)-200)
			}
			w.wmu.Unlock()
			w.do(e)
		}
	}
}

// do carries out one effect. Errors need no answer: what has not gone out is not
// answered either, and tried again.
func (w *writer) do(e effect) {
	switch e.op {
	case opSubscribe:
		s, err := w.cfg.Conn.ChanSubscribe(w.names.peer(e.peer), w.in)
		if err != nil { // the connection is closed for good
			w.log.Errorf("subscribe: %v", err)
			return
		}
		w.wmu.Lock()
		w.peers[e.peer] = s
		w.wmu.Unlock()
	case opUnsubscribe:
		w.wmu.Lock()
		s := w.peers[e.peer]
		delete(w.peers, e.peer)
		w.wmu.Unlock()
		if s != nil {
			_ = s.Unsubscribe()
		}
	case opPart:
		w.wmu.Lock()
		m := w.member
		w.member = nil
		w.wmu.Unlock()
		w.joining.Go(m.end) // while NATS is away that may take some seconds
	case opJoin:
		if w.ctx.Err() != nil {
			return
		}
		w.joining.Go(func() {
			m, err := w.join(w.ctx, func(err error) bool {
				w.log.Warn(err.Error())
				return w.ctx.Err() == nil
			})
			if err == nil {
				w.joined <- m // run takes it to the last
			}
		})
	default:
		if err := w.cfg.Conn.PublishMsg(w.names.message(e)); err != nil {
			w.log.Debugf("publish: %v", err)
		}
	}
}
