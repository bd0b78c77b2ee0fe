package ice_test

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/simnet"
)

// way is one of the interfaces of a host, each with a NAT of its own.
type way struct {
	info ice.InterfaceInfo
	link simnet.Link
	addr netip.Addr
	nat  *simnet.NAT
}

// newTwoWays builds a world whose first peer has the interfaces of ways, in that order, and
// what cfg says; the second has one. Both gather at once.
func newTwoWays(t *testing.T, seed uint64, cfg ice.MachineConfig, ways ...*way) *world {
	t.Helper()
	w := newWorld(t, seed, "open", "port-restricted-cone", 0)
	plain := w.peers[0]
	plain.runner.Close()
	old := plain.site.Iface()
	w.known, w.mcfg = make(map[netip.Addr]ice.InterfaceInfo), cfg
	for i, v := range ways {
		nat, err := w.AddNAT(fmt.Sprintf("NAT %d", i), w.Internet(), simnet.NATConfig{Filtering: simnet.AddressAndPortDependent}, simnet.Link{Delay: access})
		w.check(err)
		v.nat = nat
		v.addr = plain.site.AddIface(nat.Inside(), v.link).Addrs()[0]
		w.known[v.addr] = v.info
	}
	plain.site.RemoveIface(old)
	p := w.newPeer(plain.site)
	p.cfg, p.other = plain.cfg, w.peers[1]
	w.peers[0], w.peers[1].other = p, p
	return w
}

// chosen is which of the ways carries the first peer's data.
func (w *world) chosen(ways ...*way) *way {
	w.t.Helper()
	p := w.peers[0]
	selected := p.m.Selected(p.id)
	for _, v := range ways {
		if selected.Route.Local.Addr() == v.addr {
			return v
		}
	}
	w.t.Fatalf("seed %d: data takes %+v", w.Seed(), selected.Route)
	return nil
}

// again has both peers meet by new agents.
func (w *world) again() {
	w.t.Helper()
	w.part()
	w.offer()
	if !w.connect(15 * time.Second) {
		w.t.Fatalf("seed %d: not connected", w.Seed())
	}
}

// part closes the agents.
func (w *world) part() {
	for _, p := range w.peers {
		p.do(func(now time.Time) { p.m.CloseAgent(now, p.id) })
		p.id, p.known, p.ended, p.queue = 0, false, false, nil
	}
}

// Of a lossy Wi-Fi and a clean wired interface the wired one is taken, in both roles,
// though the Wi-Fi comes first and would do.
func TestChoosesTheCleanInterface(t *testing.T) {
	for _, c := range []struct {
		name    string
		weights ice.Weights
		wired   func(times, of int) bool
	}{
		{"scored", ice.Weights{}, func(times, of int) bool { return times == of }},
		// Loss alone decides for the wired one at times: one check of ten is lost each way.
		{"not scored", ice.Weights{Interface: -1, RTT: -1, History: -1}, func(times, of int) bool { return times < of/2 }},
	} {
		for _, controlling := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, controlling %v", c.name, controlling), func(t *testing.T) {
				times := 0
				for seed := range uint64(*seeds) {
					wifi := &way{
						info: ice.InterfaceInfo{Name: "wlan0", Kind: ice.WiFi, Speed: 300e6, Loss: ice.Known(0.1), Signal: ice.Known(0.6)},
						link: simnet.Link{Loss: 0.1},
					}
					wired := &way{info: ice.InterfaceInfo{Name: "eth0", Kind: ice.Wired, Speed: 1e9}}
					w := newTwoWays(t, seed+1, ice.MachineConfig{Score: ice.ScoreConfig{Weights: c.weights}}, wifi, wired)
					for i, p := range w.peers {
						p.cfg.Controlling = controlling == (i == 0)
					}
					w.offer()
					if !w.connect(15 * time.Second) {
						t.Fatalf("seed %d: not connected", seed+1)
					}
					if w.chosen(wifi, wired) == wired {
						times++
					}
				}
				if t.Logf("by the wired interface in %d of %d worlds", times, *seeds); !c.wired(times, *seeds) {
					t.Errorf("by the wired interface in %d of %d worlds", times, *seeds)
				}
			})
		}
	}
}

// Where nothing is known of the interfaces, round trips to the STUN server tell.
func TestChoosesTheQuickInterface(t *testing.T) {
	slow := &way{link: simnet.Link{Delay: 150 * time.Millisecond}}
	quick := &way{}
	w := newTwoWays(t, 1, ice.MachineConfig{}, slow, quick)
	w.offer()
	if !w.connect(15 * time.Second) {
		t.Fatal("not connected")
	}
	if w.chosen(slow, quick) != quick {
		t.Error("by the slow one")
	}
	priority := make(map[netip.Addr]uint32)
	for _, s := range w.peers[0].m.Candidates(w.peers[0].id) {
		priority[s.Candidate.Addr.Addr()] = s.Candidate.Priority
	}
	if priority[quick.addr] <= priority[slow.addr] { // not only because its checks come back sooner
		t.Errorf("the peer is told to prefer the slow one: %v", w.peers[0].m.Candidates(w.peers[0].id))
	}
}

// What became of paths moves the choice, and fades.
func TestHistoryMovesTheChoice(t *testing.T) {
	// Without a keepalive nothing else is learned of the interfaces meanwhile.
	home := &way{info: ice.InterfaceInfo{Name: "eth0", Network: "home", Kind: ice.Wired}}
	office := &way{info: ice.InterfaceInfo{Name: "eth1", Network: "office", Kind: ice.Wired}}
	history := new(ice.MemoryHistory)
	w := newTwoWays(t, 1, ice.MachineConfig{History: history, Keepalive: -1}, home, office)
	p := w.peers[0]
	w.offer()
	if !w.connect(15 * time.Second) {
		t.Fatal("not connected")
	}
	if w.chosen(home, office) != home {
		t.Fatal("not by the first of two that are alike")
	}

	// The path by home dies, and comes back when it is too late.
	from, to := home.nat.Iface().Addrs()[0], w.peers[1].site.NAT.Iface().Addrs()[0]
	w.Internet().SetBlackhole(from, to, true)
	died := w.Now()
	w.Run(40 * time.Second)
	w.Internet().SetBlackhole(from, to, false)
	if w.chosen(home, office) != office {
		t.Fatal("still by the path that died")
	}

	w.again()
	if w.chosen(home, office) != office {
		t.Errorf("by home again at once: %v", p.m.Candidates(p.id))
	}

	// One failure of home's and its success from before make 1/2; office's successes fade.
	value := func(v *way) float64 {
		q, _ := history.Quality(v.info.Network, netip.Addr{}, w.Now())
		return q
	}
	last := math.Inf(1)
	for hour := 1; hour <= 23; hour += 11 {
		w.part()
		w.RunUntil(25*time.Hour, func() bool { return !w.Now().Before(died.Add(time.Duration(hour) * time.Hour)) })
		p.begin()
		i := slices.IndexFunc(p.m.Candidates(p.id), func(s ice.Scored) bool { return s.Score.Inputs.Interface.Name == "eth1" })
		got := p.m.Candidates(p.id)[i].Score
		if math.Abs(got.History.Value-value(office)) > 1e-6 || got.History.Value >= last || got.History.Value <= ice.Neutral {
			t.Errorf("after %d hours office's history counts %.4f (%.4f before); it is %.4f", hour, got.History.Value, last, value(office))
		}
		last = got.History.Value
	}
	w.Run(26 * time.Hour)
	w.again()
	if w.chosen(home, office) != home {
		t.Errorf("by office a day later: %v", p.m.Candidates(p.id))
	}
}
