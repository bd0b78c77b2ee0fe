package portmap

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// A pinhole in the firewall of IPv6, by PCP and by UPnP: strangers get in at the host's
// own address.
func TestPinholes(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    simnet.GatewayConfig
		method Method
	}{
		{"PCP", simnet.GatewayConfig{PCP: true}, PCP},
		{"UPnP", simnet.GatewayConfig{UPnP: true, IGD: 2}, UPnP},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{t: t, w: simnet.New(simSeed)}
			p, err := simnet.PresetByName("port-restricted-cone")
			if err != nil {
				t.Fatal(err)
			}
			p.IPv6 = true
			if w.site, err = w.w.AddSiteOf("home", p, simnet.Link{Delay: 10 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			wall := w.site.Firewall6
			if w.gw, err = wall.Gateway(c.cfg, wall); err != nil {
				t.Fatal(err)
			}
			w.stranger = w.w.AddHost("stranger", w.w.Internet(), simnet.Link{}, netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8:ffff::9"))
			inside := netip.AddrPortFrom(family(w.site.Addrs(), netip.IPv6Unspecified()), 5000)
			w.start(Config{}, []Gateway{{w.gw.Addr(), inside.Addr()}})
			if w.reaches(inside, 5000) {
				t.Fatal("the stranger gets in without a pinhole")
			}
			id := w.request(UDP, inside, 0)
			info := w.await(id, Mapped, 5*time.Second).Info
			if info.External != inside || info.Method != c.method || !info.Public {
				t.Errorf("%+v", info)
			}
			if !w.reaches(inside, 5000) {
				t.Error("the stranger does not get in")
			}
			w.w.Run(5 * time.Hour)
			if !w.reaches(inside, 5000) {
				t.Error("not renewed")
			}
			w.gw.Restart(time.Second)
			if !w.w.RunUntil(90*time.Second, func() bool { return wall.Statics() > 0 }) {
				t.Error("not opened again after a restart")
			}
			w.run.Do(func(now time.Time) { w.m.Unmap(now, id) })
			w.w.Run(time.Second)
			if n := wall.Statics(); n != 0 || w.reaches(inside, 5000) {
				t.Errorf("%d pinholes left", n)
			}
		})
	}
}
