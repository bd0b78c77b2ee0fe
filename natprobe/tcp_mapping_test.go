package natprobe_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

func (w *world) tcp(servers []netip.AddrPort) natprobe.TCPReport {
	w.t.Helper()
	m, err := natprobe.NewTCPProbe(servers, &natprobe.DiscoveryConfig{Secrets: w.Secrets("tcp"), Rand: rand.New(rand.NewPCG(w.Seed(), 9))})
	w.check(err)
	var r natprobe.TCPReport
	done := false
	run, err := simnet.Run(w.site.Host, m, simnet.RunOptions{}, func(_ time.Time, e natprobe.TCPEvent) { r, done = e.Report, true })
	w.check(err)
	run.Do(m.Start)
	if !w.RunUntil(10*time.Second, func() bool { return done }) {
		w.t.Fatalf("seed %d: the probe does not end", w.Seed())
	}
	return r
}

// TestTCPMapping: TCP is told apart from UDP, as some NATs treat it otherwise.
func TestTCPMapping(t *testing.T) {
	for nat, want := range map[string]struct {
		mapping    natprobe.Mapping
		preserving natprobe.Verdict
		nat        natprobe.Verdict
	}{
		"open":                 {eim, natprobe.Yes, natprobe.No},
		"firewall":             {eim, natprobe.Yes, natprobe.No},
		"full-cone":            {eim, natprobe.No, natprobe.Yes},
		"port-restricted-cone": {eim, natprobe.Yes, natprobe.Yes},
		"symmetric-random":     {apdm, natprobe.No, natprobe.Yes},
		"symmetric-address":    {adm, natprobe.No, natprobe.Yes},
		"tcp-hostile":          {apdm, natprobe.No, natprobe.Yes},
		"udp-blocked":          {eim, natprobe.Yes, natprobe.Yes},
		"only-443":             {natprobe.MappingUnknown, natprobe.VerdictUnknown, natprobe.VerdictUnknown},
	} {
		for seed := range uint64(5) {
			w := newWorld(t, seed, preset(t, nat), path)
			if r := w.tcp(all); r.Mapping != want.mapping || r.Preserving != want.preserving || r.NAT != want.nat || r.MappingLeast || r.Because == "" {
				t.Errorf("seed %d: %s: %+v", seed, nat, r)
			}
		}
	}
}

// TestTCPMappingByPlainServers: as far as they can tell.
func TestTCPMappingByPlainServers(t *testing.T) {
	plain := []netip.AddrPort{plainB, plainC}
	if r := newWorld(t, 1, preset(t, "symmetric-random"), path).tcp(plain); r.Mapping != adm || !r.MappingLeast {
		t.Errorf("%+v", r)
	}
	if r := newWorld(t, 1, preset(t, "full-cone"), path).tcp(plain); r.Mapping != eim {
		t.Errorf("%+v", r)
	}
	if r := newWorld(t, 1, preset(t, "full-cone"), path).tcp(plain[:1]); r.Mapping != natprobe.MappingUnknown || !r.Mapped.IsValid() {
		t.Errorf("%+v", r)
	}
}

// TestDiscoverTCPOnLoopback: several real connections from one port.
func TestDiscoverTCPOnLoopback(t *testing.T) {
	server, err := stunserver.Listen(t.Context(), stunserver.Config{Port1: -1, Port2: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var names []string
	for _, a := range server.Addrs() {
		names = append(names, a.String())
	}
	report, err := natprobe.Discover(t.Context(), natprobe.Config{Servers: names, TCP: true})
	if err != nil || report.TCP == nil || report.TCP.NAT != natprobe.No || report.TCP.Preserving != natprobe.Yes {
		t.Errorf("%v, %v", err, report)
	}
}
