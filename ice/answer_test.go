package ice_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

// The checks that a peer sends, and what an agent does about them (RFC 8445 section 7.3).

func TestWhatAnswersSay(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	l.ask(peerAt, func(o *outgoing) { o.id[0] = 7 })
	answers := l.messages(wire.BindingSuccess, peerAt)
	if len(answers) != 1 {
		t.Fatalf("%d answers", len(answers))
	}
	m := answers[0].msg()
	if mapped, _ := m.XORMappedAddress(); mapped != peerAt || m.TransactionID()[0] != 7 {
		t.Errorf("mapped address %v, transaction %v", mapped, m.TransactionID())
	}
	if m.CheckIntegrity([]byte(l.m.Credentials(l.id).Pwd)) != nil || m.CheckFingerprint() != nil || m.Has(wire.AttrUsername) {
		t.Error("not signed with our password, without FINGERPRINT, or with USERNAME")
	}
}

// A check that comes before the answer is answered at once; the rest is done when the
// answer is there (RFC 8445 section 7.3).
func TestCheckBeforeTheAnswer(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.hosts[peerAt] = answering
	l.ask(peerAt, nominating)
	if len(l.messages(wire.BindingSuccess, peerAt)) != 1 {
		t.Error("not answered at once")
	}
	l.run(3 * time.Second)
	if len(l.requests(netip.AddrPort{})) != 0 || l.state() != ice.Gathering {
		t.Errorf("checks without the peer's password; %v", l.state())
	}
	l.know(peerCreds)
	l.until(100*time.Millisecond, ice.Completed) // it was nominated
	if got := l.m.Selected(l.id).Remote; got.Addr != peerAt || got.Type != ice.PeerReflexive {
		t.Errorf("selected %v", got)
	}
}

// Of several peers that were offered the same, as where an offer forks, only the one that
// answered is followed.
func TestChecksBeforeTheAnswerOfAnotherPeer(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	own := l.m.Credentials(l.id)
	l.ask(peerAt2, func(o *outgoing) { o.user = own.Ufrag + ":fork" })
	l.ask(peerAt)
	l.know(peerCreds)
	l.run(time.Second)
	if len(l.requests(peerAt2)) != 0 || l.has(peerAt2) {
		t.Error("the other peer's check was followed")
	}
	if len(l.requests(peerAt)) == 0 {
		t.Error("the peer's check was not followed")
	}
}

// What is kept of checks before the answer is bounded.
func TestManyChecksBeforeTheAnswer(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	for i := range 300 {
		l.ask(spread(i))
	}
	if got := len(l.messages(wire.BindingSuccess, netip.AddrPort{})); got != 300 {
		t.Errorf("%d answers", got)
	}
	l.know(peerCreds)
	if got := len(l.m.Pairs(l.id)); got != 16 {
		t.Errorf("%d pairs, want 16", got)
	}
}

// An authentic check from an unknown source makes a peer-reflexive candidate, with the
// PRIORITY of the check, and is answered by a check of ours at once (RFC 8445 sections
// 7.3.1.3 and 7.3.1.4).
func TestUnknownSourceIsLearned(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	l.run(time.Second)
	l.ask(peerAt, func(o *outgoing) { o.priority = 12345 })
	l.run(0)
	p := l.pair(peerAt)
	if p.Remote.Type != ice.PeerReflexive || p.Remote.Priority != 12345 || p.Remote.Component != 1 || p.Requests != 1 {
		t.Errorf("%+v", p)
	}
	if checks := l.requests(peerAt); len(checks) != 1 || checks[0].at != time.Second {
		t.Errorf("%d checks; the first must come at once", len(checks))
	}
	l.candidate(peerAt, lowPriority, of(ice.ServerReflexive)) // now the peer tells it
	if p := l.pair(peerAt); len(l.m.Pairs(l.id)) != 1 || p.Remote.Type != ice.ServerReflexive || p.Remote.Priority != lowPriority {
		t.Errorf("after the peer has told it: %+v", p)
	}
}

// A check of the peer triggers one of ours whatever the state of the pair, except where it
// has succeeded (RFC 8445 section 7.3.1.4).
func TestTriggeredChecks(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Timeout: -1})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(3200 * time.Millisecond) // in progress; the next check is due at 4.13 s
	before := len(l.requests(peerAt))
	l.ask(peerAt)
	l.run(time.Millisecond)
	if got := len(l.requests(peerAt)) - before; got != 1 {
		t.Errorf("in progress: %d checks triggered", got)
	}
	l.run(17 * time.Second)
	if p := l.pair(peerAt); p.State != ice.PairFailed {
		t.Fatalf("%v", p.State)
	}
	before = len(l.requests(peerAt))
	l.hosts[peerAt] = answering
	l.ask(peerAt)
	l.run(time.Millisecond)
	if got := len(l.requests(peerAt)) - before; got != 1 {
		t.Errorf("failed: %d checks triggered", got)
	}
	l.until(time.Second, ice.Connected)
	l.run(time.Second)
	before = len(l.requests(peerAt))
	l.ask(peerAt)
	l.run(time.Millisecond)
	if got := len(l.requests(peerAt)) - before; got != 0 {
		t.Errorf("succeeded: %d checks triggered", got)
	}
}

// A check that the peer triggers right after one of ours is put off, and not left out: the
// one before may have found the way closed that the peer has opened since. It is not
// sent where that one was answered.
func TestTriggeredCheckRightAfterAnother(t *testing.T) {
	for _, answered := range []bool{false, true} {
		l := newLab(t, ice.AgentConfig{})
		l.delay = 3 * time.Millisecond
		if answered {
			l.hosts[peerAt] = answering
		}
		l.know(peerCreds)
		l.candidate(peerAt, highPriority)
		l.run(2 * time.Millisecond)
		l.ask(peerAt)
		l.run(20 * time.Millisecond)
		var at []time.Duration
		for _, s := range l.requests(peerAt) {
			at = append(at, s.at)
		}
		want := []time.Duration{0, 10 * time.Millisecond}
		if answered {
			want = want[:1]
		}
		if !slices.Equal(at, want) {
			t.Errorf("answered %v: checks at %v, want %v", answered, at, want)
		}
	}
}

// A pair whose foundation is being checked elsewhere is triggered all the same.
func TestFrozenPairsAreTriggered(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	same := func(c *ice.Candidate) { c.Foundation = "same" }
	l.candidate(peerAt2, highPriority, same)
	l.candidate(peerAt, lowPriority, same)
	if p := l.pair(peerAt); p.State != ice.Frozen {
		t.Fatalf("%v, want frozen", p.State)
	}
	l.ask(peerAt)
	l.run(10 * time.Millisecond)
	if p := l.pair(peerAt); p.State != ice.InProgress {
		t.Errorf("%v after a check of the peer", p.State)
	}
}

// What is answered by an error, and by nothing.
func TestChecksThatAreRefused(t *testing.T) {
	classic := func() []byte {
		var b wire.Builder
		b.ResetClassic(wire.BindingRequest, [16]byte{1, 2, 3})
		return b.Bytes()
	}()
	for _, c := range []struct {
		name   string
		change script
		raw    []byte
		code   int  // 0: nothing is answered
		early  bool // the peer's credentials are not known yet
	}{
		{name: "unknown attribute", change: with(func(b *wire.Builder) { b.AddUint32(0x7FFE, 1) }), code: wire.CodeUnknownAttribute},
		{name: "no priority", change: func(o *outgoing) { o.priority = 0 }, code: wire.CodeBadRequest},
		{name: "wrong password", change: signedBy("notThePasswordOfTheAgent")},
		{name: "not signed", change: unsigned},
		{name: "no username", change: func(o *outgoing) { o.user = "" }},
		{name: "another agent's username", change: func(o *outgoing) { o.user = "nobody:" + peerCreds.Ufrag }},
		{name: "another peer's username", change: func(o *outgoing) { o.user = o.user[:len(o.user)-4] + "fork" }},
		{name: "no colon in the username", change: func(o *outgoing) { o.user = o.user[:8] }, early: true},
		{name: "classic STUN", raw: classic},
		{name: "another method", change: func(o *outgoing) { o.kind.Method = wire.Allocate }},
		{name: "wrong fingerprint", change: func(o *outgoing) {
			o.bare = true
			o.more = func(b *wire.Builder) { b.AddRaw(wire.AttrFingerprint, []byte{1, 2, 3, 4}) }
			o.pwd = ""
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, ice.AgentConfig{})
			if !c.early {
				l.know(peerCreds)
			}
			raw := c.raw
			if raw == nil {
				raw = l.request(c.change)
			}
			l.deliver(0, peerAt, raw)
			l.run(time.Second)
			if l.has(peerAt) {
				t.Error("the source was learned")
			}
			if c.code == 0 {
				if len(l.sent) != 0 {
					t.Errorf("%d messages were sent", len(l.sent))
				}
				return
			}
			if len(l.sent) != 1 {
				t.Fatalf("%d messages were sent", len(l.sent))
			}
			m := l.sent[0].msg()
			if code, _, _ := m.ErrorCode(); code != c.code || m.CheckIntegrity([]byte(l.m.Credentials(l.id).Pwd)) != nil {
				t.Errorf("code %d, want %d, signed", code, c.code)
			}
			if unknown := m.AppendUnknownAttributes(nil); c.code == wire.CodeUnknownAttribute && !slices.Equal(unknown, []wire.AttrType{0x7FFE}) {
				t.Errorf("UNKNOWN-ATTRIBUTES %v", unknown)
			}
		})
	}
}

// A check that somebody sends again from another address would make us check there.
func TestReplaysFromElsewhere(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	recorded := l.request()
	l.deliver(0, peerAt, recorded)
	l.run(time.Second)
	l.deliver(0, peerAt, recorded) // again from there, as a lost answer makes peers do
	if got := len(l.messages(wire.BindingSuccess, peerAt)); got != 2 {
		t.Errorf("%d answers, want 2", got)
	}
	for i := range 1000 {
		l.deliver(0, spread(i), recorded)
	}
	l.run(time.Second)
	for _, s := range l.sent {
		if s.to != peerAt {
			t.Fatalf("%v was sent to %v", s.msg().Type(), s.to)
		}
	}
}

// Credentials that do not match are told as the reason of the failure.
func TestWrongCredentials(t *testing.T) {
	for _, c := range []struct {
		name string
		peer func(l *lab)
		want error
	}{
		{"nothing was heard", func(*lab) {}, ice.ErrSilent},
		{"checks that match, and no answers", func(l *lab) { l.ask(peerAt) }, nil},
		{"checks that do not match", func(l *lab) { l.ask(peerAt, signedBy("notThePasswordOfTheAgent")) }, ice.ErrCredentials},
		{"answers that do not match", func(l *lab) {
			l.hosts[peerAt] = answeringAs(signedBy("notThePasswordOfThePeer"))
		}, ice.ErrCredentials},
		{"401, which nobody can sign", func(l *lab) {
			l.hosts[peerAt] = answeringAs(refusing(wire.CodeUnauthenticated, "Unauthenticated"), unsigned)
		}, ice.ErrCredentials},
		{"401, though the peer's checks match", func(l *lab) {
			l.hosts[peerAt] = answeringAs(refusing(wire.CodeUnauthenticated, "Unauthenticated"), unsigned)
			l.ask(peerAt)
		}, ice.ErrCredentials},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, ice.AgentConfig{})
			l.know(peerCreds)
			l.candidate(peerAt, highPriority)
			c.peer(l)
			l.until(time.Minute, ice.Failed)
			err := l.failure()
			for _, sentinel := range []error{ice.ErrSilent, ice.ErrCredentials} {
				if got := errors.Is(err, sentinel); got != (sentinel == c.want) {
					t.Errorf("%v: is %q: %v", err, sentinel, got)
				}
			}
		})
	}
}

// Checks go by the user name to their agent, all else by the address that it comes from
// (RFC 7983 section 7 has the first byte tell STUN from the rest).
func TestAgentsShareASocket(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	one := l.id
	l.connected()
	two := l.agent(ice.AgentConfig{})
	l.hosts[peerAt2] = answering
	l.know(peerCreds)
	l.candidate(peerAt2, highPriority)
	l.until(time.Second, ice.Connected)
	for b := range 256 { // every first byte, and none is a STUN message
		l.deliver(0, peerAt, []byte{byte(b), 1, 2, 3})
		l.deliver(0, peerAt2, []byte{byte(b), 4})
		l.deliver(0, spread(b), []byte{byte(b), 5})
	}
	got := make(map[ice.AgentID]int)
	for i, e := range l.all(ice.EventData) {
		got[e.Agent]++
		want := []byte{byte(i / 2), 1, 2, 3}
		if e.Agent == two {
			want = []byte{byte(i / 2), 4}
		}
		if !slices.Equal(e.Data, want) {
			t.Fatalf("agent %d got %v, want %v", e.Agent, e.Data, want)
		}
	}
	if got[one] != 256 || got[two] != 256 || len(got) != 2 {
		t.Errorf("datagrams by agent: %v, want 256 each, and none of strangers", got)
	}
}
