package bradawl

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

var seeds = flag.Int("seeds", 20, "worlds for each row of a table")

// TestFirstPaths measures how long it takes from the dial until data can be sent, and until
// it goes directly, in round trips.
func TestFirstPaths(t *testing.T) {
	t.Log("in round trips of 100 ms from the dial, p50 / p99: the dialler can send, both can, both do so directly")
	for _, r := range []struct {
		nats           [2]string
		loss           float64
		relay          bool    // no direct path is possible
		usable, direct float64 // at p50
		late           float64 // direct, at p99
	}{
		{nats: [2]string{"open", "open"}, usable: 2.1, direct: 2.1, late: 2.1},
		{nats: [2]string{"full-cone", "full-cone"}, usable: 2.1, direct: 2.2, late: 2.2},
		{nats: [2]string{"restricted-cone", "port-restricted-cone"}, usable: 2.1, direct: 2.2, late: 2.2},
		{nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, usable: 2.1, direct: 2.2, late: 2.2},
		{nats: [2]string{"full-cone", "symmetric-random"}, usable: 2.1, direct: 2.2, late: 2.2},
		{nats: [2]string{"symmetric-random", "symmetric-random"}, usable: 2.1, relay: true},
		{nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, loss: 0.1, usable: 2.5, direct: 2.5, late: 6},
		{nats: [2]string{"port-restricted-cone", "port-restricted-cone"}, loss: 0.3, usable: 3, direct: 4, late: 60},
	} {
		var dialler, usable, direct []float64
		for seed := range uint64(*seeds) {
			w := newWorld(t, seed+1, r.nats[0], r.nats[1], lossy(r.loss))
			began := w.dialNow()
			rtts := func(at time.Time) float64 { return float64(at.Sub(began)) / float64(pathRTT) }
			if !w.settle(30 * time.Second) {
				w.fail("not connected")
			}
			dialler = append(dialler, rtts(w.peers[0].ready))
			usable = append(usable, rtts(w.Now()))
			if !r.relay {
				if !w.direct(time.Minute) {
					w.fail("not direct")
				}
				direct = append(direct, rtts(w.Now()))
			}
		}
		t.Logf("%-22s %-22s loss %2.0f %%   %.2f / %.2f   %.2f / %.2f   %.2f / %.2f", r.nats[0], r.nats[1], 100*r.loss,
			quantile(dialler, .5), quantile(dialler, .99), quantile(usable, .5), quantile(usable, .99), quantile(direct, .5), quantile(direct, .99))
		if got := quantile(usable, .5); got > r.usable {
			t.Errorf("%v: usable after %.2f round trips, want %.2f at most", r.nats, got, r.usable)
		}
		if got := quantile(direct, .5); got > r.direct {
			t.Errorf("%v: direct after %.2f round trips, want %.2f at most", r.nats, got, r.direct)
		}
		if got := quantile(direct, .99); got > r.late {
			t.Errorf("%v: direct after %.2f round trips at p99, want %.2f at most", r.nats, got, r.late)
		}
	}
}

// nature is what matters of a preset for a punch.
type nature struct {
	hard    bool // another port for each peer, that cannot be known before
	filters bool // by port
	blocked bool // no UDP
	wall6   bool // has IPv6, behind a firewall
	poison  bool // what comes too early spoils the port
}

func natureOf(p simnet.Preset) (n nature) {
	n.wall6 = p.IPv6
	for _, c := range p.NATs {
		n.hard = n.hard || c.Mapping != simnet.EndpointIndependent && c.Ports.Kind != simnet.Preserve
		n.filters = n.filters || c.Filtering == simnet.AddressAndPortDependent
		n.blocked = n.blocked || c.BlockUDP || c.Only443
		n.poison = n.poison || c.Poison
	}
	return n
}

// punchable reports whether two sides, of which a dials, can meet by sending to the
// addresses that they know.
func punchable(a, b nature) bool {
	switch {
	case a.blocked || b.blocked:
		return false
	case a.wall6 && b.wall6:
		return true
	case a.poison && b.filters:
		return false // not at once: b, which hears of the dial first, sends first
	}
	return !a.hard && !b.hard || a.hard && !b.hard && !b.filters || b.hard && !a.hard && !a.filters
}

// profileOf is what natprobe finds a preset to be.
func profileOf(p simnet.Preset) natprobe.Profile {
	n := natureOf(p)
	out := natprobe.Profile{Type: natprobe.TypePortRestrictedCone, Mapping: natprobe.MappingEndpointIndependent, NAT: natprobe.Yes, Confidence: 1}
	out.Filtering = natprobe.FilteringEndpointIndependent
	for _, c := range p.NATs {
		if f := natprobe.Filtering(c.Filtering + 1); f > out.Filtering {
			out.Filtering = f
		}
		if c.Mapping != simnet.EndpointIndependent && c.Ports.Kind != simnet.Preserve {
			out.Mapping = natprobe.Mapping(c.Mapping + 1)
		}
		switch c.Ports.Kind {
		case simnet.Preserve:
			out.Ports.Model = natprobe.PortsPreserving
		case simnet.Sequential:
			out.Ports = natprobe.Ports{Model: natprobe.PortsSequential, Delta: c.Ports.Delta}
		case simnet.Random:
			out.Ports = natprobe.Ports{Model: natprobe.PortsRandom, Low: 1024, High: 65535}
		case simnet.Block:
			out.Ports = natprobe.Ports{Model: natprobe.PortsBlock, Low: 2048, High: 2048 + uint16(c.Ports.Block) - 1}
		}
	}
	switch {
	case n.blocked:
		out = natprobe.Profile{Type: natprobe.TypeUDPBlocked}
	case n.hard:
		out.Type = natprobe.TypeSymmetric
	case len(p.NATs) == 0:
		out.Type, out.NAT = natprobe.TypeOpen, natprobe.No
	case out.Filtering == natprobe.FilteringEndpointIndependent:
		out.Type = natprobe.TypeFullCone
	case out.Filtering == natprobe.FilteringAddressDependent:
		out.Type = natprobe.TypeRestrictedCone
	}
	return out
}

// TestPresetPairs connects every pair of presets. Those that a plain punch can join are
// direct within 1.5 round trips of the path after the one of the signalling; all others are
// relayed, and say why.
func TestPresetPairs(t *testing.T) {
	names := simnet.PresetNames()
	var text string
	pairs, reached := 0, 0
	for i, nameA := range names {
		for _, nameB := range names[i:] {
			a, err := simnet.PresetByName(nameA)
			if err != nil {
				t.Fatal(err)
			}
			b, err := simnet.PresetByName(nameB)
			if err != nil {
				t.Fatal(err)
			}
			plain := punchable(natureOf(a), natureOf(b))
			slow := natureOf(a).blocked || natureOf(b).blocked
			var usable, direct []float64
			for seed := range uint64(max(1, *seeds/20)) {
				w := newWorld(t, seed+1, nameA, nameB, func(o *worldOptions) { o.ipv6 = true })
				for i, preset := range []simnet.Preset{a, b} {
					p := w.peers[i]
					p.do(func(now time.Time) { p.setProfile(now, profileOf(preset)) })
				}
				began := w.dialNow()
				if !w.settle(30 * time.Second) {
					w.fail("%s and %s: not connected", nameA, nameB)
				}
				usable = append(usable, float64(w.Now().Sub(began))/float64(pathRTT))
				if w.direct(3 * time.Second) {
					direct = append(direct, float64(w.Now().Sub(began))/float64(pathRTT))
				}
				if plain && len(direct) == 0 {
					w.fail("%s and %s: not direct", nameA, nameB)
				}
				e, _ := w.peers[0].explain(w.Now(), w.peers[0].conn)
				if len(direct) == 0 && (e.Path.Kind != PathRelay || e.Why == "") {
					w.fail("%s and %s: %v", nameA, nameB, e)
				}
			}
			pairs++
			text += fmt.Sprintf("%-23s %-23s %5.2f", nameA, nameB, quantile(usable, .99))
			if len(direct) > 0 {
				reached++
				text += fmt.Sprintf("  %5.2f", quantile(direct, .99))
			}
			text += "\n"
			if got := quantile(usable, .99); !slow && got > 2.1 {
				t.Errorf("%s and %s: usable after %.2f round trips", nameA, nameB, got)
			}
			most := 2.5
			if n := natureOf(a); n.hard || n.poison { // then b learns only from the first check where a is
				most = 2.7
			}
			if got := quantile(direct, .99); plain && got > most {
				t.Errorf("%s and %s: direct after %.2f round trips", nameA, nameB, got)
			}
		}
	}
	t.Logf("%d of %d pairs become direct; round trips of 100 ms from the dial at p99, usable and direct:\n%s", reached, pairs, text)
}

// TestSpoiltPorts: NATs that hold a packet against a port, if it comes before any has left
// for its sender, spoil the first punch. A later one, which both sides begin together, does
// not fail.
func TestSpoiltPorts(t *testing.T) {
	direct := &figure{name: "direct", limit: 2 * time.Minute}
	for _, other := range []string{"linux", "port-restricted-cone"} {
		for seed := range faults() {
			w := newWorld(t, seed+1, "linux", other)
			began := w.dialNow()
			if !w.settle(10*time.Second) || !w.direct(5*time.Minute) {
				w.fail("linux and %s: not direct", other)
			}
			direct.add(w.Now().Sub(began))
		}
	}
	report(t, "linux as it comes", "", direct)
}

// replay is a whole session: relay, rendezvous, NATs, faults.
func replay(t *testing.T, seed uint64) string {
	w := newWorld(t, seed, "cgnat", "symmetric-random", func(o *worldOptions) {
		o.access = simnet.Link{Delay: access, Jitter: access, Loss: 0.05, Duplicate: 0.02, Reorder: 0.1}
		o.user, o.turn.NonceLifetime = "ann", time.Second
	})
	w.keep()
	w.dialNow()
	w.settle(20 * time.Second)
	w.chat(10*time.Second, chatEvery)
	w.peers[0].site.NAT.Reboot(time.Second)
	w.chat(10*time.Second, chatEvery)
	w.setDown(true)
	w.peers[1].dialTo(w.peers[0])
	w.Run(5 * time.Second)
	w.setDown(false)
	w.chat(10*time.Second, chatEvery)
	w.peers[1].restart()
	w.Run(time.Second)
	w.peers[1].dialTo(w.peers[0])
	w.Run(20 * time.Second)
	return w.TraceHash()
}

// TestReplay: one seed gives one run, byte for byte, on any number of cores.
func TestReplay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var hashes []string
	for _, n := range []int{1, 8, 1} {
		runtime.GOMAXPROCS(n)
		hashes = append(hashes, replay(t, 1))
	}
	if other := replay(t, 2); slices.Contains(hashes, other) {
		t.Error("another seed gives the same run")
	}
	slices.Sort(hashes)
	if n := len(slices.Compact(hashes)); n != 1 {
		t.Errorf("one seed gives %d runs", n)
	}
}
