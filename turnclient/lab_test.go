package turnclient_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
	"github.com/bradawl/bradawl/turnclient/turntest"
)

// lab runs a client machine against servers in virtual time, message by message: each
// can be looked at, changed, or lost on the way.
type lab struct {
	t     *testing.T
	start time.Time
	now   time.Time
	seq   int
	todo  []todo
	rand  *rand.Rand

	m        *turnclient.Machine
	delay    time.Duration // one way
	events   []turnclient.Event
	sockets  map[machine.SocketID]netip.AddrPort // the client's
	nextPort uint16
	failOpen int // sockets that will not open

	hosts   map[netip.AddrPort]host
	streams map[machine.StreamID]netip.AddrPort // the client's, with the server
	dials   []machine.Transmit
	chop    bool       // streams bring one byte at a time
	sent    []sent     // by the client
	toPeers []peerData // relayed by servers
	whole   bool       // streams are DTLS: they bring whole messages, or lose them

	// up and down look at messages on the way, from and to the client; nil drops one.
	up, down func(b []byte) []byte
}

type todo struct {
	at  time.Time
	seq int
	fn  func()
}

type sent struct {
	at     time.Duration
	socket machine.SocketID
	stream machine.StreamID
	to     netip.AddrPort
	raw    []byte
}

type peerData struct {
	at       time.Duration
	from, to netip.AddrPort
	data     string
	df       bool
}

// host is what answers at an address.
type host interface {
	datagram(l *lab, from, at netip.AddrPort, b []byte)
	stream(l *lab, n machine.Notice)
}

var (
	serverAddr = netip.MustParseAddrPort("192.0.2.1:3478")
	otherAddr  = netip.MustParseAddrPort("192.0.2.2:3478")
	relayIP    = netip.MustParseAddr("192.0.2.10")
	relayIP6   = netip.MustParseAddr("2001:db8::10")
	peerA      = netip.MustParseAddrPort("198.51.100.1:1000")
	peerB      = netip.MustParseAddrPort("198.51.100.2:2000")
	peer6      = netip.MustParseAddrPort("[2001:db8:5::1]:6000")
	creds      = turnclient.Credentials{Username: "user", Password: "canary-password"}
)

const seed = 1

func newLab(t *testing.T, cfg turnclient.MachineConfig) *lab {
	t.Helper()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := &lab{
		t: t, start: start, now: start, delay: 20 * time.Millisecond, rand: rand.New(rand.NewPCG(seed, seed)), nextPort: 40000,
		sockets: make(map[machine.SocketID]netip.AddrPort), streams: make(map[machine.StreamID]netip.AddrPort), hosts: make(map[netip.AddrPort]host),
	}
	if cfg.Servers == nil {
		cfg.Servers = []turnclient.Endpoint{{Addr: serverAddr, Name: "turn.example.org"}}
	}
	var err error
	l.m, err = turnclient.NewMachine(cfg, rand.New(rand.NewPCG(seed, 2)), rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := l.m.Illegal(); n != 0 {
			t.Errorf("%d transitions that the table does not have (seed %d)", n, seed)
		}
	})
	return l
}

// serve puts a server at addr.
func (l *lab) serve(addr netip.AddrPort, cfg turntest.Config) *turntest.Server {
	if !cfg.Relay.IsValid() && !cfg.Relay6.IsValid() {
		cfg.Relay = relayIP
	}
	s := turntest.NewServer(cfg, rand.NewChaCha8([32]byte{9, byte(addr.Port())}))
	l.hosts[addr] = &turnHost{s: s, addr: addr, relays: make(map[machine.SocketID]netip.AddrPort), port: 50000}
	return s
}

// authed is the configuration of a server that knows creds.
func authed() turntest.Config {
	return turntest.Config{Realm: "example.org", Users: map[string]string{"user": "canary-password"}}
}

func (l *lab) at(d time.Duration, fn func()) {
	l.seq++
	l.todo = append(l.todo, todo{l.now.Add(d), l.seq, fn})
}

func (l *lab) elapsed() time.Duration { return l.now.Sub(l.start) }

// do enters the client machine.
func (l *lab) do(fn func(now time.Time)) {
	fn(l.now)
	machine.Drain(l.m, l.carryOut, func(e turnclient.Event) { l.events = append(l.events, e) })
}

func (l *lab) allocate() (id turnclient.AllocationID) {
	l.do(func(now time.Time) { id = l.m.Allocate(now) })
	return id
}

// ready makes an allocation that stands.
func (l *lab) ready() turnclient.AllocationID {
	l.t.Helper()
	id := l.allocate()
	if !l.runUntil(time.Minute, func() bool { return l.m.State(id).Usable() }) {
		l.t.Fatalf("no allocation: %v", l.failures())
	}
	return id
}

func (l *lab) send(id turnclient.AllocationID, to netip.AddrPort, data string) (err error) {
	l.do(func(now time.Time) { err = l.m.Send(now, id, to, []byte(data)) })
	return err
}

// run moves time forward.
func (l *lab) run(d time.Duration) { l.runUntil(d, func() bool { return false }) }

func (l *lab) runUntil(d time.Duration, done func() bool) bool {
	l.t.Helper()
	end := l.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 1_000_000 {
			l.t.Fatalf("the machine does not come to rest (seed %d)", seed)
		}
		if done() {
			return true
		}
		next := l.m.NextTimeout()
		i := -1
		for j, t := range l.todo {
			if i < 0 || t.at.Before(l.todo[i].at) || t.at.Equal(l.todo[i].at) && t.seq < l.todo[i].seq {
				i = j
			}
		}
		switch {
		case i >= 0 && (next.IsZero() || !l.todo[i].at.After(next)) && !l.todo[i].at.After(end):
			t := l.todo[i]
			l.todo = slices.Delete(l.todo, i, i+1)
			l.now = t.at
			t.fn()
		case !next.IsZero() && !next.After(end):
			if next.After(l.now) {
				l.now = next
			}
			l.do(l.m.HandleTimeout)
		default:
			l.now = end
			return done()
		}
	}
}

func (l *lab) carryOut(t machine.Transmit) {
	t.Data = slices.Clone(t.Data)
	switch t.Op {
	case machine.OpenSocket:
		if l.failOpen > 0 {
			l.failOpen--
			l.at(0, func() {
				l.notice(machine.Notice{Kind: machine.SocketFailed, Socket: t.Socket, Err: fmt.Errorf("no ports")})
			})
			return
		}
		local := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), l.nextPort)
		l.nextPort++
		l.sockets[t.Socket] = local
		l.at(0, func() {
			if l.sockets[t.Socket].IsValid() {
				l.notice(machine.Notice{Kind: machine.SocketOpened, Socket: t.Socket, Local: local})
			}
		})
	case machine.CloseSocket:
		delete(l.sockets, t.Socket)
	case machine.Send:
		l.sent = append(l.sent, sent{at: l.elapsed(), socket: t.Socket, to: t.Remote, raw: t.Data})
		if from := l.sockets[t.Socket]; from.IsValid() {
			l.deliver(from, t.Remote, t.Data)
		}
	case machine.Dial:
		l.streams[t.Stream] = t.Remote
		l.dials = append(l.dials, t)
		l.at(2*l.delay, func() {
			if h := l.hosts[t.Remote]; l.streams[t.Stream].IsValid() && h != nil {
				l.at(0, func() { l.notice(machine.Notice{Kind: machine.Connected, Stream: t.Stream, Remote: t.Remote}) })
				if l.whole {
					return
				}
				h.stream(l, machine.Notice{Kind: machine.Accepted, Stream: t.Stream + machine.AcceptedBase, Remote: clientOf(t.Stream)})
			}
		})
	case machine.Write:
		l.sent = append(l.sent, sent{at: l.elapsed(), stream: t.Stream, to: l.streams[t.Stream], raw: t.Data})
		if l.whole {
			l.deliver(clientOf(t.Stream), l.streams[t.Stream], t.Data)
			return
		}
		b := l.pass(l.up, t.Data)
		if h := l.hosts[l.streams[t.Stream]]; h != nil && b != nil {
			l.at(l.delay, func() {
				h.stream(l, machine.Notice{Kind: machine.Received, Stream: t.Stream + machine.AcceptedBase, Remote: clientOf(t.Stream), Data: b})
			})
		}
	case machine.Close, machine.Reset:
		if h := l.hosts[l.streams[t.Stream]]; h != nil && !l.whole {
			l.at(l.delay, func() {
				h.stream(l, machine.Notice{Kind: machine.Closed, Stream: t.Stream + machine.AcceptedBase, Remote: clientOf(t.Stream)})
			})
		}
		delete(l.streams, t.Stream)
	}
}

func clientOf(s machine.StreamID) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), 20000+uint16(s))
}

func (l *lab) pass(look func([]byte) []byte, b []byte) []byte {
	if look == nil {
		return b
	}
	return look(b)
}

// deliver brings a datagram to a server.
func (l *lab) deliver(from, to netip.AddrPort, b []byte) {
	if b = l.pass(l.up, b); b == nil {
		return
	}
	l.at(l.delay, func() {
		if h := l.hosts[to]; h != nil {
			h.datagram(l, from, to, b)
		}
	})
}

// reply brings a datagram from a server to the client.
func (l *lab) reply(from, to netip.AddrPort, b []byte) {
	b = slices.Clone(b)
	if b = l.pass(l.down, b); b == nil {
		return
	}
	l.at(l.delay, func() {
		for id := range l.streams {
			if l.whole && clientOf(id) == to {
				l.notice(machine.Notice{Kind: machine.Received, Stream: id, Data: b})
				return
			}
		}
		for id, local := range l.sockets {
			if local == to {
				l.do(func(now time.Time) {
					l.m.HandleDatagram(now, machine.Datagram{Socket: id, Local: to, Remote: from, Data: b})
				})
				return
			}
		}
	})
}

func (l *lab) notice(n machine.Notice) {
	l.do(func(now time.Time) { l.m.HandleNotice(now, n) })
}

// turnHost is a turntest.Server in the lab.
type turnHost struct {
	s      *turntest.Server
	addr   netip.AddrPort
	relays map[machine.SocketID]netip.AddrPort
	port   uint16
	dead   bool
}

func (h *turnHost) datagram(l *lab, from, at netip.AddrPort, b []byte) {
	if h.dead {
		return
	}
	h.s.HandleDatagram(l.now, machine.Datagram{Local: at, Remote: from, Data: b})
	h.drain(l)
}

func (h *turnHost) stream(l *lab, n machine.Notice) {
	if h.dead {
		return
	}
	h.s.HandleNotice(l.now, n)
	h.drain(l)
}

func (h *turnHost) drain(l *lab) {
	machine.Drain(h.s, func(t machine.Transmit) { h.carryOut(l, t) }, func(struct{}) {})
}

func (h *turnHost) carryOut(l *lab, t machine.Transmit) {
	switch {
	case t.Op == machine.OpenSocket:
		h.relays[t.Socket] = netip.AddrPortFrom(t.Local.Addr(), h.port)
		h.port++
		l.at(0, func() {
			h.s.HandleNotice(l.now, machine.Notice{Kind: machine.SocketOpened, Socket: t.Socket, Local: h.relays[t.Socket]})
			h.drain(l)
		})
	case t.Op == machine.CloseSocket:
		delete(h.relays, t.Socket)
	case t.Op == machine.Send && h.relays[t.Socket].IsValid():
		l.toPeers = append(l.toPeers, peerData{l.elapsed(), h.relays[t.Socket], t.Remote, string(t.Data), t.DontFragment})
	case t.Op == machine.Send:
		l.reply(h.addr, t.Remote, t.Data)
	case t.Op == machine.Write:
		id := t.Stream - machine.AcceptedBase
		b := l.pass(l.down, slices.Clone(t.Data))
		step := len(b)
		if l.chop {
			step = 1
		}
		for i := 0; i < len(b); i += max(step, 1) {
			piece := b[i:min(i+step, len(b))]
			l.at(l.delay, func() {
				if l.streams[id].IsValid() {
					l.notice(machine.Notice{Kind: machine.Received, Stream: id, Data: piece})
				}
			})
		}
	case t.Op == machine.Close, t.Op == machine.Reset:
		id := t.Stream - machine.AcceptedBase
		l.at(l.delay, func() { l.notice(machine.Notice{Kind: machine.Closed, Stream: id}) })
	}
}

// slowHost is a host with a longer way.
type slowHost struct {
	host
	extra time.Duration
}

func (h slowHost) datagram(l *lab, from, at netip.AddrPort, b []byte) {
	l.at(h.extra, func() { h.host.datagram(l, from, at, b) })
}

// deafTo is a host that nothing comes to from one address any more.
type deafTo struct {
	host
	from netip.AddrPort
}

func (h deafTo) datagram(l *lab, from, at netip.AddrPort, b []byte) {
	if from != h.from {
		h.host.datagram(l, from, at, b)
	}
}

// fromPeer sends a datagram of a peer to a relayed address.
func (l *lab) fromPeer(peer, relayed netip.AddrPort, data string) {
	for _, h := range l.hosts {
		if d, ok := h.(deafTo); ok {
			h = d.host
			if d, ok := h.(deafTo); ok {
				h = d.host
			}
		}
		if h, ok := h.(*turnHost); ok && !h.dead {
			for id, addr := range h.relays {
				if addr == relayed {
					h.s.HandleDatagram(l.now, machine.Datagram{Socket: id, Remote: peer, Data: []byte(data)})
					h.drain(l)
					return
				}
			}
		}
	}
}

// kill makes the server at addr silent; revive lets it answer again.
func (l *lab) kill(addr netip.AddrPort)   { l.hosts[addr].(*turnHost).dead = true }
func (l *lab) revive(addr netip.AddrPort) { l.hosts[addr].(*turnHost).dead = false }

// What the tests look at.

func (l *lab) all(k turnclient.EventKind) (all []turnclient.Event) {
	for _, e := range l.events {
		if e.Kind == k {
			all = append(all, e)
		}
	}
	return all
}

func (l *lab) last(k turnclient.EventKind) turnclient.Event {
	l.t.Helper()
	all := l.all(k)
	if len(all) == 0 {
		l.t.Fatalf("no event %v; state of things at %v: %v", k, l.elapsed(), l.failures())
	}
	return all[len(all)-1]
}

func (l *lab) failures() (all []error) {
	for _, e := range l.events {
		if e.Err != nil {
			all = append(all, fmt.Errorf("%v %v: %w", e.At.Sub(l.start), e.Kind, e.Err))
		}
	}
	return all
}

func (l *lab) relayed() netip.AddrPort { return l.last(turnclient.EventAllocated).Relayed[0] }

// requests are the requests of a method that the client sent, decoded.
func (l *lab) requests(method wire.Method) (all []sent) {
	for _, s := range l.sent {
		var m wire.Message
		if m.Decode(s.raw) == nil && m.Class() == wire.Request && m.Method() == method {
			all = append(all, s)
		}
	}
	return all
}

func (s sent) msg() *wire.Message {
	m := new(wire.Message)
	if err := m.Decode(s.raw); err != nil {
		panic(err)
	}
	return m
}

// data is what came in from peers.
func (l *lab) data() (all []string) {
	for _, e := range l.all(turnclient.EventData) {
		all = append(all, e.Peer.String()+" "+string(e.Data))
	}
	return all
}

func (l *lab) states() (all []turnclient.State) {
	for _, e := range l.all(turnclient.EventState) {
		all = append(all, e.State)
	}
	return all
}

func has(s sent, t wire.AttrType) bool { return s.msg().Has(t) }
