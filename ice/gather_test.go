package ice_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

var outside = netip.MustParseAddrPort("203.0.113.77:7777")

// stunServer answers Binding requests as a STUN server does that sees the sender at mapped.
func stunServer(mapped netip.AddrPort) host {
	return func(l *lab, s sent) {
		m := s.msg()
		if m == nil || m.Type() != wire.BindingRequest {
			return
		}
		l.reply(s, outgoing{kind: wire.BindingSuccess, id: m.TransactionID(), mapped: mapped, bare: true}.bytes())
	}
}

// told are the candidates that the peer is told of, with the fragments that they belong to.
func (l *lab) told() (all []string) {
	for _, e := range l.all(ice.EventCandidate) {
		all = append(all, e.Candidate.Type.String()+" "+e.Candidate.Addr.String()+" "+e.Credentials.Ufrag)
		if err := e.Candidate.Check(); err != nil {
			l.t.Error(err)
		}
		if u, ok := e.Candidate.Extension("ufrag"); !ok || u != e.Credentials.Ufrag {
			l.t.Errorf("candidate of %q tells ufrag %q", e.Credentials.Ufrag, u)
		}
	}
	return all
}

// Addresses that must not be candidates (RFC 8445 section 5.1.1.1), and what is no base.
func TestBasesThatAreRefused(t *testing.T) {
	for _, addr := range []string{
		"127.0.0.1:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000", "[::10.0.0.1]:4000", "[fec0::1]:4000",
		"0.0.0.0:4000", "[::]:4000", "224.0.0.1:4000", "203.0.113.5:0",
	} {
		l := emptyLab(t)
		var config *ice.ConfigError
		if _, err := l.m.AddBase(l.now, ice.Base{Addr: netip.MustParseAddrPort(addr)}); !errors.As(err, &config) {
			t.Errorf("%v: %v", addr, err)
		}
		l.agent(ice.AgentConfig{})
		if len(l.told()) != 0 {
			t.Errorf("%v: %v", addr, l.told())
		}
	}
	l := emptyLab(t, ice.MachineConfig{Loopback: true})
	l.base(ice.Base{Addr: netip.MustParseAddrPort("127.0.0.1:4000")})
	for _, b := range []ice.Base{
		{Addr: ours, Type: ice.ServerReflexive}, {Addr: ours, Transport: ice.TCP}, {Addr: ours, TCPType: ice.Passive},
		{Addr: ours, Transport: 2, TCPType: ice.Active}, {Addr: ours, Transport: ice.TCP, TCPType: 4}, {Addr: ours, Type: 4},
	} {
		if _, err := l.m.AddBase(l.now, b); err == nil {
			t.Errorf("%+v was taken", b)
		}
	}
}

// The server-reflexive candidate comes from the socket that checks leave from; one that
// equals its base is none (RFC 8445 sections 5.1.1.2 and 5.1.3).
func TestServerReflexiveCandidates(t *testing.T) {
	for _, mapped := range []netip.AddrPort{outside, ours} {
		l := emptyLab(t)
		l.hosts[stunAt] = stunServer(mapped)
		l.do(func(now time.Time) { l.m.AddServer(now, stunAt) })
		l.base(ice.Base{Socket: 0, Addr: ours})
		l.agent(ice.AgentConfig{})
		l.run(time.Second)
		want := 2
		if mapped == ours {
			want = 1
		}
		if got := l.told(); len(got) != want || len(l.all(ice.EventGathered)) != 1 {
			t.Fatalf("told %v, gathered %d times", got, len(l.all(ice.EventGathered)))
		}
		if s := l.requests(stunAt); len(s) != 1 || s[0].socket != 0 {
			t.Errorf("%d requests to the server", len(s))
		}
		if want == 1 {
			continue
		}
		host, srflx := l.all(ice.EventCandidate)[0].Candidate, l.all(ice.EventCandidate)[1].Candidate
		if srflx.Type != ice.ServerReflexive || srflx.Addr != outside || srflx.Related != ours || srflx.Foundation == host.Foundation || srflx.Priority >= host.Priority {
			t.Errorf("%+v beside %+v", srflx, host)
		}
	}
}

// Nothing waits for a silent server; the end is told after GatherTimeout, and no candidate
// comes after it (RFC 8838 section 13).
func TestGatherTimeout(t *testing.T) {
	l := emptyLab(t)
	l.do(func(now time.Time) { l.m.AddServer(now, stunAt) })
	l.base(ice.Base{Socket: 0, Addr: ours})
	l.agent(ice.AgentConfig{})
	l.run(4900 * time.Millisecond)
	if len(l.told()) != 1 || len(l.all(ice.EventGathered)) != 0 {
		t.Errorf("after 4.9 s: told %v, gathered %d times", l.told(), len(l.all(ice.EventGathered)))
	}
	l.run(200 * time.Millisecond)
	if len(l.all(ice.EventGathered)) != 1 {
		t.Error("the end was not told after 5 s")
	}
	l.hosts[stunAt] = stunServer(outside)
	l.run(time.Minute)
	if len(l.told()) != 1 {
		t.Errorf("told after the end: %v", l.told())
	}
	c := l.restart() // brings what was found late (RFC 8838 section 13)
	if got := l.told(); len(got) != 3 || !strings.Contains(got[2], "srflx "+outside.String()+" "+c.Ufrag) {
		t.Errorf("told %v", got)
	}
}

// What begins later has its own time: a new address is asked about though servers were
// silent before.
func TestGatheringBeginsAgain(t *testing.T) {
	l := emptyLab(t)
	l.do(func(now time.Time) { l.m.AddServer(now, stunAt) })
	first := l.base(ice.Base{Socket: 0, Addr: ours})
	l.agent(ice.AgentConfig{})
	l.run(time.Minute)
	l.hosts[stunAt] = stunServer(outside)
	l.do(func(now time.Time) { l.m.RemoveBase(now, first) })
	l.base(ice.Base{Socket: 1, Addr: ours2})
	l.events = nil
	l.restart()
	if len(l.all(ice.EventGathered)) != 0 {
		t.Error("the end was told while a server was being asked")
	}
	l.run(time.Second)
	if got := l.told(); len(got) != 2 || !strings.HasPrefix(got[1], "srflx "+outside.String()) || len(l.all(ice.EventGathered)) != 1 {
		t.Errorf("told %v, gathered %d times", got, len(l.all(ice.EventGathered)))
	}
}

// After a nomination no candidates are told (RFC 8838 section 13).
func TestNoCandidatesAfterTheNomination(t *testing.T) {
	l := completed(t, ice.AgentConfig{})
	l.do(l.m.Hold)
	l.do(func(now time.Time) { l.m.AddMapped(now, 1, outside) })
	if got := len(l.told()); got != 1 {
		t.Errorf("told %v", l.told())
	}
}

// A mapped address is told as a server-reflexive candidate, of the family as it is.
func TestMappedAddresses(t *testing.T) {
	l := emptyLab(t)
	id := l.base(ice.Base{Socket: 0, Addr: ours})
	l.do(l.m.Hold)
	l.agent(ice.AgentConfig{})
	for _, bad := range []string{"127.0.0.1:7777", "0.0.0.0:7777", "203.0.113.77:0", ours.String()} {
		l.do(func(now time.Time) { l.m.AddMapped(now, id, netip.MustParseAddrPort(bad)) })
	}
	for range 2 {
		l.do(func(now time.Time) {
			l.m.AddMapped(now, id, netip.AddrPortFrom(netip.AddrFrom16(outside.Addr().As16()), outside.Port()))
		})
	}
	l.do(l.m.Release)
	if got := l.told(); len(got) != 2 || !strings.HasPrefix(got[1], "srflx "+outside.String()) || len(l.all(ice.EventGathered)) != 1 {
		t.Errorf("told %v", got)
	}
}

// Where a STUN server sees a TCP base takes the place of where one saw it before, whichever
// it was, and leaves alone what the router has mapped.
func TestReflexiveTCPAddresses(t *testing.T) {
	l := emptyLab(t)
	id := l.base(ice.Base{Transport: ice.TCP, TCPType: ice.SimultaneousOpen, Addr: ours})
	udp := l.base(ice.Base{Socket: 0, Addr: ours})
	l.do(l.m.Hold)
	l.agent(ice.AgentConfig{})
	l.do(func(now time.Time) { l.m.AddMapped(now, id, netip.MustParseAddrPort("203.0.113.77:7777")) })
	servers := []netip.Addr{stunAt.Addr(), netip.MustParseAddr("198.51.100.99")}
	for i := range 20 {
		at := netip.AddrPortFrom(outside.Addr(), uint16(6000+i))
		for range 2 {
			l.do(func(now time.Time) { l.m.SetReflexive(now, id, at, servers[i%2]) })
		}
		var seen []netip.AddrPort
		for _, s := range l.m.Candidates(l.id) {
			if s.Candidate.Type == ice.ServerReflexive {
				seen = append(seen, s.Candidate.Addr)
			}
		}
		if len(seen) != 2 || seen[0].Port() != 7777 || seen[1] != at {
			t.Fatalf("after %d connections the outside addresses are %v", i+1, seen)
		}
	}
	if got := len(l.all(ice.EventCandidate)); got != 2+1+20 {
		t.Errorf("%d candidates were told, want each once", got)
	}
	l.do(func(now time.Time) {
		l.m.SetReflexive(now, id, netip.AddrPort{}, netip.Addr{})
		l.m.SetReflexive(now, udp, outside, stunAt.Addr()) // the machine asks about it itself
		l.m.SetReflexive(now, 99, outside, stunAt.Addr())
	})
	if got := l.m.Candidates(l.id); len(got) != 3 {
		t.Errorf("left are %v", got)
	}
}

// That a base is gone is told before what it takes with it, whoever has ended it.
func TestBasesThatAreGone(t *testing.T) {
	for _, c := range []struct {
		why string
		end func(l *lab, id ice.BaseID)
	}{
		{"the local address is gone", func(l *lab, id ice.BaseID) {
			l.do(func(now time.Time) { l.m.RemoveBase(now, id); l.m.RemoveBase(now, id) })
		}},
		{"the socket failed: pulled out", func(l *lab, _ ice.BaseID) {
			for range 2 {
				l.do(func(now time.Time) {
					l.m.HandleNotice(now, machine.Notice{Kind: machine.SocketFailed, Socket: 0, Err: errors.New("pulled out")})
				})
			}
		}},
	} {
		l := completed(t, ice.AgentConfig{})
		l.events = nil
		c.end(l, 1)
		gone, invalid := -1, -1
		for i, e := range l.events {
			switch {
			case e.Kind == ice.EventBaseGone && gone < 0 && e.Base == 1 && e.Agent == 0 && e.Err.Error() == c.why:
				gone = i
			case e.Kind == ice.EventBaseGone:
				t.Errorf("told once more, or not as it should be: %+v", e)
			case e.Kind == ice.EventInvalid:
				invalid = i
			}
		}
		if gone < 0 || invalid < gone {
			t.Errorf("%s: told as event %d, its pair's end as %d", c.why, gone, invalid)
		}
	}
}

// An active candidate has port 9 (RFC 6544 section 4.5), and is told all the same.
func TestActiveCandidateHasPort9(t *testing.T) {
	l := emptyLab(t)
	l.base(ice.Base{Transport: ice.TCP, TCPType: ice.Active, Addr: netip.AddrPortFrom(ours.Addr(), 0)})
	l.agent(ice.AgentConfig{})
	c := l.last(ice.EventCandidate).Candidate
	if c.Addr != netip.AddrPortFrom(ours.Addr(), 9) || c.TCPType != ice.Active {
		t.Errorf("%+v", c)
	}
}

// Policies: what the peer is told, in any field, and from where anything is sent.
func TestPolicies(t *testing.T) {
	inside := netip.MustParseAddrPort("192.168.1.5:40000")
	relay := netip.MustParseAddrPort("192.0.2.99:50000")
	for _, c := range []struct {
		policy ice.Policy
		told   int
		secret []netip.Addr
	}{
		{ice.AllCandidates, 3, nil},
		{ice.NoHost, 2, []netip.Addr{inside.Addr()}},
		{ice.RelayOnly, 1, []netip.Addr{inside.Addr(), outside.Addr()}},
	} {
		l := emptyLab(t)
		id := l.base(ice.Base{Socket: 0, Addr: inside})
		l.base(ice.Base{Socket: 9, Type: ice.Relay, Addr: relay, Mapped: outside, Server: stunAt.Addr()})
		l.do(func(now time.Time) { l.m.AddMapped(now, id, outside) })
		l.agent(ice.AgentConfig{Policy: c.policy})
		if got := l.told(); len(got) != c.told || len(l.m.Candidates(l.id)) != c.told {
			t.Errorf("policy %d: told %v", c.policy, got)
		}
		for _, e := range l.all(ice.EventCandidate) {
			for _, ip := range c.secret {
				if text := e.Candidate.String(); strings.Contains(text, ip.String()) {
					t.Errorf("policy %d: told %v", c.policy, text)
				}
			}
		}
		l.know(peerCreds)
		l.candidate(peerAt, highPriority)
		l.ask(peerAt2) // comes to the host's address
		l.run(time.Second)
		if got := l.has(peerAt2); got == (c.policy == ice.RelayOnly) {
			t.Errorf("policy %d: a check to the host's address was taken: %v", c.policy, got)
		}
		for _, s := range l.sent {
			if c.policy == ice.RelayOnly && s.socket != 9 {
				t.Errorf("policy %d: sent from the host's address to %v", c.policy, s.to)
			}
		}
		if len(l.requests(peerAt)) == 0 {
			t.Errorf("policy %d: no check by the relay", c.policy)
		}
		l.restart() // tells no more either
		if got := len(l.told()); got != 2*c.told {
			t.Errorf("policy %d: told %d after a restart", c.policy, got)
		}
	}
}

// All transactions of a process, those with STUN servers too, are 5 ms apart (RFC 8445
// section 14.2).
func TestAgentsArePacedTogether(t *testing.T) {
	l := emptyLab(t)
	l.base(ice.Base{Socket: 0, Addr: ours})
	for i := range 8 {
		l.hosts[spread(100+i)] = stunServer(outside)
		l.do(func(now time.Time) { l.m.AddServer(now, spread(100+i)) })
	}
	for range 8 {
		l.agent(ice.AgentConfig{})
		l.know(peerCreds)
		for i := range 10 {
			l.candidate(spread(i), uint32(highPriority-i))
		}
	}
	l.run(2 * time.Second)
	var last time.Duration
	perAgent := make(map[string]time.Duration) // by user name
	for i, s := range l.requests(netip.AddrPort{}) {
		if i > 0 && s.at-last < 5*time.Millisecond {
			t.Fatalf("transactions %v apart: all agents of a process MUST keep 5 ms", s.at-last)
		}
		last = s.at
		if user, ok := s.msg().Username(); ok {
			if before, again := perAgent[string(user)]; again && s.at-before < 50*time.Millisecond {
				t.Fatalf("checks of one agent %v apart: Ta is 50 ms", s.at-before)
			}
			perAgent[string(user)] = s.at
		}
	}
	if len(perAgent) != 8 {
		t.Errorf("%d agents check", len(perAgent))
	}
}

// Ta is 50 ms unless configured (RFC 8445 section 14.2).
func TestPace(t *testing.T) {
	for pace, want := range map[time.Duration]time.Duration{0: 50 * time.Millisecond, 5 * time.Millisecond: 5 * time.Millisecond, 80 * time.Millisecond: 80 * time.Millisecond} {
		l := newLab(t, ice.AgentConfig{Pace: pace})
		l.know(peerCreds)
		for i := range 20 {
			l.candidate(spread(i), uint32(highPriority-i))
		}
		l.run(time.Second)
		all := l.requests(netip.AddrPort{})
		for i := 1; i < len(all); i++ {
			if gap := all[i].at - all[i-1].at; gap < want {
				t.Fatalf("pace %v: %v apart", pace, gap)
			}
		}
		if n := int(time.Second / want); len(all) < min(n, 40)*8/10 {
			t.Errorf("pace %v: %d checks in a second", pace, len(all))
		}
	}
}
