package bradawl_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch/portmap"
	"github.com/bradawl/bradawl/stats"
)

// TestPortMapping: two NATs that no punch joins are joined by a port that one router maps, by
// whichever protocol it speaks; a router that refuses is quoted.
func TestPortMapping(t *testing.T) {
	for _, c := range []struct {
		name   string
		router simnet.GatewayConfig
		want   bradawl.PathKind
		says   string
	}{
		{"PCP", simnet.GatewayConfig{PCP: true}, bradawl.PathDirect, "PCP"},
		{"NAT-PMP", simnet.GatewayConfig{NATPMP: true}, bradawl.PathDirect, "NAT-PMP"},
		{"UPnP", simnet.GatewayConfig{UPnP: true}, bradawl.PathDirect, "UPnP"},
		{"refused", simnet.GatewayConfig{PCP: true, PCPResult: 2}, bradawl.PathRelay, "NOT_AUTHORIZED"},
		{"none", simnet.GatewayConfig{}, bradawl.PathRelay, "no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			random, err := simnet.PresetByName("symmetric-random")
			check(t, err)
			var site *simnet.Site
			var router *simnet.Gateway
			made := 0
			recorded := make(chan stats.Event, 64)
			simulateIn(t, [2]simnet.Preset{random, random}, func(w *internet) {
				site = w.sites[1]
				var err error
				router, err = site.NAT.Gateway(c.router, nil)
				check(t, err)
			}, func(cfg *bradawl.Config) {
				if made++; made == 2 {
					cfg.Gateways = func() ([]portmap.Gateway, error) {
						return []portmap.Gateway{{Addr: router.Addr(), Local: site.Addr()}}, nil
					}
					cfg.Record = func(e stats.Event) { recorded <- e }
				}
			}, func(t *testing.T, w *internet) {
				a, b := w.meet(t)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				for p := range b.Paths(ctx) {
					if p.Kind == c.want && c.want == bradawl.PathDirect {
						break
					}
				}
				pass(time.Second)
				e := b.Explain()
				for _, conn := range []*bradawl.Conn{a, b} { // each plans with the ports of both routers
					e := conn.Explain()
					if mapped := !strings.Contains(e.String(), "no router has mapped a port"); len(e.Lanes) == 0 || mapped != (c.want == bradawl.PathDirect) {
						t.Errorf("what the plan knows of the mapping: %v", e)
					}
				}
				if a.Path().Kind != c.want || b.Path().Kind != c.want || !strings.Contains(strings.Join(e.Routers, "\n"), c.says) {
					t.Errorf("want %v: %v", c.want, e)
				}
				told := false
				for len(recorded) > 0 {
					e := <-recorded
					told = told || e.Stage == stats.StagePunch && e.Pair == stats.PairMapped && e.Lane == "mapped"
				}
				if told != (c.want == bradawl.PathDirect) {
					t.Errorf("recorded as mapped: %v", told)
				}
			})
		})
	}
}
