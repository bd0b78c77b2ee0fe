package ice_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

// completed makes an agent whose pair with peerAt is nominated.
func completed(t *testing.T, cfg ice.AgentConfig) *lab {
	t.Helper()
	cfg.Controlling = true
	l := newLab(t, cfg).connected()
	l.until(5*time.Second, ice.Completed)
	return l
}

// Consent is asked for every 5 s +-20 %, at random, and never sooner than after 4 s; each
// time by a transaction of its own that is sent once (RFC 7675 section 5.1).
func TestConsentInterval(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	settled := l.elapsed()
	l.run(20 * time.Minute)
	var at []time.Duration
	ids := make(map[wire.TransactionID]bool)
	for _, s := range l.requests(peerAt) {
		if s.at > settled {
			at = append(at, s.at)
			ids[s.msg().TransactionID()] = true
			if s.msg().CheckIntegrity([]byte(peerCreds.Pwd)) != nil || s.msg().UseCandidate() {
				t.Fatal("not signed, or a nomination")
			}
		}
	}
	if len(at) < 200 || len(ids) != len(at) {
		t.Fatalf("%d checks in %d transactions", len(at), len(ids))
	}
	var gaps []time.Duration
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, at[i]-at[i-1])
	}
	slices.Sort(gaps)
	if least, most := gaps[0], gaps[len(gaps)-1]; least < 4*time.Second || most > 6*time.Second || most-least < 1800*time.Millisecond {
		t.Errorf("gaps from %v to %v, want 4 to 6 s at random", least, most)
	}
	if l.state() != ice.Completed {
		t.Error(l.state())
	}
}

// An unanswered request for consent is not sent again before the next is due.
func TestConsentIsAskedOnce(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	l.hosts[peerAt] = nil
	before := len(l.requests(peerAt))
	l.run(30 * time.Second)
	if got := len(l.requests(peerAt)) - before; got < 5 || got > 8 {
		t.Errorf("%d requests in 30 s of silence", got)
	}
}

// 30 s after the last valid answer no data leaves any more. A late answer revives nothing,
// and neither does a check of the peer: the credentials must not be used for that path
// again (RFC 7675 section 5.1).
func TestConsentExpires(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	var last time.Duration // answer
	var lateAnswers []func()
	l.hosts[peerAt] = func(l *lab, s sent) {
		if s.at < 10*time.Second {
			answering(l, s)
			last = s.at + 2*l.delay
		} else if s.msg().Class() == wire.Request {
			lateAnswers = append(lateAnswers, func() { l.deliver(0, peerAt, answer(s)) })
		}
	}
	l.until(time.Minute, ice.Failed)
	if got := l.elapsed() - last; got != 30*time.Second {
		t.Errorf("failed %v after the last answer", got)
	}
	if want := []ice.State{ice.Checking, ice.Connected, ice.Completed, ice.Disconnected, ice.Failed}; !slices.Equal(l.states(), want) {
		t.Errorf("states %v, want %v", l.states(), want)
	}
	if err := l.m.Send(l.now, l.id, []byte("x")); !errors.Is(err, ice.ErrNoPair) {
		t.Errorf("sending: %v", err)
	}
	if err := l.failure(); !errors.Is(err, ice.ErrConsent) {
		t.Error(err)
	}
	if len(lateAnswers) < 4 {
		t.Fatalf("%d requests were not answered", len(lateAnswers))
	}
	for _, late := range lateAnswers {
		late()
	}
	l.hosts[peerAt] = answering
	before := len(l.requests(peerAt))
	l.ask(peerAt, nominating)
	l.run(10 * time.Second)
	if l.state() != ice.Failed || l.pair(peerAt).Valid || len(l.requests(peerAt)) != before {
		t.Errorf("%v, %d more checks", l.state(), len(l.requests(peerAt))-before)
	}
	l.restart() // is what helps
	l.know(ice.Credentials{Ufrag: "anew", Pwd: peerCreds.Pwd})
	l.candidate(peerAt, highPriority)
	l.until(time.Second, ice.Completed)
}

// An authentic 403 ends consent at once; one that nobody signed does not (RFC 7675 section
// 5.2).
func TestConsentIsRevoked(t *testing.T) {
	for _, signed := range []bool{true, false} {
		l := completed(t, ice.AgentConfig{})
		revoking := []script{refusing(wire.CodeForbidden, "Forbidden")}
		if !signed {
			revoking = append(revoking, unsigned)
		}
		l.hosts[peerAt] = first(1, answeringAs(revoking...), answering)
		l.run(7 * time.Second)
		if want := map[bool]ice.State{true: ice.Failed, false: ice.Completed}[signed]; l.state() != want {
			t.Errorf("signed %v: %v", signed, l.state())
		}
		if !signed {
			continue
		}
		if err := l.failure(); !errors.Is(err, ice.ErrConsent) {
			t.Error(err)
		}
		before := len(l.sent)
		l.ask(peerAt)
		l.run(time.Minute)
		if got := len(l.sent) - before; got != 1 { // the answer to that check
			t.Errorf("%d messages after consent was revoked", got)
		}
	}
}

// Two requests without an answer make the agent Disconnected; it goes on sending, and an
// answer brings it back.
func TestDisconnectedAndBack(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	l.run(10 * time.Second)
	l.hosts[peerAt] = nil
	silent := l.elapsed()
	l.until(time.Minute, ice.Disconnected)
	if got := l.elapsed() - silent; got < 4*time.Second || got > 12600*time.Millisecond {
		t.Errorf("disconnected after %v of silence", got)
	}
	if err := l.last(ice.EventState).Err; !errors.Is(err, ice.ErrSilent) {
		t.Error(err)
	}
	l.do(func(now time.Time) { l.check(l.m.Send(now, l.id, []byte("x"))) })
	l.hosts[peerAt] = answering
	l.until(7*time.Second, ice.Completed)
	l.run(10 * time.Minute)
	if l.state() != ice.Completed {
		t.Error(l.state())
	}
}

// One lost request is no reason to doubt the path.
func TestOneLostRequestIsNoSilence(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	n := 0
	l.hosts[peerAt] = func(l *lab, s sent) {
		if n++; n%2 == 0 {
			answering(l, s)
		}
	}
	l.run(10 * time.Minute)
	if slices.Contains(l.states(), ice.Disconnected) {
		t.Error("disconnected by every second request")
	}
}

// Consent is kept up for the pair in use and one spare; the others lapse, which is told
// of nobody's fault.
func TestConsentOfTheSpare(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true, Pace: 5 * time.Millisecond, Patience: 500 * time.Millisecond})
	l.know(peerCreds)
	l.candidate(spread(9), highPriority+9) // is waited for, so that all succeed
	for i := range 4 {
		l.hosts[spread(i)] = answering
		l.candidate(spread(i), uint32(lowPriority-i))
	}
	l.until(5*time.Second, ice.Completed)
	l.run(35 * time.Second)
	for i := range 4 {
		p := l.pair(spread(i))
		if want := i < 2; p.Valid != want {
			t.Errorf("pair %d: valid %v", i, p.Valid)
		}
		if i >= 2 && errors.Is(p.Err, ice.ErrConsent) {
			t.Errorf("pair %d: %v", i, p.Err)
		}
	}
	if got := l.m.Selected(l.id).Route.Remote; got != spread(0) {
		t.Errorf("selected %v", got)
	}
}

// Without consent a Binding indication goes out every 15 s, which is not authenticated and
// has no attribute but FINGERPRINT (RFC 8445 section 11). Nobody answers it.
func TestKeepaliveIndication(t *testing.T) {
	l := completed(t, ice.AgentConfig{Consent: -1})
	requests := len(l.requests(peerAt))
	l.run(time.Minute)
	all := l.messages(wire.MessageType{Method: wire.Binding, Class: wire.Indication}, peerAt)
	if len(all) != 4 || len(l.requests(peerAt)) != requests {
		t.Fatalf("%d indications and %d requests in a minute", len(all), len(l.requests(peerAt))-requests)
	}
	for i, s := range all {
		if m := s.msg(); m.Has(wire.AttrMessageIntegrity) || m.Has(wire.AttrUsername) || m.CheckFingerprint() != nil || len(s.raw) != wire.HeaderSize+8 {
			t.Errorf("indication of %d bytes", len(s.raw))
		}
		if i > 0 && s.at-all[i-1].at != 15*time.Second {
			t.Errorf("%v apart", s.at-all[i-1].at)
		}
	}
	l.hosts[peerAt] = nil
	l.run(time.Hour)
	if l.state() != ice.Completed {
		t.Errorf("%v, though consent is switched off", l.state())
	}
}

// An indication of the peer is no data, and is not answered.
func TestIndicationsOfThePeer(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	before := len(l.sent)
	l.deliver(0, peerAt, outgoing{kind: wire.MessageType{Method: wire.Binding, Class: wire.Indication}}.bytes())
	if len(l.sent) != before || len(l.data()) != 0 {
		t.Errorf("%d messages, data %q", len(l.sent)-before, l.data())
	}
}
