package bradawl

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe/stunserver"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// world is two sessions' controls behind NATs with a STUN server, a TURN server and a
// signalling, every one of them a machine, so that one seed gives one run. An access link
// is 25 ms long, the servers have none: a path round trip is 100 ms, by the relay as well,
// and so is one of the signalling.
type world struct {
	*simnet.World
	t      *testing.T
	stun   netip.AddrPort
	turn   netip.AddrPort
	relay  *turntest.Server
	host   *simnet.Host // of the TURN server
	server *simnet.Runner
	peers  [2]*simPeer

	// carry is asked about each message of the signalling; false loses it.
	carry func(from, to *simPeer, message []byte) bool
}

const (
	access  = 25 * time.Millisecond
	pathRTT = 4 * access
	simPort = 40000
)

// simPeer is one session's control with its relay's client.
type simPeer struct {
	*control
	w       *world
	name    string
	site    *simnet.Site
	id      *Identity
	turn    *turnclient.Machine
	alloc   turnclient.AllocationID
	now     time.Time
	base    ice.BaseID // of the relayed address; 0: none
	bases   map[netip.Addr]ice.BaseID
	runner  *simnet.Runner
	offline bool

	conn   uint32 // the last that is ready
	events []Event
	got    map[string]int
	order  []string
	ready  time.Time
	over   []error
	refuse bool
}

// noTURN leaves the TURN server out.
func noTURN(w *world) { w.turn = netip.AddrPort{} }

func newWorld(t *testing.T, seed uint64, natA, natB string, loss float64, with ...func(*world)) *world {
	t.Helper()
	w := &world{World: simnet.New(seed), t: t}
	server := w.AddHost("server", w.Internet(), simnet.Link{})
	w.stun = netip.AddrPortFrom(server.Addr(), 3478)
	stun, err := stunserver.NewMachine([]netip.AddrPort{w.stun}, 0, seed)
	w.check(err)
	_, err = simnet.Run(server, stun, simnet.RunOptions{Sockets: []netip.AddrPort{w.stun}}, nil)
	w.check(err)
	w.host = w.AddHost("turn", w.Internet(), simnet.Link{})
	w.turn = netip.AddrPortFrom(w.host.Addr(), 3478)
	for _, fn := range with {
		fn(w)
	}
	w.startTURN()
	for i, nat := range []string{natA, natB} {
		site, err := w.AddSite(string('a'+rune(i)), nat, simnet.Link{Delay: access, Loss: loss / 2})
		w.check(err)
		w.peers[i] = w.newPeer(site)
	}
	return w
}

func (w *world) startTURN() {
	if !w.turn.IsValid() {
		return
	}
	w.relay = turntest.NewServer(turntest.Config{Relay: w.host.Addr()}, w.Secrets(fmt.Sprint("turn", w.Elapsed())))
	var err error
	w.server, err = simnet.Run(w.host, w.relay, simnet.RunOptions{Sockets: []netip.AddrPort{w.turn}}, func(time.Time, struct{}) {})
	w.check(err)
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.Seed(), err)
	}
}

// newPeer makes a session at a site. It gathers at once.
func (w *world) newPeer(site *simnet.Site) *simPeer {
	w.t.Helper()
	p := &simPeer{w: w, name: site.Name(), site: site, got: make(map[string]int), bases: make(map[netip.Addr]ice.BaseID)}
	var err error
	p.id, err = ident.NewIdentity(w.Secrets(p.name))
	w.check(err)
	p.start(controlConfig{identity: p.id, timeout: 30 * time.Second})
	return p
}

func (p *simPeer) start(cfg controlConfig) {
	w := p.w
	var err error
	p.control, err = newControl(cfg, rand.New(rand.NewPCG(w.Seed(), uint64(len(p.name)))), w.Secrets(p.name+" control"))
	w.check(err)
	if w.turn.IsValid() {
		p.turn, err = turnclient.NewMachine(turnclient.MachineConfig{Servers: []turnclient.Endpoint{{Addr: w.turn, Name: "turn"}}},
			rand.New(rand.NewPCG(w.Seed(), 8)), w.Secrets(p.name+" turn"))
		w.check(err)
	}
	c := p.control
	p.runner, err = simnet.Run(p.site.Host, (*composite)(p), simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, simPort)}}, p.note)
	w.check(err)
	p.do(func(now time.Time) {
		p.ice.AddServer(now, w.stun)
		for _, a := range p.site.Addrs() {
			p.addBase(now, a)
		}
		if p.turn != nil {
			p.alloc = p.turn.Allocate(now)
		}
	})
	w.t.Cleanup(func() {
		if c.illegal != 0 || c.ice.Illegal() != 0 {
			w.t.Errorf("%d and %d transitions that the tables do not have (seed %d)", c.illegal, c.ice.Illegal(), w.Seed())
		}
	})
}

func (p *simPeer) addBase(now time.Time, a netip.Addr) {
	id, err := p.ice.AddBase(now, ice.Base{Shared: true, Addr: netip.AddrPortFrom(a, simPort)})
	p.w.check(err)
	p.bases[a] = id
}

func (p *simPeer) do(fn func(now time.Time)) {
	p.runner.Do(func(now time.Time) {
		p.now = now
		fn(now)
		p.pump(now)
	})
}

// note carries out what the control wants.
func (p *simPeer) note(now time.Time, n note) {
	w := p.w
	switch n.kind {
	case noteSignal:
		other := w.byID(n.peer)
		if p.offline || other != nil && w.carry != nil && !w.carry(p, other, n.message) {
			return
		}
		message := slices.Clone(n.message)
		w.After(pathRTT/2, func() {
			if other == nil || other.offline {
				p.do(func(now time.Time) { p.undeliverable(now, n.peer, fmt.Errorf("not signed on")) })
				return
			}
			other.do(func(now time.Time) { other.signal(now, p.id.ID(), message) })
		})
	case noteAsk:
		w.After(0, func() { p.do(func(now time.Time) { p.decide(now, n.conn, !p.refuse) }) })
	case noteReady:
		p.conn = n.conn
		if p.ready.IsZero() {
			p.ready = now
		}
	case noteData:
		p.got[string(n.data)]++
		p.order = append(p.order, string(n.data))
	case noteEvent:
		p.events = append(p.events, n.event)
	case notePermit:
		if p.turn != nil && p.base != 0 {
			w.After(0, func() {
				p.runner.Do(func(now time.Time) { _ = p.turn.Permit(now, p.alloc, w.turn.Addr()) })
			})
		}
	case noteOver:
		p.over = append(p.over, n.err)
	}
}

func (w *world) byID(id PeerID) *simPeer {
	for _, p := range w.peers {
		if p != nil && p.id.ID() == id {
			return p
		}
	}
	return nil
}

// last is the peer's last event of a kind; nil: there was none.
func (p *simPeer) last(kind EventKind) *Event {
	for i := range slices.Backward(p.events) {
		if p.events[i].Kind == kind {
			return &p.events[i]
		}
	}
	return nil
}

func (p *simPeer) path() Path {
	if k := p.conns[p.conn]; k != nil && k.path != nil {
		return k.path.public()
	}
	return Path{}
}

// composite is a simPeer as one machine: what goes to and from the relayed address goes by
// the TURN client.
type composite simPeer

const (
	relaySocket machine.SocketID = 100
	turnSockets machine.SocketID = 1000
)

func (p *composite) HandleDatagram(now time.Time, d machine.Datagram) {
	p.now = now
	if d.Socket >= turnSockets {
		d.Socket -= turnSockets
		p.turn.HandleDatagram(now, d)
		return
	}
	p.control.HandleDatagram(now, d)
}

func (p *composite) HandleNotice(now time.Time, n machine.Notice) {
	p.now = now
	if n.Socket >= turnSockets {
		n.Socket -= turnSockets
		p.turn.HandleNotice(now, n)
		return
	}
	p.control.HandleNotice(now, n)
}

func (p *composite) HandleTimeout(now time.Time) {
	p.now = now
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
	if p.turn == nil {
		return p.control.NextTimeout()
	}
	return machine.Earliest(p.turn.NextTimeout(), p.control.NextTimeout())
}

func (p *composite) PollTransmit() (machine.Transmit, bool) {
	for {
		t, ok := p.control.PollTransmit()
		if !ok {
			break
		}
		if t.Op != machine.Send || t.Socket != relaySocket {
			return t, true
		}
		_ = p.turn.Send(p.now, p.alloc, t.Remote, t.Data) // lost, as datagrams are
	}
	if p.turn == nil {
		return machine.Transmit{}, false
	}
	t, ok := p.turn.PollTransmit()
	t.Socket += turnSockets
	return t, ok
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
			if p.base != 0 {
				p.ice.RemoveBase(p.now, p.base)
			}
			p.base, _ = p.ice.AddBase(p.now, ice.Base{Type: ice.Relay, Socket: relaySocket, Addr: e.Relayed[0], Mapped: e.Mapped, Server: e.Server.Addr.Addr()})
			p.control.pump(p.now)
		case turnclient.EventData:
			p.control.HandleDatagram(p.now, machine.Datagram{Socket: relaySocket, Remote: e.Peer, Data: e.Data})
		}
	}
	if n, ok := p.control.PollEvent(); ok {
		return n, ok
	}
	return note{kind: noteNothing}, false
}

// dialNow has peer 0 dial peer 1, both having gathered for a second.
func (w *world) dialNow() (began time.Time) {
	w.t.Helper()
	w.Run(time.Second)
	a, b := w.peers[0], w.peers[1]
	a.do(func(now time.Time) {
		_, err := a.dial(now, b.id.ID())
		w.check(err)
	})
	return w.Now()
}

// settle runs until both can send.
func (w *world) settle(d time.Duration) bool {
	return w.RunUntil(d, func() bool { return !w.peers[0].ready.IsZero() && !w.peers[1].ready.IsZero() })
}

// direct runs until both use direct paths.
func (w *world) direct(d time.Duration) bool {
	return w.RunUntil(d, func() bool {
		return w.peers[0].path().Kind == PathDirect && w.peers[1].path().Kind == PathDirect
	})
}

func (p *simPeer) sendNow(text string) {
	p.do(func(now time.Time) { _ = p.send(now, p.conn, []byte(text)) })
}
