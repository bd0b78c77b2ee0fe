package ice_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// puppet runs a machine whose world is chosen by bytes.
type puppet struct {
	t       *testing.T
	m       *ice.Machine
	now     time.Time
	start   time.Time
	agents  []ice.AgentID
	peers   map[ice.AgentID]int // which credentials it knows
	bases   []ice.BaseID
	streams map[machine.StreamID]netip.AddrPort // their other end
	up      map[machine.StreamID]bool
	asked   []sent // requests, the latest last
	next    machine.StreamID
	ids     uint64
	holding bool

	allowed  map[netip.AddrPort]bool // what was named to it, or has shown itself
	inputs   int
	sent     int
	restarts int
}

var (
	fuzzAddrs = []netip.AddrPort{
		peerAt, peerAt2, netip.AddrPortFrom(peerAt.Addr(), 5001), spread(1), spread(2), spread(3), netip.MustParseAddrPort("[2001:db8:5::1]:5000"),
		netip.MustParseAddrPort("10.0.0.9:5000"), netip.MustParseAddrPort("127.0.0.1:5000"), netip.MustParseAddrPort("169.254.169.254:80"),
		netip.MustParseAddrPort("198.51.100.1:53"), netip.MustParseAddrPort("[::ffff:127.0.0.1]:5000"), netip.MustParseAddrPort("224.0.0.1:5000"), {},
	}
	fuzzGood  = fuzzAddrs[:8] // where a peer may be
	fuzzCodes = []int{0, 300, 400, 401, 403, 420, 487, 500, 699}
	fuzzCreds = []ice.Credentials{peerCreds, newCreds, {Ufrag: "third", Pwd: "theThirdPasswordOfThePeer"}}
)

func newPuppet(t *testing.T, choice byte) *puppet {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m, err := ice.NewMachine(ice.MachineConfig{}, rand.New(rand.NewPCG(1, 1)), rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	p := &puppet{
		t: t, m: m, now: start, start: start, next: machine.AcceptedBase, peers: make(map[ice.AgentID]int),
		streams: make(map[machine.StreamID]netip.AddrPort), up: make(map[machine.StreamID]bool), allowed: make(map[netip.AddrPort]bool),
	}
	for i := range byte(6) {
		p.addBase(i)
	}
	p.newAgent(choice)
	return p
}

func (p *puppet) addBase(i byte) {
	b := []ice.Base{
		{Socket: 0, Shared: true, Addr: ours}, {Socket: 0, Shared: true, Addr: ours2},
		{Socket: 1, Addr: netip.MustParseAddrPort("[2001:db8::5]:4000")}, {Socket: 2, Type: ice.Relay, Addr: netip.MustParseAddrPort("192.0.2.99:50000")},
		{Transport: ice.TCP, TCPType: ice.Active, Addr: netip.AddrPortFrom(ours.Addr(), 0)}, {Transport: ice.TCP, TCPType: ice.Passive, Addr: ours},
		{Transport: ice.TCP, TCPType: ice.SimultaneousOpen, Addr: ours2},
	}[i%7]
	p.do(func(now time.Time) {
		if id, err := p.m.AddBase(now, b); err == nil {
			p.bases = append(p.bases, id)
		}
	})
}

func (p *puppet) newAgent(choice byte) {
	cfg := ice.AgentConfig{Controlling: choice&1 != 0, Multipath: choice&2 != 0, PeerIsLite: choice&4 != 0, Policy: ice.Policy(choice >> 3 & 1), MaxPairs: 20}
	if choice&16 != 0 {
		cfg.Consent = -1
	}
	if choice&32 != 0 {
		cfg.Pace, cfg.Timeout = 5*time.Millisecond, -1
	}
	p.do(func(now time.Time) {
		if id, err := p.m.NewAgent(now, cfg); err == nil {
			p.agents = append(p.agents, id)
		}
	})
}

func (p *puppet) agent(i byte) ice.AgentID {
	if len(p.agents) == 0 {
		return 0
	}
	return p.agents[int(i)%len(p.agents)]
}

func (p *puppet) do(fn func(now time.Time)) {
	fn(p.now)
	machine.Drain(p.m, p.carryOut, func(ice.Event) {})
}

func (p *puppet) carryOut(t machine.Transmit) {
	s := sent{op: t.Op, socket: t.Socket, stream: t.Stream, from: t.Local, to: t.Remote, raw: slices.Clone(t.Data)}
	switch t.Op {
	case machine.Send, machine.Dial:
		p.sent++
		if !p.allowed[t.Remote] {
			p.t.Fatalf("%v to %v, which nobody named that may", t.Op, t.Remote)
		}
		if t.Op == machine.Dial {
			if _, there := p.streams[t.Stream]; there {
				p.t.Fatalf("stream %d was dialled twice", t.Stream)
			}
			p.streams[t.Stream] = t.Remote
		}
	case machine.Write:
		if !p.up[t.Stream] {
			p.t.Fatalf("a write to stream %d, which does not stand", t.Stream)
		}
		s.to, s.raw = p.streams[t.Stream], s.raw[2:]
	case machine.Close, machine.Reset:
		delete(p.streams, t.Stream)
		delete(p.up, t.Stream)
	}
	if m := s.msg(); m != nil && m.Class() == wire.Request {
		p.asked = append(p.asked[max(0, len(p.asked)-15):], s)
	}
}

// incoming brings b from an address, by a datagram or on the connection.
func (p *puppet) incoming(socket machine.SocketID, stream machine.StreamID, from netip.AddrPort, b []byte) {
	p.inputs++
	p.do(func(now time.Time) {
		if stream != 0 {
			if p.up[stream] {
				b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
				p.m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: stream, Data: b})
			}
			return
		}
		local := ours
		if len(b)%3 == 0 {
			local = netip.AddrPort{} // the socket cannot tell
		}
		p.m.HandleDatagram(now, machine.Datagram{Socket: socket, Local: local, Remote: from, Data: b})
	})
}

// check is a check of a peer, right or wrong as bits say.
func (p *puppet) check(a, b byte, from netip.AddrPort) []byte {
	c := p.m.Credentials(p.agent(a))
	p.ids++
	o := outgoing{kind: wire.BindingRequest, user: c.Ufrag + ":" + fuzzCreds[int(a>>4)%3].Ufrag, pwd: c.Pwd, priority: 1 + uint32(b)<<16, role: wire.AttrICEControlling, breaker: 1 << (b & 63), nominate: b&1 != 0}
	if b&2 != 0 {
		o.role = wire.AttrICEControlled
	}
	binary.BigEndian.PutUint64(o.id[4:], p.ids-uint64(b>>6&1)) // sometimes a replay
	switch b >> 2 & 7 {
	case 7:
		o.pwd = "wrong"
	case 6:
		o.more = func(b *wire.Builder) { b.AddUint32(0x7FFF, 1) }
	}
	if o.pwd != "wrong" && c.Pwd != "" && slices.Contains(fuzzGood, from) {
		p.allowed[from] = true // it has shown itself
	}
	return o.bytes()
}

func (p *puppet) step(op, a, b byte) {
	addr := fuzzAddrs[int(b)%len(fuzzAddrs)]
	open := func() (id machine.StreamID, ok bool) { // one that is open, so that a run replays
		var all []machine.StreamID
		for id := range p.streams {
			all = append(all, id)
		}
		slices.Sort(all)
		if len(all) == 0 {
			return 0, false
		}
		return all[int(a)%len(all)], true
	}
	switch op % 16 {
	case 0, 1:
		p.pass(time.Duration(a) * time.Duration(b) * time.Millisecond * time.Duration(1+op%2*9))
	case 2, 3:
		from := fuzzAddrs[int(a)%(len(fuzzAddrs)-1)]
		p.incoming(machine.SocketID(a>>6), 0, from, p.check(a, b, from))
	case 4, 5, 6:
		p.answer(a, b)
	case 7:
		p.incoming(machine.SocketID(a&3), 0, fuzzAddrs[int(b)%(len(fuzzAddrs)-1)], []byte{a, b, a ^ b})
	case 8, 9:
		c := ice.Candidate{Foundation: string('a' + rune(a%4)), Component: 1, Priority: uint32(a)<<20 | uint32(b), Addr: addr, Type: ice.CandidateType(a >> 5 & 3), Transport: ice.Transport(b >> 7)}
		if b>>7 != 0 || a == 255 {
			c.TCPType = ice.TCPType(a & 3)
		}
		if b&64 != 0 {
			c.Extensions = []ice.Extension{{Name: "ufrag", Value: fuzzCreds[int(a)%3].Ufrag}}
		}
		if slices.Contains(fuzzGood, addr) {
			p.allowed[addr] = true
		}
		p.do(func(now time.Time) { _ = p.m.AddRemote(now, p.agent(a), c) })
	case 10:
		p.restarts++
		p.do(func(now time.Time) { _ = p.m.SetRemote(now, p.agent(a), fuzzCreds[int(b)%3]) })
	case 11:
		p.verb(a, b)
	case 12, 13:
		id, ok := open()
		switch {
		case b%8 == 0:
			id, p.next = p.next, p.next+1
			p.streams[id], p.up[id] = spread(1000+int(a)), true // which is never to be dialled
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.Accepted, Stream: id, Local: ours, Remote: p.streams[id]})
			})
		case !ok:
		case b%8 < 3:
			p.up[id] = true
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.Connected, Stream: id, Local: ours, Remote: p.streams[id]})
			})
		case b%8 == 3:
			delete(p.streams, id)
			delete(p.up, id)
			p.do(func(now time.Time) {
				p.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: id, Err: errors.New("broken")})
			})
		case b%8 == 4:
			p.incoming(0, id, netip.AddrPort{}, []byte{a, b})
		default:
			p.incoming(0, id, netip.AddrPort{}, p.check(b, b, netip.AddrPort{}))
		}
	case 14:
		p.do(func(now time.Time) { _ = p.m.Send(now, p.agent(a), []byte{b}) })
	case 15:
		p.do(func(now time.Time) {
			n := machine.Notice{Kind: machine.Unreachable, Socket: machine.SocketID(a & 3), Remote: addr, Err: errors.New("icmp")}
			if b > 250 {
				n.Kind = machine.SocketFailed
			}
			p.m.HandleNotice(now, n)
		})
	}
}

// answer answers a request that was sent lately.
func (p *puppet) answer(a, b byte) {
	if len(p.asked) == 0 {
		return
	}
	s := p.asked[len(p.asked)-1-int(a&15)%len(p.asked)]
	pwd := fuzzCreds[int(a>>4)%3].Pwd
	if user, ok := s.msg().Username(); ok && a>>6 != 3 { // most often the right one
		for _, c := range fuzzCreds {
			if len(user) > len(c.Ufrag) && string(user[:len(c.Ufrag)]) == c.Ufrag {
				pwd = c.Pwd
			}
		}
	}
	o := outgoing{kind: wire.BindingSuccess, id: s.msg().TransactionID(), pwd: pwd, mapped: fuzzAddrs[int(b)%8]}
	if code := fuzzCodes[int(b>>3)%len(fuzzCodes)]; code != 0 && b&3 == 0 {
		refusing(code, "")(&o)
	}
	from := s.to
	if b == 255 {
		from = spread(77)
	}
	p.incoming(s.socket, s.stream, from, o.bytes())
}

// verb is what the application does.
func (p *puppet) verb(a, b byte) {
	id := p.agent(b)
	p.do(func(now time.Time) {
		switch a % 12 {
		case 0, 1:
			p.restarts++
			_, _ = p.m.Restart(now, id)
		case 2:
			_ = p.m.EndOfCandidates(now, id)
		case 3:
			p.m.CloseAgent(now, id)
			p.agents = slices.DeleteFunc(p.agents, func(other ice.AgentID) bool { return other == id })
		case 4:
			if i := int(b) % max(1, len(p.bases)); i < len(p.bases) {
				p.m.RemoveBase(now, p.bases[i])
				p.bases = slices.Delete(p.bases, i, i+1)
			}
		case 5:
			p.allowed[stunAt] = true
			p.m.AddServer(now, stunAt)
		case 6:
			p.m.AddMapped(now, ice.BaseID(b%8), fuzzAddrs[int(b)%len(fuzzAddrs)])
		case 7:
			if p.holding = !p.holding; p.holding {
				p.m.Hold(now)
			} else {
				p.m.Release(now)
			}
		}
	})
	switch {
	case a%12 == 8 && len(p.agents) < 3:
		p.restarts++
		p.newAgent(b)
	case a%12 == 9 && len(p.bases) < 8:
		p.addBase(b)
	}
}

// pass lets time pass.
func (p *puppet) pass(d time.Duration) {
	for end, steps := p.now.Add(d), 0; ; steps++ {
		next := p.m.NextTimeout()
		if next.IsZero() || next.After(end) {
			p.now = end
			return
		}
		if next.After(p.now) {
			p.now, steps = next, 0
		} else if steps > 100 {
			p.t.Fatalf("a timeout is due at %v again and again", p.now.Sub(p.start))
		}
		p.do(p.m.HandleTimeout)
	}
}

// Whatever peers, strangers, servers and the application do, the machine keeps to its table
// and its bounds, sends only where it may and no more than it should, and ends with nothing
// left.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{1, 10, 0, 0, 8, 255, 0, 0, 10, 10, 4, 0, 1, 0, 10, 10, 4, 0, 1, 14, 0, 7, 1, 200, 200, 4, 0, 4})
	f.Add([]byte{0, 2, 0, 1, 10, 0, 0, 8, 200, 0, 0, 5, 5, 4, 0, 1, 2, 0, 3, 11, 0, 0, 10, 0, 1, 2, 16, 1, 0, 9, 9, 4, 0, 2})
	f.Add([]byte{3, 10, 0, 0, 8, 1, 128, 0, 2, 2, 12, 0, 1, 4, 0, 1, 12, 0, 8, 12, 1, 5, 14, 0, 0, 12, 0, 3, 0, 99, 99, 11, 4, 1, 11, 9, 1})
	f.Add([]byte{34, 10, 0, 0, 8, 90, 1, 8, 80, 2, 8, 70, 3, 0, 5, 5, 4, 0, 1, 4, 1, 2, 4, 2, 3, 1, 100, 100, 11, 3, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) < 1 || len(script) > 600 {
			return
		}
		p := newPuppet(t, script[0])
		for script = script[1:]; len(script) >= 3; script = script[3:] {
			p.step(script[0], script[1], script[2])
			if n := p.m.Illegal(); n != 0 {
				t.Fatalf("%d transitions that the table does not have", n)
			}
			if n := p.m.Size(); n > 3000 {
				t.Fatalf("%d things are kept", n)
			}
		}
		// Each input may be answered and checked back; each generation has its checks, of each
		// address; servers and pairs that work are asked every few seconds.
		elapsed := p.now.Sub(p.start)
		if most := 2*p.inputs + 800*(1+p.restarts) + 200*int(1+elapsed/(4*time.Second)); p.sent > most {
			t.Fatalf("%d packets in %v after %d inputs and %d restarts", p.sent, elapsed, p.inputs, p.restarts)
		}
		if p.holding {
			p.do(p.m.Release)
		}
		for _, id := range p.agents {
			p.do(func(now time.Time) { p.m.CloseAgent(now, id) })
		}
		for id := range ice.BaseID(200) {
			p.do(func(now time.Time) { p.m.RemoveBase(now, id) })
		}
		p.pass(20 * time.Second)
		if n := p.m.Size(); n != 0 || len(p.streams) != 0 || !p.m.NextTimeout().IsZero() {
			t.Fatalf("after the end: %d things, %d streams, next timeout %v", n, len(p.streams), p.m.NextTimeout())
		}
	})
}
