package ice

import (
	"errors"
	"net/netip"
	"regexp"
	"sync"
	"testing"

	"github.com/bradawl/bradawl/internal/netio"
)

func home() netio.LinkInfo {
	return netio.LinkInfo{
		Name: "wlan0", Kind: netio.LinkWiFi, Up: true, Signal: 0.7, SignalKnown: true,
		Prefixes:   []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("192.168.1.0/24")},
		Gateway:    netip.MustParseAddr("192.168.1.1"),
		GatewayMAC: "02:00:5e:00:00:01",
	}
}

func TestInterfacesOfTheSystem(t *testing.T) {
	var links []netio.LinkInfo
	var fails error
	read := interfaces(nil, func() ([]netio.LinkInfo, error) { return links, fails })

	links = []netio.LinkInfo{home(), {Name: "eth0", Kind: netio.LinkWired, Speed: 1e9}}
	for kind := range netio.LinkVirtual + 2 {
		links = append(links, netio.LinkInfo{Name: "x", Kind: kind})
	}
	got, err := read()
	if err != nil || len(got) != len(links) {
		t.Fatal(got, err)
	}
	if w := got[0]; w.Name != "wlan0" || w.Kind != WiFi || w.Down || w.Signal != Known(0.7) || w.Loss.Known || w.Network == "" {
		t.Errorf("%+v", w)
	}
	if e := got[1]; e.Name != "eth0" || e.Kind != Wired || !e.Down || e.Signal.Known || e.Speed != 1e9 || e.Network != "" {
		t.Errorf("%+v", e)
	}
	kinds := []InterfaceKind{UnknownInterface, Wired, WiFi, Cellular, VPN, Virtual, UnknownInterface}
	for i, want := range kinds {
		if got[2+i].Kind != want {
			t.Errorf("kind %d is %v, want %v", i, got[2+i].Kind, want)
		}
	}

	fails = errors.New("not allowed")
	if _, err := read(); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
	if _, err := SystemInterfaces(nil)(); err != nil {
		t.Error(err)
	}
}

// Loss is of the packets since the last call that saw enough of them.
func TestLossOfInterfaces(t *testing.T) {
	link := home()
	gone := false
	read := interfaces(nil, func() ([]netio.LinkInfo, error) {
		if gone {
			return nil, nil
		}
		return []netio.LinkInfo{link}, nil
	})
	for _, c := range []struct {
		packets, lost uint64
		want          Reading
	}{
		{0, 0, Reading{}},
		{900, 50, Reading{}},
		{9900, 100, Known(0.01)}, // all that there were
		{10000, 101, Known(0.01)},
		{10800, 200, Known(0.1)}, // 900 of which 100 were lost
		{12800, 200, Known(0)},
		{200, 0, Reading{}}, // another interface of that name
		{950, 50, Known(0.05)},
	} {
		link.Packets, link.Lost = c.packets, c.lost
		got, err := read()
		if err != nil || got[0].Loss != c.want {
			t.Errorf("%d packets, %d lost: %+v, want %+v", c.packets, c.lost, got[0].Loss, c.want)
		}
	}
	gone = true
	if got, err := read(); len(got) != 0 || err != nil {
		t.Error(got, err)
	}
	gone = false
	link.Packets, link.Lost = 1950, 50
	if got, _ := read(); got[0].Loss != Known(0.025) { // all that there were, once more
		t.Errorf("%+v", got[0].Loss)
	}
}

func TestNetworkID(t *testing.T) {
	key := []byte("a key")
	id := func(change func(l *netio.LinkInfo)) string {
		l := home()
		change(&l)
		return networkID(key, l)
	}
	at := id(func(*netio.LinkInfo) {})
	if !regexp.MustCompile(`^wifi-[0-9a-f]{16}$`).MatchString(at) {
		t.Errorf("%q", at)
	}
	same := map[string]func(l *netio.LinkInfo){
		"signal":         func(l *netio.LinkInfo) { l.Signal, l.Up, l.Packets = 0, false, 5 },
		"IPv6 prefix":    func(l *netio.LinkInfo) { l.Prefixes[0] = netip.MustParsePrefix("2001:db8:2::/64") },
		"interface name": func(l *netio.LinkInfo) { l.Name = "wlp3s0" },
	}
	for what, change := range same {
		if got := id(change); got != at {
			t.Errorf("another %s makes another network: %s and %s", what, got, at)
		}
	}
	noMAC := func(l *netio.LinkInfo) { l.GatewayMAC = "" }
	none := func(l *netio.LinkInfo) { l.Gateway, l.GatewayMAC = netip.Addr{}, "" }
	seen := map[string]string{}
	for what, change := range map[string]func(l *netio.LinkInfo){
		"home":                 func(*netio.LinkInfo) {},
		"the neighbour's":      func(l *netio.LinkInfo) { l.GatewayMAC = "02:00:5e:00:00:02" },
		"another address":      func(l *netio.LinkInfo) { l.Gateway = netip.MustParseAddr("192.168.1.254") },
		"by wire":              func(l *netio.LinkInfo) { l.Kind = netio.LinkWired },
		"no neighbour table":   noMAC,
		"and another prefix":   func(l *netio.LinkInfo) { noMAC(l); l.Prefixes[1] = netip.MustParsePrefix("192.168.0.0/16") },
		"an IPv6 gateway":      func(l *netio.LinkInfo) { noMAC(l); l.Gateway = netip.MustParseAddr("fe80::1") },
		"another IPv6 gateway": func(l *netio.LinkInfo) { noMAC(l); l.Gateway = netip.MustParseAddr("fe80::2") },
		"no gateway":           none,
		"another interface":    func(l *netio.LinkInfo) { none(l); l.Name = "tun0" },
		"IPv6 alone":           func(l *netio.LinkInfo) { none(l); l.Prefixes = l.Prefixes[:1] },
		"nothing":              func(l *netio.LinkInfo) { none(l); l.Prefixes = nil },
	} {
		got := id(change)
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s are both %q", what, other, got)
		}
		seen[got] = what
		if (got == "") != (what == "nothing") {
			t.Errorf("%s: %q", what, got)
		}
	}
	if other := networkID([]byte("another key"), home()); other == at {
		t.Error("the key is of no matter")
	}
	// Without a key of one's own it is another one each time, and the same for one reader.
	list := func() ([]netio.LinkInfo, error) { return []netio.LinkInfo{home()}, nil }
	read := interfaces(nil, list)
	a, _ := read()
	b, _ := read()
	c, _ := interfaces(nil, list)()
	if a[0].Network != b[0].Network || a[0].Network == c[0].Network {
		t.Errorf("%s, %s, %s", a[0].Network, b[0].Network, c[0].Network)
	}
}

func TestInterfacesAreSafe(t *testing.T) {
	read := SystemInterfaces([]byte("a key"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := read(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
