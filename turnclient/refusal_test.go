package turnclient_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// A server that answers every request of a method with any error code of the RFCs, signed
// as it should be: each is told as a typed error that names server, transport, what was
// asked, code and remedy. None stops what does not need that method, and all goes on once
// the server has come to its senses.
func TestEveryErrorCodeToEveryRequest(t *testing.T) {
	codes := []int{300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 487, 500, 508, 599, 699}
	for method, op := range map[wire.Method]string{
		wire.Allocate: "allocate", wire.Refresh: "refresh", wire.CreatePermission: "permission", wire.ChannelBind: "channel",
	} {
		for _, code := range codes {
			t.Run(fmt.Sprintf("%s %d", op, code), func(t *testing.T) {
				l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: 2})
				server := l.serve(serverAddr, authed())
				var id turnclient.AllocationID
				refuse := func() { server.Refuse = map[wire.Method]int{method: code} }
				if method == wire.Allocate {
					refuse()
					id = l.allocate()
					l.run(5 * time.Second)
					if got := l.m.State(id); got != turnclient.Failed {
						t.Errorf("state %v", got)
					}
				} else {
					id = l.ready()
					l.send(id, peerB, "x")
					l.run(time.Second)
					refuse()
					for range 6 { // peerA needs a permission and then a channel; silence of peers makes a heartbeat
						_ = l.send(id, peerA, "y")
						_ = l.send(id, peerB, "z")
						l.run(time.Second)
					}
				}
				found := false
				for _, e := range l.events {
					for _, err := range []error{e.Err, e.Lost.Err} {
						var s *turnclient.ServerError
						if !errors.As(err, &s) || s.Op != op || s.Code != code {
							continue
						}
						found = true
						text := s.Error()
						before, remedy, ok := strings.Cut(text, "; ")
						known := code != 487 && code < 599 // 487 is not TURN's
						if s.Server.Addr != serverAddr || !strings.Contains(before, "192.0.2.1:3478 over udp") || !strings.Contains(before, fmt.Sprint(code)) ||
							known && (!ok || remedy == "" || !strings.Contains(before, "(")) {
							t.Errorf("%q", text)
						}
						if strings.Contains(text, "canary") {
							t.Errorf("a secret is shown: %q", text)
						}
					}
				}
				if !found {
					t.Errorf("it was not told: %v", l.failures())
				}
				if method == wire.Allocate {
					server.Refuse = nil
					l.do(func(now time.Time) { l.m.Close(now, id) })
					l.run(10 * time.Second)
					if len(l.sockets) != 0 {
						t.Errorf("sockets %v are left", l.sockets)
					}
					return
				}
				lost := code == 437 || code == 441 || code == 400 && method == wire.ChannelBind
				for _, s := range l.states()[2:] { // since it is allocated
					if !lost && !s.Usable() {
						t.Errorf("state %v", s)
					}
				}
				server.Refuse = nil
				l.run(3 * time.Minute) // the longest time for which somebody is left alone
				l.toPeers = nil
				for range 3 {
					_ = l.send(id, peerA, "y")
					_ = l.send(id, peerB, "z")
					l.run(time.Second)
				}
				if len(l.toPeers) != 6 {
					t.Errorf("%d of 6 relayed, state %v: %v", len(l.toPeers), l.m.State(id), l.failures())
				}
			})
		}
	}
}

// Nothing listens at the server's port: ICMP says so. Anybody can forge that, so the first
// only hurries the next server; the second, of the next send, ends the attempt.
func TestClosedPortIsToldSoon(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: otherAddr}, {Addr: serverAddr}}})
	l.serve(serverAddr, authed())
	id := l.allocate()
	closed := func() {
		l.notice(machine.Notice{Kind: machine.Unreachable, Socket: 0, Remote: otherAddr, Err: errors.New("connection refused")})
	}
	l.run(time.Millisecond)
	closed()
	if n := len(l.requests(wire.Allocate)); n != 1 {
		t.Fatalf("%d requests", n)
	}
	l.run(0)
	if all := l.requests(wire.Allocate); len(all) != 2 || all[1].to != serverAddr {
		t.Errorf("%d requests: the next server is not asked yet", len(all))
	}
	l.run(time.Second)
	if e := l.last(turnclient.EventAllocated); e.Server.Addr != serverAddr || !l.m.State(id).Usable() {
		t.Errorf("%v", e.Server)
	}

	l = newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: otherAddr}}})
	id = l.allocate()
	l.run(time.Millisecond)
	closed()
	if got := l.m.State(id); got != turnclient.Allocating {
		t.Errorf("state %v after one ICMP error", got)
	}
	l.run(500 * time.Millisecond)
	closed()
	at, err := l.failed(id, time.Second)
	if at > time.Second || !strings.Contains(err.Error(), "192.0.2.2:3478 over udp: it cannot be reached: connection refused") {
		t.Errorf("at %v: %v", at, err)
	}
}

// Close while several servers are asked: what one gives after that is given back, and the
// one that never answers is waited for two seconds.
func TestCloseDuringARace(t *testing.T) {
	for _, silent := range []bool{false, true} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, Servers: []turnclient.Endpoint{{Addr: otherAddr}, {Addr: serverAddr}}})
		server := l.serve(serverAddr, authed())
		l.serve(otherAddr, authed())
		id := l.allocate()
		ready := func() bool { // the signed requests are on their way
			n := 0
			for _, s := range l.requests(wire.Allocate) {
				if signed(s.msg()) {
					n++
				}
			}
			return n == 2
		}
		l.hosts[otherAddr] = slowHost{l.hosts[otherAddr], 150 * time.Millisecond}
		if !l.runUntil(5*time.Second, ready) {
			t.Fatal("only one server was asked")
		}
		if silent {
			l.hosts[otherAddr] = script(func(*lab, netip.AddrPort, *wire.Message) [][]byte { return nil })
			l.todo = nil
		}
		begin := l.elapsed()
		l.do(func(now time.Time) { l.m.Close(now, id) })
		l.run(10 * time.Second)
		e := l.last(turnclient.EventReleased)
		if took := e.At.Sub(l.start) - begin; took > 2*time.Second+100*time.Millisecond {
			t.Errorf("silent %v: released after %v", silent, took)
		}
		if server.Allocations(l.now) != 0 || len(l.sockets) != 0 || !l.m.NextTimeout().IsZero() {
			t.Errorf("silent %v: %d allocations, %d sockets are left", silent, server.Allocations(l.now), len(l.sockets))
		}
	}
}
