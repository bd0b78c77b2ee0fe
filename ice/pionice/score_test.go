package pionice

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
	"github.com/pion/transport/v2"
	"github.com/pion/transport/v2/stdnet"
)

// listedNet has interfaces of its own beside the system's sockets.
type listedNet struct {
	transport.Net
	interfaces []*transport.Interface
	err        error
}

func (n *listedNet) Interfaces() ([]*transport.Interface, error) { return n.interfaces, n.err }

// listed makes a listedNet of interface names, each followed by its addresses.
func listed(t testing.TB, lists ...[]string) *listedNet {
	t.Helper()
	system, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	n := &listedNet{Net: system}
	for i, list := range lists {
		ifc := transport.NewInterface(net.Interface{Index: i + 1, MTU: 1500, Name: list[0], Flags: net.FlagUp | net.FlagLoopback})
		for _, a := range list[1:] {
			ip := net.ParseIP(a)
			ifc.AddAddress(&net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))})
		}
		n.interfaces = append(n.interfaces, ifc)
	}
	return n
}

// likes is a preference for some addresses, and against all others.
func likes(table map[string]uint16) Preference {
	return func(a netip.Addr) (uint16, bool) {
		p, ok := table[a.String()]
		return p, ok
	}
}

func TestPreferOrdersInterfacesAndAddresses(t *testing.T) {
	n := listed(t,
		[]string{"wlan0", "10.0.0.1", "2001:db8::1"},
		[]string{"empty0"},
		[]string{"eth0", "10.0.1.1", "10.0.1.2"},
		[]string{"tun0", "10.0.2.1"},
		[]string{"eth1", "10.0.3.1"})
	cfg := pion.AgentConfig{Net: n, IPFilter: func(ip net.IP) bool { return !ip.Equal(net.IPv4(10, 0, 1, 2)) }}
	err := Prefer(&cfg, likes(map[string]uint16{"10.0.0.1": 100, "2001:db8::1": 200, "10.0.1.1": 300, "10.0.1.2": 60000, "10.0.3.1": 200}))
	if err != nil {
		t.Fatal(err)
	}
	interfaces, err := cfg.Net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range interfaces {
		got = append(got, i.Name)
		addrs, _ := i.Addrs() // none is an error
		for _, a := range addrs {
			got = append(got, a.(*net.IPNet).IP.String())
		}
	}
	want := []string{"eth0", "10.0.1.2", "10.0.1.1", "wlan0", "2001:db8::1", "10.0.0.1", "eth1", "10.0.3.1", "empty0", "tun0", "10.0.2.1"}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for ip, want := range map[string]bool{
		"10.0.0.1": true, "::ffff:10.0.0.1": true, "2001:db8::1": true,
		"10.0.1.2": false, // the application's own filter
		"10.0.2.1": false, // not to be used
	} {
		if cfg.IPFilter(net.ParseIP(ip)) != want {
			t.Errorf("%s: filter says %v", ip, !want)
		}
	}
	if cfg.IPFilter(nil) || cfg.IPFilter(net.IP{1, 2, 3}) {
		t.Error("an address that is none passes the filter")
	}
	wlan := n.interfaces[0]
	if addrs, err := wlan.Addrs(); err != nil || wlan.Name != "wlan0" || addrs[0].(*net.IPNet).IP.String() != "10.0.0.1" {
		t.Errorf("the lists of the wrapped network were sorted: %v first, with %v, error %v", wlan.Name, addrs, err)
	}
	n.err = errors.New("no interfaces today")
	if _, err := cfg.Net.Interfaces(); !errors.Is(err, n.err) {
		t.Errorf("error %v, want %v", err, n.err)
	}
}

func TestPreferRefusesNil(t *testing.T) {
	if err := Prefer(nil, likes(nil)); err == nil {
		t.Error("no configuration: no error")
	}
	if err := Prefer(new(pion.AgentConfig), nil); err == nil {
		t.Error("no preference: no error")
	}
}

// A real agent gathers in the order of preference, whatever the system's.
func TestPreferWithARealAgent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("%s has no addresses 127.0.0.2 to 127.0.0.4 unless they are added; Linux has", runtime.GOOS)
	}
	cfg := pion.AgentConfig{
		Net:              listed(t, []string{"lo0", "127.0.0.1", "127.0.0.2"}, []string{"lo1", "127.0.0.3"}, []string{"lo2", "127.0.0.4"}),
		NetworkTypes:     []pion.NetworkType{pion.NetworkTypeUDP4},
		CandidateTypes:   []pion.CandidateType{pion.CandidateTypeHost},
		MulticastDNSMode: pion.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
	}
	preference := likes(map[string]uint16{"127.0.0.1": 10, "127.0.0.2": 20, "127.0.0.4": 30})
	if err := Prefer(&cfg, preference); err != nil {
		t.Fatal(err)
	}
	agent, err := pion.NewAgent(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := newWatched()
	observed, err := r.Observe(agent, Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	if err := observed.GatherCandidates(); err != nil {
		t.Fatal(err)
	}
	r.waitFor(t, "the end of gathering", isKind(GatheringDone))
	if err := observed.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range r.Events() {
		if e.Kind == Gathered {
			got = append(got, e.Local.Addr.Addr().String())
			local, _ := preference(e.Local.Addr.Addr())
			if ranked := Rank(e.Local, preference); ranked.Priority != 126<<24|uint32(local)<<8|255 {
				t.Errorf("%v: ranked %#x, want local preference %d", e.Local, ranked.Priority, local)
			}
		}
	}
	if want := []string{"127.0.0.4", "127.0.0.2", "127.0.0.1"}; !slices.Equal(got, want) {
		t.Errorf("gathered %v, want %v", got, want)
	}
}

func TestRank(t *testing.T) {
	preference := likes(map[string]uint16{"192.0.2.1": 0x1234, "2001:db8::1": 0xffff, "0.0.0.0": 1})
	tests := []struct {
		name, text string
		want       uint32 // 0: as it was
	}{
		{"host", hostText, 126<<24 | 0x1234<<8 | 255},
		{"IPv6", "candidate:1 1 udp 2130706431 2001:db8::1 5000 typ host", 126<<24 | 0xffff<<8 | 255},
		{"another component", "candidate:1 2 udp 2130706431 192.0.2.1 5000 typ host", 126<<24 | 0x1234<<8 | 254},
		{"TCP", "candidate:1 1 tcp 1671430143 192.0.2.1 9 typ host tcptype active", 99<<24 | (6<<13|0x1234>>3)<<8 | 255},
		{"reflexive, by its base", srflxText, 100<<24 | 0x1234<<8 | 255},
		{"reflexive, of a base that pion does not tell", "candidate:1 1 udp 5 198.51.100.7 6000 typ srflx raddr 0.0.0.0 rport 5001", 0},
		{"reflexive, of a base that is hidden", "candidate:1 1 udp 5 198.51.100.7 6000 typ srflx raddr 0.0.0.0 rport 9", 0},
		{"relayed", "candidate:1 1 udp 5 198.51.100.7 6000 typ relay raddr 192.0.2.1 rport 5001", 0},
		{"mDNS", "candidate:1 1 udp 5 abc.local 6000 typ host", 0},
		{"an address that is not to be used", "candidate:1 1 udp 5 192.0.2.2 6000 typ host", 0},
	}
	for _, tt := range tests {
		c, err := ice.ParseCandidate(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		want := c
		if tt.want != 0 {
			want.Priority = tt.want
		}
		if got := Rank(c, preference); got.String() != want.String() {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
		if got := Rank(c, nil); got.String() != c.String() {
			t.Errorf("%s, without a preference: %v, want it unchanged", tt.name, got)
		}
	}
}

// Which of three addresses two real agents choose. pion nominates what has answered when
// it looks, so that chance has a small part in it.
func TestScoresDecide(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("%s has no addresses 127.0.0.2 to 127.0.0.4 unless they are added; Linux has", runtime.GOOS)
	}
	tests := []struct {
		name                   string
		prefer, rank, controls bool
		want                   bool
	}{
		{"without scores", false, false, true, false},
		{"Prefer in the controlling agent", true, false, true, true},
		{"Rank towards a controlling peer", false, true, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const runs = 10
			best := 0
			for range runs {
				if scoredRun(t, tt.prefer, tt.rank, tt.controls) == netip.MustParseAddr("127.0.0.4") {
					best++
				}
			}
			t.Logf("chose the best address in %d of %d runs", best, runs)
			if best > runs/2 != tt.want {
				t.Errorf("chose the best address in %d of %d runs, want it in most: %v", best, runs, tt.want)
			}
		})
	}
}

// scoredRun connects an agent of three addresses, of which the system lists the best last,
// to one of a single address, and returns which of the three they chose. They exchange
// candidates when they have them all, so that all are checked at once.
func scoredRun(t *testing.T, prefer, rank, controls bool) netip.Addr {
	preference := likes(map[string]uint16{"127.0.0.2": 1, "127.0.0.3": 2, "127.0.0.4": 3})
	cfg := pion.AgentConfig{
		Net:              listed(t, []string{"lo0", "127.0.0.2"}, []string{"lo1", "127.0.0.3"}, []string{"lo2", "127.0.0.4"}),
		NetworkTypes:     []pion.NetworkType{pion.NetworkTypeUDP4},
		CandidateTypes:   []pion.CandidateType{pion.CandidateTypeHost},
		MulticastDNSMode: pion.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
	}
	if prefer {
		if err := Prefer(&cfg, preference); err != nil {
			t.Fatal(err)
		}
	}
	if !rank {
		preference = nil
	}
	scored, err := pion.NewAgent(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, peer := newWatched(), newWatched()
	many, err := r.Observe(scored, Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	defer many.Close()
	one, err := peer.Observe(loopback(t), Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(from *Agent, w watched, to *Agent) {
		if err := from.GatherCandidates(); err != nil {
			t.Fatal(err)
		}
		w.waitFor(t, "the end of gathering", isKind(GatheringDone))
		for _, e := range w.Events() {
			if e.Kind != Gathered {
				continue
			}
			c, err := ToPion(Rank(e.Local, preference))
			if err == nil {
				err = to.AddRemoteCandidate(c)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	exchange(many, r, one)
	exchange(one, peer, many)
	if controls {
		dial(t, many, one)
	} else {
		dial(t, one, many)
	}
	return r.waitFor(t, "a pair", isKind(PairSelected)).Local.Addr.Addr()
}
