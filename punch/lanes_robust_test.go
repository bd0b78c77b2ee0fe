package punch_test

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

var (
	birthdayOurs   = punch.Lane{Kind: punch.LaneBirthday, Hard: punch.Ours}
	birthdayTheirs = punch.Lane{Kind: punch.LaneBirthday, Hard: punch.Theirs}
	predictOurs    = punch.Lane{Kind: punch.LanePredicted, Hard: punch.Ours}
	predictTheirs  = punch.Lane{Kind: punch.LanePredicted, Hard: punch.Theirs}
)

// flows is a machine that keeps many flows, one to each port of a server.
type flows struct {
	out machine.Queue[machine.Transmit]
}

func (f *flows) HandleDatagram(_ time.Time, d machine.Datagram) {}
func (f *flows) HandleTimeout(time.Time)                        {}
func (f *flows) NextTimeout() time.Time                         { return time.Time{} }
func (f *flows) PollTransmit() (machine.Transmit, bool)         { return f.out.Pop() }
func (f *flows) PollEvent() (struct{}, bool)                    { return struct{}{}, false }
func (f *flows) begin(n int) {
	for i := range n {
		f.out.Push(machine.Transmit{Remote: netip.AddrPortFrom(laneServers[2].Addr(), uint16(10000+i)), Data: []byte("x")})
	}
}

// askAgain tells what port a socket of another host behind the NAT has outside.
func (h *laneHost) askAgain(other *simnet.Host) (seen netip.AddrPort) {
	h.t.Helper()
	r, err := natprobe.NewReflexive(laneServers[:1], &natprobe.ReflexiveConfig{Secrets: h.Secrets("other")})
	h.check(err)
	at := netip.AddrPortFrom(other.Addr(), 5000)
	run, err := simnet.Run(other, r, simnet.RunOptions{Sockets: []netip.AddrPort{at}}, func(_ time.Time, e natprobe.ReflexiveEvent) { seen = e.Addr })
	h.check(err)
	run.Do(func(now time.Time) { r.Start(now, at) })
	h.RunUntil(10*time.Second, func() bool { return seen.IsValid() })
	run.Close()
	return seen
}

// A birthday that fails takes all of its budget, and still a NAT with room for 4,000 entries,
// or 2,000 for a polite one, keeps the flows of others and has room for new ones.
func TestLanesLeaveRoomInTheTable(t *testing.T) {
	for _, c := range []struct {
		budget             punch.Budget
		table, flows       int
		leastMade, maxMade int
	}{{punch.Budget{}, 4000, 2000, 1400, 1600}, {punch.Polite, 2000, 1200, 500, 600}} {
		w := newLanesWorld(t, 1, natOf(t, "symmetric-random", func(n *simnet.NATConfig) { n.Table, n.Idle = c.table, 10*time.Minute }), natOf(t, "port-restricted-cone"))
		h := w.hosts[0]
		h.budget = c.budget
		other := w.AddHost("other", h.site.LAN(), simnet.Link{})
		before := h.askAgain(other)
		f := &flows{}
		run, err := simnet.Run(other, f, simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(other.Addr(), 5001)}}, nil)
		w.check(err)
		run.Do(func(time.Time) { f.begin(c.flows) })
		w.Run(time.Second)
		had := h.site.NAT.Mappings()
		w.startOne(0, []punch.Lane{birthdayOurs}) // the peer tries nothing
		w.RunUntil(time.Minute, func() bool { _, done := h.first(punch.LanesDone); return done })
		h.within(w.hosts[1])
		e, _ := h.first(punch.LanesDone)
		// A socket may get the local port of one that was closed, and with it its mapping.
		if now := h.site.NAT.Mappings(); now-had > e.Entries || now-had < c.leastMade || e.Entries > c.maxMade {
			t.Errorf("table of %d: the NAT had %d entries and has %d; the lane tells of %d", c.table, had, now, e.Entries)
		}
		if after := h.askAgain(other); after != before {
			t.Errorf("table of %d: another flow was at %v before and at %v after", c.table, before, after)
		}
		w.startOne(0, []punch.Lane{predictOurs})
		if w.Run(time.Second); len(h.tap.sent) == 0 {
			t.Errorf("table of %d: no new flow", c.table)
		}
	}
}

func TestLanesInASmallTable(t *testing.T) {
	for _, kind := range []punch.LaneKind{punch.LaneBirthday, punch.LanePredicted} {
		w := newLanesWorld(t, 1, natOf(t, "symmetric-sequential"), natOf(t, "port-restricted-cone"))
		for _, h := range w.hosts {
			h.budget = punch.Budget{Table: 64}
		}
		w.start([2][]punch.Lane{{{Kind: kind, Hard: punch.Ours}}, {{Kind: kind, Hard: punch.Theirs}}})
		w.finish() // checks that no more than 32 entries were made
		_, opened := w.hosts[0].first(punch.LaneOpened)
		if opened != (kind == punch.LanePredicted) {
			t.Errorf("%v: opened is %v", kind, opened)
		}
	}
}

// A profile that says "sequential" of a NAT whose ports are random costs some packets; the
// birthday beside gets through as if alone.
func TestLanesByAProfileThatLies(t *testing.T) {
	for _, beside := range []bool{false, true} {
		won, n := 0, 4*int(laneSeeds())
		for seed := range uint64(n) {
			w := newLanesWorld(t, seed, natOf(t, "symmetric-random"), natOf(t, "port-restricted-cone"))
			w.hosts[0].profile.Ports = natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1, Rate: 3, Confidence: .98}
			lanes := [2][]punch.Lane{{predictOurs}, {predictTheirs}}
			if beside {
				lanes = [2][]punch.Lane{{predictOurs, birthdayOurs}, {birthdayTheirs, predictTheirs}}
			}
			w.start(lanes)
			took, ok := w.settle()
			if w.finish(); ok {
				won++
			}
			for _, h := range w.hosts {
				e, _ := h.first(punch.LanesDone)
				if !beside && (e.Sent > 150 || took > 5*time.Second) {
					t.Errorf("seed %d: %s sent %d packets in %v for a lie", seed, h.site.Name(), e.Sent, took)
				}
			}
		}
		if beside && won < n*9/10 || !beside && won > n/4 {
			t.Errorf("beside a birthday: %v: %d of %d got through", beside, won, n)
		}
	}
}

// Where the profile has the wrong step and rate, because the ports began anew while it was
// measured, a crossing finds out by itself.
func TestLanesCrossByAWrongStep(t *testing.T) {
	for seed := range 2 * laneSeeds() {
		w := newLanesWorld(t, seed, natOf(t, "symmetric-sequential-3"), natOf(t, "symmetric-descending"))
		w.hosts[0].profile.Ports = natprobe.Ports{Model: natprobe.PortsSequential, Delta: 1, Rate: 1093.4, Confidence: .98}
		w.hosts[1].profile.Ports.Delta = -2
		both := []punch.Lane{{Kind: punch.LaneCrossing, Hard: punch.Both}}
		w.start([2][]punch.Lane{both, both})
		if took, ok := w.settle(); !ok || took > 4*time.Second {
			t.Errorf("seed %d: through: %v, after %v", seed, ok, took)
		}
		w.finish()
	}
}

// The network forbids UDP in the middle: all ends in time, within the budget.
func TestLanesWhereUDPIsForbidden(t *testing.T) {
	w := newLanesWorld(t, 1, natOf(t, "symmetric-random", func(n *simnet.NATConfig) { n.Prohibit = true }), natOf(t, "port-restricted-cone"))
	w.start([2][]punch.Lane{{birthdayOurs, predictOurs}, {birthdayTheirs, predictTheirs}})
	w.Run(100 * time.Millisecond)
	w.hosts[0].site.NAT.SetBlockUDP(true)
	if _, ok := w.settle(); ok {
		t.Error("a path in spite of it")
	}
	w.finish()
	if d := w.Now().Sub(w.began); d > 11*time.Second {
		t.Errorf("over after %v", d)
	}
}

// A peer that finds out in the middle that its NAT is another makes both begin anew.
func TestLanesBeginAnew(t *testing.T) {
	w := newLanesWorld(t, 3, natOf(t, "symmetric-sequential"), natOf(t, "port-restricted-cone"))
	right := w.hosts[0].profile.Ports
	w.hosts[0].profile.Ports = natprobe.Ports{Model: natprobe.PortsRandom, Low: 1024, High: 65535}
	w.start([2][]punch.Lane{{birthdayOurs}, {birthdayTheirs}})
	w.Run(200 * time.Millisecond)
	w.hosts[0].profile.Ports = right
	for _, h := range w.hosts {
		h.runner.Do(func(now time.Time) { h.lanes.Close(now) })
		if len(h.tap.open) > 0 {
			t.Errorf("%s has %d sockets after Close", h.site.Name(), len(h.tap.open))
		}
		h.said = nil
	}
	w.start([2][]punch.Lane{{predictOurs}, {predictTheirs}})
	if took, ok := w.settle(); !ok || took > time.Second {
		t.Errorf("through: %v, after %v", ok, took)
	}
	w.finish()
}

// The path that was opened goes on when all else is closed.
func TestLanesHandOverTheSocket(t *testing.T) {
	w := newLanesWorld(t, 3, natOf(t, "symmetric-sequential-2"), natOf(t, "symmetric-descending"))
	both := []punch.Lane{{Kind: punch.LaneCrossing, Hard: punch.Both}}
	w.start([2][]punch.Lane{both, both})
	if _, ok := w.settle(); !ok {
		t.Fatal("no path")
	}
	var paths []punch.LaneEvent
	for _, h := range w.hosts {
		e, _ := h.first(punch.LaneOpened)
		paths = append(paths, e)
		h.runner.Do(func(now time.Time) { h.lanes.Close(now, e.Socket) })
		if !h.tap.open[e.Socket] || len(h.tap.open) != 1 {
			t.Errorf("%s: after Close %v are open, want %d", h.site.Name(), h.tap.open, e.Socket)
		}
		h.runner.Do(func(now time.Time) { h.lanes.Close(now) })
		if !h.tap.open[e.Socket] {
			t.Errorf("%s: a second Close closed what was handed over", h.site.Name())
		}
	}
	if paths[0].Mapped != paths[1].Remote || paths[1].Mapped != paths[0].Remote || paths[0].RTT < rtt {
		t.Errorf("two paths: %+v and %+v", paths[0], paths[1])
	}
}

// What the peer says comes late, twice and out of order.
func TestLanesMessagesOutOfOrder(t *testing.T) {
	for seed := range 2 * laneSeeds() {
		w := newLanesWorld(t, seed, natOf(t, "symmetric-sequential"), natOf(t, "symmetric-sequential-3"))
		for i, h := range w.hosts {
			h.mute = true
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			h.heard = func(message []byte) {
				for range 2 {
					w.After(time.Duration(r.IntN(300))*time.Millisecond, func() {
						other := w.hosts[1-i]
						other.runner.Do(func(now time.Time) { other.lanes.HandleMessage(now, message) })
					})
				}
			}
		}
		both := []punch.Lane{{Kind: punch.LaneCrossing, Hard: punch.Both}}
		w.start([2][]punch.Lane{both, both})
		if took, ok := w.settle(); !ok || took > 5*time.Second {
			t.Errorf("seed %d: through: %v, after %v", seed, ok, took)
		}
		w.finish()
	}
}

// One seed gives one trace.
func TestLanesReplay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	hash := func(seed uint64) string {
		w := newLanesWorld(t, seed, natOf(t, "symmetric-sequential", func(n *simnet.NATConfig) { n.Ports.CrossTraffic = 5 }), natOf(t, "port-restricted-cone"))
		w.hosts[0].mute = true // so that predictions fail, and all goes on for long
		w.start([2][]punch.Lane{{birthdayOurs, predictOurs}, {birthdayTheirs, predictTheirs}})
		w.settle()
		return w.TraceHash()
	}
	first := hash(7)
	for _, n := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(n)
		if got := hash(7); got != first {
			t.Errorf("GOMAXPROCS %d: trace %s, want %s", n, got, first)
		}
	}
	if hash(8) == first {
		t.Error("seeds 7 and 8 give the same trace")
	}
}

// The packets of all lanes together keep to the rate.
func TestLanesKeepToTheRate(t *testing.T) {
	w := newLanesWorld(t, 2, natOf(t, "symmetric-random"), natOf(t, "port-restricted-cone"))
	w.hosts[1].profile.Ports.Model = natprobe.PortsUnknown
	for _, h := range w.hosts {
		h.budget = punch.Polite
	}
	w.startOne(0, []punch.Lane{birthdayOurs, predictOurs})
	h := w.hosts[0]
	var at []time.Time
	seen := 0
	w.RunUntil(20*time.Second, func() bool {
		for ; seen < len(h.tap.sent); seen++ {
			at = append(at, w.Now())
		}
		_, done := h.first(punch.LanesDone)
		return done
	})
	h.within(w.hosts[1])
	for i := range at {
		j, _ := slices.BinarySearchFunc(at, at[i].Add(time.Second), time.Time.Compare)
		if n := j - i; n > 200+16 {
			t.Fatalf("%d packets in a second, from the %dth on", n, i)
		}
	}
}
