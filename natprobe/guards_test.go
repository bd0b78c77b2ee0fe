package natprobe_test

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
)

// The tests here hold the rules that keep conclusions right, one each. Every one was seen
// failing with its rule taken away.

var path = simnet.Link{Delay: oneWay}

// why returns the reason that a report gives.
func why(r natprobe.Report, about string) string {
	c, _ := r.Conclusion(about)
	return c.Because
}

// TestGuardLossIsNotFiltering: at heavy loss nothing is wrong, if not all is known.
func TestGuardLossIsNotFiltering(t *testing.T) {
	wrong := 0
	const runs = 300
	for seed := range uint64(runs) {
		w := newWorld(t, seed, preset(t, "full-cone"), simnet.Link{Delay: oneWay, Loss: 0.1})
		if r := w.discover(all, natprobe.DiscoveryConfig{NoPorts: true}); r.Filtering != eif && r.Filtering != natprobe.FilteringUnknown {
			wrong++
			t.Logf("seed %d: %v\n%s", seed, r.Conclusions, trail(r.Report))
		}
	}
	if wrong > runs/200 {
		t.Errorf("%d of %d wrong", wrong, runs)
	}
}

// TestGuardOutageIsNotFiltering: what is lost in one piece is not filtered either: silence
// counts only where a control behind it was answered.
func TestGuardOutageIsNotFiltering(t *testing.T) {
	for from := 10; from < 100; from += 10 {
		for length := 20; length <= 400; length += 20 {
			w := newWorld(t, 1, preset(t, "full-cone"), path)
			access := w.site.NAT.Iface()
			w.After(time.Duration(from)*time.Millisecond, func() { w.setDown(access, true) })
			w.After(time.Duration(from+length)*time.Millisecond, func() { w.setDown(access, false) })
			if r := w.discover(all, natprobe.DiscoveryConfig{NoPorts: true}); r.Filtering != eif && r.Filtering != natprobe.FilteringUnknown || r.Type == natprobe.TypeUDPBlocked {
				t.Fatalf("no link from %d ms for %d ms: %v\n%s", from, length, r.Conclusions, trail(r.Report))
			}
		}
	}
}

// TestGuardServerMustDoAsAsked: filtering is not read from a server that ignores, refuses
// or cannot do CHANGE-REQUEST, or that lies about its other address.
func TestGuardServerMustDoAsAsked(t *testing.T) {
	for name, tt := range map[string]struct {
		fault stund.Faults
		want  string
	}{
		"ignores CHANGE-REQUEST":      {stund.Faults{IgnoreChange: true}, "ignores"},
		"answers 420":                 {stund.Faults{RefuseChange: 420}, "420"},
		"answers 400":                 {stund.Faults{RefuseChange: 400}, "400"},
		"drops CHANGE-REQUEST":        {stund.Faults{DropChange: true}, "even where it must get through"},
		"names an address of nobody":  {stund.Faults{Other: netip.MustParseAddrPort("198.51.100.99:3479")}, ""},
		"names another one":           {stund.Faults{Other: netip.MustParseAddrPort("198.51.100.30:3479")}, ""},
		"names its own address":       {stund.Faults{Other: netip.MustParseAddrPort("192.0.2.1:3479")}, "differs too little"},
		"names its own port":          {stund.Faults{Other: netip.MustParseAddrPort("198.51.100.1:3478")}, "differs too little"},
		"names a loopback address":    {stund.Faults{Other: netip.MustParseAddrPort("127.0.0.1:3479")}, "cannot be"},
		"names a private address":     {stund.Faults{Other: netip.MustParseAddrPort("10.0.0.1:3479")}, "cannot be"},
		"names a multicast address":   {stund.Faults{Other: netip.MustParseAddrPort("224.0.0.1:3479")}, "cannot be"},
		"names an IPv6 address":       {stund.Faults{Other: netip.MustParseAddrPort("[2001:db8::1]:3479")}, "cannot be"},
		"names an unspecified one":    {stund.Faults{Other: netip.MustParseAddrPort("0.0.0.0:3479")}, "cannot be"},
		"answers from another port":   {stund.Faults{Source: 1}, "no server"},
		"answers another transaction": {stund.Faults{Forge: true}, "no server"},
		"answers everything with 500": {stund.Faults{Refuse: 500}, "no server"},
	} {
		for _, nat := range []string{"full-cone", "port-restricted-cone", "open"} {
			w := newWorld(t, 1, preset(t, nat), path)
			w.server.SetFaults(tt.fault)
			r := w.discover(all, natprobe.DiscoveryConfig{})
			if r.err != nil || r.Filtering != natprobe.FilteringUnknown || r.Type != natprobe.TypeUnknown || r.Mapping != eim || !strings.Contains(why(r.Report, "filtering"), tt.want) {
				t.Errorf("%s, %s: %v, %v, %v, %v; %v\n%s", name, nat, r.Type, r.Mapping, r.Filtering, r.err, r.Conclusions, trail(r.Report))
			}
			if r.took > 5*time.Second {
				t.Errorf("%s, %s: took %v", name, nat, r.took)
			}
		}
	}
}

// TestGuardPortCollision: one socket whose port somebody else has towards the server's
// other address is outvoted by two that have theirs to themselves.
func TestGuardPortCollision(t *testing.T) {
	w := newWorld(t, 1, preset(t, "linux"), path)
	w.server.extra = func(d machine.Datagram) []machine.Transmit {
		if len(w.server.seen) > 0 {
			return nil
		}
		return []machine.Transmit{
			{Op: machine.Send, Socket: 2, Remote: d.Remote, Data: []byte("stray")},
			{Op: machine.Send, Socket: 3, Remote: d.Remote, Data: []byte("stray")},
		}
	}
	r := w.discover(all, natprobe.DiscoveryConfig{})
	if r.Mapping != eim || r.Type != natprobe.TypePortRestrictedCone || r.Ports.Overloaded != natprobe.Yes {
		t.Errorf("%v\n%s", r.Conclusions, trail(r.Report))
	}
}

// TestGuardRandomLocalPorts: what a NAT remembers of the last run is not met again.
func TestGuardRandomLocalPorts(t *testing.T) {
	used := make(map[uint16]uint64)
	for seed := range uint64(20) {
		w := newWorld(t, seed, preset(t, "port-restricted-cone"), path)
		for _, o := range w.discover(all, natprobe.DiscoveryConfig{}).Observations {
			if p := o.Local.Port(); p < 32768 {
				t.Errorf("local port %d, want one that RFC 5780 section 4.1 recommends", p)
			} else if other, ok := used[p]; ok && other != seed {
				t.Errorf("seeds %d and %d both use port %d", other, seed, p)
			}
			used[o.Local.Port()] = seed
		}
	}
}

// TestGuardPreservingMappingIsLessCertain: a NAT that keeps the port for each destination
// looks like a cone, which shows in the confidence and, where it gives ports up to strays,
// is found out.
func TestGuardPreservingMappingIsLessCertain(t *testing.T) {
	sure := func(nat string, noPorts bool) (float64, natprobe.Verdict) {
		r := newWorld(t, 1, preset(t, nat), path).discover(all, natprobe.DiscoveryConfig{NoPorts: noPorts})
		c, _ := r.Conclusion("mapping")
		return c.Confidence, r.Ports.Overloaded
	}
	if c, _ := sure("restricted-cone", true); c < 0.98 {
		t.Errorf("ports that change, mapping the same: %v", c)
	}
	if c, _ := sure("symmetric-preserving", true); c > 0.9 {
		t.Errorf("preserving symmetric: %v", c)
	}
	if c, o := sure("symmetric-preserving", false); c > 0.95 || o == natprobe.Yes {
		t.Errorf("preserving symmetric, after strays: %v, overloaded %v", c, o)
	}
	if c, o := sure("linux", false); c > 0.8 || o != natprobe.Yes {
		t.Errorf("linux: %v, overloaded %v", c, o)
	}
}

// TestGuardNestedNATs: of several NATs in a row each behaviour is the most restrictive one's.
func TestGuardNestedNATs(t *testing.T) {
	of := func(m, f simnet.Behavior) simnet.NATConfig {
		return simnet.NATConfig{Mapping: m, Filtering: f, Ports: simnet.PortPolicy{Kind: simnet.Random}}
	}
	for inner := simnet.EndpointIndependent; inner <= simnet.AddressAndPortDependent; inner++ {
		for outer := simnet.EndpointIndependent; outer <= simnet.AddressAndPortDependent; outer++ {
			w := newWorld(t, 1, simnet.Preset{NATs: []simnet.NATConfig{of(inner, outer), of(outer, inner)}}, path)
			r := w.discover(all, natprobe.DiscoveryConfig{NoPorts: true})
			most := max(inner, outer)
			if got := simnet.Behavior(r.Mapping) - 1; got != most {
				t.Errorf("mapping %v then %v: %v", inner, outer, r.Mapping)
			}
			if got := simnet.Behavior(r.Filtering) - 1; got != most {
				t.Errorf("filtering %v then %v: %v\n%s", outer, inner, r.Filtering, trail(r.Report))
			}
		}
	}
}

// TestGuardIPv6FirewallIsNoNAT: by the sockets' true addresses.
func TestGuardIPv6FirewallIsNoNAT(t *testing.T) {
	w := newWorld(t, 1, preset(t, "dual-stack"), path)
	r := w.discover(capable6[:1], natprobe.DiscoveryConfig{})
	if r.Type != natprobe.TypeSymmetricFirewall || r.NAT != natprobe.No || r.Filtering != apdf || !r.Mapped.Addr().Is6() {
		t.Errorf("%v\n%s", r.Conclusions, trail(r.Report))
	}
}

// TestGuardForwardedPortIsNoOpenFilter: an answer on one port that comes in from anywhere
// says nothing of the others.
func TestGuardForwardedPortIsNoOpenFilter(t *testing.T) {
	w := newWorld(t, 1, preset(t, "full-cone"), path)
	var forwarded netip.AddrPort // the first socket that is tested
	w.server.SetFaults(stund.Faults{Silent: func(from netip.AddrPort, _ int, r *stund.Request) bool {
		if r.ChangePort && !forwarded.IsValid() {
			forwarded = from
		}
		return r.ChangePort && from != forwarded
	}})
	r := w.discover(all, natprobe.DiscoveryConfig{})
	if r.Type != natprobe.TypePortRestrictedCone || !strings.Contains(why(r.Report, "filtering"), "forwarded") {
		t.Errorf("%v\n%s", r.Conclusions, trail(r.Report))
	}
}

// TestH1FilterIsNotOpenedBeforeItIsTested: from the sockets that test the filter nothing
// goes to the other address until the verdict.
func TestH1FilterIsNotOpenedBeforeItIsTested(t *testing.T) {
	for seed := range uint64(20) {
		for nat, want := range map[string]natprobe.Filtering{"restricted-cone": adf, "port-restricted-cone": apdf, "symmetric-address": apdf} {
			w := newWorld(t, seed, preset(t, nat), path)
			r := w.discover(all, natprobe.DiscoveryConfig{})
			if r.Filtering != want {
				t.Fatalf("seed %d: %s: %v\n%s", seed, nat, r.Conclusions, trail(r.Report))
			}
			asked := make(map[int]bool)
			for _, o := range r.Observations {
				if strings.HasPrefix(o.Asked, "answer from") && !strings.HasSuffix(o.Asked, "expected") {
					asked[o.Socket] = true
				}
			}
			for _, o := range r.Observations {
				if asked[o.Socket] && o.To != capable[0] && o.Asked != "plain, after what was filtered" {
					t.Errorf("seed %d: %s: socket %d tests the filter and sent to %v", seed, nat, o.Socket, o.To)
				}
			}
		}
	}
}

// TestH2MappingIsNotReadWhereStraysCame: on Linux a socket that rejected packets came to is
// given another port towards their sender.
func TestH2MappingIsNotReadWhereStraysCame(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, preset(t, "linux"), path)
		r := w.discover(all, natprobe.DiscoveryConfig{})
		voted := strings.Contains(trail(r.Report), "again") // which hides that a socket was shared
		if r.Mapping != eim || r.Type != natprobe.TypePortRestrictedCone || voted {
			t.Fatalf("seed %d: %v\n%s", seed, r.Conclusions, trail(r.Report))
		}
	}
}

// TestH3OtherAddressIsTakenOnce: what the server's other address says of its own other
// address is another one (RFC 5780 section 6.1).
func TestH3OtherAddressIsTakenOnce(t *testing.T) {
	for _, nat := range []string{"open", "full-cone", "restricted-cone", "port-restricted-cone", "symmetric-random", "linux"} {
		w := newWorld(t, 1, preset(t, nat), path)
		r := w.discover(all, natprobe.DiscoveryConfig{})
		if want := truths[nat]; r.Type != want.typ || r.Filtering != want.filtering {
			t.Errorf("%s: %v\n%s", nat, r.Conclusions, trail(r.Report))
		}
		for _, d := range w.server.seen {
			if d.Socket == 1 {
				t.Errorf("%s: something was sent to %v, which no test is for", nat, capable[1])
			}
		}
	}
}

// TestForgedRepliesChangeNothing: 10^6 of them, from the addresses that are asked, to the
// sockets that ask.
func TestForgedRepliesChangeNothing(t *testing.T) {
	run := func(forge func(d *running)) natprobe.Report {
		w := newWorld(t, 5, preset(t, "restricted-cone"), simnet.Link{Delay: oneWay, Loss: 0.1})
		r, d, done := w.start(all, natprobe.DiscoveryConfig{})
		for _, at := range []time.Duration{5, 20, 40, 55} {
			w.After(at*time.Millisecond, func() { forge(d) })
		}
		if !w.RunUntil(time.Minute, func() bool { return *done }) {
			t.Fatal("does not end")
		}
		return r.Report
	}
	want := run(func(*running) {})
	n := 0
	got := run(func(d *running) {
		d.run.Do(func(now time.Time) {
			var b wire.Builder
			for i := range 250_000 {
				n++
				typ := wire.BindingSuccess
				if i%5 == 0 {
					typ = wire.BindingFailure
				}
				var id wire.TransactionID
				id[0], id[1], id[2], id[11] = byte(n), byte(n>>8), byte(n>>16), 1
				b.Reset(typ, id)
				b.AddXORAddress(wire.AttrXORMappedAddress, netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, 9, byte(i)}), uint16(i|1)))
				b.AddAddress(wire.AttrOtherAddress, netip.MustParseAddrPort("9.9.9.9:9"))
				if typ == wire.BindingFailure {
					b.AddErrorCode(420, "no")
				}
				d.HandleDatagram(now, machine.Datagram{Socket: machine.SocketID(i % 8), Remote: capable[i/8%4], Data: b.Bytes()})
			}
		})
	})
	if n != 1_000_000 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d forged replies changed the report:\n%v\n%v", n, got, want)
	}
}

// TestSecondAnswerIsNotBelieved: two answers to one request that differ (RFC 3489 section
// 9.4) make the mapping unknown.
func TestSecondAnswerIsNotBelieved(t *testing.T) {
	w := newWorld(t, 1, preset(t, "full-cone"), path)
	first := true
	w.server.extra = func(d machine.Datagram) []machine.Transmit {
		var req wire.Message
		if !first || req.Decode(d.Data) != nil {
			return nil
		}
		first = false
		var b wire.Builder
		b.Reset(wire.BindingSuccess, req.TransactionID())
		b.AddXORAddress(wire.AttrXORMappedAddress, netip.MustParseAddrPort("9.9.9.9:9"))
		return []machine.Transmit{{Op: machine.Send, Socket: 0, Remote: d.Remote, Data: b.Bytes()}}
	}
	if r := w.discover(all, natprobe.DiscoveryConfig{}); r.Mapping == apdm || r.Type == natprobe.TypeSymmetric {
		t.Errorf("%v\n%s", r.Conclusions, trail(r.Report))
	}
}

// TestPlainServers: without one that supports RFC 5780 the mapping is told as far as it
// can be, and the filtering not.
func TestPlainServers(t *testing.T) {
	twoPorts := netip.MustParseAddrPort("198.51.100.40:3478")
	for _, tt := range []struct {
		nat     string
		servers []netip.AddrPort
		typ     natprobe.Type
		mapping natprobe.Mapping
		least   bool
	}{
		{"full-cone", []netip.AddrPort{plainB}, natprobe.TypeUnknown, natprobe.MappingUnknown, false},
		{"full-cone", []netip.AddrPort{plainB, plainC}, natprobe.TypeUnknown, eim, false},
		{"symmetric-random", []netip.AddrPort{plainB, plainC}, natprobe.TypeSymmetric, adm, true},
		{"symmetric-address", []netip.AddrPort{plainB, plainC, twoPorts}, natprobe.TypeSymmetric, adm, true},
		{"symmetric-address", []netip.AddrPort{plainB, twoPorts, netip.AddrPortFrom(twoPorts.Addr(), 3479)}, natprobe.TypeSymmetric, adm, false},
		{"symmetric-random", []netip.AddrPort{plainB, twoPorts, netip.AddrPortFrom(twoPorts.Addr(), 3479)}, natprobe.TypeSymmetric, apdm, false},
		{"symmetric-random", []netip.AddrPort{plainB, plainC, capable[0]}, natprobe.TypeSymmetric, apdm, false},
	} {
		w := newWorld(t, 1, preset(t, tt.nat), path)
		w.serve("two ports", twoPorts, netip.AddrPortFrom(twoPorts.Addr(), 3479))
		r := w.discover(tt.servers, natprobe.DiscoveryConfig{})
		hasCapable := tt.servers[len(tt.servers)-1] == capable[0]
		if r.err != nil || r.Type != tt.typ || r.Mapping != tt.mapping || r.MappingLeast != tt.least || hasCapable != (r.Filtering != natprobe.FilteringUnknown) {
			t.Errorf("%s by %v: %v %v (at least: %v) %v, %v; %v\n%s", tt.nat, tt.servers, r.Type, r.Mapping, r.MappingLeast, r.Filtering, r.err, r.Conclusions, trail(r.Report))
		}
	}
}

// TestCapableServerIsFound: wherever it stands in the list, and whatever the others are.
func TestCapableServerIsFound(t *testing.T) {
	dead := netip.MustParseAddrPort("203.0.113.77:3478")
	for _, servers := range [][]netip.AddrPort{
		{plainB, capable[0]}, {dead, capable[0]}, {dead, plainB, plainC, capable[0]}, {capable[0], capable[0], capable[2]}, {capable[3]},
	} {
		for _, nat := range []string{"open", "full-cone", "restricted-cone", "port-restricted-cone", "linux", "symmetric-random", "symmetric-address"} {
			want := truths[nat]
			w := newWorld(t, 1, preset(t, nat), path)
			r := w.discover(servers, natprobe.DiscoveryConfig{})
			if r.err != nil || r.Type != want.typ || r.Mapping != want.mapping || r.Filtering != want.filtering || r.Ports.Model != want.ports || r.Hairpin != want.hairpin {
				t.Errorf("%s by %v: %v %v; %v\n%s", nat, servers, r.Type, r.err, r.Conclusions, trail(r.Report))
			}
			if r.Known > 2*time.Second {
				t.Errorf("%s by %v: known after %v", nat, servers, r.Known)
			}
		}
	}
}

// TestSilentServers: few silent servers are no proof of anything.
func TestSilentServers(t *testing.T) {
	dead := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.77:3478"), netip.MustParseAddrPort("203.0.113.78:3478")}
	for n := 1; n <= 2; n++ {
		w := newWorld(t, 1, preset(t, "full-cone"), path)
		r := w.discover(dead[:n], natprobe.DiscoveryConfig{})
		var none *natprobe.NoAnswersError
		if !errors.As(r.err, &none) || len(none.Servers) != n || r.Type != natprobe.TypeUnknown || r.took > 3*time.Second || why(r.Report, "type") == "" {
			t.Errorf("%d silent servers: %v, %v after %v", n, r.err, r.Conclusions, r.took)
		}
	}
	// A host that refuses by ICMP shows that UDP gets through.
	w := newWorld(t, 1, preset(t, "full-cone"), path)
	nobody := netip.AddrPortFrom(capable[0].Addr(), 9)
	r := w.discover([]netip.AddrPort{nobody, netip.AddrPortFrom(plainB.Addr(), 9), netip.AddrPortFrom(plainC.Addr(), 9)}, natprobe.DiscoveryConfig{})
	if r.err == nil || r.Type != natprobe.TypeUnknown || r.took > time.Second {
		t.Errorf("servers that are not there: %v, %v after %v", r.err, r.Conclusions, r.took)
	}
}

func TestBadDiscoveries(t *testing.T) {
	for name, servers := range map[string][]netip.AddrPort{
		"none":         nil,
		"two families": {capable[0], capable6[0]},
		"no port":      {netip.AddrPortFrom(capable[0].Addr(), 0)},
		"too many":     make([]netip.AddrPort, 100),
	} {
		var ce *natprobe.ConfigError
		if _, err := natprobe.NewDiscovery(servers, nil); !errors.As(err, &ce) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var ce *natprobe.ConfigError
	if _, err := natprobe.NewDiscovery(capable[:1], &natprobe.DiscoveryConfig{Timeout: -1}); !errors.As(err, &ce) || ce.Field != "Timeout" {
		t.Errorf("negative timeout: %v", err)
	}
}

// TestCrossTraffic: the step of a sequence is exact and its rate about right, whatever
// others do.
func TestCrossTraffic(t *testing.T) {
	for _, delta := range []int{1, 2, 3, -1, 8} {
		for _, rate := range []float64{0, 5, 20} {
			exact, sum := 0, 0.0
			for seed := range *seeds {
				w := newWorld(t, uint64(seed), simnet.Preset{NATs: []simnet.NATConfig{{
					Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent,
					Ports: simnet.PortPolicy{Kind: simnet.Sequential, Delta: delta, CrossTraffic: rate},
				}}}, path)
				r := w.discover(all, natprobe.DiscoveryConfig{})
				if r.Ports.Model == natprobe.PortsSequential && r.Ports.Delta == delta {
					exact++
				} else {
					t.Logf("seed %d: %v\n%s", seed, r.Ports, trail(r.Report))
				}
				sum += r.Ports.Rate
			}
			mean := sum / float64(*seeds)
			if exact*100 < *seeds*99 || mean < rate/2 || mean > rate*1.5+0.5 {
				t.Errorf("delta %d, %v others a second: %d of %d exact, rate %.1f", delta, rate, exact, *seeds, mean)
			}
		}
	}
}

// setDown takes the access link down or up. It is called by the world itself.
func (w *world) setDown(i *simnet.Iface, down bool) {
	l := path
	l.Down = down
	i.SetLink(l, l)
}
