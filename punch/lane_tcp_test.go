package punch

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe"
)

var laneLocal = netip.MustParseAddrPort("192.168.0.2:4000")

// tcpConfig is of the side whose ports are h.
func tcpConfig(h Side) LanesConfig {
	cfg := lanesConfig(Lane{Kind: LaneTCPPredicted, Hard: h})
	ports := natprobe.TCPProfile{Mapping: natprobe.MappingAddressAndPortDependent, Ports: natprobe.Ports{Model: natprobe.PortsSequential, Delta: 2, Confidence: .9}}
	if cfg.Local.TCP = ports; h == Theirs {
		cfg.Local.TCP, cfg.Remote.TCP = natprobe.TCPProfile{}, ports
	}
	cfg.LocalIP, cfg.LocalTCP, cfg.FirstStream, cfg.FirstQuery = laneLocal.Addr(), laneLocal, 1<<20, 1<<10
	return cfg
}

func (r *lanesRig) notice(n machine.Notice) {
	if n.Kind == machine.Closed {
		delete(r.streams, n.Stream)
	}
	r.HandleNotice(r.now, n)
	r.drain()
}

// serve answers the question on the i-th connection that was dialled.
func (r *lanesRig) serve(i int, port uint16, cut int) {
	r.t.Helper()
	d := r.dials[i]
	r.notice(machine.Notice{Kind: machine.Connected, Stream: d.Stream, Local: d.Local, Remote: d.Remote})
	j := slices.IndexFunc(r.written, func(w machine.Transmit) bool { return w.Stream == d.Stream })
	if j < 0 {
		r.t.Fatalf("nothing was asked on connection %d", i)
	}
	var m wire.Message
	if err := m.Decode(r.written[j].Data); err != nil || m.Type() != wire.BindingRequest {
		r.t.Fatalf("asked %v, %v", m.Type(), err)
	}
	var b wire.Builder
	b.Reset(wire.BindingSuccess, m.TransactionID())
	b.AddXORAddress(wire.AttrXORMappedAddress, netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), port))
	data := b.Bytes()
	r.notice(machine.Notice{Kind: machine.Received, Stream: d.Stream, Data: data[:cut]})
	r.notice(machine.Notice{Kind: machine.Received, Stream: d.Stream, Data: data[cut:]})
}

// told is the last message for the peer; its lane's entry alone.
func (r *lanesRig) told() (round, first, second uint16) {
	for _, e := range slices.Backward(r.events) {
		if e.Kind == LaneTell {
			b := e.Message[tellHead:]
			return uint16(b[2])<<8 | uint16(b[3]), uint16(b[4])<<8 | uint16(b[5]), uint16(b[6])<<8 | uint16(b[7])
		}
	}
	return 0, 0, 0
}

// tellPorts is what a hard side tells, and tellRefused when it was refused, too.
func (r *lanesRig) tellPorts(number uint32, round, first, second uint16, delta int) {
	r.t.Helper()
	r.tellHard(number, round, first, second, delta, false)
}

func (r *lanesRig) tellRefused(number uint32, round, first, second uint16, delta int) {
	r.t.Helper()
	r.tellHard(number, round, first, second, delta, true)
}

func (r *lanesRig) tellHard(number uint32, round, first, second uint16, delta int, refused bool) {
	other := newLanesRig(r.t, tcpConfig(Ours))
	m := other.Lanes
	m.told = number - 1
	w := m.lanes[0].work.(*tcpSandwich)
	w.round, w.told, w.refused = int(round), [2]uint16{first, second}, refused
	m.cfg.Local.TCP.Ports.Delta = delta
	m.cfg.Dialler = !r.cfg.Dialler
	m.tell(r.now)
	for e, ok := m.PollEvent(); ok; e, ok = m.PollEvent() {
		if e.Kind == LaneTell {
			r.HandleMessage(r.now, e.Message)
		}
	}
	r.drain()
}

// toldRefused reports whether the last message for the peer says that it has refused.
func (r *lanesRig) toldRefused() bool {
	for _, e := range slices.Backward(r.events) {
		if e.Kind == LaneTell {
			return e.Message[tellHead+1]&tellRefused != 0
		}
	}
	return false
}

// tellDialled is what an easy side tells.
func (r *lanesRig) tellDialled(number uint32, round int, refused bool) {
	b := make([]byte, tellHead+tellSize)
	b[0], b[7] = tellVersion, byte(number)
	if !r.cfg.Dialler {
		b[1] = laneDialler
	}
	binary.BigEndian.PutUint64(b[8:], r.ID())
	if b[tellHead], b[tellHead+3] = byte(LaneTCPPredicted), byte(round); refused {
		b[tellHead+1] = tellRefused
	}
	r.HandleMessage(r.now, b)
	r.drain()
}

// TestTCPSandwich: the connection to the peer is made between two to servers, one after the
// other, and the peer is told of both ports, or of one where the other is late.
func TestTCPSandwich(t *testing.T) {
	for _, late := range []bool{false, true} {
		a := newLanesRig(t, tcpConfig(Ours))
		a.run(5 * time.Millisecond)
		if len(a.dials) != 1 {
			t.Fatalf("%d connections at once", len(a.dials))
		}
		a.run(30 * time.Millisecond)
		var to []netip.AddrPort
		for _, d := range a.dials {
			to = append(to, d.Remote)
		}
		if want := []netip.AddrPort{laneServer, lanePeer, laneServer}; !slices.Equal(to, want) {
			t.Fatalf("dialled %v, want %v", to, want)
		}
		if d := a.dials[1]; d.Local.Port() == 0 || d.Stream < 1<<20 || a.dials[0].Stream >= 1<<20 || a.dials[0].Local.Port() != 0 {
			t.Errorf("dialled %+v", a.dials)
		}
		a.serve(0, 2000, 1)
		if a.count(LaneTell) != 0 {
			t.Error("told of one port at once")
		}
		want := uint16(2004)
		if late {
			a.run(150 * time.Millisecond)
			want = 0
		} else {
			a.serve(2, 2004, 25)
		}
		if round, first, second := a.told(); a.count(LaneTell) != 1 || round != 1 || first != 2000 || second != want {
			t.Errorf("told %d times, round %d, %d and %d", a.count(LaneTell), round, first, second)
		}
		if late { // and the peer hears of the other one when it comes
			a.serve(2, 2004, 0)
			if _, first, second := a.told(); first != 2000 || second != 2004 {
				t.Errorf("told %d and %d in the end", first, second)
			}
		}
		if len(a.streams) != 1 {
			t.Errorf("%d connections are left", len(a.streams))
		}
		// A refusal says that the peer's SYN has not crossed ours: again, but only when the peer
		// has dialled what comes next as well.
		d, tells := a.dials[1], a.count(LaneTell)
		a.notice(machine.Notice{Kind: machine.Closed, Stream: d.Stream, Err: syscall.ECONNREFUSED})
		a.run(100 * time.Millisecond)
		if len(a.dials) != 3 || a.count(LaneTell) != tells+1 || !a.toldRefused() {
			t.Fatalf("%d dialled, told %d times more, refused: %v", len(a.dials), a.count(LaneTell)-tells, a.toldRefused())
		}
		a.tellDialled(1, 1, false)
		a.tellDialled(2, 2, true)
		if a.run(100 * time.Millisecond); len(a.dials) != 3 {
			t.Fatal("dialled before the peer had")
		}
		a.tellDialled(3, 1, true)
		again := a.dials[len(a.dials)-1]
		if len(a.dials) != 4 || again.Remote != d.Remote || again.Stream == d.Stream {
			t.Fatalf("dialled %+v after %+v", again, d)
		}
		for i := range tcpRedials - 1 { // refusals go on
			a.notice(machine.Notice{Kind: machine.Closed, Stream: again.Stream, Err: syscall.ECONNREFUSED})
			a.run(tcpAgain)
			if again = a.dials[len(a.dials)-1]; len(a.dials) != 5+i {
				t.Fatalf("%d dialled", len(a.dials))
			}
		}
		a.notice(machine.Notice{Kind: machine.Connected, Stream: again.Stream, Local: again.Local, Remote: again.Remote})
		i := slices.IndexFunc(a.events, func(e LaneEvent) bool { return e.Kind == LaneOpened })
		if i < 0 || a.events[i].Stream != again.Stream || a.events[i].Local != again.Local || a.events[i].Remote != lanePeer || a.events[i].Lane != LaneTCPPredicted {
			t.Fatalf("opened: %+v", a.events)
		}
		a.run(time.Minute)
		if _, kept := a.streams[again.Stream]; a.count(LanesDone) != 1 || !kept || len(a.streams) != 1 {
			t.Errorf("done %d times, %d connections", a.count(LanesDone), len(a.streams))
		}
	}
}

// TestTCPBracket: the other side dials the ports between the two, from the port that is known,
// and no more of them when it hears more.
func TestTCPBracket(t *testing.T) {
	b := newLanesRig(t, tcpConfig(Theirs))
	b.run(time.Second)
	if len(b.dials) != 0 {
		t.Fatal("dialled before it was told")
	}
	b.tellPorts(1, 1, 2000, 0, 2)
	b.run(50 * time.Millisecond)
	if len(b.dials) != maxBracket/2 || b.dials[0].Remote.Port() != 2002 || b.dials[0].Local != laneLocal {
		t.Fatalf("dialled %+v", b.dials)
	}
	if round, _, _ := b.told(); round != 1 || b.toldRefused() || b.count(LaneTell) != 1 {
		t.Errorf("told %d times, of round %d", b.count(LaneTell), round)
	}
	b.tellPorts(2, 1, 2000, 2006, 2) // one of somebody else came in between
	b.run(50 * time.Millisecond)
	if len(b.dials) != maxBracket/2 || len(b.streams) != 2 {
		t.Errorf("%d more, %d are left", len(b.dials)-maxBracket/2, len(b.streams))
	}
	b.tellPorts(3, 2, 3000, 3004, 2)
	b.run(50 * time.Millisecond)
	if last := b.dials[len(b.dials)-1]; last.Remote.Port() != 3002 || len(b.streams) != 1 {
		t.Errorf("in the next round dialled %v, %d connections", last.Remote, len(b.streams))
	}
	b.tellPorts(4, 1, 4000, 4004, 2) // late
	b.run(50 * time.Millisecond)
	if last := b.dials[len(b.dials)-1]; last.Remote.Port() != 3002 {
		t.Errorf("dialled %v for a round that is over", last.Remote)
	}
	b.Close(b.now)
	b.drain()
	if len(b.streams) != 0 {
		t.Errorf("%d connections are left", len(b.streams))
	}
}

// TestTCPLaneIsBounded: whatever the peer tells and servers say, no more is dialled than the
// budget has, all of it at the address that was named, and it ends.
func TestTCPLaneIsBounded(t *testing.T) {
	cfg := tcpConfig(Theirs)
	cfg.Budget = Budget{Probes: 40, Entries: 40, Sockets: 20}
	b := newLanesRig(t, cfg)
	for i := range uint32(200) {
		if i == 100 {
			b.tellPorts(i+1, uint16(i+1), 0, 1, 0)
		}
		b.tellPorts(i+1, uint16(i/2+1), uint16(i*300), uint16(i*300+40), 2)
		b.run(50 * time.Millisecond)
		if len(b.streams) > 20 {
			t.Fatalf("%d connections at once", len(b.streams))
		}
		for id := range b.streams { // all are refused
			b.notice(machine.Notice{Kind: machine.Closed, Stream: id, Err: syscall.ECONNREFUSED})
		}
	}
	b.run(time.Minute)
	if len(b.dials) > 40 || b.count(LanesDone) != 1 || len(b.streams) != 0 {
		t.Errorf("%d connections were dialled, ended %d times, %d are left", len(b.dials), b.count(LanesDone), len(b.streams))
	}
	for _, d := range b.dials {
		if d.Remote.Addr() != lanePeer.Addr() || d.Remote.Port() < leastPort {
			t.Errorf("dialled %v", d.Remote)
		}
	}

	// Servers that say nothing, nonsense or too much; and a peer that refuses.
	for _, answer := range [][]byte{nil, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), make([]byte, 4000), slices.Repeat([]byte{255}, 30)} {
		a := newLanesRig(t, tcpConfig(Ours))
		for range 400 {
			a.run(50 * time.Millisecond)
			for _, d := range slices.Clone(a.dials) {
				if _, open := a.streams[d.Stream]; !open {
					continue
				}
				if d.Remote == lanePeer {
					a.notice(machine.Notice{Kind: machine.Closed, Stream: d.Stream, Err: syscall.ECONNREFUSED})
					continue
				}
				a.notice(machine.Notice{Kind: machine.Connected, Stream: d.Stream, Local: d.Local, Remote: d.Remote})
				if answer != nil {
					a.notice(machine.Notice{Kind: machine.Received, Stream: d.Stream, Data: answer})
				}
			}
		}
		first, second := uint16(0), uint16(0)
		if a.count(LaneTell) > 0 {
			_, first, second = a.told()
		}
		if a.count(LanesDone) != 1 || len(a.streams) != 0 || len(a.dials) > maxTCPRounds*(3+tcpRedials) || first != 0 || second != 0 {
			t.Errorf("%.10q: ended %d times, %d connections are left of %d, told %d and %d", answer, a.count(LanesDone), len(a.streams), len(a.dials), first, second)
		}
	}
}

// TestTCPLaneNeeds: what it needs and does not have ends it at once.
func TestTCPLaneNeeds(t *testing.T) {
	for what, change := range map[string]func(*LanesConfig){
		"a server": func(c *LanesConfig) { c.Servers = nil },
		"a step":   func(c *LanesConfig) { c.Local.TCP.Ports.Delta = 0 },
		"a port":   func(c *LanesConfig) { c.Lanes[0].Hard, c.LocalTCP = Theirs, netip.AddrPort{} },
		"a peer":   func(c *LanesConfig) { c.Peer = nil },
		"a side":   func(c *LanesConfig) { c.Lanes[0].Hard = Both },
		"a budget": func(c *LanesConfig) { c.Budget.Probes = -1 },
	} {
		cfg := tcpConfig(Ours)
		change(&cfg)
		a := newLanesRig(t, cfg)
		a.run(time.Second)
		if a.count(LaneEnded) != 1 || a.count(LanesDone) != 1 || len(a.dials) != 0 {
			t.Errorf("without %s: %d connections, %+v", what, len(a.dials), a.events)
		}
	}
}
