package bradawl

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// TestPeerStartedAnewUndialled: whoever does not dial learns that the peer's program was started
// anew when no path answers any more, also where the signalling works again later.
func TestPeerStartedAnewUndialled(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		name  string
		every time.Duration // data leaves
		away  time.Duration // the signalling is
		limit time.Duration
	}{
		{"in use", chatEvery, 0, 10 * time.Second},
		{"idle", 0, 0, 35 * time.Second},
		{"idle, and the rendezvous away for a minute", 0, time.Minute, time.Second},
	} {
		told := &figure{name: "told", limit: r.limit}
		for seed := range faults() {
			w := newWorld(t, seed+1, "", "", cones...)
			w.connect(PathDirect)
			a, b := w.peers[0], w.peers[1]
			w.ride(a, b)
			w.Run(time.Minute + time.Duration(seed)*time.Second)
			var talk func()
			talk = func() {
				a.do(func(now time.Time) { _ = a.send(now, a.conn, []byte("hello")) })
				if len(a.over) == 0 {
					w.After(r.every, talk)
				}
			}
			if r.every > 0 {
				talk()
				w.Run(10 * time.Second)
			}
			b.restart()
			if r.away > 0 {
				w.setDown(true)
				w.Run(r.away)
				if len(a.over) != 0 {
					w.fail("%s: over without a word of the peer: %v", r.name, a.over)
				}
				w.setDown(false)
			}
			began := w.Now()
			if !w.RunUntil(time.Minute, func() bool { return len(a.over) == 2 }) || !errors.Is(a.over[0], ErrPeerRestarted) || !errors.Is(a.over[1], ErrPeerRestarted) {
				w.fail("%s: %v", r.name, a.over)
			}
			told.add(w.Now().Sub(began))
			if len(b.conns) != 0 || len(b.events) != 0 {
				w.fail("%s: the peer has %d connections, and events %v", r.name, len(b.conns), b.events)
			}
		}
		report(t, "the peer is started anew", r.name, told)
	}
}

// TestStraysAreFew: whoever makes up messages of connections gets few and short answers, which
// end nothing.
func TestStraysAreFew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	answers, longest := 0, 0
	w.carry = func(from, _ *simPeer, message []byte) bool {
		if from == b && message[0] == msgOffer {
			answers, longest = answers+1, max(longest, len(message))
		}
		return true
	}
	random := w.Rand("indexes")
	w.unmoved(a, "made up messages", func() {
		for range 1000 {
			b.do(func(now time.Time) {
				b.signal(now, a.id.ID(), wrap(msgSealed, random.Uint32()&(1<<24-1), make([]byte, 64)))
			})
			w.Run(time.Millisecond)
		}
	})
	if answers < 5 || answers > 6 || longest > 250 {
		w.fail("%d answers within a second, of up to %d bytes", answers, longest)
	}
	if n := len(a.standing()); n != 1 {
		w.fail("%d connections stand", n)
	}
}

// TestNoStrayAfterClose: the last words of a connection may come when it has ended.
func TestNoStrayAfterClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	a, b := w.peers[0], w.peers[1]
	for range maxEnded + 2 {
		w.connect(PathDirect)
		said, offers := 0, 0
		w.carry = func(from, to *simPeer, message []byte) bool {
			if message[0] == msgOffer {
				offers++
				return true
			}
			said++
			message = slices.Clone(message)
			w.After(time.Second, func() { to.do(func(now time.Time) { to.signal(now, from.id.ID(), message) }) })
			return false
		}
		a.do(func(now time.Time) { a.close(now, a.conn) })
		w.Run(2 * time.Second)
		if len(b.conns) != 0 || said == 0 || offers != 0 {
			w.fail("%d connections, %d offers to %d messages", len(b.conns), offers, said)
		}
		w.carry = nil
	}
	if n := len(b.ended); n != maxEnded {
		w.fail("%d connections are remembered that are over", n)
	}
}

// TestHandedOver: a connection that works outlives that another program has taken over the
// peer's identity, and ends when it works no more. Neither others nor a recorded message can
// end it.
func TestHandedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	says := func(from *Identity, boot uint64, stamp time.Time) {
		message := w.offerOf(from, a, hello{Boot: boot, Stamp: uint64(stamp.UnixNano()), Refused: "no such connection"})
		a.do(func(now time.Time) { a.signal(now, b.id.ID(), message) })
		w.Run(time.Second)
	}
	early := w.Now().Add(-time.Hour)
	stand := func(what string) {
		t.Helper()
		if len(a.over) != 0 || len(a.conns) != 1 {
			w.fail("%s: %v, %d connections", what, a.over, len(a.conns))
		}
	}
	says(b.id, b.boot+1, w.Now())
	stand("while it works")
	w.talk(a.conn, b.conn)

	b.runner.Close()
	w.setDown(true) // or the program that is gone would be said to be
	if !w.RunUntil(time.Minute, func() bool { return a.conns[a.conn].state == lost }) {
		w.fail("not lost")
	}
	says(w.eve(), b.boot+1, w.Now())
	stand("another says it")
	says(b.id, b.boot+1, early)
	stand("it was said before")
	says(b.id, b.boot, w.Now())
	stand("the same run says it")
	says(b.id, b.boot+1, w.Now())
	if len(a.over) != 1 || !errors.Is(a.over[0], ErrPeerRestarted) {
		w.fail("%v", a.over)
	}
}
