package bradawl

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

// budgets gives the two sessions budgets of their own.
func budgets(a, b punch.Budget) func(*worldOptions) {
	made := 0
	return func(o *worldOptions) {
		o.config = func(c *controlConfig) {
			c.budget = [...]punch.Budget{a, b}[made%2]
			c.noLanes = c.budget.Probes < 0
			made++
		}
	}
}

// sentByLanes is how many packets and sockets the lanes of a side took.
func (p *simPeer) sentByLanes() (sent, opened int) {
	for _, k := range p.links {
		for _, l := range k.lane.reports {
			sent, opened = sent+l.Sent, opened+l.Opened
		}
	}
	return sent, opened
}

// planOf is what a side runs, seen from the one whose ports are "ours".
func planOf(plan []punch.Lane, ours, theirs punch.Side) (all []string) {
	whose := map[punch.Side]string{ours: "ours", theirs: "theirs", punch.Both: "both"}
	for _, l := range plan {
		if l.Ruled == "" {
			all = append(all, fmt.Sprintf("%v, ports of %s, %.9f in %v", l.Kind, whose[l.Hard], l.Probability, l.Time))
		}
	}
	return all
}

// TestBudgetsDiffer: sides with different budgets plan with the lesser of the two, and so
// alike, whoever dials and whose ports are guessed.
func TestBudgetsDiffer(t *testing.T) {
	random, cone := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), namedPreset(t, "port-restricted-cone")
	odd := punch.Budget{Sockets: 300, Probes: 900, Table: 1000, Least: 0.02}
	for _, b := range [][2]punch.Budget{{{}, punch.Polite}, {punch.Polite, {}}, {punch.Polite, odd}, {odd, {}}} {
		for _, pair := range [][2]*simnet.Preset{{random, cone}, {cone, random}} {
			direct, runs := 0, max(5, *seeds/10)
			for seed := range uint64(runs) {
				w, _, ok := hardRun(t, seed+1, pair[0], pair[1], budgets(b[0], b[1]))
				if ok {
					direct++
				}
				k, peers := w.peers[0].links[0], w.peers[1].links[0]
				if got, want := k.allowed(), peers.allowed(); got != want || got != b[0].Within(b[1]) {
					w.fail("budgets %+v and %+v", got, want)
				}
				ours, theirs := planOf(k.lanes(), punch.Ours, punch.Theirs), planOf(peers.lanes(), punch.Theirs, punch.Ours)
				if !slices.Equal(ours, theirs) || len(ours) == 0 {
					w.fail("one side plans %q, and the other %q", ours, theirs)
				}
				most := k.allowed()
				for _, p := range w.peers {
					if sent, _ := p.sentByLanes(); sent > most.Probes || p.links[0].lane.tries != k.lane.tries {
						w.fail("%d packets of %d allowed; %d and %d attempts", sent, most.Probes, k.lane.tries, p.links[0].lane.tries)
					}
				}
			}
			if direct < runs-runs/5 { // of a Polite attempt 97.9 %
				t.Errorf("%+v, %s and %s: %d of %d direct", b, pair[0].Name, pair[1].Name, direct, runs)
			}
		}
	}
}

// TestOneSideWithoutBudget: where one side makes no attempts, neither sends anything for
// them, and both say why.
func TestOneSideWithoutBudget(t *testing.T) {
	random, cone := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), namedPreset(t, "port-restricted-cone")
	none := punch.Budget{Probes: -1}
	for _, b := range [][2]punch.Budget{{{}, none}, {none, {}}} {
		for _, pair := range [][2]*simnet.Preset{{random, cone}, {cone, random}} {
			for seed := range uint64(3) {
				w, _, ok := hardRun(t, seed+1, pair[0], pair[1], budgets(b[0], b[1]))
				for i, p := range w.peers {
					sent, opened := p.sentByLanes()
					e, _ := p.explain(w.Now(), p.conn)
					want := "the peer takes no part"
					if b[i] == none {
						want = "switched off by Config.Budget"
					}
					if ok || sent+opened+p.links[0].lane.tries > 0 || e.Path.Kind != PathRelay || !strings.Contains(e.Why, want) {
						w.fail("%s: %d packets, %d sockets, want %q", p.name, sent, opened, want)
					}
				}
			}
		}
	}
}

// TestBudgetTerms: what is told of a budget comes over as it is, and what a peer makes up
// only makes ours less.
func TestBudgetTerms(t *testing.T) {
	if got := budgetTerms(punch.Budget{}); got != nil || budgetTerms(punch.Budget{Cooldown: time.Hour, Sockets: 256}) != nil {
		t.Errorf("of the default is told %v", got)
	}
	own := []punch.Budget{{}, punch.Polite, {Sockets: -1}, {Entries: -1}, {Table: 1}, {Table: 3000, Least: -1}, {Least: 0.5, Rate: -1}, {Probes: 64512, Rate: 10000}}
	for _, b := range own {
		for _, o := range own {
			if got, want := o.Within(budgetOf(budgetTerms(b))), o.Within(b); got != want {
				t.Errorf("of %+v comes over %+v, want %+v", b, got, want)
			}
		}
		mine := b.Within(b)
		for _, lie := range [][]float64{
			nil, {}, {0}, {-1, -1, -1, -1, -1}, {1e300, 1e300, 1e300, 1e300, 1e300}, {-1e300, 1e300, 0.5, 2.7, 0.3}, {3, 4}, {1, 2, 3, 4, 0.5, 6, 7, 8},
			{math.MaxInt64, math.MinInt64, 1 << 40, 70000, -5},
		} {
			got := b.Within(budgetOf(lie))
			if got.Sockets > mine.Sockets || got.Probes > mine.Probes || got.Entries > mine.Entries || got.Rate > mine.Rate || got.Least < mine.Least || got.Check() != nil || got != got.WithDefaults() {
				t.Errorf("%+v and a peer that says %v: %+v", b, lie, got)
			}
		}
	}
}

// TestMappedLate: a port that a router maps later is told to the peer, and both plan anew: no
// attempt is made meanwhile of which it makes nothing.
func TestMappedLate(t *testing.T) {
	random, cone := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), namedPreset(t, "port-restricted-cone")
	pcp := simnet.GatewayConfig{PCP: true}
	for _, c := range []struct {
		a, b *simnet.Preset
		side int // whose router it is
		want punch.Side
	}{
		{random, random, 0, punch.Ours}, {random, random, 1, punch.Theirs},
		{random, cone, 0, punch.Ours}, {random, cone, 1, punch.Theirs}, {cone, random, 1, punch.Theirs},
	} {
		for seed := range uint64(3) {
			w := newWorld(t, seed+1, "", "", behind(c.a, c.b), func(o *worldOptions) { o.probe = true })
			w.surveyed()
			for _, p := range w.peers { // another peer of theirs had the last attempt, and the next may begin just then
				p.sprayers.next = w.Now().Add(12*time.Second + pathRTT/2 + 10*time.Millisecond)
			}
			a := w.peers[0]
			a.dialTo(w.peers[1])
			w.Run(12 * time.Second) // so that no check is under way any more
			for _, p := range w.peers {
				if p.path().Kind != PathRelay || len(p.ruled(punch.LaneMapped)) == 0 {
					w.fail("%s is not relayed, or has a mapped port", p.name)
				}
			}
			router := w.peers[c.side]
			router.addRouter(pcp)
			if !w.direct(2 * time.Second) {
				w.fail("not direct")
			}
			for i, p := range w.peers {
				sent, _ := p.sentByLanes()
				if why := p.ruled(punch.LaneMapped); sent > 0 || why != "" {
					w.fail("%d packets of lanes; mapped: %q", sent, why)
				}
				if (p.links[0].lane.terms.mapped) != (i != c.side) || p.isMapped() != (i == c.side) {
					w.fail("%s does not know whose port it is", p.name)
				}
			}
			router.do(func(now time.Time) {
				if base := router.bases[router.site.Addr()]; seed == 0 {
					router.removeBase(now, base) // the host has left the network
				} else {
					router.control.routed(now, base, netip.AddrPort{})
				}
			})
			w.Run(time.Second)
			for _, p := range w.peers {
				if p.ruled(punch.LaneMapped) == "" {
					w.fail("%s plans with a mapped port that is gone", p.name)
				}
			}
		}
	}
}

// ruled is why a lane to the peer is ruled out.
func (p *simPeer) ruled(kind punch.LaneKind) string {
	for _, l := range p.links[0].lanes() {
		if l.Kind == kind {
			return l.Ruled
		}
	}
	return "there is none"
}

// TestMappedInVain: a mapped port that nothing arrives at, as behind a router that lies, costs
// the other ways a second; where there are none, it is said what is waited for.
func TestMappedInVain(t *testing.T) {
	random, cone := hardNAT(simnet.PortPolicy{Kind: simnet.Random}), namedPreset(t, "port-restricted-cone")
	pcp := simnet.GatewayConfig{PCP: true}
	for side := range 2 {
		w := newWorld(t, 4, "", "", behind(random, cone), func(o *worldOptions) {
			o.probe = true
			o.routers[side] = pcp
		})
		w.surveyed()
		w.peers[side].site.NATs[0].Reboot(0) // it forgets its mappings, and says nothing
		began := w.Now()
		w.peers[0].dialTo(w.peers[1])
		if !w.direct(10*time.Second) || w.Now().Sub(began) < cheapFirst {
			w.fail("direct after %v", w.Now().Sub(began))
		}
	}
	w := newWorld(t, 4, "", "", behind(random, random), func(o *worldOptions) {
		o.probe = true
		o.routers[1] = pcp
	})
	w.surveyed()
	w.peers[1].site.NATs[0].Reboot(0)
	w.peers[0].dialTo(w.peers[1])
	w.Run(3 * time.Second)
	for _, p := range w.peers {
		if e, _ := p.explain(w.Now(), p.conn); e.Infeasible || e.Path.Kind != PathRelay || !strings.Contains(e.Why, "has not been reached yet") {
			w.fail("%s: %v", p.name, e.Why)
		}
	}
}

// TestOldPeers: a peer that tells nothing of a budget has the default one, and none of a port
// has none.
func TestOldPeers(t *testing.T) {
	h, err := readHello([]byte(`{"i":1,"u":"abcd","p":"abcdefghijklmnopqrstuvwx","n":""}`))
	if err != nil || h.Mapped || (punch.Budget{}).Within(budgetOf(h.Budget)) != (punch.Budget{}).Within(punch.Budget{}) {
		t.Errorf("%+v: %v", h, err)
	}
	if text := string(encode(hello{Index: 1, Budget: budgetTerms(punch.Budget{})})); strings.Contains(text, `"g"`) || strings.Contains(text, `"m"`) {
		t.Errorf("defaults are told: %s", text)
	}
}
