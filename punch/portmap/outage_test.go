package portmap

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
)

// A router that is away when a mapping is due to be renewed is asked until it ends.
func TestRenewalIsRetried(t *testing.T) {
	for _, k := range kinds[:4] {
		w := newWorld(t, k.cfg, Config{})
		w.mapped()
		w.w.Run(55 * time.Minute)
		w.gw.Set(func(g *simnet.GatewayConfig) { g.PCP, g.NATPMP, g.UPnP = false, false, false })
		w.w.Run(50 * time.Minute)
		w.gw.Set(func(g *simnet.GatewayConfig) { *g = k.cfg })
		w.w.Run(2 * time.Hour)
		if n := w.site.NAT.Statics(); n != 1 {
			t.Errorf("%s: %d mappings", k.name, n)
		}
	}
}

// One that stays away: the mapping is told to be lost when its time is over, and made
// again, at the same port, when the router is back.
func TestMappingEndsAndReturns(t *testing.T) {
	for _, k := range kinds[:4] {
		w := newWorld(t, k.cfg, Config{})
		id, info := w.mapped()
		w.gw.Set(func(g *simnet.GatewayConfig) { g.PCP, g.NATPMP, g.UPnP = false, false, false })
		began := w.w.Elapsed()
		e := w.await(id, Waiting, 3*time.Hour)
		if k.method != UPnP { // whose server refuses
			if took := w.w.Elapsed() - began; took < 119*time.Minute || took > 121*time.Minute || !errors.Is(e.Err, ErrNoAnswer) {
				t.Errorf("%s: after %v: %v", k.name, took, e.Err)
			}
		}
		w.gw.Set(func(g *simnet.GatewayConfig) { *g = k.cfg })
		if e := w.await(id, Mapped, 10*time.Minute); e.Info.External != info.External {
			t.Errorf("%s: back at %v, was at %v", k.name, e.Info.External, info.External)
		}
	}
}

// The router goes while mappings are being made and deleted.
func TestGatewayGoesMeanwhile(t *testing.T) {
	for _, k := range kinds[:4] {
		w := newWorld(t, k.cfg, Config{})
		closing, _ := w.mapped()
		w.run.Do(func(now time.Time) {
			if _, err := w.m.Map(now, Request{TCP, any4(6000), 0}); err != nil {
				t.Fatal(err)
			}
			w.m.Unmap(now, closing)
			w.m.SetGateways(now, nil)
		})
		w.w.Run(time.Minute)
		if n := len(w.m.mappings); n != 1 || w.m.mappings[0].state != Refused {
			t.Errorf("%s: %d mappings", k.name, n)
		}
		w.run.Do(w.m.CloseAll)
		if !w.m.closed {
			t.Errorf("%s: not closed", k.name)
		}
	}
}

// Routers of IPv6 are known by a link-local address and speak UPnP by another.
func TestRouterSpeaksByAnotherAddress(t *testing.T) {
	w := &world{t: t, w: simnet.New(simSeed)}
	p, err := simnet.PresetByName("port-restricted-cone")
	if err != nil {
		t.Fatal(err)
	}
	p.IPv6 = true
	if w.site, err = w.w.AddSiteOf("home", p, simnet.Link{}); err != nil {
		t.Fatal(err)
	}
	if w.gw, err = w.site.Firewall6.Gateway(simnet.GatewayConfig{UPnP: true, IGD: 2}, w.site.Firewall6); err != nil {
		t.Fatal(err)
	}
	inside := netip.AddrPortFrom(family(w.site.Addrs(), netip.IPv6Unspecified()), 5000)
	other := w.gw.Addr()
	for range 100 {
		other = other.Next()
	}
	w.start(Config{}, []Gateway{{other, inside.Addr()}})
	w.await(w.request(UDP, inside, 0), Mapped, 5*time.Second)

	for a, want := range map[string]bool{"2001:db8::1": true, "2001:db8::2": false, "2001:db8:1::1": false, "192.168.1.1": false, "fe80::1": true, "fe80::2": false} {
		g := Gateway{netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("2001:db8::2")}
		if g.mayBe(netip.MustParseAddr(a)) != want {
			t.Errorf("%v may be %s: %v", g, a, !want)
		}
	}
}

// The shell has a guard of its own.
func TestNobodyElseIsDialled(t *testing.T) {
	c, err := New(Config{Gateways: func() ([]Gateway, error) {
		return []Gateway{{netip.MustParseAddr("192.168.77.1"), netip.MustParseAddr("192.168.77.2")}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, a := range []string{"127.0.0.1:80", "192.168.77.3:80", "[2001:db8::1]:80"} {
		if _, err := c.dial(context.Background(), "tcp", netip.AddrPort{}, a); !errors.Is(err, errElsewhere) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if _, err := c.dial(context.Background(), "tcp", netip.AddrPort{}, "router.lan:80"); err == nil {
		t.Error("a name was dialled")
	}
}

// A UPnP router that has another URL after it was started anew is found again.
func TestUPnPMoves(t *testing.T) {
	moved := false
	w := newWorld(t, simnet.GatewayConfig{UPnP: true, HTTP: func(r []byte) []byte {
		switch {
		case moved && bytes.HasPrefix(r, []byte("POST /ctl/")):
			return []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		case moved && bytes.HasPrefix(r, []byte("GET ")):
			return []byte("HTTP/1.1 200 OK\r\n\r\n<root><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/ctl2</controlURL></service></root>")
		}
		return nil
	}}, Config{})
	_, info := w.mapped()
	moved = true
	w.gw.Restart(time.Second)
	if !w.w.RunUntil(80*time.Second, func() bool { return w.site.NAT.Statics() > 0 }) {
		t.Fatal("not mapped again")
	}
	w.w.Run(time.Second)
	if len(w.events) > 0 || !w.reaches(info.External, 5000) {
		t.Errorf("told %v", w.events)
	}
}
