package portmap

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

var kinds = []struct {
	name   string
	cfg    simnet.GatewayConfig
	method Method
}{
	{"PCP", simnet.GatewayConfig{PCP: true}, PCP},
	{"NAT-PMP", simnet.GatewayConfig{NATPMP: true}, NATPMP},
	{"UPnP 1", simnet.GatewayConfig{UPnP: true}, UPnP},
	{"UPnP 2", simnet.GatewayConfig{UPnP: true, IGD: 2}, UPnP},
	{"UPnP, multicast only", simnet.GatewayConfig{UPnP: true, MulticastOnly: true}, UPnP},
}

// A stranger gets through a mapping and no longer once it is closed, and the mapping
// outlives its lifetime.
func TestMapsByEachProtocol(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			w := newWorld(t, k.cfg, Config{})
			if w.reaches(netip.AddrPortFrom(w.site.NAT.Addrs()[0], 5000), 5000) {
				t.Fatal("the stranger gets in without a mapping")
			}
			began := w.w.Elapsed()
			id, info := w.mapped()
			if took := w.w.Elapsed() - began; took > 100*time.Millisecond {
				t.Errorf("took %v on a LAN without delay", took)
			}
			if info.Method != k.method || !info.Public || info.External.Addr() != w.site.NAT.Addrs()[0] || info.Internal != netip.AddrPortFrom(w.site.Addr(), 5000) || info.Lifetime != 2*time.Hour {
				t.Errorf("%+v", info)
			}
			if !w.reaches(info.External, 5000) {
				t.Error("the stranger does not get through the mapping")
			}
			w.w.Run(5 * time.Hour)
			if len(w.events) > 0 || !w.reaches(info.External, 5000) {
				t.Errorf("not renewed: events %+v", w.events)
			}
			w.run.Do(func(now time.Time) { w.m.Unmap(now, id) })
			w.w.Run(time.Second)
			if n := w.site.NAT.Statics(); n != 0 || w.reaches(info.External, 5000) {
				t.Errorf("%d mappings after it was closed", n)
			}
			if last := w.events[len(w.events)-1]; last.Kind != EventGone {
				t.Errorf("told %+v, want that it is gone", last)
			}
		})
	}
}

func TestAllTogetherUseOne(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{PCP: true, NATPMP: true, UPnP: true}, Config{})
	_, info := w.mapped()
	w.w.Run(time.Minute)
	if n := w.site.NAT.Statics(); n != 1 {
		t.Errorf("%d mappings by %v, want one", n, info.Method)
	}
}

// PCP only, and NAT-PMP only: what the one says to the other's request ends the waiting
// for it.
func TestOtherVersionIsTold(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{NATPMP: true}, Config{NoUPnP: true})
	w.mapped()
	if says := w.m.Words()[0].Says; !strings.Contains(says, "Unsupported Version") {
		t.Errorf("PCP: %q", says)
	}
	w = newWorld(t, simnet.GatewayConfig{PCP: true}, Config{NoUPnP: true})
	w.mapped()
	w.w.Run(10 * time.Second)
	if says := w.m.Words()[1].Says; !strings.Contains(says, "UNSUPP_VERSION") {
		t.Errorf("NAT-PMP: %q", says)
	}
}

func TestRefusalsInTheRoutersWords(t *testing.T) {
	for _, c := range []struct {
		cfg  simnet.GatewayConfig
		want string
		code int
	}{
		{simnet.GatewayConfig{PCP: true, PCPResult: 2}, "NOT_AUTHORIZED", 2},
		{simnet.GatewayConfig{PCP: true, PCPResult: 8}, "NO_RESOURCES", 8},
		{simnet.GatewayConfig{PCP: true, PCPResult: 12}, "ADDRESS_MISMATCH", 12},
		{simnet.GatewayConfig{NATPMP: true, PMPResult: 2}, "Not Authorized/Refused", 2},
		{simnet.GatewayConfig{NATPMP: true, PMPResult: 4}, "Out of resources", 4},
		{simnet.GatewayConfig{UPnP: true, UPnPError: 606}, "Action not authorized", 606},
		{simnet.GatewayConfig{UPnP: true, UPnPError: 718}, "ConflictInMappingEntry", 718},
		{simnet.GatewayConfig{UPnP: true, UPnPError: 728}, "NoPortMapsAvailable", 728},
	} {
		w := newWorld(t, c.cfg, Config{})
		id := w.request(UDP, any4(5000), 0)
		e := w.await(id, Refused, 20*time.Second)
		var router *RouterError
		var all *MapError
		if !errors.As(e.Err, &all) || len(all.Methods) != 3 || !strings.Contains(e.Err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, e.Err)
		}
		found := false
		for _, err := range all.Methods {
			found = found || errors.As(err, &router) && router.Code == c.code
		}
		if !found {
			t.Errorf("no code %d in %v", c.code, e.Err)
		}
		said := false
		for _, word := range w.m.Words() {
			said = said || strings.Contains(word.Says, c.want)
		}
		if !said {
			t.Errorf("%s: words %v", c.want, w.m.Words())
		}
		// When the router has changed its mind it is asked again.
		w.gw.Set(func(g *simnet.GatewayConfig) { g.PCPResult, g.PMPResult, g.UPnPError = 0, 0, 0 })
		w.await(id, Mapped, 31*time.Minute)
	}
}

// What one protocol refuses another may grant.
func TestRefusalLeadsToTheNextProtocol(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{PCP: true, NATPMP: true, UPnP: true, PCPResult: 2, PMPResult: 2}, Config{})
	if _, info := w.mapped(); info.Method != UPnP {
		t.Errorf("%+v", info)
	}
}

func TestNoRouterAnswers(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{}, Config{})
	began := w.w.Elapsed()
	e := w.await(w.request(UDP, any4(5000), 0), Refused, time.Minute)
	if took := w.w.Elapsed() - began; took > 5*time.Second {
		t.Errorf("known after %v", took)
	}
	if !strings.Contains(e.Err.Error(), "PCP of 192.168.0.1") {
		t.Errorf("%v", e.Err)
	}
	w = newWorld(t, simnet.GatewayConfig{PCP: true}, Config{})
	w.run.Do(func(now time.Time) { w.m.SetGateways(now, nil) })
	if e := w.await(w.request(UDP, any4(5000), 0), Refused, time.Second); !errors.Is(e.Err, ErrNoGateway) {
		t.Errorf("%v", e.Err)
	}
}

// A router that restarts has lost the mapping, and gets it again.
func TestRestartIsSeen(t *testing.T) {
	for _, k := range kinds[:4] {
		t.Run(k.name, func(t *testing.T) {
			w := newWorld(t, k.cfg, Config{})
			_, info := w.mapped()
			w.w.Run(10 * time.Minute)
			w.gw.Restart(2 * time.Second)
			within := 20 * time.Second
			if k.method == UPnP {
				within = 70 * time.Second
			}
			if !w.w.RunUntil(within, func() bool { return w.site.NAT.Statics() > 0 }) {
				t.Fatalf("not mapped again within %v", within)
			}
			w.w.Run(time.Second)
			if !w.reaches(info.External, 5000) {
				t.Error("the stranger does not get through")
			}
		})
	}
}

func TestChangeOfAddressIsSeen(t *testing.T) {
	for _, k := range kinds[:4] {
		t.Run(k.name, func(t *testing.T) {
			w := newWorld(t, k.cfg, Config{})
			id, info := w.mapped()
			w.w.Run(time.Minute)
			other := netip.MustParseAddr("192.0.2.77")
			w.site.NAT.Iface().SetAddrs(other)
			if k.method == PCP { // whose ANNOUNCE tells no address: what else notices says so
				w.run.Do(w.m.Recheck)
			}
			e := w.await(id, Mapped, 90*time.Second)
			if e.Info.External.Addr() != other || e.Info.External == info.External || !w.reaches(e.Info.External, 5000) {
				t.Errorf("%+v", e.Info)
			}
		})
	}
}

// The host moves to another network: the mapping is made there.
func TestGatewayChanges(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{PCP: true}, Config{})
	id, _ := w.mapped()
	at := Gateway{Addr: w.gw.Addr(), Local: w.site.Addr()}
	w.run.Do(func(now time.Time) { w.m.SetGateways(now, nil) })
	if e := w.await(id, Waiting, time.Second); e.Err == nil {
		t.Error("not told why")
	}
	w.await(id, Refused, time.Second)
	w.run.Do(func(now time.Time) {
		w.m.SetGateways(now, []Gateway{at})
		w.m.Recheck(now)
	})
	w.await(id, Mapped, time.Second)
}

// Behind a second NAT the outside address is told, and that it is not public.
func TestDoubleNAT(t *testing.T) {
	for _, k := range kinds[:4] {
		w := newWorldOf(t, "cgnat", k.cfg, Config{})
		_, info := w.mapped()
		if info.Public || !netip.MustParsePrefix("100.64.0.0/10").Contains(info.External.Addr()) {
			t.Errorf("%s: %+v", k.name, info)
		}
	}
}

func TestTCPIsMapped(t *testing.T) {
	for _, k := range kinds[:4] {
		w := newWorld(t, k.cfg, Config{})
		tcp := w.request(TCP, any4(5000), 0)
		w.await(tcp, Mapped, time.Second)
		udp := w.request(UDP, any4(5000), 6000)
		if e := w.await(udp, Mapped, time.Second); e.Info.External.Port() != 6000 {
			t.Errorf("%s: %v, want the port suggested", k.name, e.Info.External)
		}
		if n := w.site.NAT.Statics(); n != 2 {
			t.Errorf("%s: %d mappings", k.name, n)
		}
		w.run.Do(w.m.CloseAll)
		if !w.w.RunUntil(2*time.Second, func() bool { return len(w.events) > 0 && w.events[len(w.events)-1].Kind == EventClosed }) {
			t.Errorf("%s: not closed", k.name)
		}
		if n := w.site.NAT.Statics(); n != 0 {
			t.Errorf("%s: %d mappings left", k.name, n)
		}
	}
}

// CloseAll does not wait for a router that has fallen silent.
func TestCloseAllIsBounded(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{PCP: true}, Config{})
	w.mapped()
	w.gw.Set(func(g *simnet.GatewayConfig) { g.PCP = false })
	w.run.Do(w.m.CloseAll)
	if !w.w.RunUntil(2*time.Second, func() bool { return len(w.events) > 0 && w.events[len(w.events)-1].Kind == EventClosed }) {
		t.Error("not closed after 2 s")
	}
}

// A request that is cancelled before its answer leaves nothing behind.
func TestCancelledRequestIsDeleted(t *testing.T) {
	for _, k := range kinds[:4] {
		w := newWorld(t, k.cfg, Config{})
		id := w.request(UDP, any4(5000), 0)
		if !w.w.RunUntil(time.Second, func() bool { return w.site.NAT.Statics() == 1 }) {
			t.Fatal("not asked")
		}
		w.run.Do(func(now time.Time) { w.m.Unmap(now, id) })
		w.w.Run(time.Second)
		if n := w.site.NAT.Statics(); n != 0 {
			t.Errorf("%s: %d mappings left", k.name, n)
		}
	}
}

// One seed gives one trace.
func TestReplays(t *testing.T) {
	run := func() string {
		w := newWorld(t, simnet.GatewayConfig{PCP: true, NATPMP: true, UPnP: true}, Config{})
		w.mapped()
		w.w.Run(3 * time.Hour)
		return w.w.TraceHash()
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%s and %s", a, b)
	}
}

// A protocol that is switched on is found by whoever asks next.
func TestSwitchedOnLater(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{}, Config{})
	w.await(w.request(UDP, any4(5000), 0), Refused, 10*time.Second)
	w.gw.Set(func(g *simnet.GatewayConfig) { g.UPnP = true })
	w.w.Run(30 * time.Second)
	w.await(w.request(UDP, any4(5001), 0), Mapped, time.Second)
}

func TestWhoIsSearchedByUPnP(t *testing.T) {
	for _, c := range []struct {
		router, local string
		want          bool
	}{
		{"192.168.1.1", "192.168.1.2", true}, {"100.64.0.1", "100.64.0.2", true}, {"fe80::1%eth0", "2001:db8::2", true},
		{"2001:db8::1", "2001:db8::2", true}, {"198.51.100.1", "198.51.100.2", false}, {"2001:db8:1::1", "2001:db8::2", false},
	} {
		if g := (Gateway{netip.MustParseAddr(c.router), netip.MustParseAddr(c.local)}); g.isLocal() != c.want {
			t.Errorf("%+v: %v", g, g.isLocal())
		}
	}
}
