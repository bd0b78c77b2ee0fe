package bradawl

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/simnet"
)

// TestGuessesAtManyAddresses: a peer that redials and names another address each time, at
// which nobody answers, has us try ports there a few times, and then one time in a while. The
// pause of the address is taken away here: another one would have none.
func TestGuessesAtManyAddresses(t *testing.T) {
	w, a, liar := lying(t)
	const rounds = 60
	liar.lie(1)
	for range rounds {
		w.Run(2 * time.Second)
		for _, p := range w.peers {
			clear(p.sprayers.targets)
		}
		a.do(func(now time.Time) { a.close(now, a.conn) })
		w.Run(time.Second)
		a.dialTo(liar)
	}
	most := guessesOfPeer + int(rounds*3*time.Second/peerGap) + 1
	for _, p := range w.peers {
		if n := int(p.sprayers.last); n < guessesOfPeer || n > most {
			w.fail("%s: %d attempts in %d rounds, want %d to %d", p.name, n, rounds, guessesOfPeer, most)
		}
	}
}

// TestGuessesThatGetThrough: attempts that are not in vain do not count, so that many peers can
// come one after the other.
func TestGuessesThatGetThrough(t *testing.T) {
	sequential := hardNAT(simnet.PortPolicy{Kind: simnet.Sequential, Delta: 1})
	w := newWorld(t, 4, "", "", behind(namedPreset(t, "port-restricted-cone"), sequential), func(o *worldOptions) { o.probe = true })
	w.Run(15 * time.Second)
	a := w.peers[0]
	for i := range 2 * guessesOfPeer {
		clear(a.sprayers.targets) // as of peers behind other NATs
		clear(w.peers[1].sprayers.targets)
		a.dialTo(w.peers[1])
		if !w.direct(4 * time.Second) {
			w.fail("not direct, the %dth time", i)
		}
		w.Run(time.Second)
		if at := a.sprayers.mayGuess(w.peers[1].id.ID()); at.After(w.Now()) {
			w.fail("the next attempt has to wait %v", at.Sub(w.Now()))
		}
		a.do(func(now time.Time) { a.close(now, a.conn) })
		w.Run(time.Second)
	}
	if int(a.sprayers.last) < 2*guessesOfPeer {
		w.fail("%d attempts", a.sprayers.last)
	}
}

// TestGuessesElsewhere: what gets through to one address is no excuse for ports that were tried at
// another.
func TestGuessesElsewhere(t *testing.T) {
	sequential := hardNAT(simnet.PortPolicy{Kind: simnet.Sequential, Delta: 1})
	w := newWorld(t, 4, "", "", behind(namedPreset(t, "port-restricted-cone"), sequential), func(o *worldOptions) { o.probe = true })
	w.Run(15 * time.Second)
	a := w.peers[0]
	a.dialTo(w.peers[1])
	if !w.RunUntil(4*time.Second, func() bool { return len(a.links) > 0 && a.links[0].lane.run != nil }) {
		w.fail("no attempt")
	}
	a.links[0].lane.target = netip.MustParseAddr("203.0.113.99")
	if !w.direct(4*time.Second) || !w.RunUntil(4*time.Second, func() bool { return a.links[0].lane.run == nil }) {
		w.fail("not direct")
	}
	if !a.sprayers.guesses.full.After(w.Now()) || !a.sprayers.ofPeer[w.peers[1].id.ID()].full.After(w.Now()) {
		w.fail("it does not count")
	}
}

// TestGuessesOfManyPeers: identities without number get no more than a session gives, and what
// is remembered of them does not grow for ever.
func TestGuessesOfManyPeers(t *testing.T) {
	s := sprayers{targets: make(map[netip.Addr]time.Time), ofPeer: make(map[PeerID]*allowance)}
	start := time.Unix(1e9, 0)
	began := 0
	for i := range 3600 { // a second each
		now := start.Add(time.Duration(i) * time.Second)
		peer, err := ident.PeerIDFromBytes(append(make([]byte, 29), byte(i>>8), byte(i), 1))
		if err != nil {
			t.Fatal(err)
		}
		if !s.mayGuess(peer).After(now) {
			s.guess(now, peer)
			began++
		}
	}
	if want := guessesAtOnce + int(time.Hour/guessGap); began > want || began < want-2 {
		t.Errorf("%d attempts in an hour, want %d", began, want)
	}
	if n := len(s.ofPeer); n > manyTargets {
		t.Errorf("%d peers are remembered", n)
	}
}
