package natsbus

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// membership is what a node has at NATS under one ID.
type membership struct {
	id      nodeID
	asked   *nats.Subscription
	signOns jetstream.ConsumeContext
}

// end gives it up and returns when nothing comes of it any more.
func (m *membership) end() {
	if m == nil {
		return
	}
	_ = m.asked.Unsubscribe() // fails where the connection is closed, and then there is none
	m.signOns.Stop()
	<-m.signOns.Closed()
}

const (
	// signOnsKept is how long a sign-on stays in its stream. A node that falls
	// behind by more has been cut off long ago.
	signOnsKept = 5 * time.Minute
	// signOnsTold is how long NATS recognises one that is sent again.
	signOnsTold = 2 * time.Minute

	leastJoinPause = 100 * time.Millisecond
	mostJoinPause  = 2 * time.Second
)

// join makes a membership, over and over until there is one, ctx ends, or goOn says
// no to what went wrong.
func (b *Bus) join(ctx context.Context, goOn func(error) bool) (*membership, error) {
	for wait := leastJoinPause; ; wait = min(2*wait, mostJoinPause) {
		limit, cancel := context.WithTimeout(ctx, max(b.cfg.Patience, 2*time.Second))
		m, err := b.tryJoin(limit)
		cancel()
		if err == nil {
			return m, nil
		}
		err = &OpError{Op: "join", Err: err}
		if !goOn(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// passing reports whether an error is one that passes: that of a cluster which has
// no leader yet, or too few servers for the replicas.
func passing(err error) bool {
	const noPeers = 10005 // in the server's list of errors; jetstream has no name for it
	api := (*jetstream.APIError)(nil)
	return errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &api) && (api.Code == 503 || api.ErrorCode == noPeers)
}

func (b *Bus) tryJoin(ctx context.Context) (*membership, error) {
	js, err := jetstream.New(b.cfg.Conn, jetstream.WithDefaultTimeout(2*b.cfg.settings().timeout()))
	if err != nil {
		return nil, err
	}
	if _, err = b.stream(ctx, js, jetstream.StreamConfig{
		Name: b.names.store(), Subjects: []string{b.names.storeSubjects()}, Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas,
		Description: "bradawl rendezvous: homes of rooms and leases of nodes", MaxMsgsPerSubject: 1, AllowMsgTTL: true, AllowDirect: true,
	}); err != nil {
		return nil, err
	}
	signOns, err := b.stream(ctx, js, jetstream.StreamConfig{
		Name: b.names.signOns(), Subjects: []string{b.names.signOnSubject()}, Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas,
		Description: "bradawl rendezvous: sign-ons in their order", MaxAge: signOnsKept, Duplicates: signOnsTold,
	})
	if err != nil {
		return nil, err
	}
	m := new(membership)
	if _, err := crand.Read(m.id[:]); err != nil {
		return nil, err
	}
	// From a number and not from "new": the consumer may have to be made anew before
	// the first sign-on comes.
	consumer, err := js.OrderedConsumer(ctx, b.names.signOns(), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: signOns.CachedInfo().State.LastSeq + 1,
	})
	if err != nil {
		return nil, err
	}
	if m.asked, err = b.cfg.Conn.ChanSubscribe(b.names.node(m.id), b.in); err != nil {
		return nil, err
	}
	heartbeat := max(b.cfg.Patience/4, 500*time.Millisecond)
	m.signOns, err = consumer.Consume(func(msg jetstream.Msg) { b.signOn(m.id, msg) }, jetstream.PullExpiry(4*heartbeat), jetstream.PullHeartbeat(heartbeat))
	if err == nil {
		err = b.cfg.Conn.FlushWithContext(ctx) // others may ask from now on
	}
	if err != nil {
		_ = m.asked.Unsubscribe()
		if m.signOns != nil {
			m.signOns.Stop()
		}
		return nil, err
	}
	return m, nil
}

// stream opens a stream, and makes it if there is none.
func (b *Bus) stream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, &OpError{Op: "open the stream " + want.Name, Err: err}
	}
	got := s.CachedInfo().Config
	switch {
	case want.AllowMsgTTL && !got.AllowMsgTTL:
		err = errors.New("its messages cannot have a lifetime; use nats-server 2.11 or newer, and delete the stream if an older one has made it")
	case want.AllowDirect && !got.AllowDirect, want.MaxMsgsPerSubject == 1 && got.MaxMsgsPerSubject != 1,
		len(got.Subjects) != 1 || got.Subjects[0] != want.Subjects[0]:
		err = fmt.Errorf("somebody has made it otherwise; delete it, or give another Prefix than %q", b.cfg.Prefix)
	}
	if err != nil {
		return nil, &OpError{Op: "open the stream " + want.Name, Err: err}
	}
	return s, nil
}
