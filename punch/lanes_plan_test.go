package punch_test

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

// What Plan says of a pair is what comes of it: the lanes that it does not rule out are run
// as it has them, and get through about as often as it says. Plain checks and one packet
// are not run here, so pairs that these connect are left out.
func TestLanesDoWhatThePlanSays(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "pair\tloss\tlanes\tplanned\topened\tp50 s\tp90\tpackets p99\tentries p99\t")
	for i, c := range []struct {
		a, b        string
		cross, loss float64
		want        []punch.LaneKind // in this order
	}{
		{a: "symmetric-random", b: "port-restricted-cone", want: []punch.LaneKind{punch.LaneBirthday}},
		{a: "symmetric-random", b: "port-restricted-cone", loss: .05, want: []punch.LaneKind{punch.LaneBirthday}},
		{a: "symmetric-block", b: "port-restricted-cone", want: []punch.LaneKind{punch.LaneBirthday}},
		{a: "symmetric-block", b: "linux", loss: .05, want: []punch.LaneKind{punch.LaneBirthday}},
		{a: "cgnat-symmetric", b: "cgnat", want: []punch.LaneKind{punch.LaneBirthday}},
		{a: "symmetric-address", b: "firewall", want: []punch.LaneKind{punch.LaneBirthday}},
		{a: "symmetric-sequential", b: "port-restricted-cone", want: []punch.LaneKind{punch.LanePredicted}},
		{a: "symmetric-descending", b: "linux", cross: 5, loss: .05, want: []punch.LaneKind{punch.LanePredicted}},
		{a: "symmetric-sequential-3", b: "symmetric-sequential-2", want: []punch.LaneKind{punch.LaneCrossing}},
		{a: "symmetric-sequential", b: "symmetric-descending", cross: 5, loss: .05, want: []punch.LaneKind{punch.LaneCrossing}},
		{a: "symmetric-block", b: "symmetric-block", want: []punch.LaneKind{punch.LaneBlocks}},
		{a: "symmetric-sequential", b: "symmetric-block", want: []punch.LaneKind{punch.LaneBlocks}},
	} {
		r := &lanesResult{}
		planned, kinds := 0.0, ""
		for seed := range laneSeeds() {
			crowd := func(n *simnet.NATConfig) { n.Ports.CrossTraffic = c.cross }
			w := newLanesWorld(t, uint64(i)*1_000_000+seed, natOf(t, c.a, crowd), natOf(t, c.b, crowd))
			for _, h := range w.hosts {
				link := simnet.Link{Delay: access, Loss: c.loss / 2}
				h.iface().SetLink(link, link)
			}
			var lanes [2][]punch.Lane
			for i, h := range w.hosts {
				lanes[i] = punch.Plan(h.profile, w.hosts[1-i].profile, h.budget)
			}
			miss := 1.0
			var run []punch.LaneKind
			for _, l := range lanes[0] {
				if l.Ruled == "" && l.Kind != punch.LanePlain && l.Kind != punch.LaneOnePacket {
					miss *= 1 - l.Probability
					run = append(run, l.Kind)
				}
			}
			planned += 1 - miss
			if kinds = fmt.Sprint(run); kinds != fmt.Sprint(c.want) {
				t.Errorf("%s and %s, seed %d: the plan has %v, want %v", c.a, c.b, seed, run, c.want)
			}
			w.start(lanes)
			took, ok := w.settle()
			w.finish()
			r.add(w, took, ok)
		}
		n := float64(r.runs)
		planned /= n
		fmt.Fprintf(tw, "%s x %s, %.0f/s\t%.0f %%\t%s\t%.3f\t%d/%d\t%.2f\t%.2f\t%.0f\t%.0f\t\n", c.a, c.b, c.cross, c.loss*100, kinds, planned, r.won, r.runs,
			quantile(r.took, .5), quantile(r.took, .9), quantile(r.packets, .99), quantile(r.entries, .99))
		if miss := n - float64(r.won); miss > n*(1-planned)+3*sqrt(n*planned*(1-planned))+1 {
			t.Errorf("%s and %s: %d of %d got through, planned are %.3f", c.a, c.b, r.won, r.runs, planned)
		}
	}
	tw.Flush()
	t.Logf("%d worlds each\n%s", laneSeeds(), b.String())
}
