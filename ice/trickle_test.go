package ice_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/wire"
)

// Candidates of the peer: which are paired with what, and when (RFC 8445 section 6.1.2,
// RFC 8838 sections 8 to 14).

// An empty check list is not Failed until both sides have said that there are no more
// candidates (RFC 8838 section 8), and even then checks of the peer are awaited for as long
// as a pair would be checked (RFC 8863 section 4). Without that the agent's own time
// decides.
func TestEmptyListIsNotFailed(t *testing.T) {
	for _, c := range []struct {
		name       string
		ours, peer bool // the end was told
		pairs      bool // one, which fails
		timeout    time.Duration
		want       time.Duration // 0: never
	}{
		{name: "nobody", want: 39500 * time.Millisecond},
		{name: "we", ours: true, want: 39500 * time.Millisecond},
		{name: "the peer", peer: true, want: 39500 * time.Millisecond},
		{name: "both", ours: true, peer: true, want: 10 * time.Second},
		{name: "both, and a pair failed", ours: true, peer: true, pairs: true, want: 10 * time.Second},
		{name: "we, and a pair failed", ours: true, pairs: true, want: 39500 * time.Millisecond},
		{name: "both, and there is no limit", ours: true, peer: true, timeout: -1, want: 10 * time.Second},
		{name: "nobody, and there is no limit", timeout: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := emptyLab(t, ice.MachineConfig{GatherTimeout: time.Minute})
			l.base(ice.Base{Socket: 0, Addr: ours})
			if !c.ours {
				l.do(l.m.Hold) // something is still to be found
			}
			l.agent(ice.AgentConfig{Timeout: c.timeout})
			l.know(peerCreds)
			if c.pairs {
				l.candidate(peerAt, highPriority)
			}
			if c.peer {
				l.end()
			}
			failed := l.runUntil(time.Hour, func() bool { return l.state() == ice.Failed })
			if failed != (c.want != 0) || failed && l.elapsed() != c.want {
				t.Errorf("failed %v after %v, want %v", failed, l.elapsed(), c.want)
			}
		})
	}
}

// A candidate may outrun the credentials that it belongs to, and is taken in with them:
// each once, in order (RFC 8838 section 9).
func TestCandidatesBeforeTheCredentials(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	for i := range 3 {
		l.candidate(spread(i), uint32(highPriority-i))
		l.candidate(spread(i), uint32(highPriority-i))
	}
	l.end()
	l.run(time.Second)
	if len(l.sent) != 0 {
		t.Fatal("checks without credentials")
	}
	l.know(peerCreds)
	var got []netip.AddrPort
	for _, p := range l.m.Pairs(l.id) {
		got = append(got, p.Route.Remote)
	}
	if want := []netip.AddrPort{spread(0), spread(1), spread(2)}; !slices.Equal(got, want) {
		t.Errorf("pairs with %v, want %v", got, want)
	}
}

// What is held before the credentials is bounded.
func TestManyCandidatesBeforeTheCredentials(t *testing.T) {
	l := newLab(t, ice.AgentConfig{MaxPairs: 20})
	for i := range 10000 {
		l.candidate(spread(i), uint32(highPriority-i))
	}
	if got := len(l.all(ice.EventPassedOver)); got != 10000-20 {
		t.Errorf("%d were passed over", got)
	}
	l.know(peerCreds)
	if got := len(l.m.Pairs(l.id)); got != 20 {
		t.Errorf("%d pairs", got)
	}
}

// The same again changes nothing: no pair more, no check more.
func TestDuplicateCandidates(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.run(10 * time.Millisecond)
	before := l.pair(peerAt)
	for range 100 {
		l.candidate(peerAt, highPriority)
		l.candidate(peerAt, lowPriority)
		l.know(peerCreds)
	}
	if p := l.pair(peerAt); len(l.m.Pairs(l.id)) != 1 || p.Priority != before.Priority || len(l.requests(peerAt)) != 1 || len(l.all(ice.EventRestarted)) != 0 {
		t.Errorf("%+v, %d checks", p, len(l.requests(peerAt)))
	}
}

// After the end of candidates there are none (RFC 8838 section 14).
func TestCandidatesAfterTheEnd(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.end()
	l.candidate(peerAt2, highPriority)
	if l.has(peerAt2) {
		t.Error("a candidate from after the end was paired")
	}
	if e := l.last(ice.EventPassedOver); e.Candidate.Addr != peerAt2 || e.Err == nil {
		t.Errorf("%+v", e)
	}
}

// A full list drops what has failed, then the lowest (RFC 8838 section 11), and never what
// works.
func TestFullListMakesRoom(t *testing.T) {
	l := newLab(t, ice.AgentConfig{MaxPairs: 3, Patience: time.Hour})
	works, fails, low, better := spread(0), spread(1), spread(2), spread(3)
	l.hosts[works], l.hosts[fails] = answering, answeringAs(refusing(wire.CodeBadRequest, "Bad Request"))
	l.know(peerCreds)
	l.candidate(works, 1000)
	l.candidate(fails, highPriority)
	l.candidate(low, 2000)
	l.run(300 * time.Millisecond)
	l.candidate(spread(4), 1) // the failed one goes, though this one is the lowest of all
	if l.has(fails) || !l.has(spread(4)) || !l.has(works) || !l.has(low) {
		t.Errorf("the failed pair does not go first\n%v", l.story())
	}
	l.candidate(better, 3000)
	if l.has(spread(4)) || !l.has(better) || !l.has(works) || !l.has(low) {
		t.Errorf("the lowest pair does not go\n%v", l.story())
	}
	l.candidate(spread(5), 1500) // lower than all that do not work
	if l.has(spread(5)) || !l.has(works) || !l.has(low) || !l.has(better) {
		t.Errorf("a worse pair took a place\n%v", l.story())
	}
}

// At most 100 pairs, or as configured, however many candidates the peer names (RFC 8445
// section 6.1.2.5); the best of them.
func TestPairsAreLimited(t *testing.T) {
	for _, limit := range []int{0, 7} {
		l := emptyLab(t)
		l.base(ice.Base{Socket: 0, Addr: ours})
		l.base(ice.Base{Socket: 1, Addr: ours2})
		l.agent(ice.AgentConfig{MaxPairs: limit})
		l.know(peerCreds)
		for i := range 500 {
			l.candidate(spread(i), uint32(1000000+i*7919%500))
		}
		want := limit
		if limit == 0 {
			want = 100
		}
		pairs := l.m.Pairs(l.id)
		if len(pairs) != want {
			t.Errorf("%d pairs, want %d", len(pairs), want)
		}
		for _, p := range pairs[:want/2] {
			if p.Remote.Priority < 1000000+500-uint32(want) {
				t.Errorf("a pair of priority %d, though there are %d better ones", p.Remote.Priority, want)
			}
		}
	}
}

// Local candidates of one base make one pair, since checks leave from the base (RFC 8445
// section 6.1.2.4).
func TestReflexiveCandidatesAreNotPaired(t *testing.T) {
	l := newLab(t, ice.AgentConfig{})
	id := ice.BaseID(1)
	l.do(func(now time.Time) { l.m.AddMapped(now, id, netip.MustParseAddrPort("203.0.113.77:7777")) })
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	if got := len(l.m.Candidates(l.id)); got != 2 {
		t.Fatalf("%d candidates", got)
	}
	if p := l.m.Pairs(l.id); len(p) != 1 || p[0].Local.Type != ice.Host {
		t.Errorf("%d pairs", len(p))
	}
}

// What is paired with what (RFC 8445 section 6.1.2.2): one transport, one family, and
// link-local addresses with each other alone.
func TestPairings(t *testing.T) {
	addr := netip.MustParseAddrPort
	for _, c := range []struct {
		local, remote string
		want          bool
	}{
		{"203.0.113.5:4000", "198.51.100.1:5000", true},
		{"10.0.0.1:4000", "198.51.100.1:5000", true},
		{"10.0.0.1:4000", "192.168.1.1:5000", true},
		{"203.0.113.5:4000", "[2001:db8::1]:5000", false},
		{"[2001:db8::5]:4000", "[2001:db8::1]:5000", true},
		{"[2001:db8::5]:4000", "198.51.100.1:5000", false},
		{"[fe80::5]:4000", "[fe80::1]:5000", true},
		{"[fe80::5]:4000", "[2001:db8::1]:5000", false},
		{"[2001:db8::5]:4000", "[fe80::1]:5000", false},
		{"169.254.1.5:4000", "198.51.100.1:5000", false},
		{"203.0.113.5:4000", "[::ffff:198.51.100.1]:5000", true}, // unmapped
	} {
		l := emptyLab(t)
		l.base(ice.Base{Socket: 0, Addr: addr(c.local)})
		l.agent(ice.AgentConfig{})
		l.know(peerCreds)
		l.candidate(addr(c.remote), highPriority)
		if got := len(l.m.Pairs(l.id)) == 1; got != c.want {
			t.Errorf("%v with %v: %v", c.local, c.remote, got)
		}
	}
}

// Candidates that came before an address of their family did are not forgotten (RFC 8838
// sections 10 and 11), nor those whose address went.
func TestBasesThatComeLater(t *testing.T) {
	peer6 := netip.MustParseAddrPort("[2001:db8:5::1]:5000")
	l := emptyLab(t)
	l.agent(ice.AgentConfig{})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority)
	l.candidate(peer6, highPriority)
	l.end()
	id := l.base(ice.Base{Socket: 0, Addr: ours})
	if !l.has(peerAt) || l.has(peer6) {
		t.Errorf("after the first address\n%v", l.story())
	}
	l.base(ice.Base{Socket: 1, Addr: netip.MustParseAddrPort("[2001:db8::5]:4000")})
	if !l.has(peer6) {
		t.Errorf("after the second address\n%v", l.story())
	}
	l.do(func(now time.Time) { l.m.RemoveBase(now, id) })
	if l.has(peerAt) {
		t.Error("a pair of an address that went")
	}
	l.base(ice.Base{Socket: 2, Addr: ours2})
	if !l.has(peerAt) {
		t.Errorf("after the third address\n%v", l.story())
	}
}

// Pairs of one foundation are not all checked at once (RFC 8445 section 6.1.2.6): the
// others wait until the first succeeded, or had its chance.
func TestFoundations(t *testing.T) {
	same := func(c *ice.Candidate) { c.Foundation = "same" }
	for _, answers := range []bool{true, false} {
		l := newLab(t, ice.AgentConfig{Pace: 5 * time.Millisecond})
		l.delay = 5 * time.Millisecond
		if answers {
			l.hosts[spread(0)] = answering
		}
		l.know(peerCreds)
		for i := range 4 {
			l.candidate(spread(i), uint32(highPriority-i), same)
		}
		l.candidate(spread(9), lowPriority) // of another foundation
		for i := range 5 {
			want := []ice.PairState{ice.InProgress, ice.Frozen, ice.Frozen, ice.Frozen, ice.Waiting}[i]
			if p := l.m.Pairs(l.id)[i]; p.State != want {
				t.Errorf("answers %v: pair %d is %v at first, want %v", answers, i, p.State, want)
			}
		}
		l.run(11 * time.Millisecond)
		for i := 1; i < 4; i++ {
			if frozen := l.pair(spread(i)).State == ice.Frozen; frozen == answers {
				t.Errorf("answers %v: pair %d is %v", answers, i, l.pair(spread(i)).State)
			}
		}
		l.run(time.Second)
		for i := range 4 {
			if l.pair(spread(i)).State == ice.Frozen {
				t.Errorf("answers %v: pair %d stays frozen", answers, i)
			}
		}
	}
}

// Candidates that cannot be checked are passed over, with the reason, and end nothing.
func TestCandidatesThatArePassedOver(t *testing.T) {
	for name, spoil := range map[string]func(*ice.Candidate){
		"another component":   func(c *ice.Candidate) { c.Component = 2 },
		"no component":        func(c *ice.Candidate) { c.Component = 0 },
		"a name":              func(c *ice.Candidate) { c.Name, c.Addr = "x.local", netip.AddrPortFrom(netip.Addr{}, 5000) },
		"no address":          func(c *ice.Candidate) { c.Addr = netip.AddrPort{} },
		"no port":             func(c *ice.Candidate) { c.Addr = netip.AddrPortFrom(c.Addr.Addr(), 0) },
		"no priority":         func(c *ice.Candidate) { c.Priority = 0 },
		"too great priority":  func(c *ice.Candidate) { c.Priority = 1 << 31 },
		"unknown transport":   func(c *ice.Candidate) { c.Transport = 7 },
		"UDP with a side":     func(c *ice.Candidate) { c.TCPType = ice.Active },
		"TCP without a side":  func(c *ice.Candidate) { c.Transport = ice.TCP },
		"TCP with no side":    func(c *ice.Candidate) { c.Transport, c.TCPType = ice.TCP, 9 },
		"UDP that is active":  func(c *ice.Candidate) { c.TCPType, c.Addr = ice.Active, netip.MustParseAddrPort("127.0.0.1:22") },
		"loopback":            func(c *ice.Candidate) { c.Addr = netip.MustParseAddrPort("127.0.0.1:5000") },
		"multicast":           func(c *ice.Candidate) { c.Addr = netip.MustParseAddrPort("224.0.0.1:5000") },
		"a service's port":    func(c *ice.Candidate) { c.Addr = netip.MustParseAddrPort("198.51.100.1:53") },
		"a metadata service":  func(c *ice.Candidate) { c.Addr = netip.MustParseAddrPort("169.254.169.254:5000") },
		"mapped loopback":     func(c *ice.Candidate) { c.Addr = netip.MustParseAddrPort("[::ffff:127.0.0.1]:5000") },
		"zoned loopback":      func(c *ice.Candidate) { c.Addr = netip.MustParseAddrPort("[::1%eth0]:5000") },
		"TCP to the loopback": func(c *ice.Candidate) { tcp(ice.Passive)(c); c.Addr = netip.MustParseAddrPort("127.0.0.1:5000") },
	} {
		t.Run(name, func(t *testing.T) {
			l := emptyLab(t)
			l.base(ice.Base{Socket: 0, Addr: ours})
			l.base(ice.Base{Transport: ice.TCP, TCPType: ice.Active, Addr: netip.AddrPortFrom(ours.Addr(), 0)})
			l.base(ice.Base{Socket: 1, Addr: netip.MustParseAddrPort("169.254.1.5:4000")})
			l.base(ice.Base{Socket: 2, Addr: netip.MustParseAddrPort("[2001:db8::5]:4000")})
			l.agent(ice.AgentConfig{})
			l.know(peerCreds)
			l.candidate(peerAt, highPriority, spoil)
			l.run(10 * time.Second)
			var why *ice.RemoteError
			if e := l.last(ice.EventPassedOver); !errors.As(e.Err, &why) || why.Reason == "" {
				t.Errorf("%v", e.Err)
			}
			if name == "a name" && !strings.Contains(why.Reason, "name") {
				t.Errorf("%v says nothing of names", why)
			}
			if len(l.sent) != 0 || len(l.m.Pairs(l.id)) != 0 {
				t.Errorf("%d messages, %d pairs", len(l.sent), len(l.m.Pairs(l.id)))
			}
			l.hosts[peerAt] = answering
			l.candidate(peerAt, highPriority) // a good one still connects
			l.until(time.Second, ice.Connected)
		})
	}
}
