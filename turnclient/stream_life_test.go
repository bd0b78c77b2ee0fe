package turnclient_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// Section 4.4: a peer's connection is bound by way of a data connection of its own.
func TestConnectionAttempt(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	l.listen(id, peerA.Addr())
	s.attempt(l, peerA, 0xC0FFEE)
	l.run(time.Second)
	if e := l.last(turnclient.EventConnected); e.Peer != peerA || !e.Incoming {
		t.Errorf("%+v", e)
	}
	binds := l.requests(wire.ConnectionBind)
	if len(binds) != 1 || binds[0].stream == s.control || binds[0].to != serverAddr {
		t.Fatalf("%d binds", len(binds))
	}
	if number, _ := binds[0].msg().Uint32(wire.AttrConnectionID); number != 0xC0FFEE {
		t.Errorf("CONNECTION-ID %#x", number)
	}
	if n := len(l.requests(wire.Connect)); n != 0 {
		t.Errorf("%d Connect requests", n)
	}
}

// An indication that is not for us, or lacks something, opens nothing: of a peer without
// a permission, twice the same, on another allocation's connection, for datagrams.
func TestConnectionAttemptsThatAreDropped(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	l.listen(id, peerA.Addr())
	s.attempt(l, peerA, 1)
	s.attempt(l, peerA, 1)
	s.attempt(l, peerB, 2)
	for _, without := range []wire.AttrType{wire.AttrXORPeerAddress, wire.AttrConnectionID, 0} {
		var b wire.Builder
		b.Reset(wire.MessageType{Method: wire.ConnectionAttempt, Class: wire.Indication}, wire.TransactionID{})
		if without != wire.AttrXORPeerAddress {
			b.AddXORAddress(wire.AttrXORPeerAddress, peerA)
		}
		if without != wire.AttrConnectionID {
			b.AddUint32(wire.AttrConnectionID, 3)
		}
		if without == 0 {
			b.AddRaw(0x7ABC, nil) // comprehension-required, and not comprehended
		}
		l.notice(machine.Notice{Kind: machine.Received, Stream: s.control, Data: b.Bytes()})
	}
	l.run(time.Second)
	if n := len(l.requests(wire.ConnectionBind)); n != 1 || l.m.Dropped() != 5 {
		t.Errorf("%d binds, %d dropped", n, l.m.Dropped())
	}
	// An allocation for datagrams has no connections, whatever its server says.
	s.control = machine.StreamID(len(l.dials))
	udp := l.allocate()
	l.run(time.Second)
	l.do(func(now time.Time) {
		if err := l.m.Permit(now, udp, peerA.Addr()); err != nil {
			t.Fatal(err)
		}
	})
	l.run(time.Second)
	s.attempt(l, peerA, 9)
	l.run(time.Second)
	if n := len(l.requests(wire.ConnectionBind)); n != 1 || l.m.Dropped() != 6 {
		t.Errorf("%d binds, %d dropped", n, l.m.Dropped())
	}
}

// Before Listen a peer's connection is left to the server; those that came within its
// 30 s are taken up then, and the older ones not.
func TestConnectionAttemptsWaitForListen(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	l.do(func(now time.Time) {
		if err := l.m.Permit(now, id, peerA.Addr()); err != nil {
			t.Fatal(err)
		}
	})
	l.run(time.Second)
	s.attempt(l, peerA, 1)
	l.run(20 * time.Second)
	s.attempt(l, netip.AddrPortFrom(peerA.Addr(), 1001), 2)
	l.run(10 * time.Second)
	if n := len(l.dials); n != 1 {
		t.Fatalf("%d dials before Listen", n)
	}
	l.do(func(now time.Time) {
		if err := l.m.Listen(now, id); err != nil {
			t.Fatal(err)
		}
	})
	l.run(time.Second)
	if all := l.all(turnclient.EventConnected); len(all) != 1 || all[0].Peer.Port() != 1001 {
		t.Errorf("connections %+v", all)
	}
}

// However many connections peers make, or we ask for, what waits is bounded.
func TestConnectionsAreBounded(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.ConnectionBind] = func(*lab, *wire.Message) [][]byte { return nil }
	s.answers[wire.Connect] = func(*lab, *wire.Message) [][]byte { return nil }
	l.listen(id, peerA.Addr())
	for i := range uint32(1000) {
		s.attempt(l, netip.AddrPortFrom(peerA.Addr(), uint16(i+1)), i)
	}
	l.run(time.Second)
	if n := len(l.streams); n != 1+16 {
		t.Errorf("%d streams are open", n)
	}
	if n := l.m.Connections(id); n != 16+128 {
		t.Errorf("%d connections are kept", n)
	}
	asked := 0
	for i := range uint16(1000) {
		_, err := l.connect(id, netip.AddrPortFrom(peerB.Addr(), i+1))
		if err == nil {
			asked++
		} else if !errors.Is(err, turnclient.ErrQueueFull) {
			t.Fatal(err)
		}
	}
	if asked != 256 {
		t.Errorf("%d connections are being made", asked)
	}
	// Once the server answers, all that is not too old gets its turn.
	delete(s.answers, wire.ConnectionBind)
	l.run(39 * time.Second) // of the first sixteen
	if n := len(l.all(turnclient.EventConnected)); n != 0 {
		t.Errorf("%d connections of 30 s ago are bound", n)
	}
	for i := range uint32(100) {
		s.attempt(l, netip.AddrPortFrom(peerA.Addr(), uint16(i+1)), 5000+i)
	}
	l.run(10 * time.Second)
	if n := len(l.all(turnclient.EventConnected)); n != 100 {
		t.Errorf("%d of 100 connections are bound", n)
	}
}

// A permission for peers that will connect is renewed for as long as the allocation
// stands, although nothing shows that it is used; that of a Dial is not.
func TestPermissionForAcceptIsKept(t *testing.T) {
	l, _, id := tcpLab(t, turnclient.MachineConfig{})
	l.listen(id, peerA.Addr())
	l.mustConnect(id, peerB)
	l.run(time.Hour)
	a, b := 0, 0
	for _, r := range l.requests(wire.CreatePermission) {
		peers, _ := r.msg().AppendXORAddresses(nil, wire.AttrXORPeerAddress, 64)
		for _, p := range peers {
			switch p.Addr() {
			case peerA.Addr():
				a++
			case peerB.Addr():
				b++
			}
		}
	}
	if a < 14 || b > 2 {
		t.Errorf("asked for %d and %d times in an hour", a, b)
	}
}

// The server knows the allocation no more: it is made anew, the loss is stated, what was
// being made fails, what waits is asked for again, and what stands is left to the server
// (section 5.5).
func TestTCPAllocationIsLost(t *testing.T) {
	for _, how := range []string{"437", "control connection"} {
		l, s, id := tcpLab(t, turnclient.MachineConfig{})
		l.listen(id, peerB.Addr())
		stands := l.mustConnect(id, peerA)
		l.run(time.Second)
		s.answers[wire.Connect] = func(_ *lab, m *wire.Message) [][]byte {
			if how != "437" {
				return nil
			}
			return one(answerTo(m, wire.CodeAllocationMismatch, md5Key, nil))
		}
		half := l.mustConnect(id, netip.AddrPortFrom(peerA.Addr(), 2))
		var waits turnclient.ConnID
		l.runUntil(time.Second, func() bool {
			if l.m.State(id) == turnclient.Allocating {
				delete(s.answers, wire.Connect)
				waits = l.mustConnect(id, netip.AddrPortFrom(peerA.Addr(), 3))
				return true
			}
			if how != "437" && len(l.todo) == 0 {
				l.notice(machine.Notice{Kind: machine.Closed, Stream: s.control, Err: errors.New("reset")})
			}
			return false
		})
		l.run(5 * time.Second)
		e := l.last(turnclient.EventAllocated)
		if e.Lost.Connections != 1 || e.Lost.Permissions != 2 || e.Lost.Err == nil || len(l.all(turnclient.EventAllocated)) != 2 {
			t.Errorf("%s: lost %+v", how, e.Lost)
		}
		ends := l.ends()
		if !errors.Is(ends[half], turnclient.ErrLost) {
			t.Errorf("%s: what was being made: %v", how, ends[half])
		}
		if err, told := ends[waits]; !told || err != nil {
			t.Errorf("%s: what waited: %v, %v", how, told, err)
		}
		if err, told := ends[stands]; !told || err != nil {
			t.Errorf("%s: what stood: %v", how, err)
		}
		// It has gone with its allocation: the next loss does not count it again.
		l.notice(machine.Notice{Kind: machine.Closed, Stream: s.control, Err: errors.New("reset")})
		l.run(5 * time.Second)
		if e := l.last(turnclient.EventAllocated); e.Lost.Connections != 1 || len(l.all(turnclient.EventAllocated)) != 3 {
			t.Errorf("%s: lost %+v, the second time", how, e.Lost)
		}
	}
}

// A server that is silent on the control connection is found out while a Connect waits;
// one that only takes its time to reach the peer is not taken for it.
func TestSlowConnectIsNoSilence(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{RTO: 10 * time.Millisecond})
	s.answers[wire.Connect] = func(l *lab, m *wire.Message) [][]byte {
		late := answerTo(m, 0, md5Key, func(b *wire.Builder) { b.AddUint32(wire.AttrConnectionID, 5) })
		l.at(45*time.Second, func() {
			l.notice(machine.Notice{Kind: machine.Received, Stream: s.control, Data: late})
		})
		return nil
	}
	c := l.mustConnect(id, peerA)
	l.run(46 * time.Second)
	if err, told := l.ends()[c]; !told || err != nil {
		t.Errorf("after 45 s: %v", err)
	}
	if n := len(l.requests(wire.Refresh)); n < 5 || n > 15 || len(l.all(turnclient.EventAllocated)) != 1 {
		t.Errorf("%d heartbeats, %v", n, l.states())
	}
	start := l.elapsed()
	l.hosts[serverAddr] = script(func(*lab, netip.AddrPort, *wire.Message) [][]byte { return nil })
	l.mustConnect(id, peerB)
	if !l.runUntil(10*time.Second, func() bool { return l.m.State(id) == turnclient.Disconnecting }) || l.elapsed()-start > 9*time.Second {
		t.Errorf("silence noticed after %v: %v", l.elapsed()-start, l.m.State(id))
	}
}

// No allocation, no connection: what waits for one fails when there is none to be had,
// and the allocation's end is theirs.
func TestConnectionsEndWithTheirAllocation(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	l.listen(id, peerB.Addr())
	stands := l.mustConnect(id, peerA)
	l.run(time.Second)
	s.answers[wire.Connect] = func(*lab, *wire.Message) [][]byte { return nil }
	s.answers[wire.ConnectionBind] = func(*lab, *wire.Message) [][]byte { return nil }
	half := l.mustConnect(id, netip.AddrPortFrom(peerA.Addr(), 2))
	s.attempt(l, peerB, 9)
	l.do(func(now time.Time) { l.m.Close(now, id) })
	ends := l.ends()
	if len(ends) != 3 {
		t.Errorf("%v", ends)
	}
	for c, err := range ends {
		if !errors.Is(err, turnclient.ErrClosed) {
			t.Errorf("connection %d: %v", c, err)
		}
	}
	for _, c := range []turnclient.ConnID{stands, half} {
		l.do(func(now time.Time) {
			if err := l.m.WriteConn(now, c, nil); !errors.Is(err, turnclient.ErrClosed) {
				t.Error(err)
			}
			l.m.CloseConn(now, c)
		})
	}
	l.run(time.Minute)
	if _, err := l.connect(id, peerA); !errors.Is(err, turnclient.ErrClosed) || len(l.streams) != 0 || !l.m.NextTimeout().IsZero() {
		t.Errorf("%v; %d streams are open, next timeout %v", err, len(l.streams), l.m.NextTimeout())
	}
}

func TestConnectFailsWhereThereIsNoServer(t *testing.T) {
	l, s, id := tcpLab(t, turnclient.MachineConfig{})
	s.answers[wire.Allocate] = func(_ *lab, m *wire.Message) [][]byte {
		return one(answerTo(m, wire.CodeUnsupportedTransport, md5Key, nil))
	}
	l.notice(machine.Notice{Kind: machine.Closed, Stream: s.control, Err: errors.New("reset")})
	waits := l.mustConnect(id, peerA)
	if !l.runUntil(time.Second, func() bool { return l.m.State(id) == turnclient.Failed }) {
		t.Fatal(l.m.State(id))
	}
	var all *turnclient.AllocateError
	if err := l.ends()[waits]; !errors.Is(err, turnclient.ErrLost) || !errors.As(err, &all) {
		t.Errorf("%v", err)
	}
	if _, err := l.connect(id, peerA); !errors.Is(err, turnclient.ErrLost) {
		t.Errorf("%v", err)
	}
	// A server that relays no TCP may relay datagrams.
	delete(s.answers, wire.Allocate)
	l.ready()
}

// The two kinds of allocation do not mix, and what cannot be a peer is said at once.
func TestConnectRefusesWhatCannotWork(t *testing.T) {
	l, _, id := tcpLab(t, turnclient.MachineConfig{})
	var p *turnclient.PeerError
	if err := l.send(id, peerA, "x"); !errors.As(err, &p) {
		t.Errorf("a datagram: %v", err)
	}
	for _, to := range []netip.AddrPort{{}, netip.AddrPortFrom(peerA.Addr(), 0), peer6, netip.MustParseAddrPort("224.0.0.1:5")} {
		if _, err := l.connect(id, to); !errors.As(err, &p) || p.Peer != to {
			t.Errorf("%v: %v", to, err)
		}
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(peerA.Addr().As16()), peerA.Port())
	l.mustConnect(id, mapped)
	if _, err := l.connect(id, peerA); !errors.Is(err, turnclient.ErrConnectionExists) {
		t.Errorf("%v is another peer than %v: %v", mapped, peerA, err)
	}
	udp := l.ready()
	if _, err := l.connect(udp, peerA); !errors.As(err, &p) {
		t.Errorf("a connection: %v", err)
	}
	l.do(func(now time.Time) {
		var bad *turnclient.ConfigError
		if err := l.m.Listen(now, udp); !errors.As(err, &bad) {
			t.Errorf("listen: %v", err)
		}
		if err := l.m.Listen(now, 99); !errors.Is(err, turnclient.ErrClosed) {
			t.Errorf("listen: %v", err)
		}
	})
	l.do(func(now time.Time) {
		if err := l.m.Permit(now, id, peerA.Addr()); err != nil {
			t.Error(err)
		}
		l.m.Bind(now, id, peerA)
	})
	if n := len(l.requests(wire.ChannelBind)); n != 0 {
		t.Error("a channel for a connection")
	}
	// Data of the server, in whatever form, is none on the control connection.
	l.run(time.Second)
	l.notice(machine.Notice{Kind: machine.Received, Stream: 0, Data: dataTo(false, []byte("x"))})
	if n := len(l.all(turnclient.EventData)); n != 0 {
		t.Errorf("%d datagrams", n)
	}
}
