package bradawl

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/natprobe"
)

// lying puts a peer without UDP before one whose NAT gives random ports of TCP, and which says
// that they can be foretold.
func lying(t *testing.T) (w *world, a, liar *simPeer) {
	w = newWorld(t, 1, "", "", behind(namedPreset(t, "udp-blocked"), hardNAT(simnet.PortPolicy{Kind: simnet.Random})), withTCP,
		func(o *worldOptions) { o.probe = true })
	w.surveyed()
	a, liar = w.peers[0], w.peers[1]
	a.dialTo(liar)
	w.Run(time.Second)
	return w, a, liar
}

func (p *simPeer) lie(delta int) {
	p.do(func(now time.Time) {
		p.setTCP(now, natprobe.TCPProfile{
			Mapping: natprobe.MappingAddressAndPortDependent, Ports: natprobe.Ports{Model: natprobe.PortsSequential, Delta: delta, Confidence: 1},
		})
	})
}

// TestTCPLies: a profile that is not true, or that changes while an attempt is under way, costs
// both sides a few connections, ever more rarely, and ends in the relay, with the reason told.
func TestTCPLies(t *testing.T) {
	for name, change := range map[string]bool{"one lie": false, "a lie each second": true} {
		w, _, liar := lying(t)
		dialled := make(map[string]map[uint16]bool) // by whom
		w.OnTrace(func(e simnet.TraceEvent) {
			p := e.Packet
			if e.What != "send" || p.Proto != simnet.TCP || p.Segment.Flags != simnet.SYN || slices.Contains(stunAddrs, p.Dst.Addr()) {
				return
			}
			if dialled[e.Where] == nil {
				dialled[e.Where] = make(map[uint16]bool)
			}
			dialled[e.Where][p.Dst.Port()] = true
		})
		liar.lie(1)
		for i := range 120 {
			w.Run(time.Second)
			if change {
				liar.lie([]int{1, 300, 0}[i%3])
			}
			for _, p := range w.peers {
				if len(p.links[0].lane.holes) > maxHoles || len(p.sprayers.byID) > 1 {
					w.fail("%s: %d holes, %d attempts at once", name, len(p.links[0].lane.holes), len(p.sprayers.byID))
				}
			}
		}
		for _, p := range w.peers {
			tries, sent := p.links[0].lane.tries, 0
			for _, r := range p.links[0].laneReports() {
				sent += r.Sent
			}
			if e, _ := p.explain(w.Now(), p.conn); e.Path.Kind != PathRelay || tries == 0 || tries > 8 || sent > 150 {
				w.fail("%s: %s: %d attempts, %d packets: %v", name, p.name, tries, sent, e)
			}
			t.Logf("%s: %s: %d attempts, %d packets", name, p.name, tries, sent)
		}
		for by, ports := range dialled {
			if len(ports) > 150 {
				t.Errorf("%s: %s dialled %d ports", name, by, len(ports))
			}
			t.Logf("%s: %s dialled %d ports", name, by, len(ports))
		}
	}
}

// TestTCPStranger: where a connection stands that nobody answers on as the peer does, no path
// comes of it, the report says so, and the connection is let go.
func TestTCPStranger(t *testing.T) {
	w, a, liar := lying(t)
	liar.lie(1)
	w.Run(time.Second)
	k := a.links[0]
	first := firstLaneStream + machine.StreamID(a.sprayers.last%(1<<12))*laneSockets
	if k.lane.run == nil {
		w.fail("no attempt is under way")
	}
	a.do(func(now time.Time) {
		ends, _ := k.laneEnds()
		a.control.HandleNotice(now, machine.Notice{Kind: machine.Connected, Stream: first, Local: ends.local})
	})
	if len(k.lane.opened) != 1 {
		w.fail("it was not taken")
	}
	w.Run(3 * time.Second)
	e, _ := a.explain(w.Now(), a.conn)
	if k.lane.run != nil || e.Path.Kind != PathRelay || !strings.Contains(e.String(), "nobody answered on it as the peer does") {
		w.fail("%v", e)
	}
	w.Run(time.Minute)
	for _, p := range a.ice.Pairs(a.links[0].agent) {
		if p.Route.Stream == first {
			t.Errorf("the connection is kept: %+v", p)
		}
	}
}

// TestTCPAttemptNeedsNoUDP: that a socket of UDP breaks is nothing to an attempt by TCP.
func TestTCPAttemptNeedsNoUDP(t *testing.T) {
	w := newWorld(t, 1, "", "", behind(namedPreset(t, "udp-blocked"), sequence(1, 5)), withTCP, func(o *worldOptions) { o.probe = true })
	w.surveyed()
	a := w.peers[0]
	a.dialTo(w.peers[1])
	if !w.RunUntil(5*time.Second, func() bool { return len(a.links) > 0 && a.links[0].lane.run != nil }) {
		w.fail("no attempt")
	}
	a.do(func(now time.Time) {
		for id := range machine.SocketID(4) {
			a.control.HandleNotice(now, machine.Notice{Kind: machine.SocketFailed, Socket: id, Err: errors.New("broke")})
		}
	})
	if a.links[0].lane.run == nil {
		w.fail("the attempt was given up")
	}
	if !w.direct(5 * time.Second) {
		w.fail("not direct")
	}
}
