package ice_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// lab runs one agent against scripted peers in virtual time, message by message: each
// can be looked at, changed, or lost on the way.
type lab struct {
	t     *testing.T
	start time.Time
	now   time.Time
	seq   int
	todo  []todo

	m      *ice.Machine
	id     ice.AgentID
	delay  time.Duration // one way
	events []ice.Event
	sent   []sent // by the machine

	hosts    map[netip.AddrPort]host // what answers at an address
	sockets  map[machine.SocketID]netip.AddrPort
	streams  map[machine.StreamID]*stream
	accepted machine.StreamID
	ids      uint64 // of the peer's transactions
}

type todo struct {
	at  time.Time
	seq int
	fn  func()
}

// sent is one message that the machine sent, or a connection that it dialled or ended.
type sent struct {
	at     time.Duration
	op     machine.Op
	socket machine.SocketID
	stream machine.StreamID
	from   netip.AddrPort
	to     netip.AddrPort
	raw    []byte
}

// host is what happens to a message that the machine sends to an address.
type host func(l *lab, s sent)

// stream is a connection of the machine.
type stream struct {
	local, remote netip.AddrPort
	up            bool
}

var (
	ours      = netip.MustParseAddrPort("203.0.113.5:40000") // the machine's base on socket 0
	ours2     = netip.MustParseAddrPort("203.0.113.6:40000")
	peerAt    = netip.MustParseAddrPort("198.51.100.1:5000")
	peerAt2   = netip.MustParseAddrPort("198.51.100.2:5000")
	stunAt    = netip.MustParseAddrPort("192.0.2.1:3478")
	peerCreds = ice.Credentials{Ufrag: "peer", Pwd: "thePasswordOfThePeer123"}
)

const (
	seed         = 1
	highPriority = 126<<24 | 65535<<8 | 255
	lowPriority  = 100<<24 | 65535<<8 | 255
)

// newLab makes an agent with one base, ours, whose peer is not known yet.
func newLab(t *testing.T, cfg ice.AgentConfig, mcfg ...ice.MachineConfig) *lab {
	t.Helper()
	l := emptyLab(t, mcfg...)
	l.base(ice.Base{Socket: 0, Addr: ours})
	l.agent(cfg)
	return l
}

// emptyLab makes a machine without bases and agents.
func emptyLab(t *testing.T, mcfg ...ice.MachineConfig) *lab {
	t.Helper()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := &lab{
		t: t, start: start, now: start, delay: 20 * time.Millisecond,
		hosts: make(map[netip.AddrPort]host), sockets: make(map[machine.SocketID]netip.AddrPort),
		streams: make(map[machine.StreamID]*stream), accepted: machine.AcceptedBase,
	}
	var err error
	l.m, err = ice.NewMachine(append(mcfg, ice.MachineConfig{})[0], rand.New(rand.NewPCG(seed, 2)), rand.NewChaCha8([32]byte{seed}))
	l.check(err)
	t.Cleanup(func() {
		if n := l.m.Illegal(); n != 0 {
			t.Errorf("%d transitions that the table does not have (seed %d)", n, seed)
		}
	})
	return l
}

func (l *lab) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("at %v: %v (seed %d)", l.elapsed(), err, seed)
	}
}

func (l *lab) elapsed() time.Duration { return l.now.Sub(l.start) }

// do enters the machine.
func (l *lab) do(fn func(now time.Time)) {
	fn(l.now)
	machine.Drain(l.m, l.carryOut, func(e ice.Event) { l.events = append(l.events, e) })
}

func (l *lab) base(b ice.Base) (id ice.BaseID) {
	l.t.Helper()
	var err error
	l.do(func(now time.Time) { id, err = l.m.AddBase(now, b) })
	l.check(err)
	if b.Transport == ice.UDP {
		l.sockets[b.Socket] = b.Addr
	}
	return id
}

func (l *lab) agent(cfg ice.AgentConfig) ice.AgentID {
	l.t.Helper()
	var err error
	l.do(func(now time.Time) { l.id, err = l.m.NewAgent(now, cfg) })
	l.check(err)
	return l.id
}

// What the signalling tells the agent.

func (l *lab) know(c ice.Credentials) {
	l.t.Helper()
	l.do(func(now time.Time) { l.check(l.m.SetRemote(now, l.id, c)) })
}

func (l *lab) candidate(at netip.AddrPort, priority uint32, change ...func(*ice.Candidate)) {
	l.t.Helper()
	c := ice.Candidate{Foundation: fmt.Sprintf("%x", at.Addr().AsSlice()), Component: 1, Priority: priority, Addr: at, Type: ice.Host}
	for _, fn := range change {
		fn(&c)
	}
	l.do(func(now time.Time) { l.check(l.m.AddRemote(now, l.id, c)) })
}

func (l *lab) end() {
	l.t.Helper()
	l.do(func(now time.Time) { l.check(l.m.EndOfCandidates(now, l.id)) })
}

func (l *lab) restart() (c ice.Credentials) {
	l.t.Helper()
	l.do(func(now time.Time) {
		var err error
		c, err = l.m.Restart(now, l.id)
		l.check(err)
	})
	return c
}

// connected makes an agent that has a pair with an answering peer at peerAt.
func (l *lab) connected() *lab {
	l.t.Helper()
	l.hosts[peerAt] = answering
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.until(5*time.Second, ice.Connected, ice.Completed)
	return l
}

// until runs until the agent is in one of the states.
func (l *lab) until(d time.Duration, states ...ice.State) {
	l.t.Helper()
	if !l.runUntil(d, func() bool { return slices.Contains(states, l.state()) }) {
		l.t.Fatalf("%v after %v, want %v (seed %d)\n%v", l.state(), l.elapsed(), states, seed, l.story())
	}
}

// run moves time forward.
func (l *lab) run(d time.Duration) { l.t.Helper(); l.runUntil(d, func() bool { return false }) }

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

func (l *lab) at(d time.Duration, fn func()) {
	l.seq++
	l.todo = append(l.todo, todo{l.now.Add(d), l.seq, fn})
}

func (l *lab) carryOut(t machine.Transmit) {
	s := sent{at: l.elapsed(), op: t.Op, socket: t.Socket, stream: t.Stream, from: t.Local, to: t.Remote, raw: slices.Clone(t.Data)}
	switch t.Op {
	case machine.Send:
		if !s.from.IsValid() {
			s.from = l.sockets[t.Socket]
		}
		l.reach(s)
	case machine.Dial:
		l.sent = append(l.sent, s)
		l.dial(t)
	case machine.Write:
		st := l.streams[t.Stream]
		if st == nil {
			l.t.Errorf("at %v: a write to stream %d, which is not there", l.elapsed(), t.Stream)
			return
		}
		s.from, s.to = st.local, st.remote
		for b := s.raw; len(b) >= 2; {
			n := 2 + int(binary.BigEndian.Uint16(b))
			s.raw, b = b[2:n], b[n:]
			l.reach(s)
		}
	case machine.Close, machine.Reset:
		if st := l.streams[t.Stream]; st != nil {
			s.from, s.to = st.local, st.remote
		}
		l.sent = append(l.sent, s)
		delete(l.streams, t.Stream)
	}
}

// reach brings a message to whoever is at its destination.
func (l *lab) reach(s sent) {
	l.sent = append(l.sent, s)
	if h := l.hosts[s.to]; h != nil {
		l.at(l.delay, func() { h(l, s) })
	}
}

// dial connects to whatever host there is.
func (l *lab) dial(t machine.Transmit) {
	st := &stream{local: t.Local, remote: t.Remote}
	if st.local.Port() == 0 {
		st.local = netip.AddrPortFrom(st.local.Addr(), 50000+uint16(t.Stream))
	}
	l.streams[t.Stream] = st
	n := machine.Notice{Kind: machine.Connected, Stream: t.Stream, Local: st.local, Remote: st.remote}
	if l.hosts[t.Remote] == nil {
		n.Kind, n.Err = machine.Closed, errors.New("connection refused")
	}
	l.at(2*l.delay, func() {
		if l.streams[t.Stream] == st {
			if st.up = n.Err == nil; !st.up {
				delete(l.streams, t.Stream)
			}
			l.notice(n)
		}
	})
}

// accept brings a connection to the machine.
func (l *lab) accept(from, to netip.AddrPort) machine.StreamID {
	id := l.accepted
	l.accepted++
	l.streams[id] = &stream{local: to, remote: from, up: true}
	l.notice(machine.Notice{Kind: machine.Accepted, Stream: id, Local: to, Remote: from})
	return id
}

// hangUp ends a connection from the other side.
func (l *lab) hangUp(id machine.StreamID, err error) {
	st := l.streams[id]
	delete(l.streams, id)
	l.notice(machine.Notice{Kind: machine.Closed, Stream: id, Local: st.local, Remote: st.remote, Err: err})
}

func (l *lab) notice(n machine.Notice) {
	l.do(func(now time.Time) { l.m.HandleNotice(now, n) })
}

// deliver brings a datagram to a socket of the machine at once.
func (l *lab) deliver(socket machine.SocketID, from netip.AddrPort, b []byte) {
	l.do(func(now time.Time) {
		l.m.HandleDatagram(now, machine.Datagram{Socket: socket, Local: l.sockets[socket], Remote: from, Data: b})
	})
}

// frame brings one frame on a connection at once.
func (l *lab) frame(id machine.StreamID, b []byte) {
	l.bytes(id, append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
}

// bytes brings what came on a connection at once.
func (l *lab) bytes(id machine.StreamID, b []byte) {
	if st := l.streams[id]; st != nil {
		l.notice(machine.Notice{Kind: machine.Received, Stream: id, Local: st.local, Remote: st.remote, Data: b})
	}
}

// reply brings an answer to a message of the machine, the way that the message came.
func (l *lab) reply(s sent, b []byte) {
	if b == nil {
		return
	}
	l.at(l.delay, func() {
		if s.stream != 0 {
			l.frame(s.stream, b)
		} else {
			l.deliver(s.socket, s.to, b)
		}
	})
}

// What the tests look at.

func (l *lab) state() ice.State { return l.m.State(l.id) }

func (l *lab) all(k ice.EventKind) (all []ice.Event) {
	for _, e := range l.events {
		if e.Kind == k {
			all = append(all, e)
		}
	}
	return all
}

func (l *lab) last(k ice.EventKind) ice.Event {
	l.t.Helper()
	all := l.all(k)
	if len(all) == 0 {
		l.t.Fatalf("no event %v at %v\n%v", k, l.elapsed(), l.story())
	}
	return all[len(all)-1]
}

// failure is why the agent failed.
func (l *lab) failure() *ice.FailedError {
	l.t.Helper()
	var f *ice.FailedError
	if e := l.last(ice.EventState); !errors.As(e.Err, &f) {
		l.t.Fatalf("%v for %v, want a *FailedError", e.State, e.Err)
	}
	return f
}

// pair returns the pair with a candidate of the peer.
func (l *lab) pair(remote netip.AddrPort) ice.Pair {
	l.t.Helper()
	for _, p := range l.m.Pairs(l.id) {
		if p.Route.Remote == remote {
			return p
		}
	}
	l.t.Fatalf("no pair with %v at %v\n%v", remote, l.elapsed(), l.story())
	return ice.Pair{}
}

func (l *lab) has(remote netip.AddrPort) bool {
	return slices.ContainsFunc(l.m.Pairs(l.id), func(p ice.Pair) bool { return p.Route.Remote == remote })
}

// requests are the checks that the machine sent to an address, or to all if it is none.
func (l *lab) requests(to netip.AddrPort) []sent { return l.messages(wire.BindingRequest, to) }

func (l *lab) messages(t wire.MessageType, to netip.AddrPort) (all []sent) {
	for _, s := range l.sent {
		if m := s.msg(); m != nil && m.Type() == t && (s.to == to || !to.IsValid()) {
			all = append(all, s)
		}
	}
	return all
}

// dials are the connections that were dialled.
func (l *lab) ops(op machine.Op) (all []sent) {
	for _, s := range l.sent {
		if s.op == op {
			all = append(all, s)
		}
	}
	return all
}

// msg is the message decoded; nil: it is no STUN.
func (s sent) msg() *wire.Message {
	m := new(wire.Message)
	if s.op != machine.Send && s.op != machine.Write || m.Decode(s.raw) != nil {
		return nil
	}
	return m
}

func (l *lab) data() (all []string) {
	for _, e := range l.all(ice.EventData) {
		all = append(all, string(e.Data))
	}
	return all
}

func (l *lab) states() (all []ice.State) {
	for _, e := range l.all(ice.EventState) {
		all = append(all, e.State)
	}
	return all
}

// story tells what happened, for the message of a failing test.
func (l *lab) story() string {
	var s string
	for _, e := range l.events {
		s += fmt.Sprintf("%v %v %v %v %v\n", e.At.Sub(l.start), e.Kind, e.State, e.Pair.Route.Remote, e.Err)
	}
	for _, p := range l.m.Pairs(l.id) {
		s += fmt.Sprintf("%v -> %v %v valid %v nominated %v sent %d: %v\n", p.Local.Addr, p.Remote.Addr, p.State, p.Valid, p.Nominated, p.Sent, p.Err)
	}
	return s
}
