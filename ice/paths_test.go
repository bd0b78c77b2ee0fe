package ice_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// What those do who move data among pairs themselves.

// twoPaths makes an agent with two pairs that work.
func twoPaths(t *testing.T) *lab {
	t.Helper()
	l := newLab(t, ice.AgentConfig{Controlling: true, Multipath: true, Pace: 5 * time.Millisecond})
	l.hosts[peerAt2] = answering
	l.know(peerCreds)
	l.candidate(peerAt2, lowPriority)
	l.connected()
	l.until(time.Second, ice.Completed)
	l.run(500 * time.Millisecond)
	return l
}

func (l *lab) sendOn(r ice.Route, data string) (err error) {
	l.do(func(now time.Time) { err = l.m.SendOn(now, l.id, r, []byte(data)) })
	return err
}

func TestSendOnAnyPathThatWorks(t *testing.T) {
	l := twoPaths(t)
	other := l.pair(peerAt2).Route
	if l.m.Selected(l.id).Route == other {
		t.Fatal("the worse path was selected")
	}
	l.check(l.sendOn(other, "hello"))
	if last := l.sent[len(l.sent)-1]; last.to != peerAt2 || string(last.raw) != "hello" {
		t.Errorf("%q went to %v", last.raw, last.to)
	}
	if p := l.m.PairAt(l.id, other); p.Route != other || !p.Valid {
		t.Errorf("%+v", p)
	}
	unknown := other
	unknown.Remote = spread(1)
	if err := l.sendOn(unknown, "x"); !errors.Is(err, ice.ErrNoPair) || l.m.PairAt(l.id, unknown).IsValid() {
		t.Errorf("by a path that is none: %v", err)
	}
	l.candidate(spread(1), lowPriority-1)
	if err := l.sendOn(unknown, "x"); !errors.Is(err, ice.ErrNoPair) {
		t.Errorf("by a path that does not work: %v", err)
	}
}

// Authentic data from a new address is a reason for a check there, and for no more.
func TestHeardFromANewAddress(t *testing.T) {
	l := twoPaths(t)
	moved := spread(1)
	l.do(func(now time.Time) { l.m.Heard(now, l.id, 0, ours, moved) })
	l.run(time.Millisecond)
	if len(l.requests(moved)) != 1 || l.pair(moved).Valid {
		t.Errorf("%d checks, valid %v", len(l.requests(moved)), l.pair(moved).Valid)
	}
	l.hosts[moved] = answering
	l.run(time.Second)
	if !l.pair(moved).Valid {
		t.Errorf("not valid after an answer\n%v", l.story())
	}
	before := len(l.sent)
	for _, bad := range []string{"127.0.0.1:5000", "169.254.169.254:5000", "198.51.100.1:53", "224.0.0.1:5000"} {
		l.do(func(now time.Time) { l.m.Heard(now, l.id, 0, ours, netip.MustParseAddrPort(bad)) })
	}
	l.do(func(now time.Time) { l.m.Heard(now, l.id, 77, ours, moved) })
	l.run(time.Millisecond)
	if len(l.sent) != before {
		t.Error("checks to where no peer can be")
	}
}

// A path that is thought to be dead carries nothing until it was answered again.
func TestSuspectedPath(t *testing.T) {
	l := twoPaths(t)
	doubted := l.m.Selected(l.id).Route
	l.do(func(now time.Time) { l.m.Suspect(now, l.id, doubted) })
	if got := l.m.Selected(l.id).Route; got == doubted || l.sendOn(doubted, "x") == nil {
		t.Error("the path is still used")
	}
	l.run(time.Second)
	if got := l.m.Selected(l.id).Route; got != doubted {
		t.Errorf("by %v, though the better path was answered", got)
	}
}

// What has failed is checked once more, but for what consent was lost of, and connections
// that are the peer's to open.
func TestRecheck(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Multipath: true, Timeout: -1})
	l.tcpBase(ice.Passive)
	l.hosts[peerAt2] = first(1, answering, answeringAs(refusing(wire.CodeForbidden, "Forbidden")))
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.candidate(peerAt2, lowPriority)
	l.hosts[spread(1)] = answering
	id := l.accept(spread(1), ours)
	l.frame(id, l.request())
	l.run(20 * time.Second)
	l.hangUp(id, errors.New("reset"))
	l.run(31 * time.Second)
	for _, at := range []netip.AddrPort{peerAt, peerAt2, spread(1)} {
		if p := l.pair(at); p.State != ice.PairFailed {
			t.Fatalf("%v: %v\n%v", at, p.State, l.story())
		}
	}
	dials, revoked := len(l.ops(machine.Dial)), len(l.requests(peerAt2))
	l.hosts[peerAt], l.hosts[peerAt2] = answering, answering
	l.do(func(now time.Time) { l.m.Recheck(now, l.id) })
	l.run(20 * time.Second)
	if !l.pair(peerAt).Valid {
		t.Error("what had failed was not checked once more")
	}
	if len(l.requests(peerAt2)) != revoked {
		t.Error("a path was checked whose consent was revoked")
	}
	if len(l.ops(machine.Dial)) != dials {
		t.Error("the passive side dialled")
	}
}

// A candidate that is withdrawn is not checked any more; a path that works is used as long
// as it does.
func TestWithdrawnCandidates(t *testing.T) {
	l := twoPaths(t)
	l.candidate(spread(1), lowPriority-1)
	l.run(50 * time.Millisecond)
	before := len(l.requests(spread(1)))
	for _, at := range []netip.AddrPort{spread(1), peerAt2, spread(9)} {
		l.do(func(now time.Time) { l.m.Withdraw(now, l.id, at) })
	}
	l.run(5 * time.Second)
	if l.has(spread(1)) || len(l.requests(spread(1))) != before {
		t.Error("a withdrawn candidate is still checked")
	}
	if !l.pair(peerAt2).Valid {
		t.Error("a path that works was dropped")
	}
}

// Tidy drops what has failed, and nothing that works.
func TestTidy(t *testing.T) {
	l := twoPaths(t)
	for i := range 20 {
		l.candidate(spread(i), uint32(lowPriority-1-i))
	}
	l.run(20 * time.Second)
	l.do(func(time.Time) { l.m.Tidy(l.id) })
	if len(l.m.Pairs(l.id)) != 2 || l.state() != ice.Completed || l.sendOn(l.pair(peerAt2).Route, "x") != nil {
		t.Errorf("%d pairs, %v", len(l.m.Pairs(l.id)), l.state())
	}
	l.hosts[spread(3)] = answering
	l.do(func(now time.Time) { l.m.Recheck(now, l.id) }) // brings back what Tidy has dropped
	l.run(5 * time.Second)
	if !l.pair(spread(3)).Valid {
		t.Error("a candidate was forgotten")
	}
}

// A base for one agent is nobody else's, and is paired with nothing but what is heard there.
func TestABaseForOneAgent(t *testing.T) {
	l := twoPaths(t)
	hole, punched := netip.AddrPortFrom(ours.Addr(), ours.Port()+1), spread(1)
	l.sockets[7] = hole
	var id ice.BaseID
	var other ice.AgentID
	var err error
	l.do(func(now time.Time) {
		if other, err = l.m.NewAgent(now, ice.AgentConfig{Multipath: true, Pace: 5 * time.Millisecond}); err == nil {
			id, err = l.m.AddBase(now, ice.Base{Socket: 7, Addr: hole, Agent: l.id})
		}
	})
	l.check(err)
	sent, told := len(l.sent), l.story()
	l.run(time.Second)
	for _, m := range l.sent[sent:] {
		if m.socket == 7 {
			t.Errorf("a message left for %v", m.to)
		}
	}
	for _, c := range l.m.Candidates(other) {
		if c.Candidate.Addr == hole {
			t.Error("another agent has it")
		}
	}
	for _, e := range l.events {
		if e.Kind == ice.EventCandidate && e.Candidate.Addr == hole {
			t.Errorf("it was told\n%v", told)
		}
	}
	l.hosts[punched] = answering
	l.do(func(now time.Time) {
		l.m.Heard(now, other, 7, hole, punched)
		l.m.Heard(now, l.id, 7, hole, punched)
	})
	l.run(time.Second)
	if p := l.pair(punched); !p.Valid || p.Route.Socket != 7 {
		t.Errorf("%+v", p)
	}
	l.do(func(now time.Time) { l.m.CloseAgent(now, l.id) })
	l.do(func(now time.Time) {
		if _, err = l.m.AddBase(now, ice.Base{Socket: 7, Addr: hole, Agent: l.id}); err == nil {
			t.Error("a base for an agent that is closed")
		}
		l.m.RemoveBase(now, id)
	})
}
