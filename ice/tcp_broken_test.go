package ice_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
)

// Where the connection in use breaks, whoever has opened it opens another; a check comes
// before data (RFC 6544 section 11.1).
func TestBrokenConnectionIsReopened(t *testing.T) {
	for name, why := range map[string]error{"in order": nil, "reset": errors.New("reset")} {
		t.Run(name, func(t *testing.T) {
			l := active(t)
			broken := l.m.Selected(l.id).Route.Stream
			checks := len(l.requests(peerAt))
			l.hangUp(broken, why)
			if err := l.send("x"); !errors.Is(err, ice.ErrNoPair) || l.state() != ice.Checking {
				t.Errorf("%v, sending: %v", l.state(), err)
			}
			l.run(3 * l.delay)
			if err := l.send("x"); !errors.Is(err, ice.ErrNoPair) || len(l.requests(peerAt)) != checks+1 {
				t.Errorf("sending before a check: %v, %d checks", err, len(l.requests(peerAt))-checks)
			}
			l.until(time.Second, ice.Completed)
			if s := l.m.Selected(l.id).Route.Stream; s == broken || l.send("x") != nil {
				t.Errorf("stream %d and before %d", s, broken)
			}
			if len(l.nominations()) != 1 {
				t.Error("nominated again")
			}
		})
	}
}

// If it cannot be opened, it is tried again, ever more rarely, until consent ends.
func TestBrokenConnectionThatCannotBeReopened(t *testing.T) {
	l := active(t)
	dials := len(l.ops(machine.Dial))
	delete(l.hosts, peerAt)
	broke := l.elapsed()
	l.hangUp(l.m.Selected(l.id).Route.Stream, errors.New("reset"))
	l.until(time.Minute, ice.Failed)
	if got := l.elapsed() - broke; got < 29*time.Second || got > 30*time.Second {
		t.Errorf("given up after %v", got)
	}
	if err := l.failure(); !errors.Is(err, ice.ErrConsent) {
		t.Error(err)
	}
	if n := len(l.ops(machine.Dial)) - dials; n < 25 || n > 40 {
		t.Errorf("dialled %d times", n)
	}
	l.run(time.Minute)
	if n := len(l.ops(machine.Dial)) - dials; n > 40 {
		t.Errorf("dialled %d times", n)
	}
}

// The side that was dialled waits for another connection, which may come from any port,
// and checks it; the nomination stays in force.
func TestBrokenConnectionIsAwaited(t *testing.T) {
	l, id := passive(t)
	l.hangUp(id, errors.New("reset"))
	if err := l.send("x"); !errors.Is(err, ice.ErrNoPair) || l.state() != ice.Checking {
		t.Errorf("%v, sending: %v", l.state(), err)
	}
	l.run(5 * time.Second)
	again := netip.AddrPortFrom(peerAt.Addr(), 61002)
	l.hosts[again] = answering
	id = l.accept(again, ours)
	l.frame(id, l.request())
	if err := l.send("x"); !errors.Is(err, ice.ErrNoPair) {
		t.Errorf("sending before our check was answered: %v", err)
	}
	l.until(time.Second, ice.Completed)
	if p := l.m.Selected(l.id); p.Route.Stream != id || p.Route.Remote != again || !p.Nominated || len(l.m.Pairs(l.id)) != 1 {
		t.Errorf("%+v\n%v", p, l.story())
	}
	l.run(time.Minute)
	if l.state() != ice.Completed {
		t.Error(l.state())
	}
	broke := l.elapsed()
	l.hangUp(id, nil)
	l.until(time.Minute, ice.Failed) // nobody comes
	if got := l.elapsed() - broke; got < 20*time.Second || got > 30*time.Second {
		t.Errorf("waited for %v, want as long as there would be consent", got)
	}
}

// Another host that dials when the connection broke does not inherit the nomination.
func TestBrokenConnectionIsNotTakenOver(t *testing.T) {
	l, id := passive(t)
	l.hangUp(id, nil)
	l.hosts[peerAt2] = answering
	id = l.accept(peerAt2, ours)
	l.frame(id, l.request())
	l.run(time.Second)
	if p := l.pair(peerAt2); p.Nominated {
		t.Error("nominated, though the peer did not")
	}
}

// A connection on which the peer does not answer any more, as after a NAT has forgotten it,
// is replaced by another, before consent ends.
func TestSilentConnectionIsReplaced(t *testing.T) {
	l := active(t)
	stuck := l.m.Selected(l.id).Route.Stream
	l.hosts[peerAt] = func(l *lab, s sent) {
		if s.stream != stuck {
			answering(l, s)
		}
	}
	began := l.elapsed()
	replaced := func() bool { return l.state() == ice.Completed && l.m.Selected(l.id).Route.Stream != stuck }
	if !l.runUntil(20*time.Second, replaced) || l.elapsed()-began < 4*time.Second {
		t.Fatalf("%v after %v\n%v", l.state(), l.elapsed()-began, l.story())
	}
	if l.streams[stuck] != nil || len(l.streams) != 1 {
		t.Errorf("%d connections", len(l.streams))
	}
}

// The side that was dialled takes the new connection in place of the one on which the peer
// has left a check unanswered, and of no other.
func TestSilentConnectionIsReplacedByThePeer(t *testing.T) {
	for _, silent := range []bool{true, false} {
		l, stuck := passive(t)
		if silent {
			delete(l.hosts, l.streams[stuck].remote)
		}
		l.run(7 * time.Second)
		again := netip.AddrPortFrom(peerAt.Addr(), 61002)
		l.hosts[again] = answering
		id := l.accept(again, ours)
		l.frame(id, l.request())
		l.run(time.Second)
		if got := l.m.Selected(l.id).Route.Stream; (got == id) != silent || (l.streams[stuck] == nil) != silent || l.state() != ice.Completed {
			t.Errorf("silent %v: by stream %d, %v", silent, got, l.state())
		}
	}
}
