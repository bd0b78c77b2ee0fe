package bradawl

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/turnclient"
)

// simPeer is one session's control with its relay's client.
type simPeer struct {
	*control
	w       *world
	name    string
	site    *simnet.Site
	id      *Identity
	turn    *turnclient.Machine
	router  *simnet.Gateway // nil: it maps no ports
	alloc   turnclient.AllocationID
	report  natprobe.Report
	survey  *simnet.Runner // what finds out what the NAT does
	surveys int
	now     time.Time
	relays  []ice.BaseID // of the relayed addresses
	bases   map[netip.Addr]ice.BaseID
	passive ice.BaseID // of TCP
	runner  *simnet.Runner
	offline bool // not signed on

	asleep bool
	lag    time.Duration // how far its clock is behind, for it stands still asleep
	skew   time.Duration // how far its clock on the wall is ahead

	conn   uint32   // the last that is ready
	conns2 []uint32 // all that became ready
	events []Event
	record []stats.Event
	group  string // of all that is recorded
	got    map[string]int
	ready  time.Time
	over   []error
	refuse bool
	asked  int
	untold int // how often it was asked how a peer is treated
	sent   []*letter
	routed func(n note)
	broken []machine.SocketID
	doubts []time.Time // when the NAT was to be looked at again
	eyed   int         // how often it was asked what the NAT does with TCP
}

// newPeer makes a session at a site. It gathers at once.
func (w *world) newPeer(site *simnet.Site) *simPeer {
	w.t.Helper()
	id, err := ident.NewIdentity(w.Secrets(site.Name()))
	w.check(err)
	p := &simPeer{w: w, name: site.Name(), site: site, id: id}
	w.peers = append(w.peers, p)
	p.start()
	return p
}

// start begins a session that knows of nothing that was before.
func (p *simPeer) start() {
	w := p.w
	p.got, p.bases, p.relays, p.alloc = make(map[string]int), make(map[netip.Addr]ice.BaseID), nil, 0
	cfg := controlConfig{identity: p.id, timeout: 30 * time.Second}
	if !w.option.unrecorded {
		cfg.ids = w.Secrets(fmt.Sprint(p.name, w.Elapsed(), " records"))
	}
	cfg.wall = func(now time.Time) time.Time { return now.Add(p.lag + p.skew) }
	cfg.treat = w.option.treat != nil
	if w.option.config != nil {
		w.option.config(&cfg)
	}
	life := fmt.Sprint(p.name, w.Elapsed())
	var err error
	p.control, err = newControl(cfg, w.Rand(life+" control"), w.Secrets(life+" control"))
	w.check(err)
	if !w.option.noTURN {
		turn := turnclient.MachineConfig{Family: turnclient.AnyFamily}
		for i, a := range turnAddrs {
			if i == 0 || w.option.ipv6 {
				turn.Servers = append(turn.Servers, turnclient.Endpoint{Addr: netip.AddrPortFrom(a, 3478), Name: "turn"})
			}
		}
		turn.Servers = append(turn.Servers, turnclient.Endpoint{Addr: netip.AddrPortFrom(turnAddrs[0], 443), Name: "turn", Transport: turnclient.TCP})
		if w.option.ipv6 {
			turn.Family = turnclient.DualStack
		}
		if w.option.user != "" {
			turn.Credentials = turnclient.Credentials{Username: w.option.user, Password: "secret"}
		}
		p.turn, err = turnclient.NewMachine(turn, w.Rand(life+" turn"), w.Secrets(life+" turn"))
		w.check(err)
	}
	c := p.control
	run := simnet.RunOptions{Sockets: []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), simPort), netip.AddrPortFrom(netip.IPv6Unspecified(), simPort),
	}}
	if w.option.tcp {
		run.Listen = []netip.AddrPort{netip.AddrPortFrom(p.site.Addr(), simPort)}
	}
	p.runner, err = simnet.Run(p.site.Host, (*composite)(p), run, p.note)
	w.check(err)
	p.do(func(now time.Time) {
		for i, a := range stunAddrs {
			if i == 0 || w.option.ipv6 {
				p.ice.AddServer(now, netip.AddrPortFrom(a, 3478))
			}
		}
		p.rebase(now)
		if w.option.tcp {
			p.openTCP(now)
		}
		if p.turn != nil {
			p.alloc = p.turn.Allocate(now)
		}
	})
	if w.option.probe {
		p.findNAT()
	}
	w.t.Cleanup(func() {
		if c.counts.Unrecorded != 0 {
			w.t.Errorf("%d events were not recorded (seed %d)", c.counts.Unrecorded, w.Seed())
		}
		if c.illegal != 0 || c.ice.Illegal() != 0 {
			w.t.Errorf("%d and %d transitions that the tables do not have (seed %d)", c.illegal, c.ice.Illegal(), w.Seed())
		}
	})
}

// findNAT has natprobe find out what the NAT does, as a session's shell does: what is under
// way is given up.
func (p *simPeer) findNAT() {
	w, c := p.w, p.control
	if p.survey != nil {
		p.survey.Close()
	}
	life := fmt.Sprint(p.name, w.Elapsed()) + " natprobe"
	if p.surveys > 0 {
		life += fmt.Sprint(p.surveys)
	}
	m, err := natprobe.NewDiscovery([]netip.AddrPort{netip.AddrPortFrom(stunAddrs[0], 3478)}, &natprobe.DiscoveryConfig{
		Secrets: w.Secrets(life), Rand: w.Rand(life),
	})
	w.check(err)
	p.surveys++
	number := p.surveys
	p.survey, err = simnet.Run(p.site.Host, m, simnet.RunOptions{}, func(_ time.Time, e natprobe.DiscoveryEvent) {
		switch {
		case e.Stage != natprobe.StageDone || p.control != c || p.surveys != number:
		case e.Err != nil:
			w.After(lookAgainLeast, func() {
				if p.control == c && p.surveys == number {
					p.findNAT()
				}
			})
		default:
			p.report = e.Report
			w.After(0, func() {
				if p.surveys == number {
					p.do(func(now time.Time) { p.setProfile(now, e.Report.Profile()) })
				}
			})
		}
	})
	w.check(err)
	p.survey.Do(m.Start)
}

// restart ends the session's program without a word, and starts it anew.
func (p *simPeer) restart() {
	p.runner.Close()
	p.events, p.over, p.conns2, p.conn, p.ready = nil, nil, nil, 0, time.Time{}
	p.start()
}

// rebase makes the bases those that the host has addresses for.
func (p *simPeer) rebase(now time.Time) {
	have := make(map[netip.Addr]bool)
	for _, i := range p.site.Ifaces() {
		for _, a := range i.Addrs() {
			have[a] = true
			if p.bases[a] == 0 {
				socket := machine.SocketID(0)
				if a.Is6() {
					socket = 1
				}
				id, err := p.addBase(now, ice.Base{Shared: true, Socket: socket, Addr: netip.AddrPortFrom(a, simPort)})
				p.w.check(err)
				p.bases[a] = id
			}
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(p.bases), netip.Addr.Compare) {
		if !have[a] {
			p.removeHost(now, a)
			delete(p.bases, a)
		}
	}
}

// roam tells the session that the host's addresses have changed, as a shell does.
func (p *simPeer) roam() {
	p.do(func(now time.Time) {
		p.rebase(now)
		p.networkChanged(now, true)
	})
}

func (p *simPeer) do(fn func(now time.Time)) {
	p.runner.Do(func(now time.Time) {
		p.now = now.Add(-p.lag)
		fn(p.now)
		p.pump(p.now)
	})
}

// sleep suspends the host: its clock stands still, but not the one on the wall.
func (p *simPeer) sleep() { p.asleep = true }

func (p *simPeer) wake(slept time.Duration) {
	p.asleep = false
	p.lag += slept
	p.runner.Do(func(time.Time) {}) // timers run on
}

// note carries out what the control wants.
func (p *simPeer) note(now time.Time, n note) {
	w := p.w
	switch n.kind {
	case noteSignal:
		p.signalOut(n.peer, n.message)
	case noteRoute:
		if p.routed != nil {
			p.routed(n)
		}
	case noteAsk:
		p.asked++
		w.After(0, func() { p.do(func(now time.Time) { p.decide(now, n.conn, !p.refuse) }) })
	case noteTreat:
		p.untold++
		w.option.treat(p, func(after time.Duration, t Treatment, err error) {
			w.After(after, func() { p.do(func(now time.Time) { p.treat(now, n.conn, t, err) }) })
		})
	case noteReady:
		p.conn = n.conn
		p.conns2 = append(p.conns2, n.conn)
		if p.ready.IsZero() {
			p.ready = now
		}
	case noteData:
		p.got[string(n.data)]++
		if w.ledger != nil {
			w.ledger.delivered(p, string(n.data))
		}
	case noteEvent:
		p.events = append(p.events, n.event)
	case notePermit:
		if p.turn != nil && len(p.relays) > 0 {
			w.After(0, func() {
				p.do(func(now time.Time) {
					for _, a := range turnAddrs[:len(p.relays)] {
						_ = p.turn.Permit(now, p.alloc, a)
					}
				})
			})
		}
	case noteTCP:
		if w.option.tcp && w.option.probe {
			p.findTCP()
		}
	case noteNAT:
		p.doubts = append(p.doubts, now)
		if w.option.probe {
			w.After(0, p.findNAT)
		}
	case noteBroken:
		p.broken = append(p.broken, n.socket)
	case noteRelays:
		if p.turn != nil {
			w.After(0, func() { p.do(func(now time.Time) { p.turn.NetworkChanged(now) }) })
		}
	case noteRecord:
		checkWords(p.w.t, n.record)
		p.record = append(p.record, *n.record)
	case noteOver:
		p.over = append(p.over, n.err)
	}
}

// composite is a simPeer as one machine: what goes to and from the relayed address goes by
// the TURN client, which has its own sockets and streams.
type composite simPeer

const (
	relaySocket machine.SocketID = 100 // and the next, for IPv6
	turnSockets machine.SocketID = 1 << 20
	turnStreams machine.StreamID = 1 << 20
)

func isTURN(id machine.SocketID) bool { return id >= turnSockets && id < firstRotated }

// enter reports whether the host is awake, and the time there.
func (p *composite) enter(now time.Time) (time.Time, bool) {
	p.now = now.Add(-p.lag)
	return p.now, !p.asleep
}

func (p *composite) HandleDatagram(now time.Time, d machine.Datagram) {
	now, awake := p.enter(now)
	switch {
	case !awake:
	case isTURN(d.Socket):
		d.Socket -= turnSockets
		p.turn.HandleDatagram(now, d)
	default:
		p.control.HandleDatagram(now, d)
	}
}

func (p *composite) HandleNotice(now time.Time, n machine.Notice) {
	now, awake := p.enter(now)
	switch {
	case !awake:
	case isTURN(n.Socket):
		n.Socket -= turnSockets
		p.turn.HandleNotice(now, n)
	case n.Kind >= machine.Accepted && n.Stream >= turnStreams && n.Stream < firstLaneQuery:
		n.Stream -= turnStreams
		p.turn.HandleNotice(now, n)
	default:
		p.control.HandleNotice(now, n)
	}
}

func (p *composite) HandleTimeout(now time.Time) {
	now, awake := p.enter(now)
	if !awake {
		return
	}
	if p.turn != nil {
		if at := p.turn.NextTimeout(); !at.IsZero() && !at.After(now) {
			p.turn.HandleTimeout(now)
		}
	}
	if at := p.control.NextTimeout(); !at.IsZero() && !at.After(now) {
		p.control.HandleTimeout(now)
	}
}

func (p *composite) NextTimeout() time.Time {
	next := p.control.NextTimeout()
	if p.turn != nil {
		next = machine.Earliest(next, p.turn.NextTimeout())
	}
	if p.asleep || next.IsZero() {
		return time.Time{}
	}
	return next.Add(p.lag)
}

func (p *composite) PollTransmit() (machine.Transmit, bool) {
	for {
		if p.turn != nil { // what one Send makes must be out before the next
			if t, ok := p.turn.PollTransmit(); ok {
				if t.Op <= machine.CloseSocket {
					t.Socket += turnSockets
				} else {
					t.Stream += turnStreams
				}
				return t, true
			}
		}
		t, ok := p.control.PollTransmit()
		if !ok || t.Op != machine.Send || t.Socket < relaySocket || t.Socket >= turnSockets {
			return t, ok
		}
		_ = p.turn.Send(p.now, p.alloc, t.Remote, t.Data) // lost, as datagrams are
	}
}

func (p *composite) PollEvent() (n note, more bool) {
	for p.turn != nil {
		e, ok := p.turn.PollEvent()
		if !ok {
			break
		}
		defer func() { more = true }() // for there may be something to send
		switch e.Kind {
		case turnclient.EventAllocated:
			for _, id := range p.relays {
				p.removeBase(p.now, id)
			}
			p.relays = nil
			for _, relayed := range e.Relayed {
				p.relayBy(relayOf(relayed.Addr()), protocolOf(e.Server.Transport))
				id, err := p.addBase(p.now, ice.Base{
					Type: ice.Relay, Socket: relayOf(relayed.Addr()), Addr: relayed, Mapped: e.Mapped, Server: e.Server.Addr.Addr(),
				})
				p.w.check(err)
				p.relays = append(p.relays, id)
			}
		case turnclient.EventData:
			p.control.HandleDatagram(p.now, machine.Datagram{Socket: relayOf(e.Peer.Addr()), Remote: e.Peer, Data: e.Data})
		}
	}
	if n, ok := p.control.PollEvent(); ok {
		return n, ok
	}
	return note{kind: noteNothing}, false
}

func relayOf(a netip.Addr) machine.SocketID {
	if a.Is6() {
		return relaySocket + 1
	}
	return relaySocket
}
