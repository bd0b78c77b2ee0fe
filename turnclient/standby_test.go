package turnclient_test

import (
	"errors"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/turnclient"
)

// While the allocation stands at the server it is kept, with its address, however long
// the server was away: what was made meanwhile is deleted.
func TestOutageKeepsWhatStandsAtTheServer(t *testing.T) {
	for _, away := range []time.Duration{20 * time.Second, time.Minute, 4 * time.Minute, 280 * time.Second} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds})
		server := l.serve(serverAddr, authed())
		id := l.ready()
		l.send(id, peerA, "x")
		l.run(time.Second)
		l.kill(serverAddr)
		for l.elapsed() < away {
			l.send(id, peerA, "y")
			l.run(time.Second)
		}
		l.revive(serverAddr)
		l.run(time.Minute)
		if n := len(l.all(turnclient.EventAllocated)); n != 1 || !l.m.State(id).Usable() {
			t.Errorf("away for %v: told of %d allocations, state %v", away, n, l.m.State(id))
		}
		if n := server.Allocations(l.now); n != 1 || len(l.sockets) != 1 {
			t.Errorf("away for %v: %d allocations at the server, %d sockets", away, n, len(l.sockets))
		}
		before := len(l.toPeers)
		l.send(id, peerA, "after")
		l.fromPeer(peerA, l.relayed(), "in")
		l.run(time.Second)
		if len(l.toPeers) != before+1 || len(l.data()) != 1 {
			t.Errorf("away for %v: %d datagrams went out, %q came in", away, len(l.toPeers)-before, l.data())
		}
	}
}

// standing is an allocation whose old path is dead, and beside which another one has
// just been made, of which nobody has been told.
func standing(t *testing.T) (l *lab, id turnclient.AllocationID) {
	l = newLab(t, turnclient.MachineConfig{Credentials: creds})
	server := l.serve(serverAddr, authed())
	id = l.ready()
	l.send(id, peerA, "x")
	l.run(time.Second)
	l.hosts[serverAddr] = deafTo{l.hosts[serverAddr], l.sockets[l.sent[0].socket]}
	l.send(id, peerA, "y")
	if !l.runUntil(time.Minute, func() bool { return server.Made == 2 }) {
		t.Fatal("no other allocation was made")
	}
	l.run(2 * l.delay)
	if n := len(l.all(turnclient.EventAllocated)); n != 1 || l.m.State(id) != turnclient.Disconnecting {
		t.Fatalf("told of %d allocations, state %v: the old one had no grace", n, l.m.State(id))
	}
	return l, id
}

// The grace is short.
func TestNewAllocationStepsIn(t *testing.T) {
	l, id := standing(t)
	before := l.elapsed()
	if !l.runUntil(time.Second, func() bool { return l.m.State(id).Usable() }) {
		t.Fatalf("state %v", l.m.State(id))
	}
	if took := l.elapsed() - before; took > 500*time.Millisecond {
		t.Errorf("after %v", took)
	}
	if e := l.last(turnclient.EventAllocated); e.Lost.Err == nil || len(l.all(turnclient.EventAllocated)) != 2 {
		t.Errorf("%+v", e)
	}
}

func TestNewAllocationIsDeletedByClose(t *testing.T) {
	l, id := standing(t)
	server := l.hosts[serverAddr].(deafTo).host.(*turnHost).s
	l.do(func(now time.Time) { l.m.Close(now, id) })
	l.run(10 * time.Second)
	if n := server.Allocations(l.now); n != 1 || len(l.sockets) != 0 || len(l.all(turnclient.EventReleased)) != 1 {
		t.Errorf("%d allocations, want the one that cannot be reached; %d sockets", n, len(l.sockets))
	}
}

// Where either path breaks the other one is relied on.
func TestPathBreaksWhileNewAllocationWaits(t *testing.T) {
	for name, old := range map[string]bool{"old": true, "new": false} {
		t.Run(name, func(t *testing.T) {
			l, id := standing(t)
			for socket := range l.sockets {
				if old == (socket == l.sent[0].socket) {
					l.notice(machine.Notice{Kind: machine.SocketFailed, Socket: socket, Err: errors.New("gone")})
				}
			}
			if old && !l.m.State(id).Usable() {
				t.Errorf("state %v, though the new one stands", l.m.State(id))
			}
			before := len(l.toPeers)
			l.run(10 * time.Second)
			l.send(id, peerA, "after")
			l.run(time.Second)
			if n := len(l.all(turnclient.EventAllocated)); n != 2 || len(l.toPeers) <= before || len(l.sockets) != 1 {
				t.Errorf("told of %d allocations, state %v, %d sockets", n, l.m.State(id), len(l.sockets))
			}
		})
	}
}

// Whenever the server comes back, one other allocation is made and no more.
func TestOneNewAllocationWaits(t *testing.T) {
	for i := range 100 {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds})
		server := l.serve(serverAddr, authed())
		id := l.ready()
		l.send(id, peerA, "x")
		l.run(time.Second)
		l.kill(serverAddr)
		l.send(id, peerA, "y")
		l.run(10*time.Second + time.Duration(i)*70*time.Millisecond)
		l.revive(serverAddr)
		l.hosts[serverAddr] = deafTo{l.hosts[serverAddr], l.sockets[l.sent[0].socket]}
		l.run(time.Minute)
		if server.Made != 2 || !l.m.State(id).Usable() {
			t.Errorf("%d: %d allocations made, state %v", i, server.Made, l.m.State(id))
		}
	}
}
