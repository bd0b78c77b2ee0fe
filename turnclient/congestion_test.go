package turnclient_test

import (
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// Nobody but the client's own requests says how the path is: it takes twenty of them.
func TestCongestionIsSeenByRequests(t *testing.T) {
	for _, c := range []struct {
		name      string
		transport turnclient.Transport
		delay     time.Duration // one way
		every     int           // one of so many requests is lost; 0: none
		congested bool
	}{
		{"slow", turnclient.UDP, 350 * time.Millisecond, 0, true},
		{"slow, over TCP", turnclient.TCP, 350 * time.Millisecond, 0, true},
		{"fast enough", turnclient.UDP, 200 * time.Millisecond, 0, false},
		{"lossy", turnclient.UDP, 20 * time.Millisecond, 8, true},
		{"less lossy", turnclient.UDP, 20 * time.Millisecond, 25, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, turnclient.MachineConfig{
				Credentials: creds, ChannelAfter: -1, Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: c.transport}},
			})
			l.delay = c.delay
			l.serve(serverAddr, authed())
			id := l.ready() // with two requests, or three
			n := 0
			l.up = func(b []byte) []byte {
				if b[1] == 0x08 {
					if n++; c.every > 0 && n%c.every == 0 {
						return nil
					}
				}
				return b
			}
			for i := range 40 {
				_ = l.send(id, host4(i), "x")
				l.run(3 * time.Second)
				if i < 15 && l.m.State(id) == turnclient.Congested {
					t.Fatalf("congested after %d permissions", i+1)
				}
			}
			if got := l.m.State(id) == turnclient.Congested; got != c.congested {
				t.Errorf("state %v, level %d", l.m.State(id), l.m.Level(id))
			}
		})
	}
}

// Fewer permissions are renewed at a time: each level halves their number.
func TestCongestionMakesBatchesSmaller(t *testing.T) {
	for level, most := range []int{16, 8, 4, 2} {
		l := newLab(t, turnclient.MachineConfig{Credentials: creds, ChannelAfter: -1})
		l.serve(serverAddr, authed())
		id := l.ready()
		for i := range 40 {
			_ = l.send(id, host4(i), "x")
		}
		l.run(200 * time.Second) // all are used, and due at 240 s
		for l.m.Level(id) < level {
			l.do(func(now time.Time) { l.m.Observe(now, id, 0, true) })
		}
		before := len(l.requests(wire.CreatePermission))
		l.run(60 * time.Second)
		renewed, largest := 0, 0
		for _, s := range l.requests(wire.CreatePermission)[before:] {
			peers, _ := s.msg().AppendXORAddresses(nil, wire.AttrXORPeerAddress, 100)
			renewed += len(peers)
			largest = max(largest, len(peers))
		}
		if renewed != 40 || largest != most {
			t.Errorf("level %d: %d renewed, at most %d at a time; want 40, at most %d", level, renewed, largest, most)
		}
	}
}

// An allocation with nothing to ask the server finds out by itself that the path is
// clear, level by level, and does not ask more than every 15 s for that.
func TestCongestionEndsByItself(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Credentials: creds})
	l.serve(serverAddr, authed())
	id := l.ready()
	for l.m.Level(id) < 3 {
		l.do(func(now time.Time) { l.m.Observe(now, id, 0, true) })
	}
	begin, level := l.elapsed(), 3
	for l.m.State(id) == turnclient.Congested && l.elapsed()-begin < time.Hour {
		l.run(time.Second)
		if got := l.m.Level(id); got < level-1 {
			t.Errorf("from level %d to %d: not by steps", level, got)
		}
		level = l.m.Level(id)
	}
	if took := l.elapsed() - begin; l.m.State(id) != turnclient.Allocated || took > 16*time.Minute {
		t.Errorf("state %v, level %d after %v", l.m.State(id), l.m.Level(id), took)
	}
	at := times(l.requests(wire.Refresh))
	for i := 1; i < len(at); i++ {
		if gap := at[i] - at[i-1]; gap < 14*time.Second {
			t.Errorf("asked again after %v", gap)
		}
	}
	before := len(at)
	l.run(7 * time.Minute)
	if n := len(l.requests(wire.Refresh)) - before; n > 1 {
		t.Errorf("%d refreshes in 7 minutes on a clear path", n)
	}
}
