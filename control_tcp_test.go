package bradawl

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/stats"
)

// noUDP is a NAT that lets no UDP pass, and treats TCP by its rules.
func noUDP(p *simnet.Preset) *simnet.Preset {
	q := *p
	q.Name += ", UDP blocked"
	q.NATs = append([]simnet.NATConfig(nil), p.NATs...)
	q.NATs[0].BlockUDP = true
	return &q
}

// tcpPairs have one NAT that gives each connection of TCP another port, which can be foretold,
// and no UDP on one side or both.
func tcpPairs(t *testing.T) (pairs []hardPair) {
	tcp := func(p Path) bool { return p.Protocol == "tcp" }
	blocked := namedPreset(t, "udp-blocked")
	add := func(a, b *simnet.Preset) { pairs = append(pairs, hardPair{a: a, b: b, with: withTCP, path: tcp}) }
	for _, hard := range []*simnet.Preset{sequence(1, 0), sequence(1, 20), sequence(3, 5), sequence(-1, 0), namedPreset(t, "symmetric-preserving")} {
		add(blocked, hard)
		add(hard, blocked)
	}
	hard := noUDP(sequence(1, 5))
	add(hard, namedPreset(t, "port-restricted-cone"))
	add(namedPreset(t, "cgnat"), hard)
	add(hard, namedPreset(t, "open"))
	add(hard, blocked)
	// A SYN that comes before the other side's has left is answered by a reset.
	resets := func(p *simnet.Preset) *simnet.Preset {
		q := named(p, p.Name+", resets")
		q.NATs = slices.Clone(p.NATs)
		q.NATs[0].StraySYN = simnet.Reset
		return q
	}
	add(resets(blocked), resets(sequence(1, 5)))
	add(resets(sequence(2, 0)), resets(blocked))
	// As Linux does, the NAT forgets a mapping with that.
	forgets := func(p *simnet.Preset) *simnet.Preset {
		q := named(p, p.Name+", forgets")
		q.NATs = slices.Clone(p.NATs)
		q.NATs[0].TCPReset = -1
		return q
	}
	add(resets(blocked), forgets(sequence(1, 5)))
	add(forgets(sequence(2, 0)), resets(blocked))
	return pairs
}

// predictedBy is the chance that a side has given the lane; 0: it did not run it.
func (p *simPeer) predictedBy() float64 {
	for _, k := range p.links {
		for _, l := range k.laneReports() {
			if l.Kind == punch.LaneTCPPredicted && l.Attempt == 1 {
				return l.Probability
			}
		}
	}
	return 0
}

// TestTCPPredictedComesTrue: the share that gets through is the chance that both sides plan
// with, within five points.
func TestTCPPredictedComesTrue(t *testing.T) {
	blocked := namedPreset(t, "udp-blocked")
	for _, c := range []struct {
		others float64
		budget punch.Budget
	}{
		{others: 0}, {others: 20}, {others: 200}, {others: 800},
		{others: 800, budget: punch.Budget{Probes: 9, Entries: 9}}, // for one round, and few ports
	} {
		hard := sequence(1, c.others)
		config := func(o *worldOptions) { o.config = func(cfg *controlConfig) { cfg.budget = c.budget } }
		direct, hoped, n := 0, 0.0, max(5, *seeds/10)
		for seed := range uint64(n) {
			w, _, ok := hardRun(t, seed+1, blocked, hard, withTCP, config)
			if ok && w.peers[0].links[0].lane.tries == 1 { // a plan is for one attempt
				direct++
			}
			a, b := w.peers[0].predictedBy(), w.peers[1].predictedBy()
			if math.Abs(a-b) > 0.01 || c.others < 100 && a == 0 { // a peer is told the rate in tenths
				w.fail("%s: the two sides plan with %g and %g", hard.Name, a, b)
			}
			hoped += a
		}
		share, hope := float64(direct)/float64(n), hoped/float64(n)
		t.Logf("%s, budget of %d probes: %.1f %% of %d, planned %.1f %%", hard.Name, c.budget.WithDefaults().Probes, 100*share, n, 100*hope)
		if math.Abs(share-hope) > 0.05+1/float64(n) {
			t.Errorf("%s: %.1f %% of %d got through, planned %.1f %%", hard.Name, 100*share, n, 100*hope)
		}
	}
}

// TestTCPPredictedIsTold: the lane is named by both sides, to the user and to the statistics,
// and nothing of it is left after the end.
func TestTCPPredictedIsTold(t *testing.T) {
	for seed := range uint64(3) {
		w, _, ok := hardRun(t, seed+1, namedPreset(t, "udp-blocked"), sequence(1, 5), withTCP)
		if !ok {
			w.fail("not direct")
		}
		w.Run(5 * time.Second)
		for _, p := range w.peers {
			e, _ := p.explain(w.Now(), p.conn)
			if e.Path.Protocol != "tcp" || !strings.Contains(e.String(), "tcp_predicted: attempt 1, chance 99 %") {
				w.fail("%s: %v", p.name, e)
			}
			i := slices.IndexFunc(p.record, func(e stats.Event) bool { return e.Stage == stats.StagePunch })
			if i < 0 || p.record[i].Lane != "tcp_predicted" || p.record[i].Protocol != stats.ProtocolTCP || p.record[i].Pair != stats.PairPredicted || p.record[i].Status != stats.StatusSuccess {
				w.fail("%s recorded %+v", p.name, p.record)
			}
			k := p.links[0]
			if r := k.lane.report(punch.LaneTCPPredicted); r == nil || r.State != LaneOpened || !strings.HasPrefix(r.Outcome, "opened") {
				w.fail("%s reports %+v", p.name, r)
			}
			if k.lane.run != nil || len(k.lane.holes) > 1 || len(p.sprayers.byID) != 0 {
				w.fail("%s: an attempt is left, or %d holes", p.name, len(k.lane.holes))
			}
		}
		w.chat(5*time.Second, chatEvery)
		a, b := w.peers[0], w.peers[1]
		if a.path().Kind != PathDirect || b.path().Kind != PathDirect {
			w.fail("not direct after a while")
		}
		a.do(func(now time.Time) { a.close(now, a.conn) })
		w.Run(time.Second)
		if len(a.links)+len(b.links) != 0 {
			w.fail("%d and %d links are left", len(a.links), len(b.links))
		}
	}
}

// TestTCPIsLeftAlone: where UDP passes on both sides, nobody asks what the NATs do with TCP; nor
// does a side that takes no part in lanes, or that is always relayed, whatever the peer says.
func TestTCPIsLeftAlone(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		change func(*controlConfig)
	}{
		{"port-restricted-cone", "port-restricted-cone", nil},
		{"port-restricted-cone", "symmetric-sequential", nil},
		{"udp-blocked", "symmetric-sequential", func(c *controlConfig) { c.noLanes = true }},
		{"udp-blocked", "symmetric-sequential", func(c *controlConfig) { c.policy = RelayOnly }},
	} {
		w, _, ok := hardRun(t, 1, namedPreset(t, c.a), namedPreset(t, c.b), withTCP, func(o *worldOptions) { o.config = c.change })
		if ok != (c.change == nil) {
			w.fail("direct: %v", ok)
		}
		for _, p := range w.peers {
			if p.tcpAsked || p.profile.TCP != (natprobe.TCPProfile{}) {
				w.fail("%s has looked at TCP", p.name)
			}
		}
	}
}

// TestInfeasibleTCP: without UDP, ports of TCP that cannot be foretold are declared hopeless
// within a second, and cost little.
func TestInfeasibleTCP(t *testing.T) {
	random := hardNAT(simnet.PortPolicy{Kind: simnet.Random})
	for _, c := range []struct {
		a, b *simnet.Preset
		why  string
	}{
		{namedPreset(t, "udp-blocked"), random, "gives TCP random ports of its whole range"},
		{random, namedPreset(t, "udp-blocked"), "gives TCP random ports of its whole range"},
		{namedPreset(t, "udp-blocked"), hardNAT(simnet.PortPolicy{Kind: simnet.Block, Block: 512}), "gives TCP random ports out of a block of about"},
		{noUDP(sequence(1, 0)), sequence(1, 0), "both NATs give each TCP connection another port"},
	} {
		for seed := range uint64(max(1, *seeds/10)) {
			w := newWorld(t, seed+1, "", "", behind(c.a, c.b), withTCP, func(o *worldOptions) { o.probe = true })
			w.surveyed()
			w.Run(time.Second)
			a := w.peers[0]
			number := a.dialTo(w.peers[1])
			direct := 0
			for _, p := range w.sentBy(a, func() { w.Run(time.Second) }) {
				if p.Dst.Addr() != stunOther {
					direct++
				}
			}
			e, _ := a.explain(w.Now(), number)
			if e.Path.Kind != PathRelay || !e.Infeasible || !strings.Contains(e.Why, c.why) || !strings.HasPrefix(e.Why, "infeasible: UDP is blocked on") {
				w.fail("%s and %s: %v", c.a.Name, c.b.Name, e)
			}
			if direct >= 50 {
				w.fail("%s and %s: %d packets for what cannot work", c.a.Name, c.b.Name, direct)
			}
		}
	}
}

// noting is a punch.Memory that notes what it is told.
type noting map[string]bool // by networks and lane; whether it got through

func (n noting) Remember(networks, lane string, ok bool, _ time.Time) { n[networks+" "+lane] = ok }

func (n noting) Recall(string, string, time.Time) (float64, bool) { return 0, false }

// TestTCPIsRemembered: between networks of which one or both block UDP, it is remembered which
// lane got through, under the same name the next time, at another port.
func TestTCPIsRemembered(t *testing.T) {
	t.Parallel()
	blocked := namedPreset(t, "udp-blocked")
	for _, pair := range [][2]*simnet.Preset{{blocked, sequence(1, 5)}, {sequence(1, 5), blocked}, {noUDP(sequence(1, 5)), blocked}} {
		var all [2]noting
		for n := range 2 {
			both := 0
			w, _, ok := hardRun(t, uint64(n+1), pair[0], pair[1], withTCP, func(o *worldOptions) {
				o.config = func(c *controlConfig) {
					if both++; both == 1 {
						all[n] = make(noting)
						c.memory = all[n]
					}
				}
			})
			if !ok {
				w.fail("not direct")
			}
			w.Run(5 * time.Second)
		}
		if len(all[0]) == 0 || !maps.Equal(all[0], all[1]) {
			t.Errorf("%s and %s: remembered is %v, then %v", pair[0].Name, pair[1].Name, all[0], all[1])
		}
		for what, ok := range all[0] {
			if networks, lane, _ := strings.Cut(what, " "); networks == "" || lane != "tcp_predicted" || !ok {
				t.Errorf("%s and %s: remembered is %q, %v", pair[0].Name, pair[1].Name, what, ok)
			}
		}
	}
}
