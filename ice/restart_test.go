package ice_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

var newCreds = ice.Credentials{Ufrag: "anew", Pwd: "anotherPasswordOfThePeer"}

// A restart changes fragment and password, and keeps the role (RFC 8445 section 9).
func TestRestartChangesTheCredentials(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	seen := []ice.Credentials{l.m.Credentials(l.id)}
	for range 20 {
		c := l.restart()
		if c != l.m.Credentials(l.id) || c.Check() != nil {
			t.Fatalf("%v", c)
		}
		for _, before := range seen {
			if c.Ufrag == before.Ufrag || c.Pwd == before.Pwd {
				t.Fatal("a fragment or a password came again")
			}
		}
		seen = append(seen, c)
	}
	if !l.m.Controlling(l.id) {
		t.Error("the role changed")
	}
	if l.state() != ice.Completed || l.m.Send(l.now, l.id, []byte("x")) != nil {
		t.Errorf("%v: the path was given up", l.state())
	}
}

// During a restart data takes the path of before (RFC 8445 section 12.1), whose consent is
// kept up (RFC 7675 section 5.1), until a pair of the new generation is nominated. What the
// peer sends by the old path is taken for three seconds more (RFC 8445 section 8.3.1).
func TestRestartKeepsThePath(t *testing.T) {
	for _, who := range []string{"we", "the peer"} {
		t.Run(who, func(t *testing.T) {
			l := completed(t, ice.AgentConfig{})
			old := l.m.Credentials(l.id)
			if who == "we" {
				l.restart()
				l.run(20 * time.Second) // the peer takes its time
				if before := l.requests(peerAt); before[len(before)-1].at < 14*time.Second {
					t.Fatal("consent is not kept up meanwhile")
				}
			}
			l.know(newCreds)
			if e := l.all(ice.EventRestarted); (len(e) == 1) != (who == "the peer") {
				t.Fatalf("told %d times that the peer restarted", len(e))
			}
			fresh := l.m.Credentials(l.id)
			if fresh.Ufrag == old.Ufrag {
				t.Fatal("the credentials did not change")
			}
			// The new pair is valid, but its nomination is not answered at first.
			silent := true
			l.hosts[peerAt2] = func(l *lab, s sent) {
				if !silent || !s.msg().UseCandidate() {
					l.reply(s, answer(s, signedBy(newCreds.Pwd)))
				}
			}
			l.candidate(peerAt2, highPriority)
			l.run(time.Second)
			if !l.pair(peerAt2).Valid || l.m.Selected(l.id).Route.Remote != peerAt || l.state() != ice.Completed {
				t.Fatalf("before the nomination: selected %v, %v\n%v", l.m.Selected(l.id).Route.Remote, l.state(), l.story())
			}
			silent = false
			moved := func() bool { return l.m.Selected(l.id).Route.Remote == peerAt2 }
			if !l.runUntil(3*time.Second, moved) {
				t.Fatalf("not moved\n%v", l.story())
			}
			if slices.Contains(l.states(), ice.Disconnected) || slices.Contains(l.states()[1:], ice.Checking) {
				t.Errorf("states %v", l.states())
			}
			at := l.elapsed()
			oldCheck := func(o *outgoing) {
				o.user, o.pwd = old.Ufrag+":"+peerCreds.Ufrag, old.Pwd
			}
			for l.elapsed() < at+2900*time.Millisecond {
				l.deliver(0, peerAt, []byte("by the old path"))
				l.ask(peerAt, oldCheck)
				l.run(100 * time.Millisecond)
			}
			if got, answers := len(l.data()), len(l.messages(wire.BindingSuccess, peerAt)); got != 29 || answers != 29 {
				t.Errorf("%d datagrams by the old path were taken, %d checks were answered, of 29", got, answers)
			}
			l.run(time.Second)
			before := len(l.sent)
			l.deliver(0, peerAt, []byte("far too late"))
			l.ask(peerAt, oldCheck)
			if len(l.data()) != 29 || len(l.sent) != before {
				t.Error("the old generation is still heard")
			}
		})
	}
}

// With Multipath, too, the old path is used until the new generation stands: its first
// pair is seldom its best.
func TestRestartWithMultipath(t *testing.T) {
	l := completed(t, ice.AgentConfig{Multipath: true})
	l.restart()
	l.hosts[peerAt2] = answeringAs(signedBy(newCreds.Pwd))
	l.know(newCreds)
	l.candidate(spread(1), highPriority) // which is waited for
	l.candidate(peerAt2, lowPriority)
	valid := func() bool { return l.pair(peerAt2).Valid }
	if !l.runUntil(time.Second, valid) || l.m.Selected(l.id).Route.Remote != peerAt {
		t.Errorf("selected %v\n%v", l.m.Selected(l.id).Route.Remote, l.story())
	}
	l.run(time.Second)
	if l.m.Selected(l.id).Route.Remote != peerAt2 || l.state() != ice.Completed {
		t.Errorf("selected %v, %v", l.m.Selected(l.id).Route.Remote, l.state())
	}
}

// Where the old path does not work, the first pair of the new generation is used at once.
func TestRestartWhereTheOldPathIsDead(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	l.hosts[peerAt] = nil
	l.until(20*time.Second, ice.Disconnected)
	l.restart()
	l.hosts[peerAt2] = func(l *lab, s sent) {
		if !s.msg().UseCandidate() {
			l.reply(s, answer(s, signedBy(newCreds.Pwd)))
		}
	}
	l.know(newCreds)
	l.candidate(peerAt2, highPriority)
	l.run(100 * time.Millisecond)
	if got := l.m.Selected(l.id).Route.Remote; got != peerAt2 || l.state() != ice.Connected {
		t.Errorf("selected %v, %v\n%v", got, l.state(), l.story())
	}
}

// What belongs to credentials of before is ignored, and what belongs to ones that are yet
// to come waits for them (RFC 8838 section 9).
func TestOldSignalling(t *testing.T) {
	ufrag := func(u string) func(*ice.Candidate) {
		return func(c *ice.Candidate) { c.Extensions = []ice.Extension{{Name: "ufrag", Value: u}} }
	}
	l := completed(t, ice.AgentConfig{})
	l.candidate(spread(1), highPriority, ufrag(newCreds.Ufrag)) // outruns the credentials
	if l.has(spread(1)) {
		t.Fatal("a candidate of other credentials was paired")
	}
	l.know(newCreds)
	if !l.has(spread(1)) {
		t.Error("a candidate that outran its credentials is lost")
	}
	ours := l.m.Credentials(l.id)
	l.know(peerCreds) // once more, late
	if l.m.Credentials(l.id) != ours || len(l.all(ice.EventRestarted)) != 1 {
		t.Error("credentials of before made the agent restart")
	}
	l.candidate(spread(2), highPriority, ufrag(peerCreds.Ufrag))
	var why *ice.RemoteError
	if e := l.last(ice.EventPassedOver); l.has(spread(2)) || e.Candidate.Addr != spread(2) || !errors.As(e.Err, &why) {
		t.Errorf("a candidate of before: %+v", e)
	}
	l.candidate(spread(3), highPriority, ufrag(newCreds.Ufrag))
	if !l.has(spread(3)) {
		t.Error("a candidate of now is not paired")
	}
	l.restart()
	l.know(newCreds) // late, too: it cannot be the answer to our restart
	l.run(time.Second)
	if got := len(l.requests(spread(3))); got > 1 || l.m.Pairs(l.id) != nil && len(l.m.Pairs(l.id)) != 0 {
		t.Error("credentials of before were taken for the answer to a restart")
	}
}

// The end of candidates counts for its generation alone.
func TestEndOfCandidatesOfBefore(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	l.end()
	l.know(newCreds)
	l.candidate(peerAt2, highPriority)
	if !l.has(peerAt2) {
		t.Error("the end of before counts after a restart")
	}
	l.restart()
	l.end() // crosses ours
	l.know(ice.Credentials{Ufrag: "third", Pwd: newCreds.Pwd})
	l.candidate(peerAt2, highPriority)
	if !l.has(peerAt2) {
		t.Error("the end of before counts where it crosses a restart")
	}
}

// What is connected of the old generation is not checked on.
func TestRestartEndsTheChecks(t *testing.T) {
	l := newLab(t, ice.AgentConfig{Controlling: true, Patience: time.Hour})
	l.know(peerCreds)
	l.candidate(peerAt2, highPriority+1)
	l.connected()
	l.restart()
	before := len(l.requests(peerAt2))
	l.run(10 * time.Second)
	if got := len(l.requests(peerAt2)) - before; got != 0 {
		t.Errorf("%d checks of the generation of before", got)
	}
	if got := len(l.nominations()); got != 0 {
		t.Errorf("%d nominations of the generation of before", got)
	}
}

// A failed agent needs no more than a restart.
func TestRestartAfterAFailure(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	l.until(time.Minute, ice.Failed)
	l.restart()
	if l.state() != ice.Gathering {
		t.Errorf("%v", l.state())
	}
	l.hosts[peerAt] = answeringAs(signedBy(newCreds.Pwd))
	l.know(newCreds)
	l.candidate(peerAt, highPriority)
	l.until(time.Second, ice.Connected)
}

// Many restarts leave nothing behind.
func TestManyRestarts(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	for i := range 1000 {
		l.restart()
		c := newCreds
		c.Ufrag += string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		l.know(c)
		for j := range 20 {
			l.candidate(spread(j), uint32(highPriority-j))
		}
		l.run(10 * time.Millisecond)
	}
	if n := l.m.Size(); n > 200 {
		t.Errorf("%d things are kept after 1000 restarts", n)
	}
	l.do(func(now time.Time) { l.m.CloseAgent(now, l.id) })
	if n := l.m.Size(); n != 0 || !l.m.NextTimeout().IsZero() {
		t.Errorf("%d things are kept after Close, next timeout %v", n, l.m.NextTimeout())
	}
}
