package punch

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

func tcpTester(t testing.TB, seed byte) *tcpMachine {
	t.Helper()
	m, err := newTCPMachine(epoch, TCPConfig{Local: addrA, Peer: []netip.AddrPort{addrB}, Secret: secret},
		rand.New(rand.NewPCG(1, uint64(seed))), rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tcpSent(m *tcpMachine) (all []machine.Transmit) {
	for x, ok := m.PollTransmit(); ok; x, ok = m.PollTransmit() {
		all = append(all, x)
	}
	return all
}

// wires connects two machines by a number of connections, stream i of the one to
// stream i of the other, and moves bytes until nothing moves.

func wires(a, b *tcpMachine, n int) {
	for i := range n {
		id := machine.AcceptedBase + machine.StreamID(i)
		a.HandleNotice(epoch, machine.Notice{Kind: machine.Accepted, Stream: id, Local: addrA, Remote: addrB})
		b.HandleNotice(epoch, machine.Notice{Kind: machine.Accepted, Stream: id, Local: addrB, Remote: addrA})
	}
	move := func(from, to *tcpMachine) (moved bool) {
		for _, x := range tcpSent(from) {
			n := machine.Notice{Stream: x.Stream}
			switch x.Op {
			case machine.Write:
				n.Kind, n.Data = machine.Received, x.Data
			case machine.Reset:
				n.Kind = machine.Closed
			default:
				continue
			}
			moved = true
			to.HandleNotice(epoch, n)
		}
		return moved
	}
	for move(a, b) || move(b, a) {
	}
}

func tcpEvents(m *tcpMachine, k tcpEventKind) (all []tcpEvent) {
	for e, ok := m.PollEvent(); ok; e, ok = m.PollEvent() {
		if e.Kind == k {
			all = append(all, e)
		}
	}
	return all
}

func TestTCPElectsOneOfMany(t *testing.T) {
	for seed := range byte(20) {
		a, b := tcpTester(t, 2*seed), tcpTester(t, 2*seed+1)
		wires(a, b, 5)
		x, y := tcpEvents(a, tcpAgreed), tcpEvents(b, tcpAgreed)
		if len(x) != 1 || len(y) != 1 || x[0].Stream != y[0].Stream {
			t.Fatalf("agreed on %v and %v", x, y)
		}
		if a.NextTimeout() != (time.Time{}) || b.NextTimeout() != (time.Time{}) {
			t.Error("still waiting for something")
		}
	}
}

// What was recorded of one connection proves nothing on another.
func TestTCPReplayedHandshake(t *testing.T) {
	a, b := tcpTester(t, 1), tcpTester(t, 2)
	tcpSent(a)
	tcpSent(b)
	open := func(m *tcpMachine, id machine.StreamID) {
		m.HandleNotice(epoch, machine.Notice{Kind: machine.Accepted, Stream: id})
	}
	first := machine.AcceptedBase
	open(a, first)
	open(b, first)
	var recorded []byte
	for range 4 {
		for _, x := range tcpSent(b) {
			recorded = append(recorded, x.Data...)
			a.HandleNotice(epoch, machine.Notice{Kind: machine.Received, Stream: first, Data: x.Data})
		}
		for _, x := range tcpSent(a) {
			b.HandleNotice(epoch, machine.Notice{Kind: machine.Received, Stream: first, Data: x.Data})
		}
	}
	if len(recorded) != tcpHandshakeSize {
		t.Fatalf("recorded %d bytes, want %d", len(recorded), tcpHandshakeSize)
	}
	c := tcpTester(t, 3)
	open(c, first)
	c.HandleNotice(epoch, machine.Notice{Kind: machine.Received, Stream: first, Data: recorded})
	if e := tcpEvents(c, tcpProven); len(e) != 0 || c.forged != 1 {
		t.Fatalf("a replay proved itself: %v", e)
	}
}

func TestTCPConnectedToItself(t *testing.T) {
	a := tcpTester(t, 1)
	tcpSent(a)
	a.HandleNotice(epoch, machine.Notice{Kind: machine.Connected, Stream: 0, Local: addrA, Remote: addrB})
	hello := tcpSent(a)[0].Data
	a.HandleNotice(epoch, machine.Notice{Kind: machine.Received, Stream: 0, Data: hello})
	if out := tcpSent(a); len(out) != 1 || out[0].Op != machine.Reset {
		t.Fatalf("%v", out)
	}
}

func TestTCPBoundsStrangers(t *testing.T) {
	a := tcpTester(t, 1)
	for i := range 1000 {
		a.HandleNotice(epoch, machine.Notice{Kind: machine.Accepted, Stream: machine.AcceptedBase + machine.StreamID(i)})
		tcpSent(a)
	}
	if len(a.streams) > maxAccepted+1 || len(a.order) != len(a.streams) {
		t.Errorf("%d streams, %d in order", len(a.streams), len(a.order))
	}
	a.HandleTimeout(epoch.Add(handshakeTime))
	if len(a.streams) > 1 {
		t.Errorf("%d streams after the time for a handshake", len(a.streams))
	}
}

// FuzzTCPMachine hands a machine records cut and changed anywhere. It must not panic,
// nor take a change for the peer.
func FuzzTCPMachine(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint8(0), uint16(0), byte(0))
	f.Add([]byte(tcpMagic), uint8(7), uint16(50), byte(1))
	f.Fuzz(func(t *testing.T, garbage []byte, cut uint8, at uint16, change byte) {
		a, b := tcpTester(t, 1), tcpTester(t, 2)
		tcpSent(a)
		tcpSent(b)
		id := machine.AcceptedBase
		for _, m := range []*tcpMachine{a, b} {
			m.HandleNotice(epoch, machine.Notice{Kind: machine.Accepted, Stream: id})
		}
		a.HandleNotice(epoch, machine.Notice{Kind: machine.Accepted, Stream: id + 1})
		a.HandleNotice(epoch, machine.Notice{Kind: machine.Received, Stream: id + 1, Data: garbage})
		flown := 0
		for range 8 {
			for _, x := range tcpSent(b) {
				data := append([]byte(nil), x.Data...)
				if i := int(at) - flown; i >= 0 && i < len(data) {
					data[i] ^= change
				}
				flown += len(data)
				n := min(int(cut), len(data))
				for _, part := range [][]byte{data[:n], data[n:]} {
					a.HandleNotice(epoch, machine.Notice{Kind: machine.Received, Stream: id, Data: part})
				}
			}
			for _, x := range tcpSent(a) {
				if x.Op == machine.Write && x.Stream == id {
					b.HandleNotice(epoch, machine.Notice{Kind: machine.Received, Stream: id, Data: x.Data})
				}
			}
		}
		agreed := len(tcpEvents(a, tcpAgreed)) == 1
		if changed := change != 0 && int(at) < tcpHandshakeSize; agreed == changed {
			t.Fatalf("agreed is %v with byte %d changed by %#x", agreed, at, change)
		}
	})
}
