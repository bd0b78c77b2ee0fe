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

// The checks that an agent sends, and what it makes of the answers (RFC 8445 section 7.2).

func TestWhatChecksSay(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		l := newLab(t, ice.AgentConfig{Controlling: controlling})
		l.know(peerCreds)
		l.candidate(peerAt, highPriority)
		l.run(40 * time.Millisecond)
		checks := l.requests(peerAt)
		if len(checks) == 0 {
			t.Fatal("no check was sent")
		}
		m := checks[0].msg()
		if user, _ := m.Username(); string(user) != peerCreds.Ufrag+":"+l.m.Credentials(l.id).Ufrag {
			t.Errorf("USERNAME %q", user)
		}
		if m.CheckIntegrity([]byte(peerCreds.Pwd)) != nil || m.CheckFingerprint() != nil {
			t.Error("not signed with the peer's password, or without FINGERPRINT")
		}
		_, isControlling := m.ICEControlling()
		_, isControlled := m.ICEControlled()
		if isControlling != controlling || isControlled == controlling {
			t.Errorf("controlling %v: ICE-CONTROLLING %v, ICE-CONTROLLED %v", controlling, isControlling, isControlled)
		}
		if m.UseCandidate() {
			t.Error("the first check nominates: that is aggressive nomination")
		}
	}
}

// The PRIORITY of a check is that of the candidate with the type preference of
// peer-reflexive ones (RFC 8445 section 7.1.1).
func TestPriorityOfChecks(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	own := l.last(ice.EventCandidate).Candidate.Priority
	got, _ := l.requests(peerAt)[0].msg().Priority()
	if want := uint32(110<<24) | own&(1<<24-1); got != want {
		t.Errorf("PRIORITY %#x, want %#x", got, want)
	}
}

// An answer from elsewhere than the check went to, or that came to elsewhere than it left
// from, fails the pair (RFC 8445 section 7.2.5.2.1).
func TestAsymmetricAnswers(t *testing.T) {
	for name, misroute := range map[string]host{
		"from elsewhere": func(l *lab, s sent) { l.deliver(s.socket, peerAt2, answer(s)) },
		"to elsewhere":   func(l *lab, s sent) { l.deliver(1, s.to, answer(s)) },
	} {
		t.Run(name, func(t *testing.T) {
			l := emptyLab(t)
			l.base(ice.Base{Socket: 0, Addr: ours})
			l.base(ice.Base{Socket: 1, Addr: ours2})
			l.agent(ice.AgentConfig{})
			l.hosts[peerAt] = func(l *lab, s sent) {
				if s.from == ours {
					misroute(l, s)
				}
			}
			l.know(peerCreds)
			l.candidate(peerAt, highPriority)
			l.run(200 * time.Millisecond)
			for _, p := range l.m.Pairs(l.id) {
				if p.Local.Addr == ours && (p.State != ice.PairFailed || p.Valid) {
					t.Errorf("%v, valid %v", p.State, p.Valid)
				}
				if p.Local.Addr == ours2 && p.State == ice.PairFailed {
					t.Error("the pair that was not answered failed")
				}
			}
		})
	}
}

// A socket with several addresses that cannot tell which of them an answer came to is no
// reason to distrust the answer.
func TestAnswersWhereTheAddressIsNotTold(t *testing.T) {
	l := emptyLab(t)
	l.base(ice.Base{Socket: 0, Shared: true, Addr: ours})
	l.base(ice.Base{Socket: 0, Shared: true, Addr: ours2})
	l.agent(ice.AgentConfig{})
	l.hosts[peerAt] = func(l *lab, s sent) {
		if s.from == ours2 {
			l.do(func(now time.Time) {
				l.m.HandleDatagram(now, machine.Datagram{Socket: 0, Local: netip.AddrPortFrom(netip.IPv4Unspecified(), ours.Port()), Remote: s.to, Data: answer(s)})
			})
		}
	}
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(200 * time.Millisecond)
	if l.state() != ice.Connected || l.m.Selected(l.id).Local.Addr != ours2 {
		t.Errorf("%v\n%v", l.state(), l.story())
	}
}

// What comes to an address of the host that is no base is not for us.
func TestDatagramsToOtherAddresses(t *testing.T) {
	l := emptyLab(t)
	l.base(ice.Base{Socket: 0, Shared: true, Addr: ours})
	l.agent(ice.AgentConfig{})
	l.know(peerCreds)
	for _, c := range []struct {
		at   netip.Addr
		want bool
	}{
		{ours.Addr(), true}, {netip.AddrFrom16(ours.Addr().As16()), true}, {netip.IPv4Unspecified(), true}, {netip.Addr{}, true}, {ours2.Addr(), false},
	} {
		before := len(l.sent)
		l.do(func(now time.Time) {
			l.m.HandleDatagram(now, machine.Datagram{Socket: 0, Local: netip.AddrPortFrom(c.at, ours.Port()), Remote: peerAt, Data: l.request()})
		})
		if got := len(l.sent) > before; got != c.want {
			t.Errorf("at %v: answered %v", c.at, got)
		}
	}
}

// An answer that is not signed, or not as it must be, changes nothing: the true one may
// still come.
func TestForgedAnswersDoNotSpoilTheTrueOne(t *testing.T) {
	for name, forge := range map[string]script{
		"unsigned":          unsigned,
		"signed otherwise":  signedBy("notThePasswordOfThePeer"),
		"unsigned error":    func(o *outgoing) { refusing(400, "Bad Request")(o); unsigned(o) },
		"unsigned conflict": func(o *outgoing) { refusing(wire.CodeRoleConflict, "Role Conflict")(o); unsigned(o) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, ice.AgentConfig{})
			l.hosts[peerAt] = func(l *lab, s sent) {
				l.deliver(0, peerAt, answer(s, forge))
				if p := l.pair(peerAt); p.State != ice.InProgress || p.Valid {
					t.Errorf("after a forged answer: %v", p.State)
				}
				l.deliver(0, peerAt, answer(s))
			}
			l.know(peerCreds)
			l.candidate(peerAt, highPriority)
			l.run(30 * time.Millisecond)
			if l.state() != ice.Connected || l.m.Controlling(l.id) {
				t.Errorf("%v, controlling %v", l.state(), l.m.Controlling(l.id))
			}
		})
	}
}

// An answer to none of our checks changes nothing.
func TestAnswersToNothing(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.hosts[peerAt] = answeringAs(func(o *outgoing) { o.id[0]++ })
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(time.Second)
	if p := l.pair(peerAt); p.Valid || p.Answered != 0 {
		t.Errorf("%+v", p)
	}
}

// An error that nothing can be done about fails the pair (RFC 8445 section 7.2.5.2.4), and
// so does a success that needs what we do not know, or that lacks the mapped address.
func TestAnswersThatFailThePair(t *testing.T) {
	for name, wrong := range map[string]script{
		"400":               refusing(wire.CodeBadRequest, "Bad Request"),
		"500":               refusing(wire.CodeServerError, "Server Error"),
		"300":               refusing(wire.CodeTryAlternate, "Try Alternate"),
		"unknown attribute": with(func(b *wire.Builder) { b.AddUint32(0x7FFF, 1) }),
		"no mapped address": mappedTo(netip.AddrPort{}),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, ice.AgentConfig{})
			l.hosts[peerAt] = answeringAs(wrong)
			l.know(peerCreds)
			l.candidate(peerAt, highPriority)
			l.run(100 * time.Millisecond)
			if p := l.pair(peerAt); p.State != ice.PairFailed || p.Err == nil {
				t.Errorf("%v for %v", p.State, p.Err)
			}
			before := len(l.sent)
			l.run(5 * time.Second)
			if len(l.sent) != before {
				t.Error("the pair is checked on")
			}
		})
	}
}

// An agent must not follow ALTERNATE-SERVER (RFC 8445 section 7.3).
func TestAlternateServerIsNotFollowed(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.hosts[peerAt] = answeringAs(func(o *outgoing) {
		refusing(wire.CodeTryAlternate, "Try Alternate")(o)
		o.more = func(b *wire.Builder) { b.AddAddress(wire.AttrAlternateServer, peerAt2) }
	})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(10 * time.Second)
	if len(l.requests(peerAt)) == 0 || len(l.requests(peerAt2)) != 0 {
		t.Errorf("%d checks to the peer, %d to where it redirects", len(l.requests(peerAt)), len(l.requests(peerAt2)))
	}
}

// What an optional attribute says that we do not know is passed over.
func TestUnknownOptionalAttributes(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.hosts[peerAt] = answeringAs(with(func(b *wire.Builder) { b.AddUint32(0xFFFF, 1) }))
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.until(time.Second, ice.Connected)
}

// What stands behind MESSAGE-INTEGRITY is anybody's (RFC 8489 section 9.1): a mapped
// address from there is none.
func TestAttributesBehindIntegrity(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.hosts[peerAt] = func(l *lab, s sent) {
		b := answer(s, mappedTo(netip.AddrPort{}), func(o *outgoing) { o.bare = true })
		l.deliver(0, peerAt, appendXORMapped(b, s.from))
	}
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(100 * time.Millisecond)
	if p := l.pair(peerAt); p.Valid {
		t.Errorf("valid by a mapped address that nobody signed: %+v", p)
	}
}

// appendXORMapped appends XOR-MAPPED-ADDRESS behind a message that is signed already.
func appendXORMapped(b []byte, a netip.AddrPort) []byte {
	var other wire.Builder
	other.Reset(wire.BindingSuccess, wire.TransactionID(b[8:20]))
	other.AddXORAddress(wire.AttrXORMappedAddress, a)
	b = append(append([]byte(nil), b...), other.Bytes()[wire.HeaderSize:]...)
	b[2], b[3] = byte((len(b)-wire.HeaderSize)>>8), byte(len(b)-wire.HeaderSize)
	return b
}

// Our address as the peer sees it, if it is new, is a peer-reflexive candidate with the
// PRIORITY of the check (RFC 8445 section 7.2.5.3.1).
func TestPeerReflexiveLocalCandidate(t *testing.T) {
	outside := netip.MustParseAddrPort("203.0.113.99:41234")
	l := newLab(t, ice.AgentConfig{})
	l.hosts[peerAt] = answeringAs(mappedTo(outside))
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.until(time.Second, ice.Connected)
	got := l.m.Selected(l.id).Local
	priority, _ := l.requests(peerAt)[0].msg().Priority()
	if got.Type != ice.PeerReflexive || got.Addr != outside || got.Priority != priority || got.Related != ours {
		t.Errorf("%+v", got)
	}
	if _, err := ice.ParseCandidate(got.String()); err != nil {
		t.Error(err)
	}
	if len(l.m.Pairs(l.id)) != 1 {
		t.Error("it is paired with the peer's candidates")
	}
}

// The schedule: the best five pairs are checked at once and again soon, every check a
// transaction of its own; the others as RFC 8445 section 14.3 retransmits. A pair has ten
// seconds.
func TestScheduleOfChecks(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Pace: 5 * time.Millisecond, Timeout: -1})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(20 * time.Second)
	var at []time.Duration
	ids := make(map[wire.TransactionID]bool)
	for _, s := range l.requests(peerAt) {
		at = append(at, s.at)
		ids[s.msg().TransactionID()] = true
	}
	if len(ids) != len(at) {
		t.Errorf("%d checks in %d transactions", len(at), len(ids))
	}
	want := []time.Duration{0, 33, 66, 132, 265, 531, 1064, 2130, 4130, 6130, 8130}
	for i := range want {
		want[i] *= time.Millisecond
	}
	compareTimes(t, at, want)
	if p := l.pair(peerAt); p.State != ice.PairFailed {
		t.Errorf("%v after 20 s", p.State)
	}
}

func compareTimes(t *testing.T, got, want []time.Duration) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("at %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("at %v, want %v", got, want)
		}
	}
}

// Pairs behind the best five are not checked again before 500 ms have passed (RFC 8445
// section 14.3: no RTO below that).
func TestRetransmissionTime(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Pace: 5 * time.Millisecond, Timeout: -1})
	l.know(peerCreds)
	for i := range 12 {
		l.candidate(spread(i), uint32(highPriority-i))
	}
	l.run(20 * time.Second)
	for i := range 12 {
		checks := l.requests(spread(i))
		if i < 5 {
			continue
		}
		for j := 1; j < len(checks); j++ {
			if gap := checks[j].at - checks[j-1].at; gap < 500*time.Millisecond {
				t.Errorf("pair %d: checks %v apart", i, gap)
			}
		}
	}
}

// spread is the address of one of many hosts.
func spread(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 6000)
}

// An answer that comes late, when the check was followed by others, counts (RFC 8445
// section 7.3.1.4: a check that is cancelled may still be answered).
func TestLateAnswersCount(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.hosts[peerAt] = first(1, func(l *lab, s sent) {
		l.at(3*time.Second, func() { l.reply(s, answer(s)) })
	}, nil)
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(time.Second)
	l.ask(peerAt) // triggers another check, and so cancels those before
	l.run(3 * time.Second)
	if l.state() != ice.Connected {
		t.Errorf("%v\n%v", l.state(), l.story())
	}
}

// ICMP is a hint: it says why a pair fails, and fails none (RFC 8445 section 7.2.5.2.2
// leaves that to the agent, because anybody can forge it).
func TestICMPErrorsAreHints(t *testing.T) {
	unreachable := errors.New("port unreachable")
	l := newLab(t, ice.AgentConfig{Timeout: 15 * time.Second})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(50 * time.Millisecond)
	l.notice(machine.Notice{Kind: machine.Unreachable, Socket: 0, Remote: peerAt, Err: unreachable})
	if p := l.pair(peerAt); p.State != ice.InProgress {
		t.Errorf("%v after an ICMP error", p.State)
	}
	l.run(11 * time.Second)
	if p := l.pair(peerAt); p.State != ice.PairFailed || !errors.Is(p.Err, unreachable) {
		t.Errorf("%v for %v", p.State, p.Err)
	}
}
