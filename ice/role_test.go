package ice_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

// breaker is the tie-breaker of the agent, which a check has told.
func (l *lab) breaker(s sent) uint64 {
	if v, ok := s.msg().ICEControlling(); ok {
		return v
	}
	v, _ := s.msg().ICEControlled()
	return v
}

// Both roles against a peer in the same role, whose tie-breaker is less, equal and greater
// (RFC 8445 section 7.3.1.1: "larger than or equal").
func TestRoleConflictInChecksOfThePeer(t *testing.T) {
	for _, c := range []struct {
		controlling bool
		peer        int // its tie-breaker less ours
		switches    bool
	}{
		{true, -1, false}, {true, 0, false}, {true, 1, true},
		{false, -1, true}, {false, 0, true}, {false, 1, false},
	} {
		l := newLab(t, ice.AgentConfig{Controlling: c.controlling})
		l.know(peerCreds)
		l.candidate(peerAt, highPriority)
		l.run(10 * time.Millisecond)
		ours := l.breaker(l.requests(peerAt)[0])
		role := wire.AttrICEControlled
		if c.controlling {
			role = wire.AttrICEControlling
		}
		before := len(l.sent)
		l.ask(peerAt2, inRole(role, ours+uint64(c.peer)))
		if got := l.m.Controlling(l.id) != c.controlling; got != c.switches {
			t.Errorf("%+v: switches %v", c, got)
		}
		m := l.sent[before].msg()
		code, _, _ := m.ErrorCode()
		if c.switches && m.Class() != wire.Success || !c.switches && (code != wire.CodeRoleConflict || m.CheckIntegrity([]byte(l.m.Credentials(l.id).Pwd)) != nil) {
			t.Errorf("%+v: answered %v %d", c, m.Class(), code)
		}
		if l.has(peerAt2) != c.switches { // what is refused is not processed further
			t.Errorf("%+v: learned %v", c, !c.switches)
		}
		if got := len(l.all(ice.EventRole)) == 1; got != c.switches {
			t.Errorf("%+v: told %v", c, got)
		}
	}
}

// No conflict: the other role, or none, as agents have it that know no roles.
func TestNoRoleConflict(t *testing.T) {
	for _, change := range []script{withoutRole, inRole(wire.AttrICEControlling, 1<<63)} {
		l := newLab(t, ice.AgentConfig{})
		l.know(peerCreds)
		l.ask(peerAt, change)
		if l.m.Controlling(l.id) || len(l.messages(wire.BindingSuccess, peerAt)) != 1 {
			t.Error("a conflict was seen")
		}
	}
}

// After 487 the agent switches, takes a new tie-breaker, orders its pairs anew and repeats
// the check at once (RFC 8445 section 7.2.5.1).
func TestRoleConflictAnswered(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		l := newLab(t, ice.AgentConfig{Controlling: controlling})
		l.hosts[peerAt] = first(1, answeringAs(refusing(wire.CodeRoleConflict, "Role Conflict")), nil)
		l.know(peerCreds)
		l.candidate(peerAt, lowPriority)
		before := l.pair(peerAt).Priority
		l.run(2*l.delay + time.Millisecond)
		if l.m.Controlling(l.id) == controlling || len(l.all(ice.EventRole)) != 1 {
			t.Fatal("the role did not change")
		}
		checks := l.requests(peerAt)
		last := checks[len(checks)-1]
		if last.at != 2*l.delay {
			t.Errorf("no check at once: the last at %v", last.at)
		}
		_, isControlling := last.msg().ICEControlling()
		if isControlling == controlling || l.breaker(last) == l.breaker(checks[0]) {
			t.Errorf("controlling %v, tie-breaker %v and before %v", isControlling, l.breaker(last), l.breaker(checks[0]))
		}
		if p := l.pair(peerAt); p.Priority == before || p.State != ice.InProgress {
			t.Errorf("%v, priority %d and before %d", p.State, p.Priority, before)
		}
	}
}

// Of several checks that are answered by 487, one switches the role.
func TestManyRoleConflicts(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true, Pace: 5 * time.Millisecond})
	at := []netip.AddrPort{peerAt, peerAt2, spread(1)}
	for _, a := range at {
		l.hosts[a] = first(1, answeringAs(refusing(wire.CodeRoleConflict, "Role Conflict")), answering)
	}
	l.know(peerCreds)
	for i, a := range at {
		l.candidate(a, uint32(highPriority-i))
	}
	l.until(time.Second, ice.Connected)
	l.run(100 * time.Millisecond)
	if l.m.Controlling(l.id) || len(l.all(ice.EventRole)) != 1 {
		t.Errorf("controlling %v after %d changes", l.m.Controlling(l.id), len(l.all(ice.EventRole)))
	}
}

// A peer that answers nothing but 487 gets no more checks than one that is silent may.
func TestEndlessRoleConflict(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true})
	l.delay = 6 * time.Millisecond
	l.hosts[peerAt] = answeringAs(refusing(wire.CodeRoleConflict, "Role Conflict"))
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.until(time.Minute, ice.Failed)
	if n := len(l.requests(peerAt)); n > 450 {
		t.Errorf("%d checks", n)
	}
}

// Two agents that both want to control, or both do not, connect all the same.
func TestRoleConflictBetweenAgents(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		for seed := range uint64(*seeds) {
			w := newWorld(t, seed+1, "port-restricted-cone", "full-cone", 0)
			for _, p := range w.peers {
				p.cfg.Controlling = controlling
			}
			w.offer()
			if !w.connect(10 * time.Second) {
				t.Fatalf("seed %d, both controlling %v: %v, %v", seed+1, controlling, w.peers[0].m.State(w.peers[0].id), w.peers[1].m.State(w.peers[1].id))
			}
			a, b := w.peers[0].m.Selected(w.peers[0].id), w.peers[1].m.Selected(w.peers[1].id)
			if w.peers[0].m.Controlling(w.peers[0].id) == w.peers[1].m.Controlling(w.peers[1].id) || a.Local.Addr != b.Remote.Addr || b.Local.Addr != a.Remote.Addr {
				t.Errorf("seed %d: %v and %v", seed+1, a, b)
			}
		}
	}
}
