package ice_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
)

const punched machine.StreamID = 1 << 20

// opened is a connection to the peer that others have opened, and that the agent adopts.
func (l *lab) opened(id machine.StreamID, local, remote netip.AddrPort) (base ice.BaseID, err error) {
	l.streams[id] = &stream{local: local, remote: remote, up: true}
	l.do(func(now time.Time) { base, err = l.m.Adopt(now, l.id, id, local, remote) })
	return base, err
}

// A connection that a hole was punched for is checked at once, from a base of its own, and
// carries data.
func TestAdopt(t *testing.T) {
	from := netip.AddrPortFrom(ours.Addr(), 51234)
	for _, controlling := range []bool{true, false} {
		l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{Controlling: controlling, Multipath: true})
		l.know(peerCreds)
		l.hosts[peerAt] = answering
		base, err := l.opened(punched, from, peerAt)
		if err != nil || base == 0 {
			t.Fatalf("base %d, %v", base, err)
		}
		l.until(time.Second, ice.Connected)
		p := l.pair(peerAt)
		if p.Route.Stream != punched || !p.Valid || p.Local.TCPType != ice.SimultaneousOpen || len(l.ops(machine.Dial)) != 0 {
			t.Errorf("%+v, %d dialled", p, len(l.ops(machine.Dial)))
		}
		if err := l.send("data"); err != nil {
			t.Error(err)
		}
		l.do(func(now time.Time) { l.m.RemoveBase(now, base) })
		if len(l.streams) != 0 || len(l.m.Pairs(l.id)) != 0 {
			t.Errorf("%d connections and %d pairs are left of a base that is gone", len(l.streams), len(l.m.Pairs(l.id)))
		}
	}
}

// From the port that the peer knows, the base is the one that there is; and the attempt of the
// agent's own gives way.
func TestAdoptFromAKnownPort(t *testing.T) {
	l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{Controlling: true, Multipath: true})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.SimultaneousOpen))
	l.run(10 * time.Millisecond)
	dials := l.ops(machine.Dial)
	if len(dials) != 1 {
		t.Fatalf("%d dialled", len(dials))
	}
	l.hosts[peerAt] = answering
	if base, err := l.opened(punched, ours, peerAt); base != 0 || err != nil {
		t.Fatalf("base %d, %v", base, err)
	}
	l.until(time.Second, ice.Connected)
	if p := l.pair(peerAt); p.Route.Stream != punched || !p.Valid || len(l.m.Pairs(l.id)) != 1 || len(l.streams) != 1 {
		t.Errorf("%+v, %d connections", p, len(l.streams))
	}
	if base, err := l.opened(punched+1, ours, peerAt); base != 0 || !errors.Is(err, ice.ErrNoPair) {
		t.Errorf("a second connection of a pair: base %d, %v", base, err)
	}
}

// An attempt of the agent's own that is still under way is called off, once the other stands.
func TestAdoptInPlaceOfADial(t *testing.T) {
	l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{Controlling: true, Multipath: true})
	l.know(peerCreds)
	l.candidate(peerAt, highPriority, tcp(ice.SimultaneousOpen))
	l.run(10 * time.Millisecond) // less than a round trip
	l.hosts[peerAt] = answering
	if _, err := l.opened(punched, ours, peerAt); err != nil {
		t.Fatal(err)
	}
	dials, ends := l.ops(machine.Dial), l.ops(machine.Close)
	if len(dials) != 1 || len(ends) != 1 || ends[0].stream != dials[0].stream {
		t.Errorf("dialled %+v, ended %+v", dials, ends)
	}
}

// Where an agent has no room for another pair, nothing is left of the attempt to make one.
func TestAdoptWithoutRoom(t *testing.T) {
	l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{Controlling: true, Multipath: true, MaxPairs: 1})
	l.know(peerCreds)
	l.hosts[peerAt] = answering
	if _, err := l.opened(punched, ours, peerAt); err != nil {
		t.Fatal(err)
	}
	l.until(time.Second, ice.Connected)
	locals, remotes := len(l.m.Candidates(l.id)), len(l.m.RemoteCandidates(l.id))
	if base, err := l.opened(punched+1, netip.AddrPortFrom(ours.Addr(), 51234), peerAt2); base != 0 || !errors.Is(err, ice.ErrNoPair) {
		t.Errorf("base %d, %v", base, err)
	}
	if len(l.m.Candidates(l.id)) != locals || len(l.m.RemoteCandidates(l.id)) != remotes || len(l.m.Pairs(l.id)) != 1 {
		t.Errorf("%d local and %d remote candidates, before %d and %d", len(l.m.Candidates(l.id)), len(l.m.RemoteCandidates(l.id)), locals, remotes)
	}
}

// Whoever is at the other end and does not prove to be the peer gets no data, and is left: one
// who speaks at once, one who says nothing, and one who answers checks by another password.
func TestAdoptAStranger(t *testing.T) {
	for what, stranger := range map[string]func(*lab, sent){
		"speaks": func(l *lab, s sent) { l.frame(s.stream, []byte("220 mail.example.com")) },
		"silent": func(*lab, sent) {},
		"forges": answeringAs(func(o *outgoing) { o.pwd = "another password of 22" }),
	} {
		l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{Controlling: true, Multipath: true})
		l.know(peerCreds)
		l.hosts[peerAt] = stranger
		if _, err := l.opened(punched, netip.AddrPortFrom(ours.Addr(), 51234), peerAt); err != nil {
			t.Fatal(err)
		}
		l.run(10 * time.Second)
		if err := l.send("data"); !errors.Is(err, ice.ErrNoPair) {
			t.Errorf("%s: sending: %v", what, err)
		}
		l.run(time.Minute)
		if p := l.pair(peerAt); p.Valid || p.State != ice.PairFailed || len(l.streams) != 0 {
			t.Errorf("%s: %v, %d connections", what, p.State, len(l.streams))
		}
	}
}

// What cannot be adopted stays the caller's.
func TestAdoptRefuses(t *testing.T) {
	l := tcpLab(t, ice.SimultaneousOpen, ice.AgentConfig{})
	if _, err := l.opened(punched, ours, peerAt); err == nil {
		t.Error("adopted before the peer's credentials were known")
	}
	l.know(peerCreds)
	for what, try := range map[string]func() error{
		"no agent": func() error { _, err := l.m.Adopt(l.now, 99, punched, ours, peerAt); return err },
		"to nobody": func() error {
			_, err := l.m.Adopt(l.now, l.id, punched, ours, netip.MustParseAddrPort("0.0.0.0:1"))
			return err
		},
		"from nowhere": func() error {
			_, err := l.m.Adopt(l.now, l.id, punched, netip.MustParseAddrPort("0.0.0.0:1"), peerAt)
			return err
		},
	} {
		if err := try(); err == nil {
			t.Errorf("%s: adopted", what)
		}
	}
	if n := len(l.m.Pairs(l.id)); n != 0 {
		t.Errorf("%d pairs", n)
	}
	if _, err := l.opened(punched, ours, peerAt); err != nil {
		t.Fatal(err)
	}
	if _, err := l.opened(punched, ours, peerAt2); err == nil {
		t.Error("adopted twice")
	}
}
