package punch

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// refused has connections refused.
func (r *lanesRig) refused(of ...machine.Transmit) {
	for _, d := range of {
		if _, has := r.streams[d.Stream]; has {
			r.notice(machine.Notice{Kind: machine.Closed, Stream: d.Stream, Err: syscall.ECONNREFUSED})
		}
	}
}

// TestTCPBracketAfterARefusal: when the peer was refused, what its NAT gives next is dialled as
// well, and the peer is told when it was.
func TestTCPBracketAfterARefusal(t *testing.T) {
	b := newLanesRig(t, tcpConfig(Theirs))
	b.tellPorts(1, 1, 2000, 2004, 2)
	b.run(50 * time.Millisecond)
	if len(b.dials) != 1 {
		t.Fatalf("dialled %+v", b.dials)
	}
	b.tellRefused(2, 1, 2000, 2004, 2)
	b.run(100 * time.Millisecond)
	var ports []uint16
	for _, d := range b.dials {
		ports = append(ports, d.Remote.Port())
	}
	if want := []uint16{2002, 2006, 2008, 2010, 2012, 2014, 2016}; !slices.Equal(ports, want) {
		t.Errorf("dialled %v, want %v", ports, want)
	}
	if round, _, _ := b.told(); round != 1 || !b.toldRefused() || b.count(LaneTell) != 2 {
		t.Errorf("told %d times, of round %d, refused: %v", b.count(LaneTell), round, b.toldRefused())
	}
}

// TestTCPBracketIsFewPorts: a peer that names port after port has a few dialled, and no more
// rounds than it may have itself.
func TestTCPBracketIsFewPorts(t *testing.T) {
	b := newLanesRig(t, tcpConfig(Theirs))
	number := uint32(0)
	tell := func(round, first uint16) {
		number++
		b.tellRefused(number, round, first, 0, 2)
		b.run(2 * time.Millisecond)
		b.refused(slices.Collect(func(yield func(machine.Transmit) bool) {
			for _, d := range b.streams {
				if !yield(d) {
					return
				}
			}
		})...)
	}
	tell(maxTCPRounds+1, 2000)
	if len(b.dials) != 0 {
		t.Errorf("dialled %d ports in a round that cannot be", len(b.dials))
	}
	for i := range uint16(1000) {
		tell(1+i%maxTCPRounds, 2000+50*i)
	}
	ports := make(map[uint16]bool)
	for _, d := range b.dials {
		ports[d.Remote.Port()] = true
	}
	if len(ports) == 0 || len(ports) > maxTCPPorts {
		t.Errorf("dialled %d ports", len(ports))
	}
}

// TestTCPBracketWithFewSockets: what the budget has no socket for waits until another connection
// was refused, and none is given up for it; where the packets are spent, those that wait for an
// answer go on waiting.
func TestTCPBracketWithFewSockets(t *testing.T) {
	cfg := tcpConfig(Theirs)
	cfg.Budget.Sockets = 4
	b := newLanesRig(t, cfg)
	b.tellPorts(1, 1, 2000, 0, 2)
	b.run(time.Second)
	if len(b.dials) != 4 || len(b.streams) != 4 || b.count(LaneEnded) != 0 || b.count(LaneTell) != 1 {
		t.Fatalf("%d dialled, %d wait, %d ended, told %d times", len(b.dials), len(b.streams), b.count(LaneEnded), b.count(LaneTell))
	}
	b.refused(b.dials[2])
	b.run(10 * time.Millisecond)
	if len(b.dials) != 5 || b.dials[4].Remote.Port() != 2010 || len(b.streams) != 4 {
		t.Errorf("dialled %+v", b.dials)
	}

	cfg.Budget = Budget{Probes: 4, Entries: 4}
	b = newLanesRig(t, cfg)
	b.tellPorts(1, 1, 2000, 0, 2)
	b.run(time.Second)
	if len(b.dials) != 4 || len(b.streams) != 4 || b.count(LaneEnded) != 0 {
		t.Fatalf("%d dialled, %d wait, %d ended", len(b.dials), len(b.streams), b.count(LaneEnded))
	}
	b.stands(b.dials[0])
	if b.count(LaneOpened) != 1 {
		t.Error("what was dialled before the budget was spent is lost")
	}

	b = newLanesRig(t, cfg)
	b.tellPorts(1, 1, 2000, 0, 2)
	b.run(50 * time.Millisecond)
	b.refused(b.dials...)
	b.run(time.Second)
	if why := b.reason(); why != "the budget is spent" || len(b.streams) != 0 {
		t.Errorf("ended because %q, %d connections", why, len(b.streams))
	}
}

// TestTCPSandwichGivesUp: a peer that is refused again and again is not dialled for ever.
func TestTCPSandwichGivesUp(t *testing.T) {
	a := newLanesRig(t, tcpConfig(Ours))
	a.run(50 * time.Millisecond)
	a.serve(0, 2000, 0)
	a.serve(2, 2004, 0)
	a.refused(a.dials[1])
	a.tellDialled(1, 1, true)
	for range 20 {
		a.refused(a.dials[len(a.dials)-1])
		a.run(tcpAgain)
	}
	if n := len(a.dials); n != 3+tcpRedials {
		t.Errorf("dialled %d times", n)
	}
}

// TestTCPSandwichOfAnotherStep: where the ports are not a sequence by the step that the profile
// says, rounds are not wasted on it.
func TestTCPSandwichOfAnotherStep(t *testing.T) {
	for second, rounds := range map[uint16]int{2004: maxTCPRounds, 2005: 2, 2002: 2} { // 2004 is in order, and yet in vain
		a := newLanesRig(t, tcpConfig(Ours))
		n := 0
		for i := 0; a.count(LanesDone) == 0; {
			a.run(10 * time.Millisecond)
			if len(a.dials) == i+3 {
				n++
				a.serve(i, 2000, 0)
				a.serve(i+2, second, 0)
				if i += 3; len(a.streams) > 2 { // to the peer, of this round and of the one before
					t.Fatalf("%d connections are kept in round %d", len(a.streams), n)
				}
			}
		}
		want := "the ports are not what the profile foretells"
		if rounds == maxTCPRounds {
			want = "no port was foretold rightly in 5 rounds"
		}
		if n != rounds || a.reason() != want {
			t.Errorf("%d: ended after %d rounds because %q", second, n, a.reason())
		}
	}
}

// stands has connections stand.
func (r *lanesRig) stands(of ...machine.Transmit) {
	for _, d := range of {
		r.notice(machine.Notice{Kind: machine.Connected, Stream: d.Stream, Local: d.Local, Remote: d.Remote})
	}
}

// TestTCPBracketIsHeardByAll: of a peer at whose every port somebody answers no more connections
// are told than of one of UDP; and a port at which everybody is refused is not dialled for ever.
func TestTCPBracketIsHeardByAll(t *testing.T) {
	b := newLanesRig(t, tcpConfig(Theirs))
	b.tellPorts(1, 1, 2000, 0, 2)
	b.run(50 * time.Millisecond)
	b.stands(b.dials...)
	if n := b.count(LaneOpened); len(b.dials) <= maxOpened || n != maxOpened || len(b.streams) != maxOpened {
		t.Errorf("%d dialled, %d told, %d kept", len(b.dials), n, len(b.streams))
	}

	// When one stands, the others have a moment more, for it may be somebody else's.
	b = newLanesRig(t, tcpConfig(Theirs))
	b.tellPorts(1, 1, 2000, 0, 2)
	b.run(50 * time.Millisecond)
	b.stands(b.dials[1])
	if b.run(laneLinger / 2); len(b.streams) != len(b.dials) {
		t.Errorf("%d of %d connections are left", len(b.streams), len(b.dials))
	}
	b.stands(b.dials[0])
	if b.run(laneLinger); b.count(LaneOpened) != 2 || len(b.streams) != 2 {
		t.Errorf("%d told, %d connections are left in the end", b.count(LaneOpened), len(b.streams))
	}

	b = newLanesRig(t, tcpConfig(Theirs))
	b.tellPorts(1, 1, 2000, 2004, 2)
	for range 100 {
		b.run(50 * time.Millisecond)
		b.refused(b.dials...)
	}
	if n := len(b.dials); n != 1+tcpRedials {
		t.Errorf("one port was dialled %d times", n)
	}
}

// TestTCPSandwichTrustsNobody: what answers no question of ours tells no port, and a connection
// on which too much is announced is not waited for.
func TestTCPSandwichTrustsNobody(t *testing.T) {
	a := newLanesRig(t, tcpConfig(Ours))
	a.run(50 * time.Millisecond)
	var b wire.Builder
	b.Reset(wire.BindingSuccess, wire.TransactionID{1, 2, 3})
	b.AddXORAddress(wire.AttrXORMappedAddress, netip.MustParseAddrPort("203.0.113.1:2000"))
	for i, answer := range map[int][]byte{0: b.Bytes(), 2: {1, 1, 255, 255, 33, 18, 164, 66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		a.stands(a.dials[i])
		a.notice(machine.Notice{Kind: machine.Received, Stream: a.dials[i].Stream, Data: answer})
	}
	if a.run(time.Second); a.count(LaneTell) != 0 || len(a.streams) != 1 {
		t.Errorf("told %d times, %d connections", a.count(LaneTell), len(a.streams))
	}
}

// reason is why the last lane has ended.
func (r *lanesRig) reason() string {
	for _, e := range slices.Backward(r.events) {
		if e.Kind == LaneEnded {
			return e.Reason
		}
	}
	return ""
}

// TestTCPSandwichAsksOthers: servers that serve no TCP are not asked again and again, and if
// none does, that is the reason.
func TestTCPSandwichAsksOthers(t *testing.T) {
	cfg := tcpConfig(Ours)
	cfg.Servers = nil
	for i := range byte(4) {
		cfg.Servers = append(cfg.Servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1 + i}), 3478))
	}
	a := newLanesRig(t, cfg)
	asked := make(map[netip.AddrPort]int)
	for range 1000 {
		a.run(20 * time.Millisecond)
		for _, d := range slices.Clone(a.dials) {
			if _, has := a.streams[d.Stream]; has && d.Remote != lanePeer {
				asked[d.Remote]++
				a.refused(d)
			}
		}
	}
	if len(asked) != 4 || a.count(LanesDone) != 1 || a.reason() != "no STUN server has answered over TCP" {
		t.Errorf("asked %v, ended because %q", asked, a.reason())
	}
	for s, n := range asked {
		if n > maxTCPRounds {
			t.Errorf("asked %v %d times", s, n)
		}
	}
}
