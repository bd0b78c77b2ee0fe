package bradawl

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// TestTCPIsAskedOnce: what the NAT does with TCP is looked into once, however many reasons there
// are while that is under way.
func TestTCPIsAskedOnce(t *testing.T) {
	w := newWorld(t, 1, "", "", behind(namedPreset(t, "udp-blocked"), sequence(1, 5)), withTCP, func(o *worldOptions) { o.probe = true })
	a := w.peers[0]
	w.RunUntil(15*time.Second, func() bool { return a.eyed > 0 })
	if a.eyed != 1 || a.profile.TCP != (natprobe.TCPProfile{}) {
		w.fail("asked %d times, and it is %+v", a.eyed, a.profile.TCP)
	}
	a.do(func(time.Time) { a.lookAtTCP() })
	a.dialTo(w.peers[1])
	if !w.direct(10 * time.Second) {
		w.fail("not direct")
	}
	for _, p := range w.peers {
		if p.eyed != 1 {
			w.fail("%s was asked %d times", p.name, p.eyed)
		}
	}
}

// TestTCPOfAnotherNAT: what was found out of TCP behind a NAT that is left is not told of the one
// that nothing is known of yet.
func TestTCPOfAnotherNAT(t *testing.T) {
	w := newWorld(t, 1, "udp-blocked", "udp-blocked", withTCP)
	a := w.peers[0]
	w.Run(time.Second)
	found := natprobe.TCPProfile{Mapping: natprobe.MappingEndpointIndependent, Ports: natprobe.Ports{Model: natprobe.PortsPreserving, Confidence: 1}}
	a.do(func(now time.Time) { a.setTCP(now, found) })
	if a.profile != (natprobe.Profile{}) {
		w.fail("taken for %+v", a.profile)
	}
	w.profiled("udp-blocked", "udp-blocked")
	a.do(func(now time.Time) { a.setTCP(now, found) })
	if a.profile.TCP != found {
		w.fail("%+v", a.profile.TCP)
	}
}

// TestAdopt: a connection of a lane's that cannot be used is dropped, one from where the agent
// opens its own needs no base, and for any other one the base is remembered with it.
func TestAdopt(t *testing.T) {
	w, a, liar := lying(t)
	k := a.links[0]
	const first = firstLaneStream + 1<<20 // of no attempt's
	// adopt returns the connections that are dropped.
	adopt := func(e punch.LaneEvent) (ok bool, reset []machine.StreamID) {
		a.do(func(now time.Time) {
			ok = k.adopt(now, e)
			for t, more := a.control.PollTransmit(); more; t, more = a.control.PollTransmit() {
				if t.Op == machine.Reset {
					reset = append(reset, t.Stream)
				}
			}
		})
		return ok, reset
	}
	dropped := func(what string, e punch.LaneEvent) {
		t.Helper()
		holes := len(k.lane.holes)
		if ok, reset := adopt(e); ok || len(reset) != 1 || reset[0] != e.Stream || len(k.lane.holes) != holes {
			w.fail("%s: %v, %v, %d holes", what, ok, reset, len(k.lane.holes)-holes)
		}
	}
	local, ok := k.opensFrom()
	if !ok || len(k.lane.holes) != 0 {
		w.fail("opens from %v; %d holes", local, len(k.lane.holes))
	}
	peer := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(liar.site.NAT.Addrs()[0], port) }

	dropped("to a multicast address", punch.LaneEvent{Stream: first, Local: local, Remote: netip.MustParseAddrPort("224.0.0.1:4000")})
	if ok, reset := adopt(punch.LaneEvent{Stream: first + 1, Local: local, Remote: peer(5001)}); !ok || len(reset) != 0 || len(k.lane.holes) != 0 {
		w.fail("from where the agent opens: %v, %v, %+v", ok, reset, k.lane.holes)
	}
	for i := range maxHoles {
		at := netip.AddrPortFrom(local.Addr(), uint16(6000+i))
		ok, reset := adopt(punch.LaneEvent{Stream: first + 2 + machine.StreamID(i), Local: at, Remote: peer(uint16(5002 + i))})
		if !ok || len(reset) != 0 || len(k.lane.holes) != i+1 || k.lane.holes[i].base == 0 || k.lane.holes[i].stream != first+2+machine.StreamID(i) {
			w.fail("from %v: %v, %v, %+v", at, ok, reset, k.lane.holes)
		}
	}
	dropped("one too many", punch.LaneEvent{Stream: first + 100, Local: netip.AddrPortFrom(local.Addr(), 7000), Remote: peer(5100)})
}

// TestHoleUses: holes of UDP are told apart by their sockets, those of TCP, which have none, by
// their connections.
func TestHoleUses(t *testing.T) {
	over := func(socket machine.SocketID, stream machine.StreamID) *path {
		return &path{route: ice.Route{Socket: socket, Stream: stream}}
	}
	for _, c := range []struct {
		hole hole
		path *path
		uses bool
	}{
		{hole{socket: 3}, over(3, 0), true},
		{hole{socket: 3}, over(4, 0), false},
		{hole{stream: 7}, over(0, 7), true},
		{hole{stream: 7}, over(0, 8), false},
		{hole{stream: 7}, over(0, 0), false},
	} {
		if got := c.hole.uses(c.path); got != c.uses {
			t.Errorf("%+v uses %+v: %v", c.hole, c.path.route, got)
		}
	}
}

// TestUnproven: only of an attempt by TCP that came to nothing it is said that nobody answered;
// what else the reports tell stays.
func TestUnproven(t *testing.T) {
	report := func(kind punch.LaneKind, attempt int, s LaneState) LaneReport {
		return LaneReport{Lane: punch.Lane{Kind: kind}, Attempt: attempt, State: s, Outcome: "as it was"}
	}
	reports := []LaneReport{
		report(punch.LaneTCPPredicted, 2, LaneOpened), // the one that it is about
		report(punch.LaneTCPPredicted, 2, LaneEnded),
		report(punch.LaneTCPPredicted, 1, LaneOpened),
		report(punch.LanePredicted, 2, LaneOpened),
	}
	for name, c := range map[string]struct {
		over  bool
		paths []*path
		said  bool
	}{
		"no path":            {false, nil, true},
		"a relay":            {false, []*path{{relayed: true}}, true},
		"a path in doubt":    {false, []*path{{doubt: true}}, true},
		"a direct path":      {false, []*path{{relayed: true}, {}}, false},
		"the link's own end": {true, nil, false},
	} {
		k := &link{over: c.over, routes: routes{paths: c.paths}}
		k.lane.tries, k.lane.reports = 2, append([]LaneReport(nil), reports...)
		k.unproven()
		for i, r := range k.lane.reports {
			want := reports[i]
			if i == 0 && c.said {
				want.State, want.Outcome = LaneEnded, "a connection stood, but nobody answered on it as the peer does"
			}
			if r != want {
				t.Errorf("%s: %+v, want %+v", name, r, want)
			}
		}
	}
}
