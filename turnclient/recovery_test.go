package turnclient_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// A silent server is found out: writes and nothing in for 3 s, then three sends of a
// Refresh half a second apart.
func TestSilenceIsDoubted(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(10 * time.Second)
	l.kill(serverAddr)
	start := l.elapsed()
	l.send(id, peerA, "into the void")
	if !l.runUntil(time.Minute, func() bool { return l.m.State(id) == turnclient.Disconnecting }) {
		t.Fatal("the silence was not noticed")
	}
	if took := l.elapsed() - start; took != 4500*time.Millisecond {
		t.Errorf("noticed after %v", took)
	}
	var beats []time.Duration
	for _, at := range times(l.requests(wire.Refresh)) {
		if at > start {
			beats = append(beats, at-start)
		}
	}
	if !slices.Equal(beats[:3], ms(3000, 3500, 4000)) {
		t.Errorf("refreshes at %v", beats)
	}
}

// On a stream the question may be waiting behind data: it has five seconds.
func TestSilenceOfAStreamIsDoubtedLater(t *testing.T) {
	over := func() (*lab, turnclient.AllocationID) {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: turnclient.TCP}}})
		l.serve(serverAddr, authed())
		id := l.ready()
		l.send(id, peerA, "x")
		l.run(10 * time.Second)
		return l, id
	}
	l, id := over()
	l.delay = 2 * time.Second // each way
	for range 10 {
		l.send(id, peerA, "y")
		l.run(time.Second)
		if got := l.m.State(id); got != turnclient.Permitted {
			t.Fatalf("state %v while the server answers late", got)
		}
	}
	l, id = over()
	l.kill(serverAddr)
	start := l.elapsed()
	l.send(id, peerA, "into the void")
	l.runUntil(time.Minute, func() bool { return l.m.State(id) == turnclient.Disconnecting })
	if took := l.elapsed() - start; took < 8*time.Second || took > 8500*time.Millisecond {
		t.Errorf("noticed after %v", took)
	}
}

// A quiet peer is no silent server: one heartbeat, and nothing changes.
func TestQuietPeerChangesNothing(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	for range 100 {
		l.send(id, peerA, "x")
		l.run(time.Second)
	}
	if l.m.State(id) != turnclient.Permitted || len(l.all(turnclient.EventAllocated)) != 1 {
		t.Errorf("state %v", l.m.State(id))
	}
	if n := len(l.requests(wire.Refresh)); n < 12 || n > 34 {
		t.Errorf("%d heartbeats in 100 s", n)
	}
}

// ICMP is a hint: it makes the client ask, no more.
func TestUnreachableIsAHint(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	for range 10 {
		l.notice(machine.Notice{Kind: machine.Unreachable, Socket: l.sent[0].socket, Remote: serverAddr, Err: errors.New("forged")})
	}
	l.run(time.Second)
	want := []turnclient.State{turnclient.Allocating, turnclient.Allocated}
	if n := len(l.requests(wire.Refresh)); n != 1 || !slices.Equal(l.states(), want) {
		t.Errorf("%d refreshes, state %v, states %v", n, l.m.State(id), l.states())
	}
}

// A server that was killed and restarted: traffic goes on by itself within 10 s.
func TestServerRestart(t *testing.T) {
	for _, down := range []time.Duration{0, 2 * time.Second, 5 * time.Second, 30 * time.Second, 300 * time.Second} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds})
		server := l.serve(serverAddr, authed())
		id := l.ready()
		l.send(id, peerA, "x")
		l.run(10 * time.Second)
		l.kill(serverAddr)
		server.Restart()
		back := l.elapsed() + down
		relayed := len(l.toPeers)
		ok := l.runUntil(down+time.Minute, func() bool {
			if l.elapsed() >= back {
				l.revive(serverAddr)
			}
			if l.elapsed() >= back-down && l.m.State(id) != turnclient.Closed && l.elapsed()%(100*time.Millisecond) == 0 {
				_ = l.send(id, peerA, "y")
			}
			if len(l.todo) == 0 {
				l.at(100*time.Millisecond, func() {})
			}
			return len(l.toPeers) > relayed
		})
		limit := 10 * time.Second
		if down > 10*time.Second {
			limit = 31 * time.Second // the windows of the backoff
		}
		if took := l.elapsed() - back; !ok || took > limit {
			t.Errorf("down for %v: traffic after %v more (%v): %v", down, took, ok, l.m.State(id))
		}
		if e := l.last(turnclient.EventAllocated); e.Lost.Err == nil || len(e.Lost.Relayed) != 1 {
			t.Errorf("down for %v: the loss is not stated: %+v", down, e.Lost)
		}
	}
}

// An outage of 300 s at a lifetime of 600 s keeps the allocation, or gets it back.
func TestOutageOfFiveMinutes(t *testing.T) {
	for _, write := range []bool{true, false} {
		for begin := 10 * time.Second; begin < 600*time.Second; begin += 83 * time.Second {
			l := newLab(t, turnclient.MachineConfig{Credentials: creds})
			l.serve(serverAddr, authed())
			id := l.ready()
			l.send(id, peerA, "x")
			l.run(begin)
			l.kill(serverAddr)
			for range 300 {
				if write {
					l.send(id, peerA, "y")
				}
				l.run(time.Second)
			}
			l.revive(serverAddr)
			l.run(45 * time.Second)
			if !l.m.State(id).Usable() {
				t.Errorf("outage at %v, writes %v: state %v: %v", begin, write, l.m.State(id), l.failures())
				continue
			}
			if write { // the peer is permitted again by itself
				l.fromPeer(peerA, l.relayed(), "in")
				l.run(time.Second)
				if len(l.data()) != 1 {
					t.Errorf("outage at %v: nothing comes in", begin)
				}
			}
			before := len(l.toPeers)
			l.send(id, peerA, "after")
			l.run(time.Second)
			if len(l.toPeers) != before+1 {
				t.Errorf("outage at %v, writes %v: nothing is relayed", begin, write)
			}
			if n := len(l.sent); n > 1500 {
				t.Errorf("outage at %v: %d messages", begin, n)
			}
		}
	}
}

// While the allocation stands at the server it is kept: same address, no loss.
func TestShortOutageKeepsTheAllocation(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	l.kill(serverAddr)
	l.send(id, peerA, "y")
	l.run(5 * time.Second)
	if l.m.State(id) != turnclient.Disconnecting {
		t.Fatalf("state %v", l.m.State(id))
	}
	l.revive(serverAddr)
	l.run(5 * time.Second)
	if l.m.State(id) != turnclient.Permitted || len(l.all(turnclient.EventAllocated)) != 1 || server.Made-server.Allocations(l.now) > 1 {
		t.Errorf("state %v, told of %d allocations, %d made and %d stand", l.m.State(id), len(l.all(turnclient.EventAllocated)), server.Made, server.Allocations(l.now))
	}
	l.run(10 * time.Second)
	if n := server.Allocations(l.now); n != 1 || len(l.sockets) != 1 {
		t.Errorf("%d allocations, %d sockets", n, len(l.sockets))
	}
}

// A path that died for good, as after a network change, is replaced by a new socket,
// while the server lives.
func TestDeadPathIsReplaced(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	first := l.sent[0].socket
	inner := l.hosts[serverAddr]
	local := l.sockets[first]
	l.hosts[serverAddr] = deafTo{inner, local}
	l.send(id, peerA, "y")
	l.run(15 * time.Second)
	if e := l.last(turnclient.EventAllocated); len(l.all(turnclient.EventAllocated)) != 2 || !l.m.State(id).Usable() || e.Lost.Err == nil {
		t.Fatalf("state %v: %v", l.m.State(id), l.failures())
	}
	if _, ok := l.sockets[first]; ok || len(l.sockets) != 1 {
		t.Errorf("sockets %v", l.sockets)
	}
}

func TestNetworkChangeIsActedUponAtOnce(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	l.run(time.Minute)
	l.hosts[serverAddr] = deafTo{l.hosts[serverAddr], l.sockets[l.sent[0].socket]}
	l.do(l.m.NetworkChanged)
	if !l.runUntil(time.Minute, func() bool { return len(l.all(turnclient.EventAllocated)) == 2 }) {
		t.Fatal("no new allocation")
	}
	if took := l.elapsed() - time.Minute; took > 200*time.Millisecond || l.m.State(id) != turnclient.Allocated {
		t.Errorf("took %v, state %v", took, l.m.State(id))
	}
}

// A broken socket or connection is replaced.
func TestBrokenLinkIsReplaced(t *testing.T) {
	for _, transport := range []turnclient.Transport{turnclient.UDP, turnclient.TCP} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: transport}}})
		l.serve(serverAddr, authed())
		id := l.ready()
		broken := machine.Notice{Kind: machine.SocketFailed, Socket: l.sent[0].socket, Err: errors.New("gone")}
		if transport == turnclient.TCP {
			broken = machine.Notice{Kind: machine.Closed}
		}
		l.notice(broken)
		l.run(time.Second)
		if len(l.all(turnclient.EventAllocated)) != 2 || l.m.State(id) != turnclient.Allocated {
			t.Errorf("%v: state %v: %v", transport, l.m.State(id), l.failures())
		}
	}
}

// When no server gives a new allocation, writes say so, and it is tried again once the
// server may be asked.
func TestFailedIsSaidAndLeft(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	server.Restart()
	server.Refuse = map[wire.Method]int{wire.Allocate: 486}
	l.send(id, peerB, "y")
	l.failed(id, time.Minute)
	failed := l.elapsed()
	if err := l.send(id, peerA, "z"); !errors.Is(err, turnclient.ErrLost) {
		t.Errorf("write in state failed: %v", err)
	}
	asked := len(l.requests(wire.Allocate))
	server.Refuse = nil
	l.run(59 * time.Second)
	if n := len(l.requests(wire.Allocate)); n != asked {
		t.Errorf("asked %d times within the minute", n-asked)
	}
	if !l.runUntil(time.Minute, func() bool { return l.m.State(id).Usable() }) {
		t.Fatalf("state %v at %v after the failure", l.m.State(id), l.elapsed()-failed)
	}
}

// Many clients of a server that comes back do not come at once.
func TestReturnIsSpread(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	var ids []turnclient.AllocationID
	for range 100 {
		ids = append(ids, l.ready())
	}
	l.kill(serverAddr)
	server.Restart()
	for range 120 {
		for _, id := range ids {
			l.send(id, peerA, "x")
		}
		l.run(time.Second)
	}
	l.revive(serverAddr)
	back := l.elapsed()
	l.run(2 * time.Minute)
	var at []time.Duration
	for _, e := range l.all(turnclient.EventAllocated)[100:] {
		at = append(at, e.At.Sub(l.start)-back)
	}
	if len(at) != 100 {
		t.Fatalf("%d of 100 came back", len(at))
	}
	slices.Sort(at)
	if first, last := at[5], at[94]; last-first < 5*time.Second || last > 35*time.Second {
		t.Errorf("90 %% came back between %v and %v", first, last)
	}
}

// Of two servers one cannot be reached from here, silently, and the other is restarted: it
// is found again within 10 s, not only once the first has had all its time. Should it not
// come back, that is said all the same.
func TestServerRestartBesideASilentOne(t *testing.T) {
	for _, down := range []time.Duration{time.Second, 5 * time.Second, 25 * time.Second, time.Hour} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: otherAddr}, {Addr: serverAddr}}})
		server := l.serve(serverAddr, authed())
		id := l.ready()
		server.Restart()
		server.Refuse = map[wire.Method]int{wire.Allocate: wire.CodeServerError}
		l.send(id, peerA, "x") // the server says that it knows no such allocation
		if down == time.Hour {
			if at, _ := l.failed(id, time.Minute); at < 39*time.Second {
				t.Errorf("failed at %v, before the silent one has had its time", at)
			}
			if n := len(l.requests(wire.Allocate)); n > 60 {
				t.Errorf("asked %d times", n)
			}
			continue
		}
		l.run(down)
		server.Refuse = nil
		back := l.elapsed()
		if !l.runUntil(time.Minute, func() bool { return l.m.State(id).Usable() }) || l.elapsed()-back > 10*time.Second {
			t.Errorf("down for %v: state %v after %v more", down, l.m.State(id), l.elapsed()-back)
		}
		l.run(time.Minute)
		if len(l.sockets) != 1 || server.Allocations(l.now) != 1 {
			t.Errorf("down for %v: %d sockets, %d allocations", down, len(l.sockets), server.Allocations(l.now))
		}
	}
}

// Servers that nothing comes of fail in the end, though each is slow to and others are
// asked again meanwhile; and each is named once.
func TestSlowServersFailInTheEnd(t *testing.T) {
	for rto := 300 * time.Millisecond; rto < 600*time.Millisecond; rto += 10 * time.Millisecond {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, RTO: rto, Servers: []turnclient.Endpoint{
			{Addr: serverAddr, Transport: turnclient.TCP}, {Addr: public1, Transport: turnclient.TCP}, {Addr: public2, Transport: turnclient.TCP}, {Addr: otherAddr},
		}})
		l.serve(serverAddr, authed())
		id := l.ready()
		delete(l.hosts, serverAddr) // connections are not answered any more
		l.notice(machine.Notice{Kind: machine.Closed, Err: errors.New("gone")})
		most := 0
		l.runUntil(2*time.Minute, func() bool {
			most = max(most, len(l.streams))
			return l.m.State(id) == turnclient.Failed
		})
		at, err := l.failed(id, 0)
		var all *turnclient.AllocateError
		if at < 79*rto || at > 79*rto+11*time.Second || !errors.As(err, &all) || len(all.Attempts) != 4 {
			t.Errorf("RTO %v: failed at %v: %v", rto, at, err)
		}
		if n := len(l.streams); n != 0 || most != 3 {
			t.Errorf("RTO %v: %d connections are being made, %d were at a time", rto, n, most)
		}
	}
}

// The server is sent something every 15 s, and no more when data goes out anyway.
func TestKeepalive(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id := l.ready()
	l.run(10 * time.Minute)
	all := times(l.sent)
	for i := 1; i < len(all); i++ {
		if gap := all[i] - all[i-1]; gap > 15*time.Second {
			t.Errorf("nothing sent for %v at %v", gap, all[i-1])
		}
	}
	if n := server.Indications; n < 35 || n > 81 {
		t.Errorf("%d Binding indications in 10 minutes", n)
	}
	before := server.Indications
	for range 600 {
		l.send(id, peerA, "x")
		l.run(time.Second)
	}
	if n := server.Indications - before; n > 1 {
		t.Errorf("%d Binding indications beside traffic", n)
	}
}

// More than 5 % of 20 requests lost, or round trips over half a second: Congested, with
// less of everything; out of it by steps.
func TestCongestion(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
	l.serve(serverAddr, authed())
	id := l.ready()
	ping := func(n int, trip time.Duration, lost bool) {
		for range n {
			l.do(func(now time.Time) { l.m.Observe(now, id, trip, lost) })
		}
	}
	ping(17, 40*time.Millisecond, false) // three requests have been counted with the allocation
	ping(19, 40*time.Millisecond, false)
	ping(1, 0, true)
	if l.m.State(id) == turnclient.Congested {
		t.Error("one of twenty lost is 5 %, not more")
	}
	ping(20, 0, true)
	if l.m.State(id) != turnclient.Congested || l.m.Level(id) != 1 {
		t.Fatalf("state %v, level %d", l.m.State(id), l.m.Level(id))
	}
	ping(20, 0, true)
	ping(20, 0, true)
	ping(20, 0, true)
	if l.m.Level(id) != 3 {
		t.Errorf("level %d", l.m.Level(id))
	}
	for level := 3; level > 0; level-- {
		ping(60, 450*time.Millisecond, false) // neither good nor bad: hysteresis
		if got := l.m.Level(id); got != level {
			t.Fatalf("level %d after round trips of 450 ms, want %d", got, level)
		}
		for n := 0; l.m.Level(id) == level; n++ {
			if ping(1, 40*time.Millisecond, false); n > 60 {
				t.Fatalf("still at level %d after %d good round trips", level, n)
			}
		}
		if got := l.m.Level(id); got != level-1 {
			t.Errorf("from level %d to %d: not by steps", level, got)
		}
	}
	if l.m.State(id) == turnclient.Congested {
		t.Errorf("state %v", l.m.State(id))
	}
	ping(60, 700*time.Millisecond, false)
	if l.m.State(id) != turnclient.Congested || l.m.Level(id) < 2 {
		t.Fatalf("state %v, level %d after round trips of 700 ms", l.m.State(id), l.m.Level(id))
	}
	// Requests are paced now, and not repeated as often.
	before := len(l.requests(wire.CreatePermission))
	l.kill(serverAddr)
	for i := range 5 {
		l.send(id, host4(i), "x")
	}
	l.run(time.Minute)
	var begun []time.Duration
	sends := make(map[string]int)
	for _, s := range l.requests(wire.CreatePermission)[before:] {
		key := string(s.raw[8:20])
		if sends[key]++; sends[key] == 1 {
			begun = append(begun, s.at)
		}
		if sends[key] > 4 {
			t.Errorf("a request was sent %d times", sends[key])
		}
	}
	for i := 1; i < len(begun); i++ {
		if gap := begun[i] - begun[i-1]; gap < 200*time.Millisecond {
			t.Errorf("requests began %v apart", gap)
		}
	}
	if len(begun) < 5 {
		t.Errorf("%d requests began", len(begun))
	}
}
