package bradawl

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// hardNAT is a symmetric NAT with ports of some kind.
func hardNAT(ports simnet.PortPolicy) *simnet.Preset {
	name := fmt.Sprintf("symmetric %v", ports.Kind)
	switch ports.Kind {
	case simnet.Sequential:
		name += fmt.Sprintf(" %+d, %g/s", ports.Delta, ports.CrossTraffic)
	case simnet.Block:
		name += fmt.Sprintf(" %d", ports.Block)
	}
	return &simnet.Preset{Name: name, NATs: []simnet.NATConfig{{
		Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: ports,
	}}}
}

func sequence(delta int, others float64) *simnet.Preset {
	return hardNAT(simnet.PortPolicy{Kind: simnet.Sequential, Delta: delta, CrossTraffic: others})
}

func namedPreset(t *testing.T, name string) *simnet.Preset {
	t.Helper()
	p, err := simnet.PresetByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// hardPair is what is wanted of a pair of NATs that a plain punch does not join.
type hardPair struct {
	a, b     *simnet.Preset
	p50, p90 time.Duration // after the answer; 0: not bounded
	atLeast  float64       // of the seeds are direct in 10 s; 0: 0.99 without loss, 0.97 with it
	with     func(*worldOptions)
	quiet    bool            // no lane is to be run where nothing is lost
	path     func(Path) bool // whether it is the one that the row is about; nil: any direct one is
}

// tried is what became of a pair.
type tried struct {
	direct []float64 // seconds after the answer
	n      int
	sent   []float64 // probes of lanes, of the side that sent more
	opened []float64 // sockets
}

// hardRun dials at a pair of hard NATs, of which natprobe has found out what it can.
func hardRun(t *testing.T, seed uint64, a, b *simnet.Preset, with ...func(*worldOptions)) (w *world, after time.Duration, ok bool) {
	t.Helper()
	w = newWorld(t, seed, "", "", append(with, behind(a, b), func(o *worldOptions) { o.probe = true })...)
	w.surveyed()
	w.peers[0].dialTo(w.peers[1])
	answered := w.Now().Add(pathRTT)
	ok = w.direct(10*time.Second + pathRTT)
	return w, w.Now().Sub(answered), ok
}

// hardPairs are pairs of NATs of which one at least gives ports that the agents cannot know.
func hardPairs(t *testing.T) []hardPair {
	preset := func(name string) *simnet.Preset { return namedPreset(t, name) }
	portRestricted := preset("port-restricted-cone")
	random, block := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), func(n int) *simnet.Preset { return hardNAT(simnet.PortPolicy{Kind: simnet.Block, Block: n}) }
	pairs := []hardPair{
		{a: random, b: portRestricted, p50: time.Second, p90: 2500 * time.Millisecond},
		{a: portRestricted, b: random, p50: time.Second, p90: 2500 * time.Millisecond},
		{a: random, b: preset("firewall"), p50: time.Second, p90: 2500 * time.Millisecond},
		{a: random, b: preset("cgnat")},
		{a: random, b: preset("restricted-cone")},
		{a: random, b: preset("full-cone")},
		{a: block(512), b: portRestricted, p50: 500 * time.Millisecond},
		{a: portRestricted, b: block(2048), p50: 500 * time.Millisecond},
		{a: preset("symmetric-address"), b: portRestricted, p50: time.Second, p90: 2500 * time.Millisecond},
		{a: preset("cgnat-symmetric"), b: portRestricted},
		{a: preset("symmetric-preserving"), b: portRestricted},
		{a: preset("symmetric-preserving"), b: preset("symmetric-preserving")},
	}
	for _, delta := range []int{1, 2, 3, -1} {
		for _, others := range []float64{0, 5, 20} {
			pairs = append(pairs, hardPair{a: sequence(delta, others), b: portRestricted})
		}
		pairs = append(pairs, hardPair{a: portRestricted, b: sequence(delta, 5)}, hardPair{a: sequence(delta, 5), b: preset("restricted-cone")})
	}
	return append(pairs,
		hardPair{a: sequence(1, 0), b: sequence(1, 0)},
		hardPair{a: sequence(1, 5), b: sequence(2, 0)},
		hardPair{a: sequence(3, 0), b: sequence(3, 5)},
		hardPair{a: block(512), b: sequence(1, 0), atLeast: 0.01},
		hardPair{a: block(512), b: block(512), atLeast: 0.01},
	)
}

// TestHardPairs: what theory allows is direct, by what natprobe measures in the same world.
func TestHardPairs(t *testing.T) {
	pairs, table := allPairs(t), ""
	for _, loss := range []float64{0, 0.05} {
		for _, p := range pairs {
			name := fmt.Sprintf("%s and %s, %g %% loss", p.a.Name, p.b.Name, 100*loss)
			t.Run(strings.ReplaceAll(name, "/", " per "), func(t *testing.T) { // for -run splits at a /
				var got tried
				for seed := range uint64(max(1, *seeds/10)) {
					w, after, ok := hardRun(t, seed+1, p.a, p.b, lossy(loss), p.option)
					if got.n++; ok {
						got.direct = append(got.direct, after.Seconds())
					}
					if got.count(w); ok && p.path != nil && !p.path(w.peers[0].path()) {
						w.fail("by another path")
					}
					if !ok && p.atLeast == 0 && *seeds <= 20 {
						w.fail("not direct after 10 s")
					}
				}
				table += got.row(p, loss)
				got.judge(t, p, loss)
			})
		}
	}
	t.Log("\n" + tableHead + table)
}

func (p hardPair) option(o *worldOptions) {
	if p.with != nil {
		p.with(o)
	}
}

const tableHead = "| one side | other side | loss | direct | p50 s | p90 s | p99 s | probes p50 | most | sockets most |\n|---|---|---|---|---|---|---|---|---|---|\n"

func (r *tried) count(w *world) {
	sent, opened := 0, 0
	for _, p := range w.peers {
		for _, k := range p.links {
			s, o := 0, 0
			for _, l := range k.lane.reports {
				s, o = s+l.Sent, o+l.Opened
			}
			sent, opened = max(sent, s), max(opened, o)
		}
	}
	r.sent, r.opened = append(r.sent, float64(sent)), append(r.opened, float64(opened))
}

func (r *tried) row(p hardPair, loss float64) string {
	q := func(of []float64, at float64) string {
		switch {
		case len(of) == 0:
			return "-"
		case quantile(of, at) >= 100: // packets, not seconds
			return fmt.Sprintf("%.0f", quantile(of, at))
		}
		return fmt.Sprintf("%.3g", quantile(of, at))
	}
	return fmt.Sprintf("| %s | %s | %.0f %% | %.1f %% | %s | %s | %s | %s | %s | %s |\n", p.a.Name, p.b.Name, 100*loss,
		100*float64(len(r.direct))/float64(r.n), q(r.direct, .5), q(r.direct, .9), q(r.direct, .99), q(r.sent, .5), q(r.sent, 1), q(r.opened, 1))
}

func (r *tried) judge(t *testing.T, p hardPair, loss float64) {
	t.Helper()
	least := p.atLeast
	if least == 0 {
		if least = 0.99; loss > 0 {
			least = 0.97
		}
	}
	least -= 1.5 / float64(r.n) // as few seeds tell
	if share := float64(len(r.direct)) / float64(r.n); share < least {
		t.Errorf("%s and %s, %g loss: %.1f %% direct of %d seeds", p.a.Name, p.b.Name, loss, 100*share, r.n)
	}
	if loss > 0 {
		return
	}
	for at, most := range map[float64]time.Duration{.5: p.p50, .9: p.p90} {
		if got := quantile(r.direct, at); most > 0 && len(r.direct) >= 20 && got > most.Seconds() {
			t.Errorf("%s and %s: the %.2f quantile is %.3f s", p.a.Name, p.b.Name, at, got)
		}
	}
	if b := quantile(r.sent, 1); b > 1600 || b > 0 && p.quiet {
		t.Errorf("%s and %s: %.0f probes", p.a.Name, p.b.Name, b)
	}
}

// TestInfeasiblePairs: what theory forbids is declared in a second, relayed, and costs next
// to nothing.
func TestInfeasiblePairs(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	for _, other := range []*simnet.Preset{random, sequence(1, 0)} {
		most := 0
		for seed := range uint64(max(1, *seeds/10)) {
			w := newWorld(t, seed+1, "", "", behind(random, other), func(o *worldOptions) { o.probe = true })
			w.RunUntil(15*time.Second, func() bool {
				return w.peers[0].report.Profile().Mapped.IsValid() && w.peers[1].report.Profile().Mapped.IsValid()
			})
			a := w.peers[0]
			number := a.dialTo(w.peers[1])
			direct := 0
			for _, p := range w.sentBy(a, func() { w.Run(time.Second) }) {
				if !slices.Contains(turnAddrs, p.Dst.Addr()) && !slices.Contains(stunAddrs, p.Dst.Addr()) && p.Dst.Addr() != stunOther {
					direct++
				}
			}
			e, _ := a.explain(w.Now(), number)
			if e.Path.Kind != PathRelay || !e.Infeasible {
				w.fail("%s and %s: %v", random.Name, other.Name, e)
			}
			if most = max(most, direct); direct >= 50 {
				w.fail("%s and %s: %d probes of what cannot work", random.Name, other.Name, direct)
			}
		}
		t.Logf("%s and %s: at most %d direct probes in the second after the dial", random.Name, other.Name, most)
	}
}

// TestExplainLanes: what was tried, and with what hope, is told by both sides.
func TestExplainLanes(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	cone := namedPreset(t, "port-restricted-cone")
	for _, c := range []struct {
		budget    punch.Budget
		noLanes   [2]bool
		direct    bool
		why, lane string
		state     LaneState // of the first report
	}{
		{direct: true, why: "direct", lane: "birthday: attempt 1, chance", state: LaneOpened},
		{noLanes: [2]bool{true, false}, why: "switched off by Config.Budget"},
		{noLanes: [2]bool{false, true}, why: "the peer takes no part"},
		{budget: punch.Budget{Probes: 90, Entries: 90}, why: "attempts were in vain, the best by the lane birthday", lane: "birthday: attempt 1, chance", state: LaneEnded},
	} {
		made := 0
		w, _, ok := hardRun(t, 1, random, cone, func(o *worldOptions) {
			o.config = func(cfg *controlConfig) {
				cfg.budget, cfg.noLanes = c.budget, c.noLanes[made]
				made++
			}
		})
		a := w.peers[0]
		e, _ := a.explain(w.Now(), a.conn)
		if ok != c.direct || e.Infeasible || !strings.Contains(e.Why, c.why) || !strings.Contains(e.String(), c.lane) || e.Lanes[0].State != c.state {
			w.fail("%+v: want %q and %q", c, c.why, c.lane)
		}
	}
}

// TestLaneSockets: of the sockets that lanes have opened, those stay that carry data, and
// none when the connection is over.
func TestLaneSockets(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	w, _, ok := hardRun(t, 3, random, namedPreset(t, "port-restricted-cone"))
	a, b := w.peers[0], w.peers[1]
	if !ok {
		w.fail("not direct")
	}
	w.Run(10 * time.Second)
	k := a.conns[a.conn].link
	if k.lane.run != nil || len(k.lane.holes) != 1 || k.path.route.Socket != k.lane.holes[0].socket || a.sprayers.now != nil || len(a.sprayers.byID) != 0 {
		w.fail("%d holes, path by socket %d", len(k.lane.holes), k.path.route.Socket)
	}
	open := a.runner.Sockets()
	w.chat(5*time.Second, chatEvery)
	for _, p := range w.peers {
		if p.path().Kind != PathDirect {
			w.fail("%s is not direct after a while", p.name)
		}
	}
	b.do(func(now time.Time) { b.close(now, b.conn) })
	w.Run(time.Second)
	if n := a.runner.Sockets(); n != open-1 || n > 5 || len(a.links) != 0 {
		w.fail("%d sockets are open after the end, %d before", n, open)
	}
}

// TestLanesOfOneAtATime: only one link tries many ports at a time, and the next waits as long
// as the budget wants; a third peer is not starved.
func TestLanesOfOneAtATime(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	cone := namedPreset(t, "port-restricted-cone")
	w := newWorld(t, 5, "", "", behind(random, cone), func(o *worldOptions) { o.probe = true })
	for _, name := range []string{"c", "d"} {
		site, err := w.AddSiteOf(name, *cone, w.option.access)
		w.check(err)
		w.newPeer(site)
	}
	w.Run(15 * time.Second)
	a := w.peers[0]
	for _, p := range w.peers[1:] {
		a.dialTo(p)
	}
	direct := func() (n int) {
		for _, k := range a.links {
			if k.path != nil && !k.path.relayed {
				n++
			}
		}
		return n
	}
	most := 0
	w.RunUntil(3*time.Minute, func() bool {
		running := 0
		for _, k := range a.links {
			if k.lane.run != nil && k.lane.sprays {
				running++
			}
		}
		most = max(most, running)
		return direct() == 3
	})
	if most != 1 || direct() != 3 {
		w.fail("%d at once, %d direct", most, direct())
	}
}

// TestLaneMemory: what got through between two networks is begun with at once the next time,
// where a plain punch might have done.
func TestLaneMemory(t *testing.T) {
	// Of this NAT it is not known how it maps, so a plain punch is worth a while.
	unclear := natprobe.Profile{NAT: natprobe.Yes,
		Ports: natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1}, Mapped: netip.MustParseAddrPort("203.0.113.1:5000")}
	easy := natprobe.Profile{Type: natprobe.TypePortRestrictedCone, Mapping: natprobe.MappingEndpointIndependent, Filtering: natprobe.FilteringAddressAndPortDependent,
		NAT: natprobe.Yes, Confidence: 1, Mapped: netip.MustParseAddrPort("203.0.113.2:5000")}
	memories := [2]punch.LaneMemory{}
	took := func() time.Duration {
		n := 0
		w := newWorld(t, 2, "symmetric-sequential", "port-restricted-cone", func(o *worldOptions) {
			o.config = func(c *controlConfig) { c.memory = &memories[n]; n++ }
		})
		for i, p := range []natprobe.Profile{unclear, easy} {
			w.peers[i].do(func(now time.Time) { w.peers[i].setProfile(now, p) })
		}
		began := w.dialNow()
		if !w.direct(15 * time.Second) {
			w.fail("not direct")
		}
		return w.Now().Sub(began)
	}
	first := took()
	if second := took(); first < cheapFirst || second >= cheapFirst {
		t.Errorf("direct after %v, and then after %v", first, second)
	}
}
