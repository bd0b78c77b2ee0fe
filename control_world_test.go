package bradawl

import (
	"fmt"
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
	option worldOptions
	relay  *turntest.Server
	host   *simnet.Host // of the TURN server
	server *simnet.Runner
	peers  []*simPeer
	ledger *ledger
	said   int // datagrams by chat
	bulk   int // how long the datagrams of chat are, at least

	// carry is asked about each message of the signalling; false loses it.
	carry func(from, to *simPeer, message []byte) bool
	down  bool // the rendezvous
}

// worldOptions are what worlds differ in, beside their NATs.
type worldOptions struct {
	access simnet.Link // of both sites; its Loss is that of one direction
	turn   turntest.Config
	noTURN bool
	user   string // at the TURN server, with the password "secret"
	ipv6   bool   // the servers have it, too, and relays of both families
	preset [2]*simnet.Preset
	config func(*controlConfig)
	nobody bool // sites without sessions, which the test starts itself
}

const (
	access  = 25 * time.Millisecond
	pathRTT = 4 * access
	simPort = 40000
)

var (
	stunAddrs = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")}
	turnAddrs = []netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2")}
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
	relays  []ice.BaseID // of the relayed addresses
	bases   map[netip.Addr]ice.BaseID
	runner  *simnet.Runner
	offline bool // not signed on

	asleep bool
	lag    time.Duration // how far its clock is behind, for it stands still asleep
	skew   time.Duration // how far its clock on the wall is ahead

	conn   uint32   // the last that is ready
	conns2 []uint32 // all that became ready
	events []Event
	got    map[string]int
	ready  time.Time
	over   []error
	refuse bool
	asked  int
	sent   []*letter
}

// lossy makes both access links lose packets, each a half in each direction.
func lossy(loss float64) func(*worldOptions) {
	return func(o *worldOptions) { o.access.Loss = loss / 2 }
}

// randomCone is a port-restricted cone whose ports are random, so that a mapping that is
// lost does not come back as it was.
func randomCone(change ...func(*simnet.NATConfig)) *simnet.Preset {
	c := simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Ports: simnet.PortPolicy{Kind: simnet.Random}}
	for _, fn := range change {
		fn(&c)
	}
	return &simnet.Preset{Name: "random cone", NATs: []simnet.NATConfig{c}}
}

// behind puts the sites behind presets of one's own.
func behind(a, b *simnet.Preset) func(*worldOptions) {
	return func(o *worldOptions) { o.preset = [2]*simnet.Preset{a, b} }
}

func noTURN(o *worldOptions) { o.noTURN = true }

func newWorld(t *testing.T, seed uint64, natA, natB string, with ...func(*worldOptions)) *world {
	t.Helper()
	w := &world{World: simnet.New(seed), t: t}
	w.option.access.Delay = access
	for _, fn := range with {
		fn(&w.option)
	}
	families := 1
	if w.option.ipv6 {
		families = 2
	}
	server := w.AddHost("server", w.Internet(), simnet.Link{}, stunAddrs[:families]...)
	var stun []netip.AddrPort
	for _, a := range stunAddrs[:families] {
		stun = append(stun, netip.AddrPortFrom(a, 3478))
	}
	m, err := stunserver.NewMachine(stun, 0, seed)
	w.check(err)
	_, err = simnet.Run(server, m, simnet.RunOptions{Sockets: stun}, nil)
	w.check(err)
	w.host = w.AddHost("turn", w.Internet(), simnet.Link{}, turnAddrs[:families]...)
	w.startTURN()
	for i, nat := range []string{natA, natB} {
		preset := w.option.preset[i]
		if preset == nil {
			p, err := simnet.PresetByName(nat)
			w.check(err)
			preset = &p
		}
		site, err := w.AddSiteOf(string('a'+rune(i)), *preset, w.option.access)
		w.check(err)
		if !w.option.nobody {
			w.newPeer(site)
		}
	}
	return w
}

// startTURN starts the TURN server, which knows of nothing that was before.
func (w *world) startTURN() {
	if w.option.noTURN {
		return
	}
	cfg := w.option.turn
	cfg.Relay = turnAddrs[0]
	o := simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(turnAddrs[0], 3478)}, Listen: []netip.AddrPort{netip.AddrPortFrom(turnAddrs[0], 443)}}
	if w.option.ipv6 {
		cfg.Relay6 = turnAddrs[1]
		o.Sockets = append(o.Sockets, netip.AddrPortFrom(turnAddrs[1], 3478))
	}
	if w.option.user != "" {
		cfg.Realm, cfg.Users = "sim", map[string]string{w.option.user: "secret"}
	}
	w.relay = turntest.NewServer(cfg, w.Secrets(fmt.Sprint("turn", w.Elapsed())))
	var err error
	w.server, err = simnet.Run(w.host, w.relay, o, nil)
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
	cfg.wall = func(now time.Time) time.Time { return now.Add(p.lag + p.skew) }
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
	p.runner, err = simnet.Run(p.site.Host, (*composite)(p), simnet.RunOptions{Sockets: []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), simPort), netip.AddrPortFrom(netip.IPv6Unspecified(), simPort),
	}}, p.note)
	w.check(err)
	p.do(func(now time.Time) {
		for i, a := range stunAddrs {
			if i == 0 || w.option.ipv6 {
				p.ice.AddServer(now, netip.AddrPortFrom(a, 3478))
			}
		}
		p.rebase(now)
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
	for a, id := range p.bases {
		if !have[a] {
			p.removeBase(now, id)
			delete(p.bases, a)
		}
	}
}

// roam tells the session that the host's addresses have changed, as a shell does.
func (p *simPeer) roam() {
	p.do(func(now time.Time) {
		p.rebase(now)
		p.networkChanged(now)
		if p.turn != nil {
			p.turn.NetworkChanged(now)
		}
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
	case noteAsk:
		p.asked++
		w.After(0, func() { p.do(func(now time.Time) { p.decide(now, n.conn, !p.refuse) }) })
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
	case noteRelays:
		if p.turn != nil {
			w.After(0, func() { p.do(func(now time.Time) { p.turn.NetworkChanged(now) }) })
		}
	case noteOver:
		p.over = append(p.over, n.err)
	}
}

// signalOut takes a message to a peer by the rendezvous.
func (p *simPeer) signalOut(peer PeerID, message []byte) {
	w := p.w
	other := w.byID(peer)
	if p.offline || w.down || other != nil && w.carry != nil && !w.carry(p, other, message) {
		return
	}
	message = slices.Clone(message)
	w.After(pathRTT/2, func() {
		switch {
		case w.down:
		case other == nil || other.offline || other.asleep:
			p.do(func(now time.Time) { p.undeliverable(now, peer, fmt.Errorf("not signed on")) })
		default:
			other.do(func(now time.Time) { other.signal(now, p.id.ID(), message) })
		}
	})
}

// setDown stops the rendezvous, or starts it again, and then both sign on.
func (w *world) setDown(down bool) {
	if w.down = down; !down {
		for _, p := range w.peers {
			p.do(p.signedOn)
		}
	}
}

func (w *world) byID(id PeerID) *simPeer {
	for _, p := range w.peers {
		if p.id.ID() == id {
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

// count is how many events of a kind there were.
func (p *simPeer) count(kind EventKind) (n int) {
	for _, e := range p.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (p *simPeer) path() Path {
	if k := p.conns[p.conn]; k != nil && k.path != nil {
		return k.public(k.path)
	}
	return Path{}
}

// composite is a simPeer as one machine: what goes to and from the relayed address goes by
// the TURN client, which alone has streams.
type composite simPeer

const (
	relaySocket machine.SocketID = 100 // and the next, for IPv6
	turnSockets machine.SocketID = 1 << 20
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
	case n.Kind >= machine.Accepted && p.turn != nil:
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

// dialNow has peer 0 dial peer 1, both having gathered for a second.
func (w *world) dialNow() (began time.Time) {
	w.t.Helper()
	w.Run(time.Second)
	w.peers[0].dialTo(w.peers[1])
	return w.Now()
}

func (p *simPeer) dialTo(other *simPeer) (number uint32) {
	p.w.t.Helper()
	p.do(func(now time.Time) {
		var err error
		number, err = p.dial(now, other.id.ID())
		p.w.check(err)
	})
	return number
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

// connect dials and runs until both send directly or, where that is what there is, by the
// relay, and for a while longer.
func (w *world) connect(kind PathKind) {
	w.t.Helper()
	w.dialNow()
	if !w.RunUntil(time.Minute, func() bool { return w.peers[0].path().Kind == kind && w.peers[1].path().Kind == kind }) {
		w.fail("no %s path", kind)
	}
	w.Run(10 * time.Second)
}

// fail ends the test with what both sides have to tell.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	text := fmt.Sprintf(format, args...)
	for _, p := range w.peers {
		if e, ok := p.explain(p.now, p.conn); ok {
			text += fmt.Sprintf("\n%s: %v", p.name, e)
		}
		for _, e := range p.events {
			text += fmt.Sprintf("\n%s %8v %v %v %s %v", p.name, e.At.Sub(w.Now().Add(-w.Elapsed())), e.Kind, e.Path, e.Reason, e.Err)
		}
	}
	w.t.Fatalf("%s (seed %d)", text, w.Seed())
}
