package punch_test

import (
	"flag"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

// laneSeeds is how many worlds each row of the tables gets: what -seeds says, or a few.
func laneSeeds() uint64 {
	n := uint64(5)
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "seeds" {
			n = *seeds
		}
	})
	return n
}

// laneCase is a pair of NATs and the lane that is run between them.
type laneCase struct {
	a, b       string
	change     func(*simnet.NATConfig) // of a
	kind       punch.LaneKind
	both       bool // hard
	loss       float64
	rate       float64 // of successes, at least
	p50, p90   float64 // s, at most; 0: any
	cross      float64
	crossB     float64
	what       string
	budgetBoth punch.Budget
	skew       time.Duration // from a's start to b's, or the other way about
	jitter     time.Duration
	reorder    float64
	fewHops    bool
	near       bool // packets hardly ever cross
}

func (c laneCase) name() string {
	s := fmt.Sprintf("%s %s x %s", c.kind, c.a, c.b)
	if c.what != "" {
		s += " " + c.what
	}
	if c.cross+c.crossB > 0 {
		s += fmt.Sprintf(", %.0f/s and %.0f/s", c.cross, c.crossB)
	}
	if c.skew != 0 {
		s += fmt.Sprintf(", skew %v", c.skew)
	}
	if c.loss > 0 {
		s += fmt.Sprintf(", %.0f %% loss", c.loss*100)
	}
	return s
}

func (c laneCase) run(t *testing.T, seed uint64) *lanesWorld {
	t.Helper()
	a := natOf(t, c.a, func(n *simnet.NATConfig) {
		n.Ports.CrossTraffic = c.cross
		if c.change != nil {
			c.change(n)
		}
	})
	b := natOf(t, c.b, func(n *simnet.NATConfig) { n.Ports.CrossTraffic = c.crossB })
	w := newLanesWorld(t, seed, a, b)
	link := simnet.Link{Delay: access, Loss: c.loss / 2, Jitter: c.jitter, Reorder: c.reorder} // two such links make a path
	if c.near {
		link.Delay = time.Millisecond
	}
	for _, h := range w.hosts {
		h.iface().SetLink(link, link)
	}
	ours, theirs := punch.Lane{Kind: c.kind, Hard: punch.Ours}, punch.Lane{Kind: c.kind, Hard: punch.Theirs}
	if c.both {
		ours.Hard, theirs.Hard = punch.Both, punch.Both
	}
	w.Internet().SetHops(3)
	for _, h := range w.hosts {
		h.budget, h.fewHops = c.budgetBoth, c.fewHops
	}
	w.began = w.Now()
	lanes := [2][]punch.Lane{{ours}, {theirs}}
	first := 0
	if c.skew < 0 {
		first = 1
	}
	w.startOne(first, lanes[first])
	w.Run(max(c.skew, -c.skew))
	w.startOne(1-first, lanes[1-first])
	return w
}

func runLaneCases(t *testing.T, cases []laneCase) {
	t.Helper()
	var results []*lanesResult
	for i, c := range cases {
		r := &lanesResult{name: c.name()}
		results = append(results, r)
		for seed := range laneSeeds() {
			w := c.run(t, uint64(i)*1_000_000+seed)
			took, ok := w.settle()
			w.finish()
			r.add(w, took, ok)
		}
		// What may be missed by chance with so many seeds: two standard deviations, and one.
		n := float64(r.runs)
		if miss := n - float64(r.won); miss > n*(1-c.rate)+2*sqrt(n*(1-c.rate)*c.rate)+1 && miss > 0 {
			t.Errorf("%s: %d of %d got through, want %.0f %%", r.name, r.won, r.runs, c.rate*100)
		}
		slack := 1 + 2/sqrt(n)
		if p := quantile(r.took, .5); c.p50 > 0 && p > c.p50*slack {
			t.Errorf("%s: p50 %.2f s, want %.2f", r.name, p, c.p50)
		}
		if p := quantile(r.took, .9); c.p90 > 0 && p > c.p90*slack {
			t.Errorf("%s: p90 %.2f s, want %.2f", r.name, p, c.p90)
		}
	}
	t.Logf("%d worlds each; path RTT %v\n%s", laneSeeds(), rtt, lanesTable(results))
}

func TestLanesBirthday(t *testing.T) {
	t.Parallel()
	runLaneCases(t, []laneCase{
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "port-restricted-cone", rate: .98, p50: 1.0, p90: 2.5},
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "port-restricted-cone", loss: .05, rate: .98, p50: 1.0, p90: 2.5},
		{kind: punch.LaneBirthday, a: "symmetric-block", b: "port-restricted-cone", rate: .99, p50: .3, p90: .4},
		{kind: punch.LaneBirthday, a: "symmetric-block", b: "port-restricted-cone", loss: .05, rate: .99, p50: .3, p90: .5},
		{kind: punch.LaneBirthday, a: "symmetric-block", b: "port-restricted-cone", what: "of 2048", rate: .99, p50: .4, p90: .6,
			change: func(n *simnet.NATConfig) { n.Ports.Block = 2048 }},
		{kind: punch.LaneBirthday, a: "symmetric-address", b: "port-restricted-cone", rate: .98, p50: 1.0, p90: 2.5},
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "restricted-cone", rate: 1, p90: .3},
		{kind: punch.LaneBirthday, a: "cgnat-symmetric", b: "port-restricted-cone", rate: .99, p50: .4, p90: .6},
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "cgnat", rate: .98, p50: 1.0, p90: 2.5},
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "firewall", rate: .98, p50: 1.0, p90: 2.5},
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "port-restricted-cone", what: "even ports", rate: .98, p50: .8, p90: 2,
			change: func(n *simnet.NATConfig) { n.Ports.Parity = true }},
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "port-restricted-cone", what: "polite", rate: .9, p50: 1.6, p90: 3.7,
			budgetBoth: punch.Polite},
	})
}

func sqrt(x float64) float64 { return math.Sqrt(x) }

// sequentials are the NATs whose next port can be told from the last.
var sequentials = []string{"symmetric-sequential", "symmetric-sequential-2", "symmetric-sequential-3", "symmetric-descending"}

func TestLanesPredicted(t *testing.T) {
	t.Parallel()
	var cases []laneCase
	for _, a := range sequentials {
		for _, b := range cones {
			for _, cross := range []float64{0, 5, 20} {
				if b != "port-restricted-cone" && cross > 0 {
					continue
				}
				for _, loss := range []float64{0, .05} {
					rate := .99
					if loss > 0 {
						rate = .97
					}
					cases = append(cases, laneCase{kind: punch.LanePredicted, a: a, b: b, cross: cross, loss: loss, rate: rate, p50: .5, p90: 2})
				}
			}
		}
	}
	cases = append(cases, laneCase{kind: punch.LanePredicted, a: "symmetric-sequential", b: "cgnat", rate: .99, p50: .5, p90: 2},
		laneCase{kind: punch.LanePredicted, a: "symmetric-sequential-2", b: "firewall", rate: .99, p50: .5, p90: 2},
		laneCase{kind: punch.LanePredicted, a: "symmetric-preserving", b: "port-restricted-cone", rate: .99, p50: .5, p90: 2})
	runLaneCases(t, cases)
}

func TestLanesCrossing(t *testing.T) {
	t.Parallel()
	var cases []laneCase
	for i, a := range sequentials {
		for _, b := range sequentials[i:] {
			for _, cross := range []float64{0, 5} {
				for _, loss := range []float64{0, .05} {
					rate := .99
					if loss > 0 {
						rate = .97
					}
					cases = append(cases, laneCase{kind: punch.LaneCrossing, both: true, a: a, b: b, cross: cross, crossB: cross, loss: loss, rate: rate, p50: .6, p90: 3})
				}
			}
		}
	}
	cases = append(cases, laneCase{kind: punch.LaneCrossing, both: true, a: "symmetric-preserving", b: "symmetric-sequential", rate: .99, p50: .6, p90: 3},
		laneCase{kind: punch.LaneCrossing, both: true, a: "symmetric-preserving", b: "symmetric-preserving", rate: .99, p50: .6, p90: 3})
	runLaneCases(t, cases)
}

func TestLanesBlocks(t *testing.T) {
	t.Parallel()
	runLaneCases(t, []laneCase{
		{kind: punch.LaneBlocks, both: true, a: "symmetric-block", b: "symmetric-block", rate: .15},
		{kind: punch.LaneBlocks, both: true, a: "symmetric-block", b: "symmetric-block", loss: .05, rate: .15},
		{kind: punch.LaneBlocks, both: true, a: "symmetric-sequential", b: "symmetric-block", rate: .3},
		{kind: punch.LaneBlocks, both: true, a: "symmetric-sequential-3", b: "symmetric-block", rate: .3, cross: 5},
	})
}

// What is not as it should be: one side begins later, packets are delayed and overtake each
// other, many others use the same NAT, and the easy side's NAT is one that a first packet
// from outside spoils.
func TestLanesInBadConditions(t *testing.T) {
	t.Parallel()
	var cases []laneCase
	for _, c := range []laneCase{
		{kind: punch.LaneBirthday, a: "symmetric-random", b: "port-restricted-cone"},
		{kind: punch.LanePredicted, a: "symmetric-sequential-2", b: "port-restricted-cone"},
		{kind: punch.LaneCrossing, both: true, a: "symmetric-sequential", b: "symmetric-sequential-3"},
	} {
		c.rate, c.p90 = .98, 3
		for _, change := range []func(c *laneCase){
			func(c *laneCase) { c.skew = 300 * time.Millisecond },
			func(c *laneCase) { c.skew = time.Second },
			func(c *laneCase) { c.skew = -time.Second },
			func(c *laneCase) { c.what, c.jitter, c.reorder = "jitter", 20*time.Millisecond, .1 },
			func(c *laneCase) { c.loss = .2 },
			func(c *laneCase) {
				c.what, c.loss, c.jitter, c.cross, c.skew, c.p90 = "jitter", .1, 20*time.Millisecond, 20, 300*time.Millisecond, 5
				if c.both {
					c.crossB = 20
				}
			},
			func(c *laneCase) {
				if !c.both {
					c.b = "linux"
				}
			},
		} {
			c := c
			change(&c)
			cases = append(cases, c)
		}
	}
	runLaneCases(t, cases)
}

// remembering makes a NAT remember what it does not let in, as Linux does.
func remembering(n *simnet.NATConfig) { n.Poison, n.IdleUnreplied = true, 30*time.Second }

// TestLanesBetweenNATsThatRemember: where both NATs hold it against a port if something comes
// to it early, whichever packet is the first spoils the port for the other, unless they cross on the way.
// What dies on the way spoils nothing.
func TestLanesBetweenNATsThatRemember(t *testing.T) {
	t.Parallel()
	met := 0
	for seed := range laneSeeds() {
		c := laneCase{kind: punch.LaneBirthday, a: "symmetric-random", b: "linux", change: remembering, near: true}
		w := c.run(t, seed)
		if _, ok := w.settle(); ok {
			met++
		}
		w.finish()
	}
	if n := int(laneSeeds()); met > 1+n/5 {
		t.Errorf("%d of %d met without it, so that the first case shows nothing", met, n)
	}
	cases := []laneCase{{kind: punch.LaneBirthday, a: "symmetric-random", b: "linux", what: "remembering", change: remembering, near: true, fewHops: true, rate: .95, p90: 3.5}}
	// Elsewhere it does little harm.
	for _, b := range []string{"linux", "port-restricted-cone"} {
		cases = append(cases, laneCase{kind: punch.LaneBirthday, a: "symmetric-random", b: b, what: "few hops", fewHops: true, rate: .98, p90: 3.5},
			laneCase{kind: punch.LaneBirthday, a: "symmetric-random", b: b, what: "few hops", loss: .05, fewHops: true, rate: .98, p90: 3.5})
	}
	runLaneCases(t, cases)
}
