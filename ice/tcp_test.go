package ice_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// TCP candidates (RFC 6544), framed as RFC 4571 has it.

// tcpLab makes an agent that has one TCP base of a side.
func tcpLab(t *testing.T, side ice.TCPType, cfg ice.AgentConfig) *lab {
	t.Helper()
	l := emptyLab(t)
	l.tcpBase(side)
	l.agent(cfg)
	return l
}

func (l *lab) tcpBase(side ice.TCPType) ice.BaseID {
	at := ours
	if side == ice.Active {
		at = netip.AddrPortFrom(ours.Addr(), 0)
	}
	return l.base(ice.Base{Transport: ice.TCP, TCPType: side, Addr: at})
}

// active makes an agent that has dialled the peer, and completed.
func active(t *testing.T) *lab {
	t.Helper()
	l := tcpLab(t, ice.Active, ice.AgentConfig{Controlling: true})
	l.hosts[peerAt] = answering
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.Passive))
	l.until(5*time.Second, ice.Completed)
	return l
}

// passive makes an agent that the peer has dialled from a port, and that has completed.
func passive(t *testing.T) (*lab, machine.StreamID) {
	t.Helper()
	l := tcpLab(t, ice.Passive, ice.AgentConfig{})
	l.know(peerCreds)
	from := netip.AddrPortFrom(peerAt.Addr(), 61001)
	l.hosts[from] = answering
	id := l.accept(from, ours)
	l.frame(id, l.request(nominating))
	l.until(time.Second, ice.Completed)
	return l, id
}

func (l *lab) send(data string) error { return l.sendBytes([]byte(data)) }

func (l *lab) sendBytes(data []byte) (err error) {
	l.do(func(now time.Time) { err = l.m.Send(now, l.id, data) })
	return err
}

// Active dials passive, and simultaneous-open its like; a passive candidate is not checked
// from (RFC 6544 section 6.2).
func TestTCPPairings(t *testing.T) {
	for _, local := range []ice.TCPType{ice.Active, ice.Passive, ice.SimultaneousOpen} {
		for _, remote := range []ice.TCPType{ice.Active, ice.Passive, ice.SimultaneousOpen} {
			l := tcpLab(t, local, ice.AgentConfig{})
			l.know(peerCreds)
			l.candidate(peerAt, highPriority, tcp(remote))
			l.candidate(peerAt2, highPriority) // UDP
			l.run(10 * time.Millisecond)
			want := local == ice.Active && remote == ice.Passive || local == ice.SimultaneousOpen && remote == ice.SimultaneousOpen
			if got := len(l.ops(machine.Dial)) == 1; got != want || len(l.m.Pairs(l.id)) != len(l.ops(machine.Dial)) {
				t.Errorf("%v with %v: dialled %v, %d pairs", local, remote, got, len(l.m.Pairs(l.id)))
			}
			if want && local == ice.SimultaneousOpen && l.ops(machine.Dial)[0].from != ours {
				t.Errorf("dialled from %v, want the candidate's port", l.ops(machine.Dial)[0].from)
			}
		}
	}
}

// The side that dials: a check on the connection, which is not repeated (RFC 6544 section
// 7.1), then data, all of it framed.
func TestActiveSide(t *testing.T) {
	l := tcpLab(t, ice.Active, ice.AgentConfig{})
	slow := func(l *lab, s sent) { l.at(3*time.Second, func() { answering(l, s) }) }
	l.hosts[peerAt] = first(1, slow, answering)
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.Passive))
	l.run(3 * time.Second)
	if n := len(l.requests(peerAt)); n != 1 {
		t.Errorf("%d checks, want 1: TCP loses none", n)
	}
	l.until(time.Second, ice.Connected)
	p := l.m.Selected(l.id)
	if p.Local.Type != ice.PeerReflexive || p.Local.Transport != ice.TCP || p.Route.Stream == 0 || !p.Route.Local.IsValid() {
		t.Errorf("%+v", p)
	}
	l.check(l.send("hello"))
	last := l.sent[len(l.sent)-1]
	if last.op != machine.Write || string(last.raw) != "hello" {
		t.Errorf("sent %q", last.raw)
	}
	l.frame(p.Route.Stream, []byte("hi"))
	if got := l.data(); len(got) != 1 || got[0] != "hi" {
		t.Errorf("got %q", got)
	}
}

func TestConnectionRefused(t *testing.T) {
	l := tcpLab(t, ice.Active, ice.AgentConfig{})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.Passive))
	l.run(100 * time.Millisecond)
	if p := l.pair(peerAt); p.State != ice.PairFailed || p.Err == nil {
		t.Errorf("%v: %v", p.State, p.Err)
	}
	if n := len(l.ops(machine.Dial)); n != 1 {
		t.Errorf("dialled %d times", n)
	}
}

// Whoever answers a check by something else is not the peer: the connection is closed and
// all pairs with that candidate fail (RFC 6544 section 7.1).
func TestFirstReplyIsNoSTUN(t *testing.T) {
	for name, reply := range map[string][]byte{"text": []byte("220 mail.example.org ESMTP"), "a null packet": {}, "STUN of others": outgoing{kind: wire.BindingSuccess, mapped: ours}.bytes()} {
		l := emptyLab(t)
		l.tcpBase(ice.Active)
		l.base(ice.Base{Transport: ice.TCP, TCPType: ice.Active, Addr: netip.AddrPortFrom(ours2.Addr(), 0)})
		l.agent(ice.AgentConfig{})
		l.hosts[peerAt] = func(l *lab, s sent) { l.reply(s, append([]byte{}, reply...)) }
		l.know(peerCreds)
		l.candidate(peerAt, highPriority, tcp(ice.Passive))
		l.run(300 * time.Millisecond)
		for _, p := range l.m.Pairs(l.id) {
			if p.State != ice.PairFailed || p.Err == nil {
				t.Errorf("%s: %v from %v: %v", name, p.State, p.Local.Addr, p.Err)
			}
		}
		if len(l.streams) != 0 || len(l.data()) != 0 {
			t.Errorf("%s: %d connections are open, data %q", name, len(l.streams), l.data())
		}
	}
}

// The side that is dialled: the check is answered, and one of ours goes back, on the same
// connection (RFC 6544 section 7.2).
func TestPassiveSide(t *testing.T) {
	l, id := passive(t)
	if len(l.ops(machine.Dial)) != 0 {
		t.Error("the passive side dialled")
	}
	for _, s := range l.sent {
		if s.op != machine.Write || s.stream != id {
			t.Errorf("%v on stream %d", s.op, s.stream)
		}
	}
	if p := l.m.Selected(l.id); p.Remote.TCPType != ice.Active || p.Route.Stream != id || p.Route.Local != ours {
		t.Errorf("%+v", p)
	}
	l.frame(id, []byte("hi"))
	l.check(l.send("hello"))
	if got := l.data(); len(got) != 1 || string(l.sent[len(l.sent)-1].raw) != "hello" {
		t.Errorf("got %q, sent %q", got, l.sent[len(l.sent)-1].raw)
	}
	l.run(time.Minute)
	if l.state() != ice.Completed || l.streams[id] == nil {
		t.Error("the connection did not last")
	}
}

// The port that a peer's connection came from takes none: an address that the host gets later
// is no reason to dial it.
func TestTheOtherEndOfAConnectionIsNotDialled(t *testing.T) {
	l, _ := passive(t)
	for _, side := range []ice.TCPType{ice.Active, ice.Passive, ice.SimultaneousOpen} {
		at := ours2
		if side == ice.Active {
			at = netip.AddrPortFrom(ours2.Addr(), 0)
		}
		l.base(ice.Base{Transport: ice.TCP, TCPType: side, Addr: at})
	}
	l.run(10 * time.Second)
	if dials := l.ops(machine.Dial); len(dials) != 0 || len(l.m.Pairs(l.id)) != 1 {
		t.Errorf("dialled %d times; pairs %+v", len(dials), l.m.Pairs(l.id))
	}
}

// Strangers: one that says nothing for five seconds, or something else than a check, is hung
// up on; there are not many at a time.
func TestStrangersOnTCP(t *testing.T) {
	l := tcpLab(t, ice.Passive, ice.AgentConfig{})
	l.know(peerCreds)
	silent := l.accept(peerAt, ours)
	for _, say := range [][]byte{{}, []byte("GET / HTTP/1.1"), l.request(signedBy("wrong")), l.request(func(o *outgoing) { o.user = "nobody:peer" })} {
		id := l.accept(peerAt2, ours)
		l.frame(id, say)
		if l.streams[id] != nil {
			t.Errorf("still connected after %q", say)
		}
	}
	l.run(4900 * time.Millisecond)
	if l.streams[silent] == nil {
		t.Error("hung up before five seconds have passed")
	}
	l.run(200 * time.Millisecond)
	if l.streams[silent] != nil {
		t.Error("not hung up after five seconds")
	}
	nowhere := l.accept(peerAt, ours2)
	if l.streams[nowhere] != nil {
		t.Error("a connection to an address that is no base was kept")
	}
	for i := range 10000 {
		l.accept(spread(i), ours)
	}
	if n := len(l.streams); n != 64 {
		t.Errorf("%d strangers are connected", n)
	}
	if got := len(l.messages(wire.BindingSuccess, netip.AddrPort{})); got != 0 {
		t.Errorf("%d answers to strangers", got)
	}
}

// A connection whose check came before the peer's credentials is kept for them.
func TestConnectionBeforeTheAnswer(t *testing.T) {
	l := tcpLab(t, ice.Passive, ice.AgentConfig{})
	l.hosts[peerAt], l.hosts[peerAt2] = answering, answering
	id := l.accept(peerAt, ours)
	l.frame(id, l.request(nominating))
	fork := l.accept(peerAt2, ours)
	l.frame(fork, l.request(func(o *outgoing) { o.user = l.m.Credentials(l.id).Ufrag + ":fork" }))
	l.run(30 * time.Second)
	if l.streams[id] == nil {
		t.Fatal("hung up on a peer that has shown that it is one")
	}
	l.know(peerCreds)
	l.until(time.Second, ice.Completed)
	if l.streams[fork] != nil {
		t.Error("the connection of a peer that did not answer stays")
	}
	// The end of an agent ends what it holds.
	l.agent(ice.AgentConfig{})
	held := l.accept(peerAt2, ours)
	l.frame(held, l.request())
	l.do(func(now time.Time) { l.m.CloseAgent(now, l.id) })
	if l.streams[held] != nil {
		t.Error("a connection outlives its agent")
	}
}

// One that ends before the credentials come is forgotten.
func TestConnectionThatEndsBeforeTheAnswer(t *testing.T) {
	l := tcpLab(t, ice.Passive, ice.AgentConfig{})
	for i := range 100 {
		id := l.accept(spread(i), ours)
		l.frame(id, l.request())
		l.hangUp(id, nil)
	}
	l.hosts[peerAt] = answering
	id := l.accept(peerAt, ours)
	l.frame(id, l.request(nominating))
	l.hosts[spread(7)] = answering
	broken := l.accept(spread(7), ours)
	l.frame(broken, l.request(nominating, func(o *outgoing) { o.priority++ }))
	l.hangUp(broken, nil)
	l.know(peerCreds)
	l.until(time.Second, ice.Completed)
	if got := l.m.Selected(l.id).Route; got.Stream != id || len(l.m.Pairs(l.id)) != 1 {
		t.Errorf("by stream %d, %d pairs", got.Stream, len(l.m.Pairs(l.id)))
	}
}

// When the agents have agreed on a pair, all other connections are closed, working ones
// too (RFC 6544 section 8).
func TestOtherConnectionsAreClosed(t *testing.T) {
	l := emptyLab(t)
	l.tcpBase(ice.Active)
	l.base(ice.Base{Socket: 0, Addr: ours})
	l.agent(ice.AgentConfig{Controlling: true, Pace: 5 * time.Millisecond, Patience: 500 * time.Millisecond})
	l.hosts[peerAt], l.hosts[peerAt2] = answering, answering
	l.hosts[spread(2)] = func(*lab, sent) {} // accepts, and says nothing
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.Passive))
	l.candidate(peerAt2, highPriority-1, tcp(ice.Passive))
	l.candidate(spread(2), highPriority+1, tcp(ice.Passive))
	l.run(300 * time.Millisecond)
	if len(l.streams) != 3 {
		t.Fatalf("%d connections", len(l.streams))
	}
	l.until(5*time.Second, ice.Completed)
	if got := l.m.Selected(l.id).Route; len(l.streams) != 1 || l.streams[got.Stream] == nil {
		t.Errorf("%d connections are open, selected %v", len(l.streams), got)
	}
}

// A connection whose pair fails is closed.
func TestConnectionsOfFailedPairs(t *testing.T) {
	l := tcpLab(t, ice.Active, ice.AgentConfig{})
	l.hosts[peerAt] = func(*lab, sent) {}
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.Passive))
	l.run(11 * time.Second)
	if p := l.pair(peerAt); p.State != ice.PairFailed || len(l.streams) != 0 {
		t.Errorf("%v, %d connections", p.State, len(l.streams))
	}
	l = active(t)
	l.hosts[peerAt] = func(*lab, sent) {} // consent ends
	l.until(time.Minute, ice.Failed)
	if err := l.failure(); len(l.streams) != 0 || !errors.Is(err, ice.ErrConsent) {
		t.Errorf("%d connections after %v", len(l.streams), err)
	}
}

// Simultaneous open: a refusal says only that the other side has not begun yet.
func TestSimultaneousOpenIsTriedAgain(t *testing.T) {
	l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{Controlling: true})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.SimultaneousOpen))
	l.run(2 * time.Second)
	if n := len(l.ops(machine.Dial)); n < 15 || n > 35 {
		t.Errorf("dialled %d times in 2 s", n)
	}
	for _, s := range l.ops(machine.Dial) {
		if s.from != ours {
			t.Errorf("dialled from %v", s.from)
		}
	}
	l.hosts[peerAt] = answering
	l.until(2*time.Second, ice.Completed)
}

// A connection of the peer that comes in first serves the pair, and ours is not dialled.
func TestSimultaneousOpenWhereThePeerIsFirst(t *testing.T) {
	l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.SimultaneousOpen))
	l.run(60 * time.Millisecond) // refused
	dials := len(l.ops(machine.Dial))
	l.hosts[peerAt] = answering
	id := l.accept(peerAt, ours)
	l.frame(id, l.request(nominating))
	l.until(time.Second, ice.Completed)
	l.run(10 * time.Second)
	if p := l.m.Selected(l.id); p.Route.Stream != id || len(l.ops(machine.Dial)) != dials || len(l.streams) != 1 || len(l.m.Pairs(l.id)) != 1 {
		t.Errorf("by stream %d, dialled %d more times, %d connections, %d pairs", p.Route.Stream, len(l.ops(machine.Dial))-dials, len(l.streams), len(l.m.Pairs(l.id)))
	}
}

// Frames of RFC 4571 however the stream is cut: byte by byte and many at once, empty ones
// and the longest.
func TestFramesHoweverTheyCome(t *testing.T) {
	long := bytes.Repeat([]byte{0xAB}, 65535)
	var stream []byte
	for _, f := range [][]byte{[]byte("one"), {}, long, []byte("two"), []byte("three")} {
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(f))), f...)
	}
	for _, step := range []int{1, 2, 3, 1500, 65536, len(stream)} {
		l := active(t)
		id := l.m.Selected(l.id).Route.Stream
		for rest := stream; len(rest) > 0; {
			n := min(step, len(rest))
			l.bytes(id, rest[:n])
			rest = rest[n:]
		}
		if got, want := l.data(), []string{"one", "", string(long), "two", "three"}; !slices.Equal(got, want) {
			t.Errorf("%d bytes at a time: %d frames", step, len(got))
		}
	}
}

// Data that is a STUN message of somebody else's is data, framed like all of it (RFC 6544
// section 10.1; over UDP there is nothing else to be done about it).
func TestDataThatLooksLikeSTUN(t *testing.T) {
	others := [][]byte{
		outgoing{kind: wire.BindingRequest, user: "some:body", pwd: "somebodyElse", priority: 1}.bytes(),
		outgoing{kind: wire.BindingSuccess, mapped: peerAt, id: wire.TransactionID{1}}.bytes(),
		outgoing{kind: wire.MessageType{Method: wire.Allocate, Class: wire.Request}}.bytes(),
	}
	for i, l := range []*lab{active(t), completed(t, ice.AgentConfig{})} {
		for _, b := range others {
			l.check(l.sendBytes(b))
			if got := l.sent[len(l.sent)-1]; !bytes.Equal(got.raw, b) {
				t.Errorf("%d: sent %q", i, got.raw)
			}
			if id := l.m.Selected(l.id).Route.Stream; id != 0 {
				l.frame(id, b)
			} else {
				l.deliver(0, peerAt, b)
			}
		}
		if got := l.data(); fmt.Sprint(got) != fmt.Sprint([]string{string(others[0]), string(others[1]), string(others[2])}) {
			t.Errorf("%d: got %q", i, got)
		}
	}
}

// A restart does not close the connection in use, until another pair stands (RFC 6544
// section 9.2).
func TestRestartKeepsTheConnection(t *testing.T) {
	l := active(t)
	before := l.m.Selected(l.id).Route.Stream
	l.restart()
	l.run(10 * time.Second)
	if l.streams[before] == nil || l.send("x") != nil {
		t.Fatal("closed by the restart")
	}
	l.hosts[peerAt] = answeringAs(signedBy(newCreds.Pwd))
	l.know(newCreds)
	l.candidate(peerAt, highPriority, tcp(ice.Passive))
	l.run(5 * time.Second)
	if now := l.m.Selected(l.id).Route.Stream; now == before || l.streams[before] != nil || len(l.streams) != 1 {
		t.Errorf("by stream %d, before %d; %d connections", now, before, len(l.streams))
	}
}
