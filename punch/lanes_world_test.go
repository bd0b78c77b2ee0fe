package punch_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// lanesWorld is two hosts behind NATs, each with a socket whose outside address the other
// knows, and with what natprobe found out of the NATs. What one side tells the other takes
// 50 ms.
type lanesWorld struct {
	*simnet.World
	t     *testing.T
	hosts [2]*laneHost
	began time.Time
}

const signalling = 50 * time.Millisecond

// The STUN server of such a world, which supports RFC 5780.
var laneServers = []netip.AddrPort{
	netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("192.0.2.1:3479"),
	netip.MustParseAddrPort("198.51.100.1:3478"), netip.MustParseAddrPort("198.51.100.1:3479"),
}

type laneHost struct {
	*lanesWorld
	site    *simnet.Site
	profile natprobe.Profile
	mapped  netip.AddrPort
	runner  *simnet.Runner
	lanes   *punch.Lanes
	tap     *laneTap
	events  []punch.LaneEvent
	budget  punch.Budget
	fewHops bool
	mute    bool   // what it tells is lost
	said    []byte // what it told last
	heard   func(message []byte)
}

// laneTap runs Lanes and watches what they ask for.
type laneTap struct {
	*punch.Lanes
	sent []machine.Transmit // of Send, without data
	open map[machine.SocketID]bool
	most int
}

func (p *laneTap) PollTransmit() (machine.Transmit, bool) {
	t, ok := p.Lanes.PollTransmit()
	if ok {
		switch t.Op {
		case machine.Send:
			p.sent = append(p.sent, machine.Transmit{Socket: t.Socket, Remote: t.Remote})
		case machine.OpenSocket:
			p.open[t.Socket] = true
		case machine.CloseSocket:
			delete(p.open, t.Socket)
		}
		p.most = max(p.most, len(p.open))
	}
	return t, ok
}

// natOf is a preset's, changed.
func natOf(t *testing.T, name string, change ...func(*simnet.NATConfig)) simnet.Preset {
	t.Helper()
	p, err := simnet.PresetByName(name)
	if err != nil {
		t.Fatal(err)
	}
	p.NATs = slices.Clone(p.NATs)
	for _, c := range change {
		c(&p.NATs[len(p.NATs)-1])
	}
	return p
}

// newLanesWorld builds a world and measures both NATs.
func newLanesWorld(t *testing.T, seed uint64, a, b simnet.Preset) *lanesWorld {
	t.Helper()
	w := &lanesWorld{World: simnet.New(seed), t: t}
	stun, err := stund.NewMachine(laneServers, 0, seed)
	w.check(err)
	server := w.AddHost("server", w.Internet(), simnet.Link{MTU: 9000}, laneServers[0].Addr(), laneServers[2].Addr())
	_, err = simnet.Run(server, stun, simnet.RunOptions{Sockets: laneServers, Listen: laneServers}, nil)
	w.check(err)
	for i, nat := range []simnet.Preset{a, b} {
		site, err := w.AddSiteOf(string('a'+rune(i)), nat, simnet.Link{Delay: access})
		w.check(err)
		h := &laneHost{lanesWorld: w, site: site}
		w.hosts[i] = h
		h.measure()
	}
	return w
}

func (w *lanesWorld) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.Seed(), err)
	}
}

// measure has natprobe look at the NAT, and then asks what address the socket has.
func (h *laneHost) measure() {
	m, err := natprobe.NewDiscovery([]netip.AddrPort{laneServers[0]}, &natprobe.DiscoveryConfig{
		Secrets: h.Secrets(h.site.Name() + " discovery"), Rand: rand.New(rand.NewPCG(h.Seed(), 7)),
	})
	h.check(err)
	done := false
	run, err := simnet.Run(h.site.Host, m, simnet.RunOptions{}, func(_ time.Time, e natprobe.DiscoveryEvent) {
		if e.Stage == natprobe.StageDone {
			h.profile, done = e.Report.Profile(), true
		}
	})
	h.check(err)
	run.Do(m.Start)
	h.RunUntil(time.Hour, func() bool { return done })
	run.Close()

	r, err := natprobe.NewReflexive([]netip.AddrPort{laneServers[0]}, &natprobe.ReflexiveConfig{Secrets: h.Secrets(h.site.Name() + " stun")})
	h.check(err)
	h.runner, err = simnet.Run(h.site.Host, r, h.socket(), func(_ time.Time, e natprobe.ReflexiveEvent) { h.mapped = e.Addr })
	h.check(err)
	h.runner.Do(func(now time.Time) { r.Start(now, netip.AddrPortFrom(h.site.Addr(), local)) })
	h.RunUntil(time.Hour, func() bool { return h.mapped.IsValid() })
}

func (h *laneHost) socket() simnet.RunOptions {
	return simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(h.site.Addr(), local)}}
}

func (h *laneHost) iface() *simnet.Iface {
	if h.site.NAT != nil {
		return h.site.NAT.Iface()
	}
	return h.site.Iface()
}

// start runs lanes on both hosts.
func (w *lanesWorld) start(lanes [2][]punch.Lane) {
	w.began = w.Now()
	for i := range w.hosts {
		w.startOne(i, lanes[i])
	}
}

func (w *lanesWorld) startOne(i int, lanes []punch.Lane) {
	h, other := w.hosts[i], w.hosts[1-i]
	h.runner.Close()
	h.events = nil
	var err error
	h.lanes, err = punch.NewLanes(w.Now(), punch.LanesConfig{
		Lanes: lanes, Local: h.profile, Remote: other.profile, Peer: []netip.AddrPort{other.mapped},
		Servers: []netip.AddrPort{laneServers[0], laneServers[2]}, Secret: []byte("a secret of two peers"), Dialler: i == 0,
		LocalIP: h.site.Addr(), FirstSocket: 100, Budget: h.budget, FewHops: h.fewHops,
	}, rand.New(rand.NewPCG(w.Seed(), uint64(i))), w.Secrets("lanes "+h.site.Name()))
	w.check(err)
	h.tap = &laneTap{Lanes: h.lanes, open: make(map[machine.SocketID]bool)}
	h.runner, err = simnet.Run(h.site.Host, h.tap, h.socket(), func(_ time.Time, e punch.LaneEvent) {
		h.events = append(h.events, e)
		if e.Kind == punch.LaneTell && h.heard != nil {
			h.heard(e.Message)
		}
		if e.Kind == punch.LaneTell && !h.mute {
			h.said = e.Message
			w.After(signalling, func() {
				if other.lanes != nil {
					other.runner.Do(func(now time.Time) { other.lanes.HandleMessage(now, e.Message) })
				}
			})
		}
	})
	w.check(err)
	if other.said != nil { // signalling keeps the last one
		h.runner.Do(func(now time.Time) { h.lanes.HandleMessage(now, other.said) })
	}
}

// first is the host's first event of kind k.
func (h *laneHost) first(k punch.LaneEventKind) (punch.LaneEvent, bool) {
	i := slices.IndexFunc(h.events, func(e punch.LaneEvent) bool { return e.Kind == k })
	if i < 0 {
		return punch.LaneEvent{}, false
	}
	return h.events[i], true
}

// settle runs the world until both hosts have a path, and tells when; or until their lanes
// are over.
func (w *lanesWorld) settle() (took time.Duration, ok bool) {
	w.RunUntil(time.Minute, func() bool {
		over := true
		ok = true
		for _, h := range w.hosts {
			_, opened := h.first(punch.LaneOpened)
			_, done := h.first(punch.LanesDone)
			ok = ok && opened
			over = over && done
		}
		return ok || over
	})
	return w.Now().Sub(w.began), ok
}

// finish runs the world until the lanes are over, and checks what they took.
func (w *lanesWorld) finish() {
	w.t.Helper()
	w.RunUntil(time.Minute, func() bool {
		_, a := w.hosts[0].first(punch.LanesDone)
		_, b := w.hosts[1].first(punch.LanesDone)
		return a && b
	})
	for i, h := range w.hosts {
		h.within(w.hosts[1-i])
	}
}

// within checks what a host did against its budget and its aims.
func (h *laneHost) within(other *laneHost) {
	h.t.Helper()
	b := h.budget
	if b.Probes == 0 {
		b.Probes = 1600
	}
	if b.Entries == 0 {
		b.Entries = 1600
	}
	if b.Table > 0 {
		b.Entries = min(b.Entries, b.Table/2)
	}
	if b.Sockets == 0 {
		b.Sockets = 256
	}
	type entry struct {
		socket machine.SocketID
		remote netip.AddrPort
	}
	entries := make(map[entry]bool)
	for _, t := range h.tap.sent {
		entries[entry{t.Socket, t.Remote}] = true
		if ip := t.Remote.Addr(); t.Remote.Port() < 1024 || ip != other.mapped.Addr() && !slices.Contains(laneServers, t.Remote) {
			h.t.Errorf("seed %d: %s sent to %s", h.Seed(), h.site.Name(), t.Remote)
		}
	}
	e, ok := h.first(punch.LanesDone)
	if !ok || e.Sent != len(h.tap.sent) || e.Entries != len(entries) {
		h.t.Errorf("seed %d: %s tells %d packets and %d entries, but made %d and %d", h.Seed(), h.site.Name(), e.Sent, e.Entries, len(h.tap.sent), len(entries))
	}
	if e.Sent > b.Probes || e.Entries > b.Entries || h.tap.most > b.Sockets {
		h.t.Errorf("seed %d: %s sent %d packets, made %d entries, had %d sockets; the budget is %+v", h.Seed(), h.site.Name(), e.Sent, e.Entries, h.tap.most, b)
	}
	kept := 0
	for _, e := range h.events {
		if e.Kind == punch.LaneOpened && e.Socket != 0 {
			kept++
		}
	}
	if len(h.tap.open) != kept {
		h.t.Errorf("seed %d: %s left %d sockets open, want the %d with a path", h.Seed(), h.site.Name(), len(h.tap.open), kept)
	}
}

// lanesResult gathers what came of many worlds.
type lanesResult struct {
	name                      string
	runs, won                 int
	took                      []float64 // s
	packets, sockets, entries []float64
}

func (r *lanesResult) add(w *lanesWorld, took time.Duration, ok bool) {
	r.runs++
	if ok {
		r.won++
		r.took = append(r.took, took.Seconds())
	}
	p, s, n := 0, 0, 0
	for _, h := range w.hosts {
		e, _ := h.first(punch.LanesDone)
		p, s, n = max(p, e.Sent), max(s, e.Sockets), max(n, e.Entries)
	}
	r.packets, r.sockets, r.entries = append(r.packets, float64(p)), append(r.sockets, float64(s)), append(r.entries, float64(n))
}

func lanesTable(results []*lanesResult) string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "pair\topened\tp50 s\tp90\tp99\tpackets p50\tp99\tsockets p99\tentries p99\t")
	for _, r := range results {
		fmt.Fprintf(tw, "%s\t%d/%d\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", r.name, r.won, r.runs, quantile(r.took, .5), quantile(r.took, .9),
			quantile(r.took, .99), quantile(r.packets, .5), quantile(r.packets, .99), quantile(r.sockets, .99), quantile(r.entries, .99))
	}
	tw.Flush()
	return b.String()
}
