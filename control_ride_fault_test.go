package bradawl

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// TestFurtherDialOfOneStartedAnew: a peer that knows nothing of the link any more is dialled
// as if there had been none.
func TestFurtherDialOfOneStartedAnew(t *testing.T) {
	t.Parallel()
	took := &figure{name: "connected", limit: 800 * time.Millisecond}
	for seed := range faults() {
		w := newWorld(t, seed+1, "", "", cones...)
		w.connect(PathDirect)
		a, b := w.peers[0], w.peers[1]
		w.ride(a, b)
		w.Run(time.Minute)
		b.restart()
		w.Run(time.Second) // A has not noticed
		began := w.Now()
		number := a.dialTo(b)
		if !a.conns[number].rides {
			w.fail("the link is known to be dead")
		}
		if !w.RunUntil(10*time.Second, func() bool { return slices.Contains(a.conns2, number) }) {
			w.fail("not connected: %v", a.over)
		}
		took.add(w.Now().Sub(began))
		w.Run(time.Second)
		if len(a.over) != 2 || !errors.Is(a.over[0], ErrPeerRestarted) || !errors.Is(a.over[1], ErrPeerRestarted) || len(a.links) != 1 {
			w.fail("%v; %d links", a.over, len(a.links))
		}
		w.talk(number, b.conn)
		if e, _ := a.explain(a.now, number); e.Shared != 0 || !strings.Contains(e.String(), "the peer knows nothing of the paths") {
			w.fail("not explained")
		}
	}
	report(t, "dial of a peer started anew", "", took)
}

// TestFurtherDialAsTheLastIsClosed: at whatever time the peer closes the last connection
// before, a dial comes to something.
func TestFurtherDialAsTheLastIsClosed(t *testing.T) {
	t.Parallel()
	for at := -20; at <= 20; at++ {
		w := newWorld(t, 1, "", "", cones...)
		w.connect(PathDirect)
		a, b := w.peers[0], w.peers[1]
		last := a.conn
		closes := func() { a.do(func(now time.Time) { a.close(now, last) }) }
		var number uint32
		if at < 0 {
			closes()
			w.Run(time.Duration(-at) * 7 * time.Millisecond)
			number = b.dialTo(a)
		} else {
			number = b.dialTo(a)
			w.Run(time.Duration(at) * 7 * time.Millisecond)
			closes()
		}
		w.Run(2 * time.Second)
		if len(a.standing()) != 1 || !slices.Equal(b.standing(), []uint32{number}) {
			w.fail("%d: %v and %v stand; %v", at, a.standing(), b.standing(), b.over)
		}
		w.talk(a.conn, number)
	}
}

// TestFurtherDialsAtOnce: fifty dials at once through a network that loses and reorders each
// come to something.
func TestFurtherDialsAtOnce(t *testing.T) {
	t.Parallel()
	for seed := range faults() {
		w := newWorld(t, seed+1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
			o.access = simnet.Link{Delay: access, Jitter: 2 * access, Loss: 0.1, Duplicate: 0.1, Reorder: 0.25}
		}}, cones...)...)
		w.connect(PathDirect)
		const count = 50
		for i := range count {
			w.peers[i%2].dialTo(w.peers[1-i%2])
		}
		w.Run(10 * time.Second)
		for _, p := range w.peers {
			if len(p.standing()) != count+1 || len(p.conns) != count+1 || len(p.over) != 0 || len(p.links) != 1 {
				w.fail("%d connections stand of %d, %d links: %v", len(p.standing()), len(p.conns), len(p.links), p.over)
			}
		}
	}
}

// TestDialsBeforeTheFirst: dials that do not wait for the first one share its paths; if it
// comes to nothing, they look for themselves.
func TestDialsBeforeTheFirst(t *testing.T) {
	t.Parallel()
	for at := range 25 {
		w := newWorld(t, 1, "", "", cones...)
		w.Run(time.Second)
		a, b := w.peers[0], w.peers[1]
		first := a.dialTo(b)
		a.dialTo(b)
		w.Run(time.Duration(at) * 10 * time.Millisecond)
		a.dialTo(b)
		if at%2 == 1 {
			a.do(func(now time.Time) { a.close(now, first) }) // its user has given up
		}
		w.Run(3 * time.Second)
		want := 3 - at%2
		if len(a.standing()) != want || len(b.standing()) != want || len(a.conns) != want {
			w.fail("%d: %d and %d connections, want %d", at, len(a.standing()), len(b.standing()), want)
		}
		if at%2 == 0 && (len(a.links) != 1 || len(b.links) != 1) {
			w.fail("%d: %d and %d links", at, len(a.links), len(b.links))
		}
		w.Run(time.Minute)
		if len(b.conns) != want || len(a.links) != len(b.links) {
			w.fail("%d: %d connections are left, %d and %d links", at, len(b.conns), len(a.links), len(b.links))
		}
	}
	w := newWorld(t, 1, "", "", cones...)
	a, b := w.peers[0], w.peers[1]
	b.offline = true
	said := 0
	w.carry = func(from, to *simPeer, message []byte) bool { said++; return true }
	for range 3 {
		a.dialTo(b)
	}
	w.Run(time.Second)
	if len(a.over) != 3 || !errors.Is(a.over[2], ErrOffline) || len(a.links)+len(a.conns) != 0 || said != 1 {
		w.fail("%v; %d messages of the signalling", a.over, said)
	}
}

// TestManyDialsThatCross has both sides dial twice at once, at all times relative to each
// other: every dial gets a connection, and there is one link.
func TestManyDialsThatCross(t *testing.T) {
	t.Parallel()
	for _, first := range []int{0, 1} { // whichever has the greater ID
		for at := range 30 {
			w := newWorld(t, 1, "", "", cones...)
			w.Run(time.Second)
			a, b := w.peers[first], w.peers[1-first]
			dials := map[*simPeer][]uint32{a: {a.dialTo(b), a.dialTo(b)}}
			w.Run(time.Duration(at) * 10 * time.Millisecond)
			dials[b] = []uint32{b.dialTo(a), b.dialTo(a)}
			w.Run(5 * time.Second)
			for p, numbers := range dials {
				for _, number := range numbers {
					if !slices.Contains(p.standing(), number) {
						w.fail("%d ms: a dial has come to nothing: %v", 10*at, p.over)
					}
				}
			}
			if one, two := len(a.standing()), len(b.standing()); one != two || one < 3 || one > 4 || len(a.links) != 1 || len(b.links) != 1 {
				w.fail("%d ms: %d and %d connections, %d and %d links", 10*at, one, two, len(a.links), len(b.links))
			}
		}
	}
}

// TestFurtherDialByADeadPath: a dial finds out that the path is dead, though all has been
// quiet, and data flows as soon as there is another.
func TestFurtherDialByADeadPath(t *testing.T) {
	t.Parallel()
	for seed := range faults() {
		w := newWorld(t, seed+1, "", "", cones...)
		w.connect(PathDirect)
		a, b := w.peers[0], w.peers[1]
		w.Run(time.Minute)
		a.site.NAT.Reboot(time.Second)
		w.Run(1500 * time.Millisecond)
		number := a.dialTo(b)
		if !w.RunUntil(time.Second, func() bool { return slices.Contains(a.conns2, number) }) {
			w.fail("not connected: %v", a.over)
		}
		if !w.RunUntil(5*time.Second, func() bool { return len(b.conns2) == 2 }) {
			w.fail("not accepted: %v", b.over)
		}
		w.Run(4 * time.Second) // the other side finds out by itself
		w.talk(number, b.conn)
		if len(a.links) != 1 || len(b.links) != 1 {
			w.fail("%d and %d links", len(a.links), len(b.links))
		}
	}
}
