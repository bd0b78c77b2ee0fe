package natsbus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// PublisherConfig is how a Publisher works, beside the Config.
type PublisherConfig struct {
	Config
	// Queue is how many events wait for NATS at most; what arrives when it is full is
	// dropped. 0: 10,000.
	Queue int
}

// Publisher puts events into the stream. All methods are safe for several goroutines.
type Publisher struct {
	cfg    PublisherConfig
	js     jetstream.JetStream
	queue  chan stats.Event
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.RWMutex // guards the queue's end
	closed bool

	published, dropped, invalid, retried atomic.Uint64
	pending                              atomic.Int64
}

// PublisherStats is what became of the events given to a Publisher.
type PublisherStats struct {
	Published uint64 // NATS has them
	Dropped   uint64 // the queue was full, or Close had no time for them
	Invalid   uint64 // stats.Event.Validate refuses them
	Waiting   uint64 // in the queue, or on their way
	Retried   uint64 // how often one was published again, because NATS did not say that it has it
}

const (
	batch    = 256             // events under way at a time
	patience = 2 * time.Second // with an answer
	pause    = 100 * time.Millisecond
	mostWait = 5 * time.Second
)

// NewPublisher returns a Publisher, and makes the stream if it is not there. The error is a
// *ConfigError or that of NATS. Close it.
func NewPublisher(ctx context.Context, cfg PublisherConfig) (*Publisher, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Queue < 0 {
		return nil, &ConfigError{"Queue", fmt.Sprintf("%d is out of range; give a number of events, or 0 for 10000", cfg.Queue)}
	}
	if cfg.Queue == 0 {
		cfg.Queue = 10_000
	}
	s, err := cfg.open(ctx)
	if err != nil {
		return nil, err
	}
	p := &Publisher{cfg: cfg, js: s.js, queue: make(chan stats.Event, cfg.Queue), done: make(chan struct{})}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	go p.run(run)
	return p, nil
}

// Record takes an event; it does not block, and fits as a session's Config.Record.
func (p *Publisher) Record(e stats.Event) {
	if e.Validate() != nil {
		p.invalid.Add(1)
		return
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		p.dropped.Add(1)
		return
	}
	p.pending.Add(1)
	select {
	case p.queue <- e:
	default:
		p.pending.Add(-1)
		p.dropped.Add(1)
	}
}

// Stats returns what became of the events so far.
func (p *Publisher) Stats() PublisherStats {
	return PublisherStats{
		Published: p.published.Load(), Dropped: p.dropped.Load(), Invalid: p.invalid.Load(), Waiting: uint64(max(0, p.pending.Load())),
		Retried: p.retried.Load(),
	}
}

// Close publishes what waits, as long as ctx allows, and ends the Publisher. The error says
// how many events were dropped because there was no time.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	if first {
		close(p.queue)
	}
	p.mu.Unlock()
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	p.cancel()
	<-p.done
	if left := p.pending.Swap(0); left > 0 {
		p.dropped.Add(uint64(left))
		return fmt.Errorf("natsbus: closing: %d events were dropped: %w", left, context.Cause(ctx))
	}
	return nil
}

func (p *Publisher) run(ctx context.Context) {
	defer close(p.done)
	var events []stats.Event
	for {
		var e stats.Event
		var ok bool
		select {
		case e, ok = <-p.queue:
		case <-ctx.Done():
		}
		if !ok {
			return
		}
		events = append(events[:0], e)
		for more := true; more && len(events) < batch; {
			select {
			case e, ok := <-p.queue:
				if more = ok; ok {
					events = append(events, e)
				}
			default:
				more = false
			}
		}
		wait := pause
		for rest := p.publish(ctx, events); len(rest) > 0; rest = p.publish(ctx, rest) {
			p.retried.Add(uint64(len(rest)))
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
				wait = min(2*wait, mostWait)
			}
		}
	}
}

// publish puts events into the stream and returns those that NATS did not say it has.
func (p *Publisher) publish(ctx context.Context, events []stats.Event) (rest []stats.Event) {
	acks := make([]jetstream.PubAckFuture, len(events))
	for i, e := range events {
		data, err := e.MarshalBinary()
		if err != nil {
			continue // it was valid when it came
		}
		acks[i], _ = p.js.PublishMsgAsync(&nats.Msg{
			Subject: p.cfg.subject(p.cfg.shardOf(e.Session)), Data: data, Header: nats.Header{jetstream.MsgIDHeader: {e.ID.String()}},
		}, jetstream.WithRetryAttempts(0))
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i, ack := range acks {
		ok := false
		if ack != nil {
			select {
			case <-ack.Ok():
				ok = true
			case <-ack.Err():
			case <-wait.Done():
			}
		}
		if ok {
			p.published.Add(1)
			p.pending.Add(-1)
		} else {
			rest = append(rest, events[i])
		}
	}
	return rest
}
