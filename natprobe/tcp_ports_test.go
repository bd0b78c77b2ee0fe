package natprobe_test

import (
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

// TestTCPPorts: how a NAT chooses the ports of TCP is found by at most eight connections,
// which its profile tells peers.
func TestTCPPorts(t *testing.T) {
	rules := func(delta int, others float64) simnet.Rules {
		return simnet.Rules{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent,
			Ports: simnet.PortPolicy{Kind: simnet.Sequential, Delta: delta, CrossTraffic: others}}
	}
	tcp := func(r simnet.Rules) simnet.Preset { // while UDP has a cone of random ports
		return simnet.Preset{NATs: []simnet.NATConfig{{Ports: simnet.PortPolicy{Kind: simnet.Random}, TCP: &r}}}
	}
	for name, c := range map[string]struct {
		nat   simnet.Preset
		model natprobe.PortModel
		delta int
		least float64 // rate of others, over all seeds
		most  float64
	}{
		"port-restricted-cone":   {nat: preset(t, "port-restricted-cone"), model: natprobe.PortsPreserving},
		"udp-blocked":            {nat: preset(t, "udp-blocked"), model: natprobe.PortsPreserving},
		"symmetric-preserving":   {nat: preset(t, "symmetric-preserving"), model: natprobe.PortsPreserving},
		"symmetric-random":       {nat: preset(t, "symmetric-random"), model: natprobe.PortsRandom},
		"symmetric-block":        {nat: preset(t, "symmetric-block"), model: natprobe.PortsBlock},
		"tcp-hostile":            {nat: preset(t, "tcp-hostile"), model: natprobe.PortsRandom},
		"symmetric-sequential":   {nat: preset(t, "symmetric-sequential"), model: natprobe.PortsSequential, delta: 1},
		"symmetric-sequential-3": {nat: preset(t, "symmetric-sequential-3"), model: natprobe.PortsSequential, delta: 3},
		"symmetric-descending":   {nat: preset(t, "symmetric-descending"), model: natprobe.PortsSequential, delta: -1},
		"busy":                   {nat: tcp(rules(1, 20)), model: natprobe.PortsSequential, delta: 1, least: 10, most: 35},
		"TCP apart":              {nat: tcp(rules(2, 0)), model: natprobe.PortsSequential, delta: 2},
	} {
		const runs = 20
		rate := 0.0
		for seed := range uint64(runs) {
			w := newWorld(t, seed+1, c.nat, path)
			dialled := w.dialled()
			r := w.tcp(all)
			if r.Ports.Model != c.model || r.Ports.Delta != c.delta || r.Ports.Confidence <= 0.5 || len(dialled) < 4 || len(dialled) > 8 {
				t.Errorf("seed %d: %s: %d connections, %+v", seed+1, name, len(dialled), r)
			}
			rate += r.Ports.Rate / runs
			report := natprobe.Report{TCP: &r}
			data, err := report.Profile().MarshalBinary()
			var back natprobe.Profile
			if err != nil || back.UnmarshalBinary(data) != nil || back.TCP.Mapping != r.Mapping || back.TCP.Ports.Model != c.model || back.TCP.Ports.Delta != c.delta {
				t.Errorf("seed %d: %s: the profile comes back as %+v, %v", seed+1, name, back.TCP, err)
			}
		}
		if rate < c.least || rate > max(c.most, 0.01) {
			t.Errorf("%s: others make %.1f mappings a second", name, rate)
		}
	}
}

// TestTCPPortsWithLoss: a connection whose SYN had to be repeated is not taken for one that was
// made in its turn; where too few are left for a sequence to be seen, four more are made.
func TestTCPPortsWithLoss(t *testing.T) {
	for _, c := range []struct {
		nat  string
		want natprobe.PortModel
	}{{"symmetric-sequential", natprobe.PortsSequential}, {"symmetric-block", natprobe.PortsBlock}, {"symmetric-random", natprobe.PortsRandom}} {
		const runs = 200
		wrong, more := 0, 0
		for seed := range uint64(runs) {
			link := path
			link.Loss = 0.1
			w := newWorld(t, seed+1, preset(t, c.nat), link)
			dialled := w.dialled()
			r := w.tcp(all[:1])
			if r.Ports.Model != c.want || c.want == natprobe.PortsSequential && r.Ports.Delta != 1 {
				wrong++
			}
			if len(dialled) > 8 {
				more++
			}
			if len(dialled) > 12 {
				t.Errorf("%s, seed %d: %d connections", c.nat, seed+1, len(dialled))
			}
		}
		t.Logf("%s: %d wrong, more connections in %d", c.nat, wrong, more)
		if wrong > runs/40 || more == 0 {
			t.Errorf("%s: not found in %d of %d runs, more connections in %d", c.nat, wrong, runs, more)
		}
	}
}

// dialled are the connections that are begun from now on.
func (w *world) dialled() map[[2]netip.AddrPort]bool {
	all := make(map[[2]netip.AddrPort]bool)
	w.OnTrace(func(e simnet.TraceEvent) {
		if p := e.Packet; p != nil && p.Proto == simnet.TCP && p.Segment.Flags == simnet.SYN && p.Src.Addr() == w.site.Addr() {
			all[[2]netip.AddrPort{p.Src, p.Dst}] = true
		}
	})
	return all
}

// TestProfileOfBeforeTCP: a peer that tells nothing of TCP is one of which nothing is known.
func TestProfileOfBeforeTCP(t *testing.T) {
	full := natprobe.Profile{Type: natprobe.TypeUDPBlocked, Confidence: 0.9,
		TCP: natprobe.TCPProfile{Mapping: natprobe.MappingAddressAndPortDependent, Ports: natprobe.Ports{Model: natprobe.PortsSequential, Delta: -2, Rate: 1.5, Confidence: 0.97}}}
	data, err := full.MarshalBinary()
	var back natprobe.Profile
	if err != nil || back.UnmarshalBinary(data) != nil || back != full {
		t.Fatalf("comes back as %+v, %v", back, err)
	}
	full.TCP = natprobe.TCPProfile{}
	for cut := 1; cut <= 11; cut++ {
		if err := back.UnmarshalBinary(data[:len(data)-cut]); err != nil || back != full {
			t.Errorf("without the last %d bytes: %+v, %v", cut, back, err)
		}
	}
}
