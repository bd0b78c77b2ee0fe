package bradawl

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/seal"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

var mallory = netip.MustParseAddrPort("192.0.2.66:6666")

// eve is somebody else.
func (w *world) eve() *Identity {
	id, err := ident.NewIdentity(w.Secrets("eve"))
	w.check(err)
	return id
}

// inject hands a peer a datagram as from anywhere: whoever is on the path can forge both
// addresses.
func (p *simPeer) inject(from netip.AddrPort, data []byte) {
	p.do(func(now time.Time) {
		p.HandleDatagram(now, machine.Datagram{Local: netip.AddrPortFrom(p.site.Addr(), simPort), Remote: from, Data: slices.Clone(data)})
	})
}

// captured is a sealed datagram that came to a host.
type captured struct {
	from netip.AddrPort
	data []byte
}

// capture are the sealed datagrams that come to a peer directly while fn runs.
func (w *world) capture(p *simPeer, fn func()) (all []captured) {
	w.OnTrace(func(e simnet.TraceEvent) {
		w.ledger.trace(e)
		if e.What == "recv" && e.Where == p.name && e.Packet.Dst.Port() == simPort {
			if _, ok := seal.Index(e.Packet.Data); ok {
				all = append(all, captured{e.Packet.Src, slices.Clone(e.Packet.Data)})
			}
		}
	})
	fn()
	w.OnTrace(w.ledger.trace)
	return all
}

// TestForgedDatagrams: nothing that is injected, changed, replayed, sent back or taken from
// another session is delivered, and each is counted.
func TestForgedDatagrams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	w.keep()
	a, b := w.peers[0], w.peers[1]
	a.dialTo(b)
	w.Run(time.Second)
	two := b.standing()
	toB := w.capture(b, func() { w.chat(time.Second, chatEvery) })
	toA := w.capture(a, func() { w.chat(time.Second, chatEvery) })
	if len(toB) < 10 || len(toA) < 10 || len(two) != 2 {
		w.fail("%d and %d datagrams captured", len(toB), len(toA))
	}
	path := b.path()
	check := func(what string, count *uint64, inject func()) {
		t.Helper()
		before, was := w.ledger.settle(), *count
		sent := w.sentBy(b, func() { inject(); w.Run(time.Second) })
		for _, p := range sent {
			if p.Dst.Addr() == mallory.Addr() {
				w.fail("%s: %d bytes were sent to whoever sent it", what, len(p.Data))
			}
		}
		if after := w.ledger.settle(); after.delivered != before.delivered {
			w.fail("%s: %d were delivered", what, after.delivered-before.delivered)
		}
		if *count == was {
			w.fail("%s: not counted", what)
		}
		if b.path().Remote != path.Remote {
			w.fail("%s: data goes to %v", what, b.path())
		}
	}
	for _, from := range []netip.AddrPort{toB[0].from, mallory} {
		check("replay", &b.counts.Replays, func() {
			for _, c := range toB {
				b.inject(from, c.data)
			}
		})
		check("a bit flipped", &b.counts.Forged, func() {
			for _, c := range toB {
				for i := range min(len(c.data), 60) * 8 {
					changed := slices.Clone(c.data)
					changed[i/8] ^= 1 << (i % 8)
					b.inject(from, changed)
				}
			}
		})
		check("cut", &b.counts.Unknown, func() {
			for n := range toB[0].data {
				b.inject(from, toB[0].data[:n])
			}
		})
		check("sent back", &b.counts.Unknown, func() {
			for _, c := range toA {
				b.inject(from, c.data)
			}
		})
		check("from another session", &b.counts.Forged, func() {
			for i, c := range toB {
				spliced := slices.Clone(c.data)
				spliced[10] = byte(i + 1) // or the number is taken there already
				for _, number := range two {
					index := b.conns[number].index
					spliced[1], spliced[2], spliced[3] = byte(index>>16), byte(index>>8), byte(index)
					b.inject(from, spliced)
				}
			}
		})
		check("made up", &b.counts.Forged, func() {
			random := w.Rand("made up")
			for range 1000 {
				made := slices.Clone(toB[0].data)
				for i := 4; i < len(made); i++ {
					made[i] = byte(random.Uint32())
				}
				b.inject(from, made)
			}
		})
	}
	w.talk(a.standing()[0], two[0])
}

// TestSourceAddress: an authentic datagram that comes from elsewhere is taken, but data
// goes there only after a challenge was answered, and few checks are sent.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	w.keep()
	a, b := w.peers[0], w.peers[1]
	w.chat(time.Second, chatEvery)
	// Whoever is on the path keeps what A sends, and sends it on from an address of its
	// choice.
	natA := a.site.NAT.Addrs()[0]
	var taken [][]byte
	w.OnTrace(func(e simnet.TraceEvent) {
		w.ledger.trace(e)
		if e.What == "send" && e.Where == "a" && e.Packet.Src.Port() == simPort {
			if _, ok := seal.Index(e.Packet.Data); ok {
				taken = append(taken, slices.Clone(e.Packet.Data))
			}
		}
	})
	w.Internet().SetBlackhole(natA, b.site.NAT.Addrs()[0], true)
	mail := a.sendOn(a.conn, "moved")
	w.OnTrace(w.ledger.trace)
	w.Run(access)
	packets := w.sentBy(b, func() {
		for range 50 {
			b.inject(mallory, taken[0])
			w.Run(20 * time.Millisecond)
		}
	})
	w.Internet().SetBlackhole(natA, b.site.NAT.Addrs()[0], false)
	if mail.delivered != 1 {
		w.fail("delivered %d times", mail.delivered)
	}
	checks := 0
	for _, p := range packets {
		if p.Dst != mallory {
			continue
		}
		if checks++; p.Data[0] > 3 {
			w.fail("%d bytes that are no check went to an address that has answered none", len(p.Data))
		}
	}
	if checks == 0 || checks > 12 {
		w.fail("%d checks went to an address that somebody has put on one datagram", checks)
	}
	if b.path().Remote.Addr() != natA {
		w.fail("data goes to %v", b.path())
	}
	w.Run(5 * time.Second)
	w.talk(a.conn, b.conn)
}

// TestRecordedSignals: a rendezvous that sends what it has seen again gets nothing for it.
func TestRecordedSignals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	type record struct {
		from, to *simPeer
		message  []byte
	}
	var seen []record
	w.carry = func(from, to *simPeer, message []byte) bool {
		seen = append(seen, record{from, to, bytes.Clone(message)})
		return true
	}
	w.connect(PathDirect)
	w.keep()
	a, b := w.peers[0], w.peers[1]
	for _, p := range w.peers {
		p.do(func(now time.Time) { p.setProfile(now, natprobe.Profile{Type: natprobe.TypePortRestrictedCone}) })
	}
	w.Run(time.Second)
	replay := func() {
		for _, r := range seen {
			r.to.do(func(now time.Time) { r.to.signal(now, r.from.id.ID(), r.message) })
		}
		w.Run(2 * time.Second)
	}
	w.carry = nil
	replay()
	if len(a.conns) != 1 || len(b.conns) != 1 || b.counts.Stale == 0 || b.counts.Replays == 0 {
		w.fail("%d and %d connections; %+v", len(a.conns), len(b.conns), b.counts)
	}
	w.talk(a.conn, b.conn)
	a.do(func(now time.Time) { a.close(now, a.conn) })
	w.Run(time.Second)
	replay()
	if len(a.conns) != 0 || len(b.conns) != 0 {
		w.fail("%d and %d connections after the end", len(a.conns), len(b.conns))
	}
	// A program that was started anew knows no stamps. It answers, but has no connection
	// until somebody has the keys, and sends nothing but checks.
	b.restart()
	w.Run(time.Second)
	for _, p := range w.sentBy(b, replay) {
		if p.Data[0] > 3 {
			w.fail("%d bytes that are no check were sent", len(p.Data))
		}
	}
	w.Run(40 * time.Second)
	if len(b.conns2) != 0 || len(b.conns) != 0 {
		w.fail("a recorded offer has led to a connection")
	}
}

// TestForgedSignals: a rendezvous that makes up, cuts, changes and swaps messages gets no
// connection and prevents none.
func TestForgedSignals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.Run(time.Second)
	a, b, eve := w.peers[0], w.peers[1], w.eve()
	forge := func(to *simPeer, from PeerID, message []byte) {
		to.do(func(now time.Time) { to.signal(now, from, message) })
	}
	random := w.Rand("forged")
	w.carry = func(from, to *simPeer, message []byte) bool {
		for n := range message { // cut
			forge(to, from.id.ID(), message[:n])
		}
		for range 200 { // changed
			changed := bytes.Clone(message)
			changed[random.IntN(len(changed))] ^= byte(1 + random.IntN(255))
			forge(to, from.id.ID(), changed)
		}
		forge(to, eve.ID(), message)     // as of somebody else
		forge(from, to.id.ID(), message) // sent back
		forge(from, eve.ID(), message)
		// An offer of its own, in the other's name.
		_, offer, err := seal.NewOffer(eve, to.id.ID(), []byte(`{"t":1,"i":5,"u":"abcd","p":"abcdefghijklmnopqrstuvwx"}`), w.Secrets("offer"))
		w.check(err)
		forge(to, from.id.ID(), wrap(msgOffer, 0, offer))
		return true
	}
	a.dialTo(b)
	w.Run(3 * time.Second)
	if len(a.standing()) != 1 || len(b.standing()) != 1 || len(a.conns) != 1 || len(b.conns) != 1 {
		w.fail("%d and %d connections", len(a.conns), len(b.conns))
	}
	if a.counts.Forged == 0 || b.counts.Forged == 0 {
		w.fail("%+v, %+v", a.counts, b.counts)
	}
	w.talk(a.conn, b.conn)
}

// TestNonsenseOffers: an offer that decrypts may still be anything.
func TestNonsenseOffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	b, eve := w.peers[1], w.eve()
	const creds = `"u":"abcd","p":"abcdefghijklmnopqrstuvwx"`
	many := strings.TrimSuffix(strings.Repeat(`"candidate:1 1 udp 1 192.0.2.1 5000 typ host",`, maxCandidates+1), ",")
	for i, text := range []string{
		"", "null", "[]", "{", `{"t":"x"}`, strings.Repeat("[", 20000), `{"t":18446744073709551616}`,
		`{"t":5,"i":1}`, `{"t":5,"i":0,` + creds + `}`, `{"t":5,"i":16777216,` + creds + `}`, `{"t":5,"i":-1,` + creds + `}`,
		`{"t":5,"i":1,"u":"a","p":"b"}`, `{"t":5,"i":1,"u":"` + strings.Repeat("a", 300) + `","p":"abcdefghijklmnopqrstuvwx"}`,
		`{"t":5,"i":1,` + creds + `,"c":[` + many + `]}`, `{"t":5,"i":1,` + creds + `,"c":[1]}`, `{"t":5,"i":1,` + creds + `,"n":"!"}`,
		`{"t":5,"i":1,"k":[1,2],` + creds + `}`, `{"t":5,"i":1,"k":[1]}`, `{"t":5,"i":1,"k":[1,16777216]}`, `{"t":5,"i":1,"k":"x"}`, `{"t":5,"i":1,"k":[-1,2]}`,
		`{"t":5,"i":1,` + creds + `,"l":"other"}`, `{"t":6,"i":1,` + creds + `,"x":true}`, `{"r":"no"}`,
	} {
		_, offer, err := seal.NewOffer(eve, b.id.ID(), []byte(text), w.Secrets(fmt.Sprint(i)))
		w.check(err)
		b.do(func(now time.Time) { b.signal(now, eve.ID(), wrap(msgOffer, 0, offer)) })
		if len(b.conns) != 0 || len(b.events) == 0 && b.counts.Stale == 0 {
			w.fail("%.80q has led to %d connections and %d events", text, len(b.conns), len(b.events))
		}
	}
}

// TestOfferFlood: whoever makes up identities by the thousand takes little memory, and
// keeps nobody out for long.
func TestOfferFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	flood := func(count int) {
		for i := range count {
			eve, err := ident.NewIdentity(w.Secrets(fmt.Sprint(w.Elapsed(), i)))
			w.check(err)
			h := hello{
				Stamp: math.MaxUint64 - uint64(i), Boot: 1, Index: 1, Ufrag: "abcd", Pwd: "abcdefghijklmnopqrstuvwx",
				Candidates: []string{"candidate:1 1 udp 1 192.0.2.1 5000 typ host"},
			}
			_, offer, err := seal.NewOffer(eve, b.id.ID(), encode(h), w.Secrets("eve"))
			w.check(err)
			b.do(func(now time.Time) { b.signal(now, eve.ID(), wrap(msgOffer, 0, offer)) })
		}
	}
	victim := 0
	for _, p := range w.sentBy(b, func() {
		flood(1000)
		w.Run(time.Second)
	}) {
		if p.Dst.Addr() == netip.MustParseAddr("192.0.2.1") {
			victim++
		}
	}
	if got := len(b.conns); got > maxComing+1 || b.counts.Flooded == 0 {
		w.fail("%d connections, %d offers not taken", got, b.counts.Flooded)
	}
	t.Logf("1000 offers at once: %d connections, %d checks to whom they name in a second", len(b.conns), victim)
	w.Run(comingTime)
	began := w.Now()
	a.dialTo(b)
	if !w.RunUntil(20*time.Second, func() bool { return len(a.standing()) == 2 }) {
		w.fail("kept out")
	}
	t.Logf("an honest dial after it takes %v", w.Now().Sub(began))
	if took := w.Now().Sub(began); took > 300*time.Millisecond {
		w.fail("connected after %v", took)
	}
	w.Run(time.Minute)
	if len(b.conns) != 2 {
		w.fail("%d connections stay", len(b.conns))
	}
	// What is kept of peers is bounded, too, and those who were forgotten can still come.
	for i := range uint64(3 * maxPeers) {
		var id [32]byte
		for j := range 8 {
			id[j] = byte(i >> (8 * j))
		}
		peer, err := ident.PeerIDFromBytes(id[:])
		if err == nil {
			b.heard(peer, math.MaxUint64-i)
		}
	}
	if len(b.peers) > maxPeers {
		w.fail("%d peers are remembered", len(b.peers))
	}
	// A recorded offer of theirs is still told from a new one.
	if b.peers[a.id.ID()] != nil || b.strangers.floor == 0 {
		w.fail("the peer with the least stamp was not forgotten")
	}
	if _, fresh := b.heard(a.id.ID(), a.stamp); fresh {
		w.fail("a stamp of before is fresh")
	}
	b.strangers.floor = math.MaxUint64 / 2
	a.dialTo(b)
	if !w.RunUntil(5*time.Second, func() bool { return len(a.standing()) == 3 }) {
		w.fail("kept out by the floor")
	}
}

// TestForgedAnswers: what is no answer of the peer's changes nothing.
func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.Run(time.Second)
	a, b, eve := w.peers[0], w.peers[1], w.eve()
	a.dialTo(b)
	k := a.order()[0]
	for _, message := range [][]byte{{}, make([]byte, 10), make([]byte, 200), make([]byte, 60000)} {
		a.do(func(now time.Time) { a.signal(now, b.id.ID(), wrap(msgAnswer, k.index, message)) })
	}
	// Another identity cannot answer, for the offer is not for it.
	if _, err := seal.Receive(eve, k.offer, w.Secrets("answer")); !errors.Is(err, seal.ErrForged) {
		w.fail("%v", err)
	}
	w.Run(time.Second)
	if len(a.standing()) != 1 || a.counts.Forged != 3 {
		w.fail("%d connections, %d forged", len(a.standing()), a.counts.Forged)
	}
	// A peer that calls every stamp stale gets one more offer, and spoils no other dial.
	a.do(func(now time.Time) { a.close(now, a.conn) })
	w.Run(time.Second)
	a.over = nil
	var offers int
	w.carry = func(from, to *simPeer, message []byte) bool {
		if from == b || message[0] != msgOffer {
			return true
		}
		offers++
		got, err := seal.Receive(b.id, message[1:], w.Secrets("stale"))
		w.check(err)
		h, err := readHello(got.Payload)
		w.check(err)
		answer, _, err := got.Answer(encode(hello{Refused: "stale", Last: math.MaxUint64 - 10}))
		w.check(err)
		w.After(pathRTT/2, func() {
			a.do(func(now time.Time) { a.signal(now, b.id.ID(), wrap(msgAnswer, h.Index, answer)) })
		})
		return false
	}
	a.dialTo(b)
	w.Run(5 * time.Second)
	var refused *RefusedError
	if offers != 2 || len(a.over) != 1 || !errors.As(a.over[0], &refused) {
		w.fail("%d offers, %v", offers, a.over)
	}
	if a.stamp > uint64(w.Now().Add(time.Hour).UnixNano()) {
		w.fail("the stamp of all offers has become %d", a.stamp)
	}
}

// TestManyCandidates: a peer that names a victim over and over cannot make us flood it.
func TestManyCandidates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	k := a.conns[a.conn]
	perSecond := make(map[int]int)
	began := w.Now()
	for _, n := range w.sentAt(b, "192.0.2.9", func() {
		for i := range 100 { // 100 updates of 100 candidates each, each with all that starts checks
			u := update{Version: uint64(1000 + i), Again: 1000 + i}
			for j := range maxCandidates {
				u.Candidates = append(u.Candidates, fmt.Sprintf("candidate:%d 1 udp %d 192.0.2.9 %d typ host", j, 1+j, 2000+i*100+j))
			}
			u.Generation, u.Ufrag, u.Pwd = 1000+i, fmt.Sprint("ufrag", i), "abcdefghijklmnopqrstuvwx"
			message := k.keys.SealSignal(encode(u))
			b.do(func(now time.Time) { b.signal(now, a.id.ID(), wrap(msgSealed, k.theirs, message)) })
			w.Run(300 * time.Millisecond)
		}
		w.Run(30 * time.Second)
	}) {
		perSecond[int(n.Sub(began)/time.Second)]++
	}
	most, all := 0, 0
	for _, n := range perSecond {
		most, all = max(most, n), all+n
	}
	t.Logf("10,000 candidates and 200 wishes for more checks in 30 s: at most %d checks a second, %d in all", most, all)
	if most > 45 || all > 1000 || len(b.ice.Pairs(b.conns[b.conn].agent)) > 100 {
		w.fail("%d checks in a second, %d pairs", most, len(b.ice.Pairs(b.conns[b.conn].agent)))
	}
}
