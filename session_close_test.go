package bradawl_test

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch/portmap"
)

// TestCloseWithoutNetwork: a session that has relayed addresses and mapped ports is closed soon,
// though the host has left the network, and no server and no router answers any more.
func TestCloseWithoutNetwork(t *testing.T) {
	for _, c := range []struct {
		name          string
		router, known bool
		most          time.Duration
	}{
		{"not known yet", true, false, 2500 * time.Millisecond},
		{"known", false, true, 600 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			var site *simnet.Site
			var router *simnet.Gateway
			simulateIn(t, presetsOf(t, "port-restricted-cone", "port-restricted-cone"), func(w *internet) {
				var err error
				site = w.sites[0]
				router, err = site.NAT.Gateway(simnet.GatewayConfig{PCP: true}, nil)
				check(t, err)
			}, func(cfg *bradawl.Config) {
				if c.router {
					at := portmap.Gateway{Addr: router.Addr(), Local: site.Addr()}
					cfg.Gateways = func() ([]portmap.Gateway, error) { return []portmap.Gateway{at}, nil }
				}
				cfg.WatchInterval = -1
			}, func(t *testing.T, w *internet) {
				w.meet(t)
				pass(10 * time.Second)
				w.sites[0].RemoveIface(w.sites[0].Iface())
				if c.known {
					w.ends[0].NotifyNetworkChange()
					pass(20 * time.Second)
				}
				began := time.Now()
				check(t, w.ends[0].Close())
				if took := time.Since(began); took > c.most {
					t.Errorf("closed after %v, want %v at most", took, c.most)
				}
			})
		})
	}
}
