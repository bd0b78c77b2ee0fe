package turnclient_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

func TestAllocatePermitRelayClose(t *testing.T) {
	for _, transport := range []turnclient.Transport{turnclient.UDP, turnclient.TCP} {
		t.Run(transport.String(), func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: transport}}})
			l.chop = true
			server := l.serve(serverAddr, authed())
			id := l.ready()
			e := l.last(turnclient.EventAllocated)
			if e.Relayed[0].Addr() != relayIP || e.Lifetime != 10*time.Minute || e.Mapped.Addr().String() != "203.0.113.5" {
				t.Errorf("allocated %+v", e)
			}
			for i := range 20 {
				if err := l.send(id, peerA, string('a'+rune(i))); err != nil {
					t.Fatal(err)
				}
			}
			l.run(200 * time.Millisecond)
			var got string
			for _, d := range l.toPeers {
				got += d.data
			}
			if got != "abcdefghijklmnopqrst" {
				t.Errorf("relayed %q", got)
			}
			l.fromPeer(peerA, l.relayed(), "by channel")
			if err := l.send(id, peerA, "out"); err != nil {
				t.Fatal(err)
			}
			l.run(100 * time.Millisecond)
			if server.ChannelData == 0 || server.Channels(l.now) != 1 {
				t.Errorf("%d ChannelData, %d channels", server.ChannelData, server.Channels(l.now))
			}
			l.do(func(now time.Time) { l.m.Permit(now, id, peerB.Addr()) })
			l.run(100 * time.Millisecond)
			l.fromPeer(peerB, l.relayed(), "by indication")
			l.run(100 * time.Millisecond)
			if got := l.data(); !slices.Equal(got, []string{peerA.String() + " by channel", peerB.String() + " by indication"}) {
				t.Errorf("came in: %q", got)
			}
			l.do(func(now time.Time) { l.m.Close(now, id) })
			l.run(time.Second)
			if e := l.last(turnclient.EventReleased); e.Err != nil || server.Allocations(l.now) != 0 {
				t.Errorf("released %+v, %d allocations left", e, server.Allocations(l.now))
			}
			if err := l.send(id, peerA, "x"); err != turnclient.ErrClosed {
				t.Errorf("send after close: %v", err)
			}
			want := []turnclient.State{turnclient.Allocating, turnclient.Allocated, turnclient.PermissionPending, turnclient.Permitted, turnclient.Closed}
			if got := l.states(); !slices.Equal(got, want) {
				t.Errorf("states %v, want %v", got, want)
			}
			if len(l.sockets)+len(l.streams) != 0 {
				t.Errorf("left open: %v %v", l.sockets, l.streams)
			}
			if n := len(l.requests(wire.Allocate)); n != 2 {
				t.Errorf("%d Allocate requests, want one anonymous and one signed", n)
			}
			if l.m.NextTimeout() != (time.Time{}) {
				t.Error("a timer is left")
			}
		})
	}
}

// RFC 8656 section 7.3: what is granted counts, not what was asked.
func TestRefreshByTheLifetimeGranted(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Lifetime: time.Hour})
	l.serve(serverAddr, authed())
	id := l.ready()
	asked, _ := l.requests(wire.Allocate)[1].msg().Lifetime()
	if got := l.last(turnclient.EventAllocated).Lifetime; asked != 3600 || got != 600*time.Second {
		t.Errorf("asked for %d s, granted %v", asked, got)
	}
	l.run(time.Hour)
	refreshes := l.requests(wire.Refresh)
	if n := len(refreshes); n != 7 || refreshes[0].at/time.Second != 500 {
		t.Errorf("%d refreshes, the first at %v; want one each 500 s", n, times(refreshes))
	}
	if len(l.all(turnclient.EventAllocated)) != 1 || !l.m.State(id).Usable() {
		t.Error("the allocation was lost")
	}
}

// RFC 8656 section 7.4.
func TestRefusalsHoldOrBarTheServer(t *testing.T) {
	for _, c := range []struct {
		code int
		hold time.Duration // for which the server is left alone; negative: for good
	}{
		{486, time.Minute}, {508, time.Minute}, {440, -1}, {403, 5 * time.Minute}, {500, 0},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds})
			server := l.serve(serverAddr, authed())
			server.Refuse = map[wire.Method]int{wire.Allocate: c.code}
			at, err := l.failed(l.allocate(), time.Minute)
			var s *turnclient.ServerError
			if !errors.As(err, &s) || s.Code != c.code || at > time.Second {
				t.Fatalf("at %v: %v", at, err)
			}
			if c.hold > 0 && !s.RetryAfter.Equal(l.now.Add(c.hold)) {
				t.Errorf("retry after %v", s.RetryAfter.Sub(l.now))
			}
			server.Refuse = nil
			before := len(l.sent)
			wait := c.hold - time.Second
			if c.hold < 0 {
				wait = 24 * time.Hour
			}
			l.run(max(wait, 0))
			if c.hold != 0 {
				if _, err := l.failed(l.allocate(), time.Minute); !errors.Is(err, turnclient.ErrHeld) || len(l.sent) != before {
					t.Errorf("asked again before the time: %v", err)
				}
			}
			if c.hold >= 0 {
				l.run(time.Second)
				l.ready()
			}
		})
	}
}

// RFC 8656 section 7.4, 437: three ports, then two minutes.
func TestMismatchOnAllocateTriesThreePorts(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	server.Refuse = map[wire.Method]int{wire.Allocate: 437}
	_, err := l.failed(l.allocate(), time.Minute)
	ports := make(map[machine.SocketID]bool)
	for _, s := range l.requests(wire.Allocate) {
		if signed(s.msg()) {
			ports[s.socket] = true
		}
	}
	if len(ports) != 3 || len(l.sockets) != 0 {
		t.Errorf("%d ports tried, %d left open: %v", len(ports), len(l.sockets), err)
	}
	server.Refuse = nil
	l.run(119 * time.Second)
	if _, err := l.failed(l.allocate(), time.Minute); !errors.Is(err, turnclient.ErrHeld) {
		t.Errorf("%v", err)
	}
	l.run(time.Second)
	l.ready()
}

// RFC 8656 sections 5 and 8.3: 437 on anything but Allocate says that it is gone.
func TestMismatchOnAnythingElseMakesItAnew(t *testing.T) {
	for name, provoke := range map[string]func(l *lab, id turnclient.AllocationID){
		"permission": func(l *lab, id turnclient.AllocationID) { l.send(id, peerB, "b") },
		"channel": func(l *lab, id turnclient.AllocationID) {
			for range 8 {
				l.send(id, peerA, "a")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds})
			server := l.serve(serverAddr, authed())
			id := l.ready()
			l.send(id, peerA, "first")
			l.run(time.Second)
			old := l.relayed()
			server.Restart()
			provoke(l, id)
			l.run(time.Second)
			e := l.last(turnclient.EventAllocated)
			if len(l.all(turnclient.EventAllocated)) != 2 || e.Lost.Relayed[0] != old || e.Lost.Permissions != 1 || e.Lost.Err == nil {
				t.Fatalf("%+v; %v", e, l.failures())
			}
			if e.Relayed[0] == old {
				t.Error("the relayed address is the old one")
			}
			// The peer is permitted again without being written to.
			l.fromPeer(peerA, l.relayed(), "hello again")
			l.run(time.Second)
			if got := l.data(); len(got) != 1 {
				t.Errorf("came in: %q", got)
			}
			if len(l.sockets) != 1 {
				t.Errorf("%d sockets", len(l.sockets))
			}
		})
	}
}

func TestMismatchOnRefreshMakesItAnew(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.run(490 * time.Second)
	server.Restart()
	l.run(11 * time.Second)
	if len(l.all(turnclient.EventAllocated)) != 2 || l.m.State(id) != turnclient.Allocated {
		t.Errorf("state %v: %v", l.m.State(id), l.failures())
	}
}

// RFC 8656 section 7.1.
func TestAddressFamilies(t *testing.T) {
	for _, c := range []struct {
		family              turnclient.Family
		requested, addition int // the attributes' values; 0: absent
		v4, v6              bool
	}{
		{turnclient.AnyFamily, 0, 0, true, false}, {turnclient.IPv4, 1, 0, true, false},
		{turnclient.IPv6, 2, 0, false, true}, {turnclient.DualStack, 0, 2, true, true},
	} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Family: c.family})
		cfg := authed()
		cfg.Relay, cfg.Relay6 = relayIP, relayIP6
		l.serve(serverAddr, cfg)
		id := l.ready()
		for _, s := range l.requests(wire.Allocate) {
			requested, _ := s.msg().FirstByte(wire.AttrRequestedAddressFamily)
			addition, _ := s.msg().FirstByte(wire.AttrAdditionalAddressFamily)
			if int(requested) != c.requested || int(addition) != c.addition {
				t.Errorf("family %d: REQUESTED %d, ADDITIONAL %d", c.family, requested, addition)
			}
			if transport, _ := s.msg().FirstByte(wire.AttrRequestedTransport); transport != 17 {
				t.Errorf("REQUESTED-TRANSPORT %d", transport)
			}
		}
		err4, err6 := l.send(id, peerA, "4"), l.send(id, peer6, "6")
		l.run(time.Second)
		if (err4 == nil) != c.v4 || (err6 == nil) != c.v6 {
			t.Errorf("family %d: IPv4 %v, IPv6 %v", c.family, err4, err6)
		}
		if want := map[bool]int{true: 1}[c.v4] + map[bool]int{true: 1}[c.v6]; len(l.toPeers) != want {
			t.Errorf("family %d: %d relayed", c.family, len(l.toPeers))
		}
	}
}

// Section 7.3: of two families one may be missing, and the server says why.
func TestMissingFamilyIsTold(t *testing.T) {
	for _, family := range []turnclient.Family{turnclient.DualStack, turnclient.AnyFamily} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Family: family})
		l.serve(serverAddr, authed()) // IPv4 only
		l.ready()
		e := l.last(turnclient.EventAllocated)
		var s *turnclient.ServerError
		if family == turnclient.AnyFamily {
			if e.Err != nil {
				t.Error(e.Err)
			}
		} else if len(e.Relayed) != 1 || !errors.As(e.Err, &s) || s.Code != wire.CodeFamilyNotSupported || s.Op != "allocate IPv6" {
			t.Errorf("relayed %v, %v", e.Relayed, e.Err)
		}
	}
}

// What a server is found to be able to is told with the allocation.
func TestFeaturesAreTold(t *testing.T) {
	for _, want := range []turnclient.Features{
		{}, {SHA256: true}, {SHA256: true, Userhash: true}, {Mobility: true}, {DontFragment: true},
	} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Mobility: true, DontFragment: true})
		cfg := authed()
		cfg.SHA256, cfg.Anonymous, cfg.Mobility, cfg.NoDontFragment = want.SHA256, want.Userhash, want.Mobility, !want.DontFragment
		l.serve(serverAddr, cfg)
		l.ready()
		if got := l.last(turnclient.EventAllocated).Features; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// RFC 8656 section 7.3: an address that was not asked for is given back.
func TestAddressOfAnotherFamilyIsGivenBack(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Family: turnclient.IPv6})
	l.hosts[serverAddr] = after401(func(m *wire.Message) [][]byte { return one(answerTo(m, 0, md5Key, granted)) })
	l.failed(l.allocate(), time.Minute)
	l.run(time.Second)
	r := l.requests(wire.Refresh)
	if len(r) != 1 {
		t.Fatalf("%d refreshes", len(r))
	}
	if lifetime, ok := r[0].msg().Lifetime(); lifetime != 0 || !ok {
		t.Error("it was not deleted")
	}
}

// DONT-FRAGMENT is asked for when allocating, and done without if the server must.
func TestDontFragment(t *testing.T) {
	for _, able := range []bool{true, false} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, DontFragment: true, ChannelAfter: 1})
		cfg := authed()
		cfg.NoDontFragment = !able
		server := l.serve(serverAddr, cfg)
		id := l.ready()
		l.send(id, peerA, "a")
		l.run(time.Second)
		if len(l.toPeers) != 1 || l.toPeers[0].df != able || server.Channels(l.now) != map[bool]int{true: 0, false: 1}[able] {
			t.Errorf("able %v: relayed %+v", able, l.toPeers)
		}
	}
}

// RFC 8656 sections 3.9 and 8.3: where two servers give an allocation, one is deleted.
func TestLoserOfARaceIsDeleted(t *testing.T) {
	for _, gone := range []bool{false, true} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: serverAddr}, {Addr: otherAddr}}})
		slow := l.serve(serverAddr, authed())
		fast := l.serve(otherAddr, authed())
		l.hosts[serverAddr] = slowHost{l.hosts[serverAddr], 200 * time.Millisecond}
		id := l.ready()
		if l.last(turnclient.EventAllocated).Server.Addr != otherAddr {
			t.Fatalf("the slow server won at %v", l.elapsed())
		}
		if gone {
			l.at(270*time.Millisecond, func() { slow.Restart() })
		}
		l.run(5 * time.Second)
		if slow.Made != 1 || slow.Allocations(l.now) != 0 || fast.Allocations(l.now) != 1 {
			t.Errorf("slow made %d, has %d; fast has %d", slow.Made, slow.Allocations(l.now), fast.Allocations(l.now))
		}
		if len(l.sockets) != 1 || l.m.State(id) != turnclient.Allocated {
			t.Errorf("%d sockets, state %v", len(l.sockets), l.m.State(id))
		}
	}
}

func TestDeadServerDelaysTheNextByLittle(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: serverAddr}, {Addr: otherAddr}}})
	l.serve(otherAddr, authed())
	l.ready()
	if got := l.elapsed(); got != 330*time.Millisecond {
		t.Errorf("stood after %v, want 250 ms and two round trips", got)
	}
	l.run(time.Minute)
	if len(l.sockets) != 1 {
		t.Errorf("%d sockets left", len(l.sockets))
	}
}

// RFC 8656 section 8.3: 437 to a deletion is what we wanted.
func TestMismatchOnDeleteIsSuccess(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	server.Restart()
	l.do(func(now time.Time) { l.m.Close(now, id) })
	l.run(time.Second)
	if e := l.last(turnclient.EventReleased); e.Err != nil {
		t.Error(e.Err)
	}
}

func TestCloseWhileTheServerIsSilent(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.kill(serverAddr)
	start := l.elapsed()
	l.do(func(now time.Time) { l.m.Close(now, id) })
	l.run(time.Minute)
	e := l.last(turnclient.EventReleased)
	if took := e.At.Sub(l.start) - start; took != 2*time.Second || !errors.Is(e.Err, turnclient.ErrNoAnswer) || len(l.sockets) != 0 {
		t.Errorf("released after %v: %v", took, e.Err)
	}
}

func TestStateTable(t *testing.T) {
	for s := turnclient.Idle; s <= turnclient.Closed; s++ {
		next := s.Next()
		if (s == turnclient.Closed) != (len(next) == 0) || slices.Contains(next, s) {
			t.Errorf("%v: %v", s, next)
		}
		if s != turnclient.Idle && s != turnclient.Closed && !slices.Contains(next, turnclient.Closed) {
			t.Errorf("%v cannot be closed", s)
		}
		if strings.HasPrefix(s.String(), "State(") {
			t.Errorf("state %d has no name", s)
		}
	}
}
