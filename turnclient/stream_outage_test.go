package turnclient_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// doubted brings an allocation into state Disconnecting: the server is silent from now on.
func (l *lab) doubted(s *tcpServer, id turnclient.AllocationID) (revive func()) {
	l.t.Helper()
	l.hosts[serverAddr] = script(func(*lab, netip.AddrPort, *wire.Message) [][]byte { return nil })
	l.do(l.m.NetworkChanged)
	if l.m.State(id) != turnclient.Disconnecting {
		l.t.Fatal(l.m.State(id))
	}
	return func() { l.hosts[serverAddr] = s.script() }
}

// While the server is in doubt nothing is asked of it. What was wanted meanwhile is asked
// for when it answers again, and when the allocation is made anew instead.
func TestConnectWaitsOutAnOutage(t *testing.T) {
	for _, lost := range []bool{false, true} {
		l, s, id := tcpLab(t, turnclient.MachineConfig{})
		l.listen(id, peerB.Addr())
		revive := l.doubted(s, id)
		c := l.mustConnect(id, peerA)
		if !lost {
			s.attempt(l, peerB, 50) // the server lives after all
		}
		l.run(2 * time.Second)
		if n := len(l.requests(wire.Connect)) + len(l.requests(wire.ConnectionBind)); n != 0 {
			t.Errorf("lost %v: %d requests while the server is in doubt", lost, n)
		}
		if lost {
			s.answers[wire.Refresh] = func(_ *lab, m *wire.Message) [][]byte {
				return one(answerTo(m, wire.CodeAllocationMismatch, md5Key, nil))
			}
		} else {
			s.answers[wire.Allocate] = func(*lab, *wire.Message) [][]byte { return nil }
		}
		revive()
		l.run(15 * time.Second)
		if err, told := l.ends()[c]; !told || err != nil {
			t.Errorf("lost %v: %v, %v; %v", lost, told, err, l.m.State(id))
		}
		if n := len(l.all(turnclient.EventAllocated)); n != 1 && !lost || n != 2 && lost {
			t.Errorf("lost %v: %d allocations", lost, n)
		}
		if lost {
			continue
		}
		revive = l.doubted(s, id) // and once more, with nothing but a peer's connection
		s.attempt(l, netip.AddrPortFrom(peerB.Addr(), 51), 51)
		revive()
		l.run(15 * time.Second)
		if n := len(l.all(turnclient.EventConnected)); n != 3 {
			t.Errorf("%d connections, want ours and the peer's two", n)
		}
	}
}

// Connections of peers that wait for their turn go with the allocation, and none of them
// gets its turn on the way out.
func TestAttemptsGoWithTheAllocation(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.ConnectionBind] = func(*lab, *wire.Message) [][]byte { return nil }
	l.listen(id, peerA.Addr())
	for i := range uint32(40) {
		s.attempt(l, netip.AddrPortFrom(peerA.Addr(), uint16(i+1)), i)
	}
	l.run(time.Second)
	before := len(l.dials)
	l.notice(machine.Notice{Kind: machine.Closed, Stream: s.control, Err: errors.New("reset")})
	l.run(time.Second)
	if n := len(l.dials) - before; n != 1 || l.m.Connections(id) != 0 || len(l.streams) != 1 {
		t.Errorf("%d dials, %d connections, %d streams", n, l.m.Connections(id), len(l.streams))
	}
	for c, err := range l.ends() {
		if !errors.Is(err, turnclient.ErrLost) {
			t.Errorf("connection %d: %v", c, err)
		}
	}
}

// A data connection that does not come up: ten seconds, then the connection is none.
func TestDataConnectionThatDoesNotOpen(t *testing.T) {
	for _, how := range []string{"silence", "refused"} {
		l, _, id := tcpLab(t, turnclient.MachineConfig{})
		c := l.mustConnect(id, peerA)
		l.runUntil(time.Second, func() bool { return len(l.dials) == 2 })
		delete(l.hosts, serverAddr)
		if how == "refused" {
			l.notice(machine.Notice{Kind: machine.Closed, Stream: l.dials[1].Stream, Err: errors.New("connection refused")})
		}
		start := l.elapsed()
		l.runUntil(time.Minute, func() bool { return len(l.ends()) > 0 })
		err := l.ends()[c]
		var e *turnclient.ServerError
		want := map[string]time.Duration{"silence": 10 * time.Second}[how]
		if took := l.elapsed() - start; !errors.As(err, &e) || e.Op != "bind" || took != want || errors.Is(err, turnclient.ErrNoAnswer) != (how == "silence") {
			t.Errorf("%s: %v after %v", how, err, took)
		}
		if n := len(l.streams); n != 1 {
			t.Errorf("%s: %d streams are open", how, n)
		}
	}
}

// The allocation that is made anew may be of another address family.
func TestConnectAfterAChangeOfFamily(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.Allocate] = func(_ *lab, m *wire.Message) [][]byte {
		return one(answerTo(m, 0, md5Key, func(b *wire.Builder) {
			b.AddXORAddress(wire.AttrXORRelayedAddress, netip.AddrPortFrom(relayIP6, 50000))
			b.AddXORAddress(wire.AttrXORMappedAddress, clientOf(0))
		}))
	}
	l.notice(machine.Notice{Kind: machine.Closed, Stream: s.control, Err: errors.New("reset")})
	c := l.mustConnect(id, peerA)
	l.run(time.Second)
	if err := l.ends()[c]; err == nil || !strings.Contains(err.Error(), "family") || len(l.requests(wire.Connect)) != 0 {
		t.Errorf("%v", err)
	}
}

// A ConnectionAttempt counts on the control connection alone.
func TestConnectionAttemptOnADataConnection(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.ConnectionBind] = func(*lab, *wire.Message) [][]byte { return nil }
	l.listen(id, peerA.Addr())
	l.mustConnect(id, peerA)
	l.run(time.Second)
	s.control = l.dials[1].Stream
	s.attempt(l, peerA, 9)
	l.run(time.Second)
	if n := len(l.dials); n != 2 || l.m.Dropped() != 1 {
		t.Errorf("%d dials, %d dropped", n, l.m.Dropped())
	}
}

// Where the only server for TCP is full, the next try is when it may be asked again: one
// that is reached over UDP makes no difference.
func TestNextTryForATCPAllocation(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{Servers: []turnclient.Endpoint{{Addr: otherAddr}, overTCP[0]}})
	s.answers[wire.Allocate] = func(_ *lab, m *wire.Message) [][]byte {
		return one(answerTo(m, wire.CodeAllocationQuota, md5Key, nil))
	}
	l.notice(machine.Notice{Kind: machine.Closed, Stream: s.control, Err: errors.New("reset")})
	l.run(59 * time.Second)
	tries := 0
	for _, state := range l.states() {
		if state == turnclient.Failed {
			tries++
		}
	}
	if tries != 1 {
		t.Errorf("%d tries in a minute", tries)
	}
	delete(s.answers, wire.Allocate)
	l.run(5 * time.Second)
	if !l.m.State(id).Usable() {
		t.Error(l.m.State(id))
	}
}

// What is remembered of peers that could not be reached is bounded.
func TestUnreachedPeersAreBounded(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.Connect] = func(_ *lab, m *wire.Message) [][]byte {
		return one(answerTo(m, wire.CodeConnectionFailed, md5Key, nil))
	}
	l.delay = time.Millisecond
	asked := 0
	for i := range 6000 {
		_, err := l.connect(id, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), uint16(i+1)))
		switch {
		case err == nil:
			asked++
			l.run(2 * time.Millisecond)
		case !errors.Is(err, turnclient.ErrQueueFull):
			t.Fatal(err)
		}
	}
	if asked != 4096 {
		t.Errorf("%d peers are remembered", asked)
	}
	l.run(10 * time.Second)
	l.mustConnect(id, peerB)
}
