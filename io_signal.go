package bradawl

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Times of the signalling.
const (
	signOnLeast = 500 * time.Millisecond
	signOnMost  = 30 * time.Second
	// Two sessions of one identity take each other's place at each sign-on.
	replacedLeast = 30 * time.Second
	replacedMost  = 10 * time.Minute
	sendTimeout   = 10 * time.Second
	farewellFor   = 500 * time.Millisecond
)

// undeliverable is an error of Signals.Receive that is about one peer: a message to it was
// not delivered. The connection goes on.
type undeliverable interface {
	error
	Undeliverable() (peer PeerID, ok bool)
}

// signOn keeps the session signed on, with full jitter between the tries, so that a crowd
// does not come back at once.
func (s *Session) signOn() {
	wait, contended := signOnLeast, replacedLeast
	for s.ctx.Err() == nil {
		began := time.Now()
		network := s.servers.network()
		err := s.signOnOnce(network)
		if s.ctx.Err() != nil {
			return
		}
		if time.Since(began) > 2*replacedMost {
			contended = replacedLeast
		}
		if other := replacement(nil); errors.As(err, &other) && other.Replaced() {
			pause := contended/2 + time.Duration(rand.Int64N(int64(contended/2)))
			contended = min(2*contended, replacedMost)
			if !s.giveWay(err, pause) {
				return
			}
			continue
		}
		s.log.Debugf("signalling: %v", err)
		s.loop.Post(func(time.Time) { s.c.signedOff(err) })
		s.publish(Event{Kind: EventSignalDown, At: time.Now(), Err: err})
		if time.Since(began) > signOnMost {
			wait = signOnLeast
		}
		if !errors.Is(err, errCutOff) {
			network = s.servers.network()
		}
		if !s.servers.pause(network, time.Duration(rand.Int64N(int64(wait)))) {
			return
		}
		wait = longer(network, wait, signOnLeast, signOnMost)
	}
}

// replacedError is ErrReplaced with what the Signaler said, which need not be said twice.
type replacedError struct{ cause error }

func (replacedError) Error() string     { return ErrReplaced.Error() }
func (e replacedError) Unwrap() []error { return []error{ErrReplaced, e.cause} }

// giveWay leaves the place at the signalling to another session of the same identity for d, be the
// network another meanwhile; false: the session has ended.
func (s *Session) giveWay(err error, d time.Duration) bool {
	err = replacedError{err}
	s.log.Warnf("signalling: %v; signing on again in %v", err, d.Round(time.Second))
	s.loop.Post(func(time.Time) { s.c.signedOff(err) })
	s.publish(Event{Kind: EventSignalDown, At: time.Now(), Err: err, Reason: "signing on again in " + d.Round(time.Second).String()})
	return s.servers.pause(nil, d)
}

// errCutOff is what becomes of a try to sign on by a network that the host leaves meanwhile.
var errCutOff = errors.New("the network changed while signing on")

// signOnOnce signs on, and serves the connection until it ends. What has begun in a network that
// the host has left is given up, for the system would wait minutes for an answer. A Signaler
// may bind the connection to the context: once there is one, it ends with the session alone.
func (s *Session) signOnOnce(network <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	done, watched := make(chan struct{}), make(chan struct{})
	s.wg.Go(func() {
		defer close(watched)
		select {
		case <-network:
			cancel(errCutOff)
		case <-done:
		}
	})
	signals, err := s.cfg.Signaler.SignOn(ctx, s.cfg.Identity)
	close(done)
	<-watched
	switch {
	case err == nil:
		return s.serve(signals)
	case context.Cause(ctx) == errCutOff:
		return errCutOff
	}
	return err
}

// serve moves messages until the connection ends.
func (s *Session) serve(signals Signals) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.setSignals(signals)
	defer s.setSignals(nil)
	s.publish(Event{Kind: EventSignalUp, At: time.Now()})
	s.servers.listed(signals)
	s.loop.Post(s.c.signedOn)
	done := make(chan struct{})
	s.wg.Go(func() {
		defer close(done)
		s.sendAll(ctx, signals)
	})
	defer func() {
		cancel()
		_ = signals.Close()
		<-done
	}()
	for {
		from, message, err := signals.Receive(ctx)
		var one undeliverable
		switch {
		case err == nil:
			s.loop.Post(func(now time.Time) { s.c.signal(now, from, message) })
		case errors.As(err, &one):
			peer, ok := one.Undeliverable()
			if !ok {
				return err
			}
			s.loop.Post(func(now time.Time) { s.c.undeliverable(now, peer, err) })
		default:
			return err
		}
	}
}

// sendAll sends what the control wants sent. One peer at a time that cannot be reached
// holds up the others for sendTimeout at most.
func (s *Session) sendAll(ctx context.Context, signals Signals) {
	for {
		select {
		case m := <-s.outgoing:
			if m.left != nil {
				close(m.left)
				continue
			}
			once, cancel := context.WithTimeout(ctx, sendTimeout)
			err := signals.Send(once, m.to, m.message)
			cancel()
			var one undeliverable
			if errors.As(err, &one) {
				if peer, ok := one.Undeliverable(); ok {
					s.loop.Post(func(now time.Time) { s.c.undeliverable(now, peer, err) })
				}
			} else if err != nil {
				s.log.Debugf("signalling to %s: %v", m.to.Short(), err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Session) setSignals(signals Signals) {
	s.info.Lock()
	defer s.info.Unlock()
	s.signals = signals
}

// farewell gives what was said at the end a moment to leave.
func (s *Session) farewell() {
	if s.Signals() == nil {
		return
	}
	left := make(chan struct{})
	limit := time.After(farewellFor)
	select {
	case s.outgoing <- outgoing{left: left}:
	case <-limit:
		return
	}
	select {
	case <-left:
	case <-limit:
	}
}
