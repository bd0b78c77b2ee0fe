package bradawl

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

// treated has both sides treat the other as t says, after a while.
func treated(after time.Duration, t Treatment, err error) func(*worldOptions) {
	return func(o *worldOptions) {
		o.treat = func(_ *simPeer, answer func(time.Duration, Treatment, error)) { answer(after, t, err) }
	}
}

// untold has nobody answer how peers are treated.
func untold(o *worldOptions) { o.treat = func(*simPeer, func(time.Duration, Treatment, error)) {} }

// TestTreatment: a dial and the answer to it wait for how the peer is treated, and no longer;
// the group is that of all that is recorded, be it before there is a path.
func TestTreatment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "port-restricted-cone", "port-restricted-cone", noTURN, treated(40*time.Millisecond, Treatment{Group: "lab"}, nil))
	w.profiled("port-restricted-cone", "port-restricted-cone")
	w.dialNow()
	w.Run(10 * time.Second)
	w.end()
	for _, p := range w.peers {
		p.group = "lab"
		if p.untold != 1 || p.count(EventUntreated) != 0 {
			w.fail("%s was asked %d times", p.name, p.untold)
		}
	}
	w.peers[0].wants(`
		gather success 0s
		signal success 180ms
		punch success 105ms, srflx udp4, plain
		connect success 285ms, srflx udp4, plain`)
	w.peers[1].wants(`
		gather success 0s
		signal success 145ms
		punch success 138ms, srflx udp4, plain
		connect success 178ms, srflx udp4, plain`)
}

// TestTreatmentFails: whatever becomes of the question, the connection comes about, as it
// would have without it, a second later at most at each side; and that is told.
func TestTreatmentFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the store is away")
	harsh := Treatment{Group: "lab", Budget: punch.Budget{Probes: -1}}
	for _, c := range []struct {
		how  func(*worldOptions)
		took time.Duration // at each side
		err  error
	}{
		{treated(0, harsh, broken), 0, broken},
		{treated(300*time.Millisecond, harsh, broken), 300 * time.Millisecond, broken},
		{treated(1100*time.Millisecond, harsh, nil), treatWithin, errTreatLate}, // when nobody waits any more
		{untold, treatWithin, errTreatLate},
	} {
		w := newWorld(t, 1, "port-restricted-cone", "port-restricted-cone", noTURN, c.how)
		w.profiled("port-restricted-cone", "port-restricted-cone")
		began := w.dialNow()
		if !w.settle(time.Minute) {
			w.fail("%v: no path", c.err)
		}
		if took := w.peers[0].ready.Sub(began).Round(time.Millisecond); took != 205*time.Millisecond+2*c.took {
			w.fail("%v: a path after %v", c.err, took)
		}
		w.Run(10 * time.Second)
		for _, p := range w.peers {
			e, k := p.last(EventUntreated), p.conns[p.conn]
			if e == nil || p.count(EventUntreated) != 1 || !errors.Is(e.Err, c.err) || e.Conn != p.conn || e.Peer != w.other(p).id.ID() {
				w.fail("%v: %+v", c.err, e)
			}
			told, _ := p.explain(p.now, p.conn)
			if !strings.Contains(told.String(), "as others are: "+c.err.Error()) || strings.Contains(told.String(), "group") {
				w.fail("%v: %v", c.err, told)
			}
			if k.lane.spend != p.usual || p.untold != 1 {
				w.fail("%v: %+v, asked %d times", c.err, k.lane.spend, p.untold)
			}
		}
		w.end()
		for _, p := range w.peers {
			if len(p.record) != 4 {
				w.fail("%q", p.recorded())
			}
			p.sound() // of no group
		}
	}
}

// TestTreatmentTooLate: a dial that is given up before it is known how the peer is treated
// leaves nothing behind, and tells nobody; who is not allowed is not asked about.
func TestTreatmentTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){
		treated(50*time.Millisecond, Treatment{Group: "lab"}, nil),
		func(o *worldOptions) { o.config = func(c *controlConfig) { c.ask = true } },
	}, cones...)...)
	a, b := w.peers[0], w.peers[1]
	said := 0
	w.carry = func(*simPeer, *simPeer, []byte) bool { said++; return true }
	w.Run(time.Second)
	number := a.dialTo(b)
	w.Run(20 * time.Millisecond)
	if e, ok := a.explain(a.now, number); !ok || e.State != "dialing" {
		w.fail("%v", e)
	}
	a.roam() // which has nothing to tell
	a.do(func(now time.Time) { a.close(now, number) })
	w.Run(time.Second)
	if said != 0 || len(a.conns) != 0 || len(a.links) != 0 || len(b.events) > 0 && b.last(EventDialing) != nil {
		w.fail("%d messages, %d connections", said, len(a.conns))
	}
	a.wants(`
		signal cancelled 20ms, closed
		connect cancelled 20ms, closed`)
	b.refuse = true
	a.dialTo(b)
	w.Run(time.Second)
	if refused := new(RefusedError); len(a.over) != 2 || !errors.As(a.over[1], &refused) || b.untold != 0 || b.asked != 1 {
		w.fail("%v; asked %d times whether, and %d times how", a.over, b.asked, b.untold)
	}
}

// TestTreatmentOfBudget: the budget is that of the treatment at each side, and the lesser of
// both counts.
func TestTreatmentOfBudget(t *testing.T) {
	t.Parallel()
	random, cone := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), namedPreset(t, "port-restricted-cone")
	off, few := punch.Budget{Probes: -1}, punch.Budget{Probes: 90, Entries: 90}
	for _, c := range []struct {
		usual   punch.Budget
		treated [2]punch.Budget
		direct  bool
		why     [2]string
	}{
		{direct: true, why: [2]string{"direct", "direct"}},
		{treated: [2]punch.Budget{off, off}, why: [2]string{"off by Config.TreatPeer", "off by Config.TreatPeer"}},
		{treated: [2]punch.Budget{off, {}}, why: [2]string{"off by Config.TreatPeer", "the peer takes no part"}},
		{treated: [2]punch.Budget{{}, few}, why: [2]string{"attempts were in vain", "attempts were in vain"}},
		{usual: off, why: [2]string{"off by Config.Budget", "off by Config.Budget"}},
		{usual: off, treated: [2]punch.Budget{punch.Polite, punch.Polite}, direct: true, why: [2]string{"direct", "direct"}},
	} {
		w, _, ok := hardRun(t, 1, random, cone, func(o *worldOptions) {
			o.config = func(cfg *controlConfig) { cfg.budget, cfg.noLanes = c.usual, c.usual.Probes < 0 }
			o.treat = func(p *simPeer, answer func(time.Duration, Treatment, error)) {
				i := 0
				if p == p.w.peers[1] {
					i = 1
				}
				answer(0, Treatment{Group: fmt.Sprint("side-", i), Budget: c.treated[i]}, nil)
			}
		})
		for i, p := range w.peers {
			e, _ := p.explain(p.now, p.conn)
			if ok != c.direct || !strings.Contains(e.Why, c.why[i]) || !strings.Contains(e.String(), fmt.Sprintf(`group "side-%d"`, i)) {
				w.fail("%+v: %s: %v, want %q", c, p.name, ok, c.why[i])
			}
			most := c.treated[0].Within(c.treated[1])
			if got := p.links[0].allowed(); got != most && most.Probes > 0 {
				w.fail("%+v: %s may spend %+v, want %+v", c, p.name, got, most)
			}
			sent, opened := p.sentByLanes()
			if none := strings.Contains(c.why[0], "off by"); sent > most.Probes && !none || none && sent+opened > 0 || !none && sent+opened == 0 {
				w.fail("%+v: %s has sent %d and opened %d", c, p.name, sent, opened)
			}
		}
	}
}

// TestTreatmentOfFurther: each connection is asked about, and one that shares the paths of
// another leaves their budget alone, unless it comes to make its own.
func TestTreatmentOfFurther(t *testing.T) {
	t.Parallel()
	now := Treatment{Group: "first"}
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.treat = func(_ *simPeer, answer func(time.Duration, Treatment, error)) { answer(10*time.Millisecond, now, nil) }
	}}, cones...)...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	now = Treatment{Group: "second", Budget: punch.Budget{Probes: -1}}
	w.ride(a, b)
	k := a.conns[a.conn]
	if len(a.links) != 1 || k.group() != "second" || k.lane.spend.group != "first" || k.lane.spend.off || a.untold != 2 || b.untold != 2 {
		w.fail("%+v, %+v; asked %d and %d times", k.treatment, k.lane.spend, a.untold, b.untold)
	}
	b.restart()
	w.Run(time.Second)
	now = Treatment{Group: "third", Budget: punch.Polite}
	number := a.dialTo(b) // which finds that the paths are gone
	w.Run(10 * time.Second)
	if k = a.conns[number]; k == nil || k.state != connected || k.rides || k.lane.spend.budget != punch.Polite || k.lane.spend.group != "third" || a.untold != 3 {
		w.fail("%+v, asked %d times", k, a.untold)
	}
	for _, p := range []*simPeer{a, b} {
		groups := make(map[string]int)
		for _, e := range p.record {
			groups[e.Group]++
		}
		if p == a && groups["first"] < 4 || groups["second"] < 2 || groups["third"] < 4 || len(groups) != 3 {
			w.fail("%s has recorded %v", p.name, groups)
		}
	}
}

// TestTreatmentCrosses: a dial of the peer's that crosses ours while it is not known how the
// peer is treated becomes one connection with it, and is asked about once.
func TestTreatmentCrosses(t *testing.T) {
	t.Parallel()
	for _, ask := range []bool{false, true} {
		w := newWorld(t, 1, "", "", append([]func(*worldOptions){
			treated(400*time.Millisecond, Treatment{Group: "lab"}, nil),
			func(o *worldOptions) { o.config = func(c *controlConfig) { c.ask = ask } },
		}, cones...)...)
		a, b := w.peers[0], w.peers[1]
		w.Run(time.Second)
		a.dialTo(b)
		w.Run(200 * time.Millisecond)
		b.dialTo(a)
		w.Run(10 * time.Second)
		for _, p := range w.peers {
			if len(p.conns) != 1 || len(p.standing()) != 1 || p.untold != 1 || p.conns[p.conn].group() != "lab" {
				w.fail("ask %v: %s has %d connections, and was asked %d times", ask, p.name, len(p.conns), p.untold)
			}
		}
	}
}

// TestTreatmentIsWaitedFor: a dial that is to share the paths of one before it says nothing
// until it is known how the peer is treated, though the paths are there; and a late word of
// AllowPeer's does not end what our user has dialled meanwhile.
func TestTreatmentIsWaitedFor(t *testing.T) {
	t.Parallel()
	after := map[bool]time.Duration{true: 10 * time.Millisecond, false: 900 * time.Millisecond}
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.treat = func(p *simPeer, answer func(time.Duration, Treatment, error)) {
			answer(after[p.untold == 1], Treatment{Group: "lab"}, nil)
		}
	}}, cones...)...)
	a, b := w.peers[0], w.peers[1]
	w.Run(time.Second)
	a.dialTo(b)
	second := a.dialTo(b)
	w.Run(800 * time.Millisecond)
	if k := a.conns[second]; len(a.standing()) != 1 || !k.rides || !k.up || k.offers != 0 || len(b.conns) != 1 {
		w.fail("%d connections stand, and %d are at the peer", len(a.standing()), len(b.conns))
	}
	w.Run(300 * time.Millisecond) // the peer has the offer, and asks as well
	for _, k := range b.order() {
		if k.state == waiting {
			b.do(func(now time.Time) { b.decide(now, k.number, false) })
		}
	}
	w.Run(2 * time.Second)
	if len(a.standing()) != 2 || len(b.standing()) != 2 || a.conns[second].group() != "lab" {
		w.fail("%d and %d connections stand", len(a.standing()), len(b.standing()))
	}
}

// TestTreatmentOfMany: a peer that begins very many connections at once is asked about a few at
// a time, so that the answers about others are not late for it.
func TestTreatmentOfMany(t *testing.T) {
	t.Parallel()
	var slow time.Duration
	out, most := 0, 0
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.treat = func(p *simPeer, answer func(time.Duration, Treatment, error)) {
			if p == p.w.peers[1] {
				out++
				most = max(most, out)
				p.w.After(slow, func() { out-- })
			}
			answer(slow, Treatment{Group: "lab"}, nil)
		}
	}}, cones...)...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	slow, most = 150*time.Millisecond, 0
	began := b.untold
	stamp := uint64(0)
	begin := func(n int) {
		for i := range uint64(n) {
			h := hello{Boot: a.boot, Link: a.links[0].name, Index: 1000 + uint32(stamp+i), Stamp: uint64(w.Now().UnixNano()) + stamp + i}
			b.do(func(now time.Time) { b.signal(now, a.id.ID(), w.offerOf(a.id, b, h)) })
		}
		stamp += uint64(n)
	}
	begin(200)
	if len(b.conns) != 201 || most != maxAskedOfPeer {
		w.fail("%d connections, %d questions at once", len(b.conns), most)
	}
	w.Run(2 * time.Second)
	groups := make(map[string]int)
	for _, k := range b.order() {
		groups[k.group()]++
	}
	if asked := maxAskedOfPeer * int(treatWithin/slow); most != maxAskedOfPeer || b.untold-began < asked || b.untold-began > asked+maxAskedOfPeer ||
		groups["lab"] < asked || groups[""]+groups["lab"] != 201 {
		w.fail("%d questions, %d at once; of groups are %v", b.untold-began, most, groups)
	}
	if e := b.last(EventUntreated); e == nil || !errors.Is(e.Err, errTreatBusy) {
		w.fail("%+v", e)
	}
	begin(20)
	b.do(b.closeAll)
	if b.untold-began > maxAskedOfPeer*int(treatWithin/slow)+3*maxAskedOfPeer {
		w.fail("%d questions: connections that were closed are asked about", b.untold-began)
	}
}
