package ice_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

// nominations are the checks with USE-CANDIDATE.
func (l *lab) nominations() (all []sent) {
	for _, s := range l.requests(netip.AddrPort{}) {
		if s.msg().UseCandidate() {
			all = append(all, s)
		}
	}
	return all
}

// Regular nomination: the check of a pair that works is repeated with USE-CANDIDATE, once
// (RFC 8445 section 8.1.1); data goes before that (section 12.1), and afterwards by the
// nominated pair alone.
func TestNomination(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true})
	l.connected()
	if at := l.all(ice.EventSelected)[0].At; !at.Equal(l.start.Add(2 * l.delay)) {
		t.Errorf("data could be sent at %v", at.Sub(l.start))
	}
	l.until(time.Second, ice.Completed)
	n := l.nominations()
	if len(n) != 1 || n[0].to != peerAt || n[0].msg().TransactionID() == l.requests(peerAt)[0].msg().TransactionID() {
		t.Errorf("%d nominations", len(n))
	}
	if p := l.m.Selected(l.id); !p.Nominated || !p.Selected {
		t.Errorf("%+v", p)
	}
	l.run(time.Minute)
	if len(l.nominations()) != 1 {
		t.Error("nominated again")
	}
}

// A better pair that may still win is waited for, for as long as a pair that is as good as
// it claims takes, and never for a fixed time.
func TestNominationWaitsForWhatMayBeBetter(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      ice.AgentConfig
		better   time.Duration // one way; 0: it does not answer
		want     netip.AddrPort
		earliest time.Duration
		latest   time.Duration
	}{
		{"nothing better", ice.AgentConfig{}, -1, peerAt, 40 * time.Millisecond, 50 * time.Millisecond},
		{"better and a little slower", ice.AgentConfig{}, 25 * time.Millisecond, peerAt2, 50 * time.Millisecond, 60 * time.Millisecond},
		{"better and silent", ice.AgentConfig{}, 0, peerAt, 60 * time.Millisecond, 65 * time.Millisecond},
		{"better and silent, a patient user", ice.AgentConfig{Patience: time.Second}, 0, peerAt, time.Second, 1100 * time.Millisecond},
		{"better, slow, an impatient user", ice.AgentConfig{Patience: -1}, 25 * time.Millisecond, peerAt, 45 * time.Millisecond, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Controlling, c.cfg.Pace = true, 5*time.Millisecond
			l := newLab(t, c.cfg)
			l.hosts[peerAt] = answering
			if c.better > 0 {
				l.hosts[peerAt2] = func(l *lab, s sent) {
					l.at(2*(c.better-l.delay), func() { answering(l, s) })
				}
			}
			l.know(peerCreds)
			if c.better >= 0 {
				l.candidate(peerAt2, highPriority)
			}
			l.candidate(peerAt, lowPriority)
			l.until(5*time.Second, ice.Completed)
			n := l.nominations()[0]
			if n.to != c.want || n.at < c.earliest || n.at > c.latest {
				t.Errorf("nominated %v at %v, want %v from %v to %v", n.to, n.at, c.want, c.earliest, c.latest)
			}
		})
	}
}

// The nomination is sent again until it is answered: a lost one costs no half second.
func TestLostNomination(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true})
	l.hosts[peerAt] = func(l *lab, s sent) {
		if !s.msg().UseCandidate() || len(l.nominations()) > 2 {
			answering(l, s)
		}
	}
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.until(time.Second, ice.Completed)
	if got := len(l.nominations()); got != 3 || l.elapsed() > 210*time.Millisecond {
		t.Errorf("%d nominations, completed after %v", got, l.elapsed())
	}
}

// Once a nomination was answered, there is no second one in the session, even when the
// pair is lost (RFC 8445 section 8.1.1): data then goes by another that works.
func TestNoSecondNomination(t *testing.T) {
	for name, lose := range map[string]func(l *lab){
		"silence": func(l *lab) { l.hosts[peerAt] = nil },
		"revoked": func(l *lab) { l.hosts[peerAt] = answeringAs(refusing(wire.CodeForbidden, "Forbidden")) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, ice.AgentConfig{Controlling: true, Pace: 5 * time.Millisecond})
			l.hosts[peerAt2] = answering
			l.know(peerCreds)
			l.candidate(peerAt2, lowPriority)
			l.connected()
			l.until(time.Second, ice.Completed)
			lose(l)
			l.until(time.Minute, ice.Connected) // and not Completed
			if got := l.m.Selected(l.id); got.Route.Remote != peerAt2 || got.Nominated {
				t.Errorf("selected %v, nominated %v", got.Route.Remote, got.Nominated)
			}
			l.run(2 * time.Minute)
			if got := len(l.nominations()); got != 1 || l.state() != ice.Connected {
				t.Errorf("%d nominations, %v", got, l.state())
			}
		})
	}
}

// A peer that refuses the nomination fails that pair (RFC 8445 section 7.2.5.3.4); as
// nothing has been nominated then, another may be.
func TestNominationThatIsRefused(t *testing.T) {
	refusingNominations := func(l *lab, s sent) {
		if s.msg().UseCandidate() {
			l.reply(s, answer(s, refusing(wire.CodeBadRequest, "Bad Request")))
			return
		}
		answering(l, s)
	}
	l := newLab(t, ice.AgentConfig{Controlling: true, Pace: 5 * time.Millisecond})
	l.hosts[peerAt], l.hosts[peerAt2] = refusingNominations, answering
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.candidate(peerAt2, lowPriority)
	l.until(time.Second, ice.Completed)
	if p := l.pair(peerAt); p.State != ice.PairFailed || p.Valid || p.Err == nil {
		t.Errorf("the pair that was refused: %+v", p)
	}
	if got := l.m.Selected(l.id).Route.Remote; got != peerAt2 {
		t.Errorf("selected %v", got)
	}
}

// The controlled side takes what is nominated, once it has succeeded itself (RFC 8445
// section 7.3.1.5).
func TestNominationByThePeer(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.connected()
	l.run(time.Second)
	if l.state() != ice.Connected {
		t.Fatalf("%v before any nomination", l.state())
	}
	l.ask(peerAt, nominating)
	if l.state() != ice.Completed {
		t.Errorf("%v: a pair that had succeeded was nominated", l.state())
	}
}

func TestNominationBeforeThePairSucceeded(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	l.ask(peerAt, nominating)
	l.run(100 * time.Millisecond)
	if l.state() != ice.Checking {
		t.Fatalf("%v: a pair that has not succeeded was selected", l.state())
	}
	l.hosts[peerAt] = answering
	l.until(time.Second, ice.Completed)
}

// Only the controlling side nominates.
func TestNominationByAControlledPeer(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true, Patience: time.Hour})
	l.know(peerCreds)
	l.candidate(peerAt2, highPriority) // which is waited for
	l.connected()
	l.ask(peerAt, nominating)
	l.run(100 * time.Millisecond)
	if l.state() != ice.Connected {
		t.Errorf("%v by the nomination of a controlled peer", l.state())
	}
}

// Of several pairs that an agent of RFC 5245 nominates, the one of the highest priority is
// used (RFC 8445 section 8.1.1), in whatever order they come.
func TestAggressivePeer(t *testing.T) {
	for _, order := range [][2]netip.AddrPort{{peerAt, peerAt2}, {peerAt2, peerAt}} {
		l := newLab(t, ice.AgentConfig{})
		l.hosts[peerAt], l.hosts[peerAt2] = answering, answering
		l.know(peerCreds)
		l.candidate(peerAt, highPriority)
		l.candidate(peerAt2, lowPriority)
		for _, from := range order {
			l.ask(from, nominating)
			l.run(200 * time.Millisecond)
		}
		if got := l.m.Selected(l.id).Route.Remote; got != peerAt || l.state() != ice.Completed {
			t.Errorf("nominated in the order %v: selected %v, %v", order, got, l.state())
		}
	}
}

// After the nomination no other pair is checked, checks of the peer are still answered, and
// a pair that the peer goes on to check may become the spare (RFC 8445 section 8.1.2).
func TestAfterTheNomination(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true, Pace: 5 * time.Millisecond})
	l.know(peerCreds)
	for i := range 20 {
		l.candidate(spread(i), uint32(lowPriority-i))
	}
	l.connected()
	l.until(time.Second, ice.Completed)
	before := len(l.requests(netip.AddrPort{})) - len(l.requests(peerAt))
	l.run(3 * time.Second)
	if got := len(l.requests(netip.AddrPort{})) - len(l.requests(peerAt)); got != before {
		t.Errorf("%d checks of other pairs after the nomination", got-before)
	}
	l.hosts[spread(3)] = answering
	l.ask(spread(3))
	l.run(100 * time.Millisecond)
	if p := l.pair(spread(3)); len(l.messages(wire.BindingSuccess, spread(3))) != 1 || !p.Valid || p.Selected {
		t.Errorf("%+v", p)
	}
}

// Where the pair that was nominated is lost and there is no other, the agent has failed.
func TestNominatedPairIsLost(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true}).connected()
	l.until(time.Second, ice.Completed)
	l.hosts[peerAt] = answeringAs(refusing(wire.CodeForbidden, "Forbidden"))
	l.until(10*time.Second, ice.Failed)
	if err := l.failure(); !errors.Is(err, ice.ErrConsent) {
		t.Error(err)
	}
	if err := l.m.Send(l.now, l.id, []byte("x")); !errors.Is(err, ice.ErrNoPair) {
		t.Errorf("sending: %v", err)
	}
}

// A peer that is an ICE-lite agent sends no checks, and we control (RFC 8445 sections 2.5
// and 6.1.1).
func TestLitePeer(t *testing.T) {
	l := newLab(t, ice.AgentConfig{PeerIsLite: true}).connected()
	l.until(time.Second, ice.Completed)
	if !l.m.Controlling(l.id) || len(l.nominations()) != 1 {
		t.Errorf("controlling %v, %d nominations", l.m.Controlling(l.id), len(l.nominations()))
	}
	l.hosts[peerAt] = answeringAs(refusing(wire.CodeRoleConflict, "Role Conflict"))
	l.run(20 * time.Second)
	if !l.m.Controlling(l.id) {
		t.Error("a lite peer made us give up control")
	}
	l.hosts[peerAt] = answering
	l.deliver(0, peerAt, []byte("data"))
	if got := l.data(); len(got) != 1 || got[0] != "data" {
		t.Errorf("data %q", got)
	}
}

// Multipath: every pair that works stays usable, and the agent moves to the best one that
// answers without a further nomination, and back.
func TestMultipath(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true, Multipath: true, Pace: 5 * time.Millisecond})
	l.hosts[peerAt2] = answering
	l.know(peerCreds)
	l.candidate(peerAt2, lowPriority)
	l.connected()
	l.until(time.Second, ice.Completed)
	l.run(5 * time.Second)
	if got := l.m.Selected(l.id).Route.Remote; got != peerAt {
		t.Fatalf("selected %v", got)
	}
	l.hosts[peerAt] = nil
	moved := func(to netip.AddrPort) func() bool {
		return func() bool { return l.m.Selected(l.id).Route.Remote == to }
	}
	if !l.runUntil(14*time.Second, moved(peerAt2)) || !l.state().Usable() {
		t.Fatalf("stays at %v, %v", l.m.Selected(l.id).Route.Remote, l.state())
	}
	l.hosts[peerAt] = answering
	if !l.runUntil(7*time.Second, moved(peerAt)) {
		t.Fatal("does not move back")
	}
	late := netip.AddrPortFrom(peerAt.Addr(), 5999)
	l.hosts[late] = answering
	l.candidate(late, highPriority+1) // candidates still count
	if !l.runUntil(time.Second, moved(late)) {
		t.Error("does not move to a better pair that comes later")
	}
	if got := len(l.nominations()); got != 1 {
		t.Errorf("%d nominations", got)
	}
}
