package bradawl

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// world is two sessions' controls behind NATs with a STUN server, a TURN server and a
// signalling, every one of them a machine, so that one seed gives one run. An access link
// is 25 ms long, the servers have none: a path round trip is 100 ms, by the relay as well,
// and so is one of the signalling.
type world struct {
	*simnet.World
	t      testing.TB
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
	// probe has each session find out by natprobe what its NAT does, from a STUN server with
	// two addresses.
	probe  bool
	config func(*controlConfig)
	// treat is TreatPeer, which answers by answer, or not at all. Default nil.
	treat func(p *simPeer, answer func(after time.Duration, t Treatment, err error))
	// unrecorded leaves out the records.
	unrecorded bool
	nobody     bool                    // sites without sessions, which the test starts itself
	tcp        bool                    // TCP paths, too
	routers    [2]simnet.GatewayConfig // what the sites' own NATs map ports by
	shared     *simnet.Preset          // what both sites are behind, beside their own
}

const (
	access  = 25 * time.Millisecond
	pathRTT = 4 * access
	simPort = 40000
)

var (
	stunOther = netip.MustParseAddr("198.51.100.3")
	stunAddrs = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")}
	turnAddrs = []netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2")}
)

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

func newWorld(t testing.TB, seed uint64, natA, natB string, with ...func(*worldOptions)) *world {
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
	for _, a := range stunAddrs[:families] {
		stun := []netip.AddrPort{netip.AddrPortFrom(a, 3478)}
		addrs := []netip.Addr{a}
		if w.option.probe && a.Is4() {
			addrs = append(addrs, stunOther)
			stun = append(stun, netip.AddrPortFrom(a, 3479), netip.AddrPortFrom(stunOther, 3478), netip.AddrPortFrom(stunOther, 3479))
		}
		m, err := stund.NewMachine(stun, 0, seed)
		w.check(err)
		run := simnet.RunOptions{Sockets: stun}
		if w.option.tcp {
			run.Listen = stun
		}
		_, err = simnet.Run(w.AddHost("server "+a.String(), w.Internet(), simnet.Link{}, addrs...), m, run, nil)
		w.check(err)
	}
	w.host = w.AddHost("turn", w.Internet(), simnet.Link{}, turnAddrs[:families]...)
	w.startTURN()
	presets := w.option.preset
	for i, nat := range []string{natA, natB} {
		if presets[i] == nil {
			p, err := simnet.PresetByName(nat)
			w.check(err)
			presets[i] = &p
		}
	}
	for i, site := range w.addSites(presets) {
		if !w.option.nobody {
			w.newPeer(site).addRouter(w.option.routers[i])
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
