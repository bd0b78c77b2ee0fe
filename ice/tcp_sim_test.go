package ice_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
)

// over makes the peers of a world use TCP, with bases of these sides.
func over(sides ...ice.TCPType) func(*world) { return func(w *world) { w.tcp = sides } }

// tcpPort is that of a base; RFC 6544 section 5.1 wants another for each.
func tcpPort(side ice.TCPType) uint16 {
	if side == ice.Active {
		return 0
	}
	return port + uint16(side)
}

func (w *world) listen(h *simnet.Host) (at []netip.AddrPort) {
	for _, side := range w.tcp {
		if side != ice.Active {
			at = append(at, netip.AddrPortFrom(h.Addr(), tcpPort(side)))
		}
	}
	return at
}

// addTCP adds the bases of a host. Where its NAT keeps ports, as a host can find out by
// asking a STUN server over TCP, its outside addresses are known.
func (p *peer) addTCP(now time.Time, a netip.Addr) {
	for _, side := range p.w.tcp {
		id, err := p.m.AddBase(now, ice.Base{Transport: ice.TCP, TCPType: side, Addr: netip.AddrPortFrom(a, tcpPort(side))})
		p.w.check(err)
		if p.site.NAT != nil && side == ice.SimultaneousOpen {
			p.m.AddMapped(now, id, netip.AddrPortFrom(p.site.NAT.Addrs()[0], tcpPort(side)))
		}
	}
}

// exchange sends data both ways and reports whether it came.
func (w *world) exchange(data string) bool {
	for _, p := range w.peers {
		p.got = nil
		p.do(func(now time.Time) { _ = p.m.Send(now, p.id, []byte(data)) })
	}
	return w.RunUntil(time.Second, func() bool {
		return len(w.peers[0].got) == 1 && w.peers[0].got[0] == data && len(w.peers[1].got) == 1 && w.peers[1].got[0] == data
	})
}

func TestTCPAcrossNATs(t *testing.T) {
	for _, c := range []struct {
		natA, natB string
		sides      []ice.TCPType
		want       ice.TCPType // of the controlling side's pair
	}{
		{"open", "open", []ice.TCPType{ice.Active, ice.Passive}, ice.Active},
		{"open", "port-restricted-cone", []ice.TCPType{ice.Active, ice.Passive}, ice.Passive},
		{"symmetric-random", "open", []ice.TCPType{ice.Active, ice.Passive}, ice.Active},
		{"cgnat", "open", []ice.TCPType{ice.Active, ice.Passive}, ice.Active},
		{"udp-blocked", "open", []ice.TCPType{ice.Active, ice.Passive}, ice.Active},
		{"tcp-hostile", "open", []ice.TCPType{ice.Active, ice.Passive, ice.SimultaneousOpen}, ice.Active},
		{"open", "open", []ice.TCPType{ice.SimultaneousOpen}, ice.SimultaneousOpen},
		{"port-restricted-cone", "port-restricted-cone", []ice.TCPType{ice.SimultaneousOpen}, ice.SimultaneousOpen},
		{"port-restricted-cone", "port-restricted-cone", []ice.TCPType{ice.Active, ice.Passive, ice.SimultaneousOpen}, ice.SimultaneousOpen},
		{"linux", "linux", []ice.TCPType{ice.SimultaneousOpen}, ice.SimultaneousOpen},
		{"linux", "port-restricted-cone", []ice.TCPType{ice.SimultaneousOpen}, ice.SimultaneousOpen},
	} {
		t.Run(c.natA+"/"+c.natB+"/"+c.want.String(), func(t *testing.T) {
			for seed := range uint64(*seeds) {
				w := newWorld(t, seed+1, c.natA, c.natB, 0, over(c.sides...))
				w.offer()
				if !w.connect(10 * time.Second) {
					t.Fatalf("seed %d: %v, %v\n%+v", seed+1, w.peers[0].m.State(w.peers[0].id), w.peers[1].m.State(w.peers[1].id), w.peers[0].m.Pairs(w.peers[0].id))
				}
				if seed == 0 {
					t.Logf("completed after %v", w.Now().Sub(w.start))
				}
				a, b := w.peers[0].m.Selected(w.peers[0].id), w.peers[1].m.Selected(w.peers[1].id)
				if a.Local.TCPType != c.want || b.Local.Transport != ice.TCP {
					t.Errorf("seed %d: by %v and %v", seed+1, a.Local, b.Local)
				}
				if !w.exchange("hello") || !w.exchange(string(make([]byte, 60000))) {
					t.Errorf("seed %d: data did not come", seed+1)
				}
				w.Run(time.Minute)
				if !w.exchange("still there") {
					t.Errorf("seed %d: data did not come after a minute", seed+1)
				}
			}
		})
	}
}

// A NAT that forgets the connection, and one that was reset: both sides have another one
// soon, by themselves, and data goes on.
func TestTCPConnectionIsLost(t *testing.T) {
	for _, nats := range [][2]string{{"port-restricted-cone", "open"}, {"open", "port-restricted-cone"}} {
		w := newWorld(t, 1, nats[0], nats[1], 0, over(ice.Active, ice.Passive))
		w.offer()
		if !w.connect(10 * time.Second) {
			t.Fatal("not connected")
		}
		for _, p := range w.peers {
			p.reset()
			if !w.exchangeWithin(5 * time.Second) {
				t.Errorf("%v, after a reset: %v and %v", nats, w.peers[0].m.State(w.peers[0].id), w.peers[1].m.State(w.peers[1].id))
			}
		}
		for _, p := range w.peers {
			if p.site.NAT != nil {
				p.site.NAT.Reboot(time.Second)
			}
		}
		if !w.exchangeWithin(25 * time.Second) {
			t.Errorf("%v, after a reboot: %v and %v", nats, w.peers[0].m.State(w.peers[0].id), w.peers[1].m.State(w.peers[1].id))
		}
	}
}

// cutter is an agent machine whose connections can be reset.
type cutter struct {
	*ice.Machine
	out machine.Queue[machine.Transmit]
}

func (c *cutter) PollTransmit() (machine.Transmit, bool) {
	if t, ok := c.out.Pop(); ok {
		return t, true
	}
	return c.Machine.PollTransmit()
}

// reset resets the connection in use, for both sides.
func (p *peer) reset() {
	p.do(func(now time.Time) {
		id := p.m.Selected(p.id).Route.Stream
		p.cutter.out.Push(machine.Transmit{Op: machine.Reset, Stream: id})
		p.m.HandleNotice(now, machine.Notice{Kind: machine.Closed, Stream: id, Err: errors.New("reset")})
	})
}

// exchangeWithin exchanges data until that works.
func (w *world) exchangeWithin(d time.Duration) bool {
	for end := w.Now().Add(d); w.Now().Before(end); {
		if w.exchange("again") {
			return true
		}
	}
	return false
}
