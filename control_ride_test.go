package bradawl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/wire"
)

// ride has one side dial the other, which it is connected to, and returns how long it took
// both to have the connection, and its numbers, those of the first and the second peer.
func (w *world) ride(from, to *simPeer) (dialler, both time.Duration, a, b uint32) {
	w.t.Helper()
	began, had := w.Now(), len(to.conns2)
	number := from.dialTo(to)
	if !w.RunUntil(5*time.Second, func() bool { return slices.Contains(from.conns2, number) }) {
		w.fail("the further dial came to nothing: %v", from.over)
	}
	dialler = w.Now().Sub(began)
	if !w.RunUntil(5*time.Second, func() bool { return len(to.conns2) > had }) {
		w.fail("the further connection was not accepted: %v", to.over)
	}
	both = w.Now().Sub(began)
	if a, b = number, to.conns2[had]; from != w.peers[0] {
		a, b = b, a
	}
	return dialler, both, a, b
}

// sends counts the datagrams that a peer, nil: either, sends while fn runs, by a relay or
// not: STUN and sealed ones.
func (w *world) sends(p *simPeer, fn func()) (stun, sealed int) {
	w.OnTrace(func(e simnet.TraceEvent) {
		if e.What != "send" || p != nil && e.Where != p.name || w.site(e.Where) == nil || e.Packet.Proto != simnet.UDP || e.Packet.Error != nil {
			return
		}
		b := e.Packet.Data
		if _, data, err := wire.DecodeChannelData(b); err == nil {
			b = data
		}
		if wire.IsSTUN(b) {
			stun++
		} else {
			sealed++
		}
	})
	fn()
	w.OnTrace(nil)
	return stun, sealed
}

func (w *world) site(name string) *simPeer {
	for _, p := range w.peers {
		if p.name == name {
			return p
		}
	}
	return nil
}

// TestFurtherDial: a dial of a peer that is connected takes one round trip of the path, no
// check, no message of the signalling and four datagrams, and then costs nothing as long as
// nothing is sent.
func TestFurtherDial(t *testing.T) {
	t.Parallel()
	for _, kind := range []PathKind{PathDirect, PathRelay} {
		with, nat := cones, ""
		if kind == PathRelay {
			with, nat = nil, hard[0]
		}
		idle := func(dial bool) (stun, sealed int) {
			w := newWorld(t, 1, nat, nat, with...)
			w.connect(kind)
			a, b := w.peers[0], w.peers[1]
			w.Run(time.Minute) // all is quiet
			if dial {
				said := 0
				w.carry = func(from, to *simPeer, message []byte) bool { said++; return true }
				checks, sealed := w.sends(nil, func() {
					dialler, both, _, _ := w.ride(a, b)
					if most := pathRTT + time.Millisecond; dialler > most || both > most+pathRTT/2 {
						w.fail("%v: the further dial took %v, and %v for both", kind, dialler, both)
					}
					w.Run(200 * time.Millisecond)
				})
				if said != 0 || sealed != 4 || checks > 4 { // consent may be due, and its answer
					w.fail("%v: a further dial cost %d messages of the signalling, %d checks and %d datagrams", kind, said, checks, sealed)
				}
				if len(a.links) != 1 || len(a.byAgent) != 1 || len(b.links) != 1 {
					w.fail("%d links", len(a.links))
				}
			}
			return w.sends(a, func() { w.Run(10 * time.Minute) })
		}
		stun1, sealed1 := idle(false)
		stun2, sealed2 := idle(true)
		t.Logf("%v: in ten minutes without data %d STUN messages and %d sealed ones with one connection, %d and %d with two", kind, stun1, sealed1, stun2, sealed2)
		if stun2 > stun1+stun1/20+1 || sealed2 != sealed1 {
			t.Errorf("%v: two connections are not kept alive by what keeps one", kind)
		}
	}
}

// TestFurtherDialWithoutRendezvous: neither the rendezvous nor a peer that is not signed on
// matters where there is a path.
func TestFurtherDialWithoutRendezvous(t *testing.T) {
	t.Parallel()
	for _, down := range []bool{true, false} {
		w := newWorld(t, 1, "", "", cones...)
		w.connect(PathDirect)
		w.setDown(down)
		w.peers[1].offline = true
		for i := range 4 {
			dialler, _, a, b := w.ride(w.peers[i%2], w.peers[1-i%2])
			if dialler > pathRTT+time.Millisecond {
				w.fail("took %v", dialler)
			}
			w.talk(a, b)
		}
		// An offer that is lost is repeated, and that the peer is offline is no error meanwhile.
		a, b := w.peers[0], w.peers[1]
		from, to := a.site.NAT.Addrs()[0], b.site.NAT.Addrs()[0]
		w.Internet().SetBlackhole(from, to, true)
		w.After(400*time.Millisecond, func() { w.Internet().SetBlackhole(from, to, false) })
		if dialler, _, _, _ := w.ride(a, b); dialler > 2*time.Second {
			w.fail("took %v", dialler)
		}
	}
}

// TestClosingOneOfTwo: whichever connection is closed, by whichever side, and even if all
// that tells it is lost at first, the others go on and no path is doubted.
func TestClosingOneOfTwo(t *testing.T) {
	for _, loses := range []bool{false, true} {
		for which := range 3 {
			for closer := range 2 {
				t.Run(fmt.Sprintf("connection %d, by %d, loses=%v", which, closer, loses), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, 1, "", "", cones...)
					w.connect(PathDirect)
					w.ride(w.peers[0], w.peers[1])
					w.ride(w.peers[1], w.peers[0])
					a, b := w.peers[closer], w.peers[1-closer]
					one, two := a.standing(), b.standing()
					w.chat(time.Second, chatEvery)
					if loses {
						w.setDown(true)
						from, to := a.site.NAT.Addrs()[0], b.site.NAT.Addrs()[0]
						w.Internet().SetBlackhole(from, to, true)
						w.After(60*time.Millisecond, func() { w.Internet().SetBlackhole(from, to, false) })
					}
					a.do(func(now time.Time) { a.close(now, one[which]) })
					w.Run(3 * time.Second)
					one, two = slices.Delete(one, which, which+1), slices.Delete(two, which, which+1)
					if !slices.Equal(a.standing(), one) || !slices.Equal(b.standing(), two) || len(b.over) != 1 || !errors.Is(b.over[0], ErrPeerClosed) {
						w.fail("%v and %v stand, want %v and %v; %v", a.standing(), b.standing(), one, two, b.over)
					}
					for i := range one {
						if closer == 0 {
							w.talk(one[i], two[i])
						} else {
							w.talk(two[i], one[i])
						}
					}
					w.Run(time.Minute)
					if n := a.count(EventDoubt) + b.count(EventDoubt); n != 0 && !loses {
						w.fail("the path was doubted %d times", n)
					}
					for len(one) > 0 { // the link ends with the last, and not before
						if len(a.links) != 1 || len(b.links) != 1 {
							w.fail("%d and %d links", len(a.links), len(b.links))
						}
						b.do(func(now time.Time) { b.close(now, two[0]) })
						one, two = one[1:], two[1:]
						w.Run(time.Second)
					}
					w.setDown(false)
					w.Run(time.Second)
					for _, p := range w.peers {
						if len(p.conns)+len(p.links)+len(p.byAgent)+len(p.byIndex) != 0 {
							w.fail("left: %d connections, %d links, %d agents", len(p.conns), len(p.links), len(p.byAgent))
						}
					}
				})
			}
		}
	}
}

// TestSharedPathsMove: when the paths move, all connections on them do, and it is told once.
func TestSharedPathsMove(t *testing.T) {
	for _, r := range []struct {
		name   string
		world  func(t *testing.T, seed uint64) *world
		strike func(w *world)
	}{
		{"NAT reboot", func(t *testing.T, seed uint64) *world { return newWorld(t, seed, "", "", cones...) }, func(w *world) {
			w.peers[0].site.NAT.Reboot(time.Second)
		}},
		{"roam", func(t *testing.T, seed uint64) *world { return roamer(t, seed, only4, access) }, func(w *world) {
			p := w.peers[0]
			p.site.RemoveIface(p.site.Iface())
			p.roam()
			w.Run(time.Second)
			p.site.AddIface(w.network("cellular", only4, access), simnet.Link{})
			p.roam()
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for seed := range faults() {
				w := r.world(t, seed+1)
				w.connect(PathDirect)
				w.ride(w.peers[0], w.peers[1])
				w.ride(w.peers[1], w.peers[0])
				a, b := w.peers[0], w.peers[1]
				before, routes := a.path(), make(map[uint32]int)
				a.routed = func(n note) {
					for _, number := range n.conns {
						routes[number]++
					}
				}
				r.strike(w)
				w.chat(15*time.Second, chatEvery) // by one of them
				one, two := a.standing(), b.standing()
				if len(one) != 3 || len(two) != 3 || len(a.links) != 1 || a.path() == before {
					w.fail("%d and %d connections, %d links", len(one), len(two), len(a.links))
				}
				for i := range one {
					w.talk(one[i], two[i])
					if routes[one[i]] == 0 || routes[one[i]] != routes[one[0]] {
						w.fail("connections were told other routes: %v", routes)
					}
				}
				if n := a.count(EventLost) - a.count(EventRecovered); n != 0 {
					w.fail("lost and recovered were not told alike: %d", n)
				}
			}
		})
	}
}

// TestCrossingFurtherDials: each dial of a connected peer makes a connection, at whatever
// times the two sides dial.
func TestCrossingFurtherDials(t *testing.T) {
	t.Parallel()
	for _, ask := range []bool{false, true} { // and how peers are treated
		for at := -10; at <= 10; at++ {
			offset := time.Duration(at) * 15 * time.Millisecond
			w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
				o.config = func(c *controlConfig) { c.ask = ask }
				if ask {
					treated(35*time.Millisecond, Treatment{}, nil)(o)
				}
			}}, cones...)...)
			w.connect(PathDirect)
			first, second := w.peers[0], w.peers[1]
			if offset < 0 {
				first, second = second, first
			}
			x := first.dialTo(second)
			w.Run(offset.Abs())
			y := second.dialTo(first)
			w.Run(time.Second)
			one, two := first.standing(), second.standing()
			if len(one) != 3 || len(two) != 3 || !first.conns[x].dialled || !second.conns[y].dialled {
				w.fail("offset %v: %d and %d connections", offset, len(one), len(two))
			}
			for _, k := range first.order() {
				for _, other := range second.order() {
					if k.theirs == other.index {
						if first == w.peers[0] {
							w.talk(k.number, other.number)
						} else {
							w.talk(other.number, k.number)
						}
					}
				}
			}
		}
	}
}

// TestFurtherConnectionIsAskedFor: AllowPeer decides about each connection, and what it
// refuses leaves the others.
func TestFurtherConnectionIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.config = func(c *controlConfig) { c.ask = true }
	}}, cones...)...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	first, there := a.conn, b.conn
	w.setDown(true)
	w.ride(a, b)
	b.refuse = true
	a.dialTo(b)
	w.Run(time.Second)
	var refused *RefusedError
	if b.asked != 3 || len(a.over) != 1 || !errors.As(a.over[0], &refused) || len(a.standing()) != 2 || len(b.standing()) != 2 {
		w.fail("asked %d times; %v", b.asked, a.over)
	}
	w.talk(first, there)
	number := a.dialTo(b) // which its user gives up before it is answered
	b.asked, b.refuse = 0, false
	a.do(func(now time.Time) { a.close(now, number) })
	w.Run(time.Second)
	if len(a.conns) != 2 || len(b.conns) != 2 {
		w.fail("%d and %d connections", len(a.conns), len(b.conns))
	}
}

// TestKeysOfFurtherConnections move on, be they those that pings are sealed with or not.
func TestKeysOfFurtherConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	w.keep()
	first := w.peers[0].conn
	w.ride(w.peers[0], w.peers[1]) // chat is by the last
	w.chat(25*time.Minute, time.Second)
	w.Run(time.Second)
	for _, p := range w.peers {
		for _, k := range p.order() {
			if k.rekeyed == 0 || k.acked <= k.rekeyed && k.number == first {
				w.fail("connection %d still has its first key", k.number)
			}
		}
		if p.counts.Forged != 0 {
			w.fail("%+v", p.counts)
		}
	}
	if total := w.ledger.settle(); total.delivered != total.sent {
		w.fail("%v", total)
	}
}

// TestExplainShared: a connection that shares its paths says so.
func TestExplainShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	_, _, number, there := w.ride(a, b)
	for _, r := range []struct {
		p      *simPeer
		number uint32
	}{{a, number}, {b, there}} {
		e, _ := r.p.explain(r.p.now, r.number)
		text := e.String()
		if e.Shared != 1 || len(e.Checks) == 0 || !e.Path.IsValid() || !strings.Contains(text, "shared: 1 more") || !strings.Contains(text, "on the paths that there are") {
			w.fail("%+v", e)
		}
		if e.Elapsed <= 0 || e.Elapsed > 2*pathRTT || e.Story[0].After >= 0 {
			w.fail("after %v, the first step at %v", e.Elapsed, e.Story[0].After)
		}
		if told := r.p.last(EventConnected); told.Conn != r.number || told.Path != e.Path || told.Reason == "" {
			w.fail("%+v", told)
		}
	}
}
