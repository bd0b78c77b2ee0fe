package natprobe_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

var seeds = flag.Int("seeds", 20, "worlds for each cell of the tables that the tests print")

// truth is what a preset is, as far as a host behind it can know.
type truth struct {
	typ       natprobe.Type
	mapping   natprobe.Mapping
	filtering natprobe.Filtering
	ports     natprobe.PortModel
	delta     int
	hairpin   natprobe.Verdict
}

const (
	eim  = natprobe.MappingEndpointIndependent
	adm  = natprobe.MappingAddressDependent
	apdm = natprobe.MappingAddressAndPortDependent
	eif  = natprobe.FilteringEndpointIndependent
	adf  = natprobe.FilteringAddressDependent
	apdf = natprobe.FilteringAddressAndPortDependent
)

// truths has every preset. Ports that are kept for each remote endpoint are kept for all
// as long as nobody collides: then they cannot be told from a cone's, and do as well.
var truths = map[string]truth{
	"open":                   {natprobe.TypeOpen, eim, eif, natprobe.PortsPreserving, 0, natprobe.VerdictUnknown},
	"firewall":               {natprobe.TypeSymmetricFirewall, eim, apdf, natprobe.PortsPreserving, 0, natprobe.VerdictUnknown},
	"full-cone":              {natprobe.TypeFullCone, eim, eif, natprobe.PortsRandom, 0, natprobe.Yes},
	"restricted-cone":        {natprobe.TypeRestrictedCone, eim, adf, natprobe.PortsRandom, 0, natprobe.Yes},
	"port-restricted-cone":   {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsPreserving, 0, natprobe.No},
	"hairpin":                {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsPreserving, 0, natprobe.Yes},
	"parity-cone":            {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsRandom, 0, natprobe.No},
	"symmetric-random":       {natprobe.TypeSymmetric, apdm, apdf, natprobe.PortsRandom, 0, natprobe.No},
	"symmetric-sequential":   {natprobe.TypeSymmetric, apdm, apdf, natprobe.PortsSequential, 1, natprobe.No},
	"symmetric-sequential-2": {natprobe.TypeSymmetric, apdm, apdf, natprobe.PortsSequential, 2, natprobe.No},
	"symmetric-sequential-3": {natprobe.TypeSymmetric, apdm, apdf, natprobe.PortsSequential, 3, natprobe.No},
	"symmetric-descending":   {natprobe.TypeSymmetric, apdm, apdf, natprobe.PortsSequential, -1, natprobe.No},
	"symmetric-address":      {natprobe.TypeSymmetric, adm, apdf, natprobe.PortsRandom, 0, natprobe.No},
	"symmetric-block":        {natprobe.TypeSymmetric, apdm, apdf, natprobe.PortsBlock, 0, natprobe.No},
	"symmetric-preserving":   {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsPreserving, 0, natprobe.No},
	"linux":                  {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsPreserving, 0, natprobe.No},
	"tcp-hostile":            {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsPreserving, 0, natprobe.No},
	"cgnat":                  {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsBlock, 0, natprobe.Yes},
	"cgnat-symmetric":        {natprobe.TypeSymmetric, apdm, apdf, natprobe.PortsBlock, 0, natprobe.No},
	"dual-stack":             {natprobe.TypePortRestrictedCone, eim, apdf, natprobe.PortsPreserving, 0, natprobe.No},
	"udp-blocked":            {typ: natprobe.TypeUDPBlocked},
	"only-443":               {typ: natprobe.TypeUDPBlocked},
}

// cell counts the right answers of one row of the table.
type cell struct {
	runs, typ, mapping, filtering, ports, delta, hairpin int
	known, took                                          []time.Duration
	packets                                              int
	wrong                                                string // the first wrong answer
}

func (c *cell) add(seed int, want truth, r result) {
	c.runs++
	c.packets += r.Packets
	c.known = append(c.known, r.Known)
	c.took = append(c.took, r.took)
	count := func(n *int, right bool) {
		if right {
			*n++
		} else if c.wrong == "" {
			c.wrong = fmt.Sprintf("seed %d: %v %v %v %v %v, hairpin %v, %v; %v\n%s", seed, r.Type, r.NAT, r.Mapping, r.Filtering, r.Ports, r.Hairpin, r.err, r.Conclusions, trail(r.Report))
		}
	}
	count(&c.typ, r.Type == want.typ)
	count(&c.mapping, r.Mapping == want.mapping)
	count(&c.filtering, r.Filtering == want.filtering)
	count(&c.ports, r.Ports.Model == want.ports)
	count(&c.delta, r.Ports.Delta == want.delta)
	count(&c.hairpin, r.Hairpin == want.hairpin)
}

// trail lists what a report rests on.
func trail(r natprobe.Report) string {
	var b strings.Builder
	for _, o := range r.Observations {
		fmt.Fprintf(&b, "  socket %d %v to %v, %s: sent %d, %d replies, from %v, mapped %v, rtt %v, code %d\n",
			o.Socket, o.Local, o.To, o.Asked, o.Sent, o.Replies, o.From, o.Mapped, o.RTT, o.Code)
	}
	return b.String()
}

func percentile(d []time.Duration, p float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(int(p*float64(len(s))), len(s)-1)].Round(time.Millisecond)
}

// TestPresets is the table of every kind of NAT without and with loss.
func TestPresets(t *testing.T) {
	for _, loss := range []float64{0, 0.1} {
		var table strings.Builder
		fmt.Fprintf(&table, "loss %.0f %% each way, %v round trip, %d seeds: right answers\n", 100*loss, 2*oneWay, *seeds)
		fmt.Fprintf(&table, "%-23s %5s %5s %6s %5s %5s %7s  %15s %7s %7s\n", "NAT", "type", "map", "filter", "ports", "delta", "hairpin", "known p50/p99", "whole", "packets")
		for _, name := range simnet.PresetNames() {
			want, ok := truths[name]
			if !ok {
				t.Errorf("preset %s has no truth here", name)
				continue
			}
			var c cell
			for seed := range *seeds {
				w := newWorld(t, uint64(seed), preset(t, name), simnet.Link{Delay: oneWay, Loss: loss})
				c.add(seed, want, w.discover(all, natprobe.DiscoveryConfig{}))
			}
			p50, p99 := percentile(c.known, 0.5), percentile(c.known, 0.99)
			fmt.Fprintf(&table, "%-23s %5d %5d %6d %5d %5d %7d  %7v %7v %7v %7.1f\n", name, c.typ, c.mapping, c.filtering, c.ports, c.delta, c.hairpin,
				p50, p99, percentile(c.took, 0.5), float64(c.packets)/float64(c.runs))
			least, leastPorts := c.runs, c.runs*99/100
			if loss > 0 {
				least = (c.runs*995 + 999) / 1000
			}
			if min(c.typ, c.mapping, c.filtering) < least || min(c.ports, c.delta) < leastPorts || c.hairpin < least {
				t.Errorf("%s at %.0f %% loss: %s", name, 100*loss, c.wrong)
			}
			blocked := want.typ == natprobe.TypeUDPBlocked
			switch {
			case blocked && percentile(c.took, 1) > 3*time.Second:
				t.Errorf("%s: blocked is told only after %v", name, percentile(c.took, 1))
			case blocked:
			case loss == 0 && (p50 > 300*time.Millisecond || p99 > 600*time.Millisecond),
				p99 > time.Second && *seeds >= 200, p50 > time.Second: // of few seeds, the worst is not one of a hundred
				t.Errorf("%s at %.0f %% loss: known after %v, %v in one of a hundred", name, 100*loss, p50, p99)
			}
		}
		t.Log("\n" + table.String())
	}
}
