package bradawl

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/seal"
)

// offerOf makes an offer of from to ride.
func (w *world) offerOf(from *Identity, to *simPeer, h hello) []byte {
	w.t.Helper()
	_, offer, err := seal.NewOffer(from, to.id.ID(), encode(h), w.Secrets(fmt.Sprint("offer", w.Elapsed(), h.Stamp)))
	w.check(err)
	return wrap(msgOffer, 0, offer)
}

// unmoved fails the test if fn makes or ends connections of a peer, or has it send anything
// but what its connections send.
func (w *world) unmoved(p *simPeer, what string, fn func()) {
	w.t.Helper()
	before, dialled, ended := len(p.conns), p.count(EventDialing), len(p.over)
	_, sealed := w.sends(p, func() { fn(); w.Run(time.Second) })
	if len(p.conns) != before || p.count(EventDialing) != dialled || len(p.over) != ended || sealed != 0 {
		w.fail("%s: %d connections, were %d; %d datagrams", what, len(p.conns), before, sealed)
	}
}

// TestLinkOfOthers: nobody rides on a link but the two whose it is, whatever is known of it.
func TestLinkOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	w.Run(time.Minute)
	a, b, eve := w.peers[0], w.peers[1], w.eve()
	ours, theirs := a.links[0], b.links[0]
	stamp := uint64(w.Now().Add(time.Hour).UnixNano())
	for _, r := range []struct {
		what string
		from *Identity
		h    hello
	}{
		{"a stranger", eve, hello{Boot: a.boot, Link: ours.name}},
		{"a stranger, as the other sees it", eve, hello{Boot: a.boot, Link: theirs.name}},
		{"the peer, by another name", a.id, hello{Boot: a.boot, Link: [2]uint32{ours.name[0], ours.name[1] ^ 1}}},
		{"the peer, by the name as we have it", a.id, hello{Boot: a.boot, Link: theirs.name}},
		{"the peer, of another run", a.id, hello{Boot: a.boot + 1, Link: ours.name}},
		{"the peer, with a stamp of before the link", a.id, hello{Boot: a.boot, Link: ours.name, Stamp: 1}},
		{"the peer, for another protocol", a.id, hello{Boot: a.boot, Link: ours.name, Protocol: "chess"}},
		{"credentials told again", a.id, hello{Boot: a.boot, Link: ours.name, Ufrag: "abcd", Pwd: "abcdefghijklmnopqrstuvwx"}},
		{"candidates told again", a.id, hello{Boot: a.boot, Link: ours.name, Candidates: []string{"candidate:1 1 udp 1 192.0.2.1 5000 typ host"}}},
		{"in plaintext", a.id, hello{Boot: a.boot, Link: ours.name, Plaintext: true}},
		{"half a name", a.id, hello{Boot: a.boot, Link: [2]uint32{ours.name[0], 0}}},
	} {
		r.h.Index = 7
		if r.h.Stamp == 0 {
			stamp++
			r.h.Stamp = stamp
		}
		w.unmoved(b, r.what, func() {
			b.do(func(now time.Time) { b.signal(now, r.from.ID(), w.offerOf(r.from, b, r.h)) })
		})
	}
	// By the path come offers of the peer alone, and for that path alone.
	carried := func(what string, message []byte) {
		b.do(func(now time.Time) {
			before := len(b.conns)
			b.message(now, a.id.ID(), message, true)
			if len(b.conns) != before {
				w.fail("%s has made a connection", what)
			}
		})
	}
	carried("an offer of somebody else", w.offerOf(eve, b, hello{Boot: a.boot, Link: ours.name, Index: 7, Stamp: stamp}))
	carried("a first offer", w.offerOf(a.id, b, hello{Boot: a.boot, Index: 7, Stamp: stamp, Ufrag: "abcd", Pwd: "abcdefghijklmnopqrstuvwx"}))
	carried("half a message", []byte{msgOffer})
	carried("an answer to nothing", []byte{msgAnswer, 0, 0, 7, 1, 2, 3})
	w.talk(a.conn, b.conn)
	w.ride(a, b)
}

// TestAnswersToRide: an answer that is not about the link that was asked for is none, and a
// peer that contradicts itself spoils nothing but its own connection.
func TestAnswersToRide(t *testing.T) {
	t.Parallel()
	const ufrag, pwd = "abcd", "abcdefghijklmnopqrstuvwx"
	for _, r := range []struct {
		what  string
		h     func(a, b *simPeer) hello
		alone bool // the dial goes on as a first one
		ends  int  // connections, of 2
	}{
		{"no link", func(a, b *simPeer) hello { return hello{Boot: b.boot, Ufrag: ufrag, Pwd: pwd} }, false, 1},
		{"our name of it", func(a, b *simPeer) hello { return hello{Boot: b.boot, Link: a.links[0].name} }, false, 1},
		{"credentials", func(a, b *simPeer) hello { return hello{Boot: b.boot, Link: b.links[0].name, Ufrag: ufrag, Pwd: pwd} }, false, 1},
		{"another run", func(a, b *simPeer) hello { return hello{Boot: b.boot + 1, Link: b.links[0].name} }, true, 1},
		{"no such link", func(a, b *simPeer) hello { return hello{Boot: b.boot, Refused: "gone", Unlinked: true} }, true, 0},
		{"no such link, of another run", func(a, b *simPeer) hello { return hello{Boot: b.boot + 1, Refused: "gone", Unlinked: true} }, true, 1},
		{"refused", func(a, b *simPeer) hello { return hello{Boot: b.boot, Refused: "no"} }, false, 1},
	} {
		w := newWorld(t, 1, "", "", cones...)
		w.connect(PathDirect)
		a, b := w.peers[0], w.peers[1]
		number := a.dialTo(b)
		k := a.conns[number]
		got, err := seal.Receive(b.id, k.offer, w.Secrets("answer"))
		w.check(err)
		h := r.h(a, b)
		h.Index, h.Stamp = 7, uint64(w.Now().UnixNano())
		answer, _, err := got.Answer(encode(h))
		w.check(err)
		a.do(func(now time.Time) { a.signal(now, b.id.ID(), wrap(msgAnswer, k.index, answer)) })
		if len(a.over) != r.ends || (a.conns[number] != nil) != r.alone || r.alone && (k.rides || k.state != dialing) {
			w.fail("%s: %d connections have ended, %v", r.what, len(a.over), a.over)
		}
		w.Run(3 * time.Second)
		if r.alone && k.state != connected {
			w.fail("%s: %s", r.what, connStates[k.state])
		}
	}
}

// TestRecordedOffersToRide: an offer that is sent again, by whoever has seen it, makes
// nothing, neither while the link stands nor afterwards.
func TestRecordedOffersToRide(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	w.keep()
	a, b := w.peers[0], w.peers[1]
	var seen [][]byte
	datagrams := w.capture(b, func() {
		for range 5 { // more than one, for they are remembered one by one
			number := a.dialTo(b)
			seen = append(seen, wrap(msgOffer, 0, bytes.Clone(a.conns[number].offer)))
			w.Run(time.Second)
		}
	})
	replay := func(what string) {
		w.t.Helper()
		w.unmoved(b, what, func() {
			for _, m := range seen {
				b.do(func(now time.Time) { b.signal(now, a.id.ID(), m) })
			}
		})
	}
	for _, p := range w.peers {
		if len(p.standing()) != 6 {
			w.fail("%d connections", len(p.standing()))
		}
	}
	w.Run(time.Minute) // all is quiet
	stale := b.counts.Stale
	replay("recorded offers")
	if b.counts.Stale != stale+5 {
		w.fail("%+v", b.counts)
	}
	replays := b.counts.Replays
	w.unmoved(b, "recorded datagrams", func() {
		for _, d := range datagrams {
			b.inject(d.from, d.data)
		}
	})
	if b.counts.Replays < replays+5 {
		w.fail("%+v", b.counts)
	}
	for _, number := range a.standing()[1:] {
		a.do(func(now time.Time) { a.close(now, number) })
	}
	w.Run(20 * time.Second)
	replay("recorded offers, after the end of their connections")
	for range boardedKept + 10 { // so that the first are forgotten
		_, _, number, _ := w.ride(a, b)
		a.do(func(now time.Time) { a.close(now, number) })
	}
	w.Run(20 * time.Second)
	replay("recorded offers, after many others")
	if n := len(b.links[0].boarded); n > boardedKept {
		w.fail("%d stamps are remembered", n)
	}
	// Neither a program that was started anew nor the connections to one are any nearer.
	b.restart()
	w.Run(time.Second)
	replay("recorded offers, to a program that was started anew")
	a.restart()
	w.Run(time.Second)
	a.dialTo(b)
	w.Run(time.Minute)
	replay("recorded offers of a program that has ended")
	if len(b.standing()) != 1 {
		w.fail("%d connections stand", len(b.standing()))
	}
	w.talk(a.conn, b.conn)
}

// TestManyOffersToRide: a peer that dials without end gets no more than its share, and what
// it says of connections that are not on its link counts for nothing.
func TestManyOffersToRide(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	stamp := uint64(w.Now().UnixNano())
	for i := range uint64(maxForPeer + 10) {
		h := hello{Boot: a.boot, Link: a.links[0].name, Index: 1 + uint32(i), Stamp: stamp + i}
		b.do(func(now time.Time) { b.signal(now, a.id.ID(), w.offerOf(a.id, b, h)) })
	}
	if len(b.conns) != maxForPeer || b.counts.Flooded == 0 {
		w.fail("%d connections, %+v", len(b.conns), b.counts)
	}
	w.Run(40 * time.Second) // none of them is anything
	if len(b.conns) != 1 || len(b.conns2) != 1 {
		w.fail("%d connections stay", len(b.conns))
	}
	w.talk(a.conn, b.conn)
	k := a.conns[a.conn]
	for i, closed := range [][]uint32{nil, {0}, {k.theirs}, make([]uint32, 4000), {1, 2, 3}} {
		u := update{Version: uint64(1000 + i), Closed: closed}
		b.do(func(now time.Time) { b.signal(now, a.id.ID(), wrap(msgSealed, k.theirs, k.keys.SealSignal(encode(u)))) })
	}
	w.Run(time.Second)
	if !slices.Equal(b.standing(), []uint32{b.conn}) {
		w.fail("%v stand", b.standing())
	}
}
